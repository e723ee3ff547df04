// What every communicator has to do: one suite over `self`, ranks as threads, and MPI ranks (mpi_world.cpp).
#include "comm_world.h"
#include "loopback_transport.h"
#include "process_group.h"
#include "runtime/base/clock.h"
#include "runtime/comm/host_communicator.h"
#include "runtime/comm/row_sums.h"
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>
#include <thread>

namespace moray::test {

using namespace rt::comm;

namespace {

std::string text(const rt::Status &status) { return moray_status_message(status.get()); }

// Runs `body` on a thread per rank and joins what they say, one line each.
template <typename Body> std::string onThreads(uint32_t ranks, Body body) {
  std::vector<std::string> said(ranks);
  std::vector<std::thread> threads;
  for (uint32_t rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] { said[rank] = body(rank); });
  for (std::thread &thread : threads)
    thread.join();
  std::string all;
  for (const std::string &line : said)
    all += line.empty() ? "" : line + "\n";
  return all;
}

std::unique_ptr<Communicator> loopback(LoopbackHub &hub, uint32_t rank, const ModelPlacement &placement,
                                       CombineMode mode = CombineMode::Exact, uint32_t deadlineMs = 20000,
                                       Watch *watch = nullptr) {
  CommunicatorOptions options;
  options.rank = rank;
  options.ranks = placement.ranks();
  options.combine = mode;
  options.deadlineMs = deadlineMs;
  std::unique_ptr<Communicator> communicator;
  const rt::Status status =
      makeHostCommunicator(options, placement, watch, std::make_unique<LoopbackTransport>(hub, rank), communicator);
  EXPECT_TRUE(status.ok()) << text(status);
  return communicator;
}

ModelPlacement placementFor(uint32_t ranks, uint32_t nodes = 1) {
  ModelPlacement placement;
  EXPECT_TRUE(ModelPlacement::makeDefault(4, ranks, nodes, 1, placement).ok());
  return placement;
}

rt::Status makeSelf(std::unique_ptr<Communicator> &self, CombineMode mode = CombineMode::Exact) {
  CommunicatorOptions options;
  options.combine = mode;
  return makeHostCommunicator(options, placementFor(1), nullptr, nullptr, self);
}

constexpr CombineMode kModes[] = {CombineMode::Exact, CombineMode::RankSum, CombineMode::NodeSum};

// A dispatch of two rows to all four experts, with room for `capacity` rows.
struct SmallDispatch {
  uint8_t x[16] = {}, xr[64] = {};
  int32_t tokens[8] = {0, 1, 0, 1, 0, 1, 0, 1}, offsets[5] = {0, 2, 4, 6, 8}, tokensR[32], offsetsR[5];
  DispatchArgs args;
  SmallDispatch(int32_t layer, uint64_t capacity = 8) {
    args.layer = layer;
    args.rowBytes = 8;
    args.x = x;
    args.rows = 2;
    args.tokens = tokens;
    args.offsets = offsets;
    args.xr = xr;
    args.xrRows = capacity;
    args.tokensR = tokensR;
    args.tokensRCount = 32;
    args.offsetsR = offsetsR;
  }
};

} // namespace

TEST(ConformanceTest, SelfCopies) {
  const std::vector<World> worlds = conformanceWorlds(1);
  for (const CombineMode mode : kModes) {
    CommunicatorOptions options;
    options.combine = mode;
    std::unique_ptr<Communicator> self;
    ASSERT_TRUE(makeHostCommunicator(options, worlds[0].model, nullptr, nullptr, self).ok());
    EXPECT_EQ(runWorlds(worlds, *self, mode), "");
    EXPECT_TRUE(self->close().ok());
    EXPECT_EQ(self->counters().rowsSent, 0u);
  }
}

TEST(ConformanceTest, PlacementsAreForTheRanksOfTheGroup) {
  std::unique_ptr<Communicator> self;
  rt::Status status = makeHostCommunicator({}, placementFor(2), nullptr, nullptr, self);
  EXPECT_NE(text(status).find("error[E5112]: the placement is for 2 ranks"), std::string::npos) << text(status);
  ASSERT_TRUE(makeSelf(self).ok());
  status = self->setPlacement(placementFor(2));
  EXPECT_NE(text(status).find("error[E5112]: the new placement is for 4 experts on 2 ranks"), std::string::npos);
  SmallDispatch small(0);
  ASSERT_TRUE(self->dispatch(small.args).ok());
  status = self->setPlacement(placementFor(1));
  EXPECT_NE(text(status).find("error[E5108]: a new placement follows a dispatch"), std::string::npos) << text(status);
}

static std::string runThreads(uint32_t ranks, uint32_t nodes, CombineMode mode) {
  LoopbackHub hub;
  const std::vector<World> worlds = conformanceWorlds(ranks, nodes);
  return onThreads(ranks, [&](uint32_t rank) {
    const auto communicator = loopback(hub, rank, worlds[0].model, mode);
    const std::string wrong = runWorlds(worlds, *communicator, mode);
    return wrong.empty() && !communicator->close().ok() ? "close" : wrong;
  });
}

TEST(ConformanceTest, RanksAsThreads) {
  for (const CombineMode mode : kModes)
    for (uint32_t ranks : {2u, 3u, 4u, 8u})
      EXPECT_EQ(runThreads(ranks, 1, mode), "") << ranks << " ranks, mode " << static_cast<int>(mode);
}

TEST(ConformanceTest, RanksOfSeveralNodes) {
  const std::pair<uint32_t, uint32_t> shapes[] = {{2, 2}, {4, 2}, {6, 3}, {8, 2}, {12, 4}};
  for (const CombineMode mode : kModes)
    for (const auto &[ranks, nodes] : shapes)
      EXPECT_EQ(runThreads(ranks, nodes, mode), "")
          << ranks << " ranks, " << nodes << " nodes, mode " << static_cast<int>(mode);
}

TEST(ConformanceTest, ManyRanks) {
  EXPECT_EQ(runThreads(64, 1, CombineMode::Exact), "");
  EXPECT_EQ(runThreads(64, 8, CombineMode::NodeSum), "");
}

TEST(ConformanceTest, MicroBatchesInAnyOrderWithDelays) {
  const std::pair<uint32_t, uint32_t> shapes[] = {{1, 1}, {2, 1}, {3, 1}, {4, 2}, {6, 3}};
  for (uint32_t seed = 0; seed < 15; ++seed)
    for (const auto &[ranks, nodes] : shapes) {
      const CombineMode mode = kModes[seed % 3];
      LoopbackHub hub(seed * 3);
      const World first = makeWorld(seed, ranks, 9, 4, Traffic::Uneven, seed % 2 == 1, nodes, 1);
      const World second =
          makeWorld(seed, ranks, 9, 4, static_cast<Traffic>(seed % kTraffics), seed % 2 == 1, nodes, 2);
      EXPECT_EQ(onThreads(ranks,
                          [&](uint32_t rank) {
                            const auto communicator = loopback(hub, rank, first.model, mode);
                            return runInterleaved(first, second, *communicator, mode, seed, seed + 100 * rank);
                          }),
                "")
          << ranks << " ranks, " << nodes << " nodes, seed " << seed;
    }
}

// The conformance program under mpirun; empty where Open MPI is not installed.
static std::string mpirun(const std::string &ranks, const std::string &arguments, int &code) {
  std::string output;
  if (MORAY_COMM_MPI[0] == 0 || runCommand("mpirun --version", 20, output) != 0)
    return "";
  setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
  setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
  output.clear();
  code =
      runCommand("mpirun --oversubscribe -n " + ranks + " " MORAY_MPI_WORLD " " MORAY_COMM_MPI + arguments, 60, output);
  return output + "\n";
}

TEST(ConformanceTest, MpiRanks) {
  const std::pair<const char *, const char *> runs[] = {
      {"1", " exact 1"}, {"2", " rank_sum 1"}, {"3", " exact 1"}, {"4", " exact 2"}, {"4", " node_sum 2"}};
  for (const auto &[ranks, arguments] : runs) {
    int code = 0;
    const std::string output = mpirun(ranks, arguments, code);
    if (output.empty())
      GTEST_SKIP() << "Open MPI is not installed";
    EXPECT_EQ(code, 0) << output;
    EXPECT_NE(output.find(std::string("all worlds of ") + ranks + " ranks agree"), std::string::npos) << output;
  }
}

TEST(ConformanceTest, MpiSaysWhichRankStalledOrWasLost) {
  const std::pair<const char *, const char *> faults[] = {{" stop 1", ": error[E5107]: rank 1 stalled"},
                                                          {" kill 1", ": error[E5106]: rank 1 was lost"}};
  for (const auto &[fault, expected] : faults) {
    int code = 0;
    const std::string output = mpirun("3", fault, code);
    if (output.empty())
      GTEST_SKIP() << "Open MPI is not installed";
    EXPECT_NE(code, 0) << output;
    for (const char *rank : {"rank 0", "rank 2"})
      EXPECT_NE(output.find(std::string(rank) + expected), std::string::npos) << output;
    EXPECT_NE(output.find("dispatch of layer 0 in step 1"), std::string::npos) << output;
  }
}

TEST(ConformanceTest, MissingLibraryIsNamed) {
  CommunicatorOptions options;
  options.library = "/nonexistent/libmoray_comm_mpi.so";
  std::unique_ptr<Communicator> communicator;
  rt::Status status = makeMpiCommunicator(options, placementFor(1), nullptr, communicator);
  EXPECT_NE(text(status).find("error[E5110]: the MPI communicator cannot be loaded: /nonexistent"), std::string::npos);
  EXPECT_EQ(moray_status_exit_code(status.get()), 6);
  options.library = "libm.so.6";
  status = makeMpiCommunicator(options, placementFor(1), nullptr, communicator);
  EXPECT_NE(text(status).find("error[E5110]: libm.so.6 has version 0 of its table"), std::string::npos) << text(status);
}

TEST(ConformanceTest, ErrorsOfMpiAreTold) {
  CommunicatorOptions options;
  options.ranks = 2;
  options.startMs = 50;
  options.library = MORAY_FAKE_MPI;
  const auto attempt = [&](const char *failing) {
    setenv("MORAY_FAKE_MPI", failing, 1);
    std::unique_ptr<Communicator> communicator;
    const rt::Status made = makeMpiCommunicator(options, placementFor(2), nullptr, communicator);
    if (!made.ok())
      return text(made);
    SmallDispatch small(0);
    return text(strcmp(failing, "close") == 0 ? communicator->close() : communicator->dispatch(small.args));
  };
  const std::pair<const char *, const char *> cases[] = {
      {"open", "error[E5111]: MPI does not start: the fake library was told so"},
      {"late", "error[E5107]: MPI_Init did not return within 50 ms"},
      {"other", "error[E5101]: MPI says that this is rank 0 of 3, the launcher's variables say rank 0 of 2"},
      {"post", "error[E5111]: exchange: the fake"},
      {"progress", "error[E5111]: exchange: the fake"},
      {"sizes", "error[E5108]: exchange: the fake"},
      {"close", "error[E5111]: MPI does not end: the fake"},
  };
  for (const auto &[failing, expected] : cases)
    EXPECT_NE(attempt(failing).find(expected), std::string::npos) << attempt(failing);
}

TEST(ConformanceTest, MissingRankIsNamedAtTheDeadline) {
  LoopbackHub hub;
  const ModelPlacement placement = placementFor(3);
  const uint64_t begun = rt::nowNs();
  const std::string said = onThreads(2, [&](uint32_t rank) { // rank 2 never comes
    const auto communicator = loopback(hub, rank, placement, CombineMode::Exact, 200);
    communicator->beginStep(4);
    SmallDispatch small(9);
    const std::string first = text(communicator->dispatch(small.args));
    EXPECT_NE(text(communicator->dispatch(small.args)).find("error[E5114]"), std::string::npos);
    EXPECT_NE(text(communicator->close()).find("error[E5114]"), std::string::npos);
    return first;
  });
  EXPECT_LT(rt::nowNs() - begun, 1200000000u);
  for (const char *rank : {"0", "1"})
    EXPECT_NE(said.find(std::string("error[E5107]: rank ") + rank +
                        " waited 200 ms for rank 2 in dispatch of layer 9, step 4"),
              std::string::npos)
        << said;
}

// Two ranks; what they say when `body` has run on both.
template <typename Body> static std::string onTwo(Body body) {
  LoopbackHub hub;
  const ModelPlacement placement = placementFor(2);
  return onThreads(2, [&](uint32_t rank) {
    const auto communicator = loopback(hub, rank, placement);
    return text(body(*communicator, rank));
  });
}

TEST(ConformanceTest, RanksInDifferentLayersAreNamed) {
  const std::string said = onTwo([](Communicator &communicator, uint32_t rank) {
    SmallDispatch small(static_cast<int32_t>(rank) + 5);
    return communicator.dispatch(small.args);
  });
  EXPECT_NE(said.find("error[E5108]: rank 1 is in dispatch of rows of 8 bytes (0 of scales) in layer 6 of step 0, "
                      "micro-batch 0, collective number 1; rank 0 is in dispatch of rows of 8 bytes (0 of scales) in "
                      "layer 5"),
            std::string::npos)
      << said;
}

TEST(ConformanceTest, RanksThatStartInDifferentOrderAreNamed) {
  const std::string dispatches = onTwo([](Communicator &communicator, uint32_t rank) {
    SmallDispatch small(0), other(0);
    MORAY_TRY(communicator.startDispatch(rank, small.args));
    MORAY_TRY(communicator.startDispatch(1 - rank, other.args));
    return communicator.wait(0);
  });
  EXPECT_NE(
      dispatches.find("error[E5108]: rank 1 is in dispatch of rows of 8 bytes (0 of scales) in layer 0 of step 0, "
                      "micro-batch 1, collective number 1; rank 0 is in dispatch"),
      std::string::npos)
      << dispatches;
  const std::string combines = onTwo([](Communicator &communicator, uint32_t rank) {
    SmallDispatch small(0), other(0);
    MORAY_TRY(communicator.startDispatch(0, small.args));
    MORAY_TRY(communicator.startDispatch(1, other.args));
    MORAY_TRY(communicator.wait(1));
    MORAY_TRY(communicator.wait(0));
    uint8_t er[256] = {}, e[128];
    CombineArgs back;
    back.layer = 0;
    back.rowBytes = 8;
    back.er = er;
    back.erRows = 32;
    back.e = e;
    back.eRows = 16;
    MORAY_TRY(communicator.startCombine(rank, back));
    return communicator.wait(rank);
  });
  EXPECT_NE(combines.find("error[E5108]: rank 1 is in combine of rows of 8 bytes (0 of scales) in layer 0 of step 0, "
                          "micro-batch 1, collective number 3; rank 0 is in combine"),
            std::string::npos)
      << combines;
}

TEST(ConformanceTest, StrangeHeadersAreRefused) {
  LoopbackHub hub;
  hub.put(1, 0, 4, std::vector<uint8_t>(72, 0xff)); // as many bytes as a header with two counts
  const auto communicator = loopback(hub, 0, placementFor(2));
  SmallDispatch small(0);
  const std::string said = text(communicator->dispatch(small.args));
  EXPECT_NE(said.find("error[E5113]: rank 1 sent no header of a dispatch"), std::string::npos) << said;
}

TEST(ConformanceTest, OrderIsDispatchThenCombine) {
  std::unique_ptr<Communicator> self;
  ASSERT_TRUE(makeSelf(self).ok());
  CombineArgs combine;
  combine.rowBytes = 8;
  EXPECT_NE(text(self->combine(combine)).find("error[E5108]: combine in layer -1 follows no dispatch"),
            std::string::npos);
  ASSERT_TRUE(makeSelf(self).ok());
  SmallDispatch small(0);
  EXPECT_TRUE(self->dispatch(small.args).ok());
  EXPECT_NE(text(self->dispatch(small.args)).find("error[E5108]: dispatch in layer 0 follows a dispatch"),
            std::string::npos);
}

TEST(ConformanceTest, EachStartIsWaitedForOnce) {
  std::unique_ptr<Communicator> self;
  ASSERT_TRUE(makeSelf(self).ok());
  EXPECT_NE(text(self->wait(1)).find("error[E5108]: a wait of micro-batch 1 follows no start"), std::string::npos);
  ASSERT_TRUE(makeSelf(self).ok());
  SmallDispatch small(3);
  ASSERT_TRUE(self->startDispatch(1, small.args).ok());
  EXPECT_NE(text(self->startDispatch(1, small.args))
                .find("error[E5108]: dispatch in layer 3 follows a collective that was not waited for"),
            std::string::npos);
}

TEST(ConformanceTest, SumsNeedGatesAndNumbers) {
  std::unique_ptr<Communicator> self;
  ASSERT_TRUE(makeSelf(self, CombineMode::RankSum).ok());
  SmallDispatch small(2);
  EXPECT_NE(text(self->dispatch(small.args)).find("error[E5013]: dispatch in layer 2 has no gates"), std::string::npos);
  ASSERT_TRUE(makeSelf(self, CombineMode::RankSum).ok());
  const float gates[8] = {};
  small.args.gates = gates;
  ASSERT_TRUE(self->dispatch(small.args).ok());
  uint8_t e[64] = {};
  float gatesOut[8];
  CombineArgs combine;
  combine.rowBytes = 8;
  combine.er = combine.e = e;
  combine.erRows = combine.eRows = 8;
  combine.gatesOut = gatesOut;
  combine.type = schema::DType::I32;
  EXPECT_NE(text(self->combine(combine)).find("error[E5013]: combine in layer -1 cannot sum rows of 8 bytes of type 3"),
            std::string::npos);
}

TEST(ConformanceTest, BuffersThatAreTooSmallAreFoundBeforeRowsMove) {
  std::unique_ptr<Communicator> self;
  ASSERT_TRUE(makeSelf(self).ok());
  SmallDispatch small(0, 1);
  EXPECT_NE(text(self->dispatch(small.args)).find("error[E5013]"), std::string::npos);
  ASSERT_TRUE(makeSelf(self).ok());
  SmallDispatch enough(0);
  ASSERT_TRUE(self->dispatch(enough.args).ok());
  uint8_t e[64];
  CombineArgs combine;
  combine.rowBytes = 8;
  combine.er = combine.e = e;
  combine.erRows = 8;
  combine.eRows = 7;
  EXPECT_NE(text(self->combine(combine)).find("error[E5013]: combine in layer -1 has 8 results and room for 7"),
            std::string::npos);
}

TEST(ConformanceTest, AWatchEndsTheWait) {
  struct Bad : Watch {
    rt::Status poll(const Waiting &waiting) override {
      EXPECT_EQ(waiting.missing.size(), 1u);
      return ++polls < 3 ? rt::Status() : rt::fail(rt::kE5106, "rank %u was lost", waiting.missing[0]);
    }
    rt::Status stalled(const Waiting &) override { return rt::fail(rt::kE5107, "late"); }
    int polls = 0;
  } watch;
  LoopbackHub hub;
  const auto communicator = loopback(hub, 0, placementFor(2), CombineMode::Exact, 10000, &watch);
  SmallDispatch small(0);
  EXPECT_NE(text(communicator->dispatch(small.args)).find("error[E5106]: rank 1 was lost"), std::string::npos);
}

// Against an element at a time: long rows, several blocks, values at the edges.
TEST(RowSumsTest, AreThoseOfPlainLoops) {
  uint32_t random = 1;
  const auto next = [&random] { return (random = random * 1664525 + 1013904223) >> 8; };
  for (uint32_t elements : {1u, 7u, 1023u, 1024u, 1025u, 3000u})
    for (uint32_t terms = 0; terms < 4; ++terms) {
      std::vector<std::vector<float>> rows(terms, std::vector<float>(elements));
      std::vector<uint8_t> out(elements * 4);
      SumLists lists;
      lists.begin(1);
      for (uint32_t i = 0; i < terms; ++i)
        lists.count(0);
      lists.open();
      std::vector<float> expected(elements, 0);
      for (uint32_t i = 0; i < terms; ++i) {
        const float gate = static_cast<float>(next() % 1000) / 333;
        for (uint32_t j = 0; j < elements; ++j) {
          rows[i][j] =
              next() % 50 == 0 ? (next() % 2 ? INFINITY : -0.0f) : static_cast<float>(next() % 100000) / 7 - 5000;
          const volatile float product = gate * rows[i][j];
          expected[j] = i == 0 ? product : expected[j] + product;
        }
        lists.add(0, reinterpret_cast<const uint8_t *>(rows[i].data()), gate);
      }
      sumRows(lists, 0, schema::DType::F32, elements * 4, out.data());
      for (uint32_t j = 0; j < elements; ++j) {
        float sum;
        memcpy(&sum, &out[j * 4], 4);
        EXPECT_TRUE(memcmp(&sum, &expected[j], 4) == 0 || (sum != sum && expected[j] != expected[j]));
      }
    }
}

TEST(RowSumsTest, RoundToTheNearestEven) {
  // 1 + 1/256 lies between two numbers of 8 bits, and goes to the even one below; 1 + 3/256 to the one above.
  const std::pair<float, uint16_t> cases[] = {{1.00390625f, 0x3f80}, {1.01171875f, 0x3f82}, {1.00390637f, 0x3f81},
                                              {-0.0f, 0x8000},       {INFINITY, 0x7f80},    {3.4e38f, 0x7f80},
                                              {-NAN, 0xffc0}};
  for (const auto &[value, expected] : cases) {
    const uint16_t one = 0x3f80;
    uint16_t got = 0;
    SumLists lists;
    lists.begin(1);
    lists.count(0);
    lists.open();
    lists.add(0, reinterpret_cast<const uint8_t *>(&one), value);
    sumRows(lists, 0, schema::DType::BF16, 2, reinterpret_cast<uint8_t *>(&got));
    EXPECT_EQ(got, expected) << value;
  }
}

} // namespace moray::test
