// What every communicator has to do: one suite over `self`, ranks as threads, and MPI ranks (mpi_world.cpp).
#include "comm_world.h"
#include "loopback_transport.h"
#include "process_group.h"
#include "runtime/base/clock.h"
#include "runtime/comm/host_communicator.h"
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

std::unique_ptr<Communicator> loopback(LoopbackHub &hub, uint32_t rank, uint32_t ranks, const Placement &placement,
                                       uint32_t deadlineMs = 5000, Watch *watch = nullptr) {
  CommunicatorOptions options;
  options.rank = rank;
  options.ranks = ranks;
  options.deadlineMs = deadlineMs;
  std::unique_ptr<Communicator> communicator;
  const rt::Status status =
      makeHostCommunicator(options, placement, watch, std::make_unique<LoopbackTransport>(hub, rank), communicator);
  EXPECT_TRUE(status.ok()) << text(status);
  return communicator;
}

Placement placementFor(uint32_t ranks) {
  Placement placement;
  EXPECT_TRUE(Placement::makeDefault(4, ranks, placement).ok());
  return placement;
}

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
  for (const World &world : conformanceWorlds(1)) {
    std::unique_ptr<Communicator> self;
    ASSERT_TRUE(makeSelfCommunicator(world.placement, self).ok());
    EXPECT_EQ(runLayer(world, *self, 0), "");
    EXPECT_EQ(runLayer(world, *self, 1), "");
    EXPECT_TRUE(self->close().ok());
    EXPECT_EQ(self->counters().rowsSent, 0u);
  }
}

TEST(ConformanceTest, SelfIsForOneRank) {
  std::unique_ptr<Communicator> self;
  const rt::Status status = makeSelfCommunicator(placementFor(2), self);
  EXPECT_NE(text(status).find("error[E5112]: the placement is for 2 ranks"), std::string::npos) << text(status);
}

TEST(ConformanceTest, RanksAsThreads) {
  for (uint32_t ranks : {2u, 3u, 4u, 8u}) {
    LoopbackHub hub;
    const std::vector<World> worlds = conformanceWorlds(ranks);
    EXPECT_EQ(onThreads(ranks,
                        [&](uint32_t rank) {
                          const auto communicator = loopback(hub, rank, ranks, worlds[0].placement);
                          for (size_t i = 0; i < worlds.size(); ++i) {
                            communicator->beginStep(i);
                            if (std::string wrong = runLayer(worlds[i], *communicator, 3); !wrong.empty())
                              return wrong + " in world " + std::to_string(i);
                          }
                          return text(communicator->close()) == "ok" ? "" : std::string("close");
                        }),
              "")
        << ranks;
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
  for (const char *ranks : {"1", "2", "3", "4"}) {
    int code = 0;
    const std::string output = mpirun(ranks, "", code);
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
    EXPECT_NE(output.find("dispatch of layer 7 in step 1"), std::string::npos) << output;
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
      {"begin", "error[E5111]: exchange: the fake"},
      {"progress", "error[E5111]: exchange: the fake"},
      {"sizes", "error[E5108]: exchange: the fake"},
      {"close", "error[E5111]: MPI does not end: the fake"},
  };
  for (const auto &[failing, expected] : cases)
    EXPECT_NE(attempt(failing).find(expected), std::string::npos) << attempt(failing);
}

TEST(ConformanceTest, MissingRankIsNamedAtTheDeadline) {
  LoopbackHub hub;
  const Placement placement = placementFor(3);
  const uint64_t begun = rt::nowNs();
  const std::string said = onThreads(2, [&](uint32_t rank) { // rank 2 never comes
    const auto communicator = loopback(hub, rank, 3, placement, 200);
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

TEST(ConformanceTest, RanksInDifferentLayersAreNamed) {
  LoopbackHub hub;
  const Placement placement = placementFor(2);
  const std::string said = onThreads(2, [&](uint32_t rank) {
    const auto communicator = loopback(hub, rank, 2, placement);
    SmallDispatch small(static_cast<int32_t>(rank) + 5);
    return text(communicator->dispatch(small.args));
  });
  EXPECT_NE(said.find("error[E5108]: rank 1 dispatches rows of 8 bytes in layer 6 of step 0, rank 0 rows of 8 bytes in "
                      "layer 5"),
            std::string::npos)
      << said;
}

TEST(ConformanceTest, StrangeHeadersAreRefused) {
  LoopbackHub hub;
  hub.put(1, 0, 1, std::vector<uint8_t>(40, 0xff)); // as many bytes as a header with two counts
  const auto communicator = loopback(hub, 0, 2, placementFor(2));
  SmallDispatch small(0);
  const std::string said = text(communicator->dispatch(small.args));
  EXPECT_NE(said.find("error[E5113]: rank 1 sent no header of a dispatch"), std::string::npos) << said;
}

TEST(ConformanceTest, OrderIsDispatchThenCombine) {
  std::unique_ptr<Communicator> self;
  ASSERT_TRUE(makeSelfCommunicator(placementFor(1), self).ok());
  CombineArgs combine;
  combine.rowBytes = 8;
  EXPECT_NE(text(self->combine(combine)).find("error[E5108]: combine in layer -1 follows no dispatch"),
            std::string::npos);
  ASSERT_TRUE(makeSelfCommunicator(placementFor(1), self).ok());
  SmallDispatch small(0);
  EXPECT_TRUE(self->dispatch(small.args).ok());
  EXPECT_NE(text(self->dispatch(small.args)).find("error[E5108]: dispatch in layer 0 follows a dispatch"),
            std::string::npos);
}

TEST(ConformanceTest, BuffersThatAreTooSmallAreFoundBeforeRowsMove) {
  std::unique_ptr<Communicator> self;
  ASSERT_TRUE(makeSelfCommunicator(placementFor(1), self).ok());
  SmallDispatch small(0, 1);
  EXPECT_NE(text(self->dispatch(small.args)).find("error[E5013]"), std::string::npos);
  ASSERT_TRUE(makeSelfCommunicator(placementFor(1), self).ok());
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
  const auto communicator = loopback(hub, 0, 2, placementFor(2), 10000, &watch);
  SmallDispatch small(0);
  EXPECT_NE(text(communicator->dispatch(small.args)).find("error[E5106]: rank 1 was lost"), std::string::npos);
}

} // namespace moray::test
