// The control channel between processes: start, agreements, and every way in which a rank can go missing.
#include "process_group.h"
#include "runtime/base/clock.h"
#include "runtime/comm/channel_state.h"
#include <arpa/inet.h>
#include <csignal>
#include <cstring>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

namespace moray::test {

using namespace rt::comm;
using rt::Bytes;

namespace {

constexpr uint32_t kDeadlineMs = 1000;

std::string text(const rt::Status &status) { return moray_status_message(status.get()); }
bool has(const std::string &all, const std::string &part) { return all.find(part) != std::string::npos; }

// A folder of its own for rendezvous files; empty at the end of a test that cleans up.
class ChannelTest : public testing::Test {
protected:
  ChannelTest() { EXPECT_NE(mkdtemp(folder), nullptr); }
  ~ChannelTest() override {
    unlink(file().c_str());
    EXPECT_EQ(rmdir(folder), 0) << "a file was left in " << folder;
  }
  std::string file() const { return std::string(folder) + "/group"; }
  std::string rendezvous() const { return "file:" + file(); }

  std::unique_ptr<ControlChannel> open(uint32_t rank, uint32_t ranks, std::string &problem,
                                       const Identity &identity = {}, const std::string &at = {}) {
    const std::string where = at.empty() ? rendezvous() : at;
    ChannelOptions options;
    options.rank = rank;
    options.ranks = ranks;
    options.rendezvous = where.c_str();
    options.deadlineMs = kDeadlineMs;
    options.connectMs = connectMs;
    std::unique_ptr<ControlChannel> channel;
    problem = text(ControlChannel::open(options, identity, channel));
    return channel;
  }

  // Every rank opens the channel and runs `body`, which returns what to report.
  template <typename Body> std::vector<RankEnd> group(uint32_t ranks, Body body, double limit = 20) {
    return runRanks(ranks, limit, [&](uint32_t rank) -> std::string {
      std::string problem;
      const auto channel = open(rank, ranks, problem);
      return channel ? body(*channel, rank) : problem;
    });
  }

  uint32_t connectMs = 4000;

private:
  char folder[32] = "/tmp/moray-comm-XXXXXX";
};

// An agreement where rank r has r rows and wants program 7; odd ranks are idle.
std::string agreeOnce(ControlChannel &channel, StepDecision &decision, bool stop = false) {
  StepVote vote;
  vote.program = channel.rank() % 2 ? 0 : 7;
  vote.live[0] = static_cast<int32_t>(channel.rank());
  vote.stop = stop;
  return text(channel.agree(vote, decision));
}

// What a rank does that waits in a collective for `missing`, as the communicator does it.
std::string waitFor(ControlChannel &channel, std::vector<uint32_t> missing, Operation operation) {
  const Place place = {1, 3, operation};
  const uint64_t begun = rt::nowNs();
  while (rt::nowNs() - begun < uint64_t{1000000} * kDeadlineMs) {
    if (const rt::Status status = channel.poll({place, {missing.data(), missing.size()}, begun}); !status.ok())
      return text(status);
    usleep(1000);
  }
  return text(channel.stalled({place, {missing.data(), missing.size()}, begun}));
}

int listenAt(uint16_t &port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {};
  socklen_t bytes = sizeof(address);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(bind(fd, reinterpret_cast<struct sockaddr *>(&address), bytes), 0);
  EXPECT_EQ(listen(fd, 8), 0);
  getsockname(fd, reinterpret_cast<struct sockaddr *>(&address), &bytes);
  port = ntohs(address.sin_port);
  return fd;
}

} // namespace

TEST_F(ChannelTest, OneRankNeedsNobody) {
  std::string problem;
  const auto channel = open(0, 1, problem);
  ASSERT_TRUE(channel) << problem;
  StepDecision decision;
  EXPECT_EQ(agreeOnce(*channel, decision), "ok");
  EXPECT_EQ(decision.step, 1u);
  EXPECT_EQ(decision.program, 7u);
  EXPECT_EQ(text(channel->close()), "ok");
  EXPECT_TRUE(has(agreeOnce(*channel, decision), "error[E5114]"));
}

TEST_F(ChannelTest, RanksAgreeOnStepsAndCarryPayloads) {
  for (uint32_t ranks : {2u, 3u, 8u}) {
    const auto ends = group(ranks, [ranks](ControlChannel &channel, uint32_t rank) -> std::string {
      for (uint32_t step = 1; step <= 20; ++step) {
        // Up to 300 kB, so that frames do not fit the buffers of a socket.
        std::vector<std::string> out(rank == 0 ? ranks : 1);
        for (uint32_t i = 0; i < out.size(); ++i)
          out[i] = std::string(step == 20 ? 300000 : step, static_cast<char>('a' + (rank == 0 ? i : rank)));
        std::vector<Bytes> payload;
        for (const std::string &bytes : out)
          payload.push_back({reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size()});
        StepVote vote;
        vote.program = rank == 1 ? 0 : 3;
        vote.live[0] = static_cast<int32_t>(10 * rank);
        vote.live[3] = 1;
        vote.stop = step == 20 && rank == ranks - 1;
        vote.payload = {payload.data(), payload.size()};
        StepDecision decision;
        if (rt::Status status = channel.agree(vote, decision); !status.ok())
          return text(status);
        const bool right = decision.step == step && decision.program == 3 && decision.stop == (step == 20) &&
                           decision.activeRanks == ranks - 1 && decision.sum[0] == 5 * ranks * (ranks - 1) &&
                           decision.max[0] == static_cast<int32_t>(10 * (ranks - 1)) && decision.sum[3] == ranks;
        for (uint32_t i = rank == 0 ? 1 : 0; i < out.size(); ++i) {
          const std::string expected(out[0].size(), static_cast<char>('a' + (rank == 0 ? i : rank)));
          const Bytes got = decision.payload[i];
          if (std::string(reinterpret_cast<const char *>(got.data()), got.size()) != expected)
            return "payload " + std::to_string(i) + " in step " + std::to_string(step);
        }
        if (!right)
          return "decision of step " + std::to_string(step);
      }
      return text(channel.close());
    });
    for (const RankEnd &end : ends)
      EXPECT_EQ(end.text, "ok") << ranks << " ranks";
  }
}

TEST_F(ChannelTest, DifferentProgramsAreRefusedEverywhere) {
  const auto ends = group(3, [](ControlChannel &channel, uint32_t rank) {
    StepVote vote;
    StepDecision decision;
    vote.program = rank == 0 ? 0 : rank + 4;
    return text(channel.agree(vote, decision));
  });
  for (const RankEnd &end : ends)
    EXPECT_TRUE(has(end.text, "error[E5108]: rank 1 wants to run program 5 in step 1, rank 2 program 6")) << end.text;
}

TEST_F(ChannelTest, RanksThatDifferAreNamedWithBothSides) {
  const auto differ = [&](auto change) {
    return runRanks(3, 10, [&](uint32_t rank) {
      Identity identity;
      if (rank == 2)
        change(identity);
      std::string problem;
      open(rank, 3, problem, identity);
      return problem;
    });
  };
  for (const RankEnd &end : differ([](Identity &identity) { identity.artifact[15] = 0x2a; }))
    EXPECT_TRUE(has(end.text, "error[E5105]: rank 2 has the artifact 0000000000000000000000000000002a, rank 0 has 000"))
        << end.text;
  for (const RankEnd &end : differ([](Identity &identity) { identity.abi = 9; }))
    EXPECT_TRUE(has(end.text, "error[E5105]: rank 2 has kernel interface 9, rank 0 has 0")) << end.text;
  for (const RankEnd &end : differ([](Identity &identity) { identity.plan = 1; }))
    EXPECT_TRUE(has(end.text, "error[E5105]: rank 2 has plan 0000000000000001, rank 0 has 0000000000000000"))
        << end.text;
}

TEST_F(ChannelTest, TwiceTheSameRankAndOtherGroupSizesAreRefused) {
  for (const RankEnd &end : runRanks(3, 10, [&](uint32_t process) {
         std::string problem;
         open(process == 2 ? 1 : process, 3, problem);
         return problem;
       }))
    EXPECT_TRUE(has(end.text, "error[E5105]: two processes say that they are rank 1 of 3")) << end.text;
  uint16_t port = 0;
  close(listenAt(port));
  const std::string at = "127.0.0.1:" + std::to_string(port);
  for (const RankEnd &end : runRanks(2, 10, [&](uint32_t rank) {
         std::string problem;
         open(rank, rank == 0 ? 2 : 4, problem, {}, at);
         return problem;
       }))
    EXPECT_TRUE(has(end.text, "error[E5105]: a process says that it is rank 1 of 4, but rank 0 leads 2 ranks"))
        << end.text;
}

TEST_F(ChannelTest, RanksThatDoNotComeAreNamedInTime) {
  connectMs = 500;
  for (const RankEnd &end : runRanks(2, 10, [&](uint32_t rank) { // of 4
         std::string problem;
         open(rank, 4, problem);
         return problem;
       })) {
    EXPECT_TRUE(has(end.text, "error[E5104]: ranks 2, 3 of 4 did not join rank 0")) << end.text;
    EXPECT_LT(end.seconds, 2);
  }
  std::string problem; // no rank 0
  open(1, 2, problem);
  EXPECT_TRUE(has(problem, "error[E5104]: rank 1 of 2 found no rank 0 at file:")) << problem;
}

TEST_F(ChannelTest, ATakenPortIsNamedByEverybody) {
  uint16_t port = 0;
  const int taken = listenAt(port);
  connectMs = 500;
  const std::string at = "localhost:" + std::to_string(port);
  const auto ends = runRanks(2, 10, [&](uint32_t rank) {
    std::string problem;
    open(rank, 2, problem, {}, at);
    return problem;
  });
  close(taken);
  EXPECT_TRUE(has(ends[0].text, "error[E5102]: rank 0 of 2 cannot listen at " + at + ": another program has this port"))
      << ends[0].text;
  EXPECT_TRUE(has(ends[1].text, "error[E5104]: rank 0 at " + at + " took the connection of rank 1")) << ends[1].text;
}

TEST_F(ChannelTest, AStaleFileIsNamedByEverybody) {
  connectMs = 500;
  uint16_t port = 0;
  close(listenAt(port)); // nobody listens there now
  FILE *stale = fopen(file().c_str(), "w");
  fprintf(stale, "moray-rendezvous 1 port %u ranks 2 process 999999999 secret 1 2\n", port);
  fclose(stale);
  const auto ends = runRanks(2, 10, [&](uint32_t rank) {
    std::string problem;
    open(rank, 2, problem);
    return problem;
  });
  EXPECT_TRUE(has(ends[0].text, "error[E5103]: the rendezvous file " + file() +
                                    " was left by process 999999999, which has ended; delete it"))
      << ends[0].text;
  EXPECT_TRUE(has(ends[1].text, "error[E5103]: rank 1 found the rendezvous file " + file())) << ends[1].text;
  std::string problem;
  open(1, 3, problem);
  EXPECT_TRUE(has(problem, "error[E5105]: the rendezvous file ") && has(problem, "is for 2 ranks, but rank 1 counts 3"))
      << problem;
  stale = fopen(file().c_str(), "w");
  fputs("something else\n", stale);
  fclose(stale);
  open(1, 2, problem);
  EXPECT_TRUE(has(problem, "error[E5103]: " + file() + " is not a rendezvous file")) << problem;
}

TEST_F(ChannelTest, BadRendezvousTextIsRefused) {
  std::string problem;
  for (const char *at : {"host", "host:", ":1", "host:70000", "host:12x"}) {
    open(0, 2, problem, {}, at);
    EXPECT_TRUE(has(problem, "error[E5101]: the rendezvous '")) << problem;
  }
  open(0, 2, problem, {}, "file:/nonexistent/folder/name");
  EXPECT_TRUE(has(problem, "error[E5103]: rank 0 cannot write the rendezvous file")) << problem;
  open(5, 2, problem);
  EXPECT_TRUE(has(problem, "error[E5101]: rank 5 of 2")) << problem;
}

// ---- failures ----

TEST_F(ChannelTest, AKilledRankIsNamedWhereverTheOthersAre) {
  for (uint32_t victim : {0u, 2u})
    for (bool agreement : {true, false}) {
      const auto ends = group(4, [&](ControlChannel &channel, uint32_t rank) {
        StepDecision decision;
        if (agreeOnce(channel, decision) != "ok")
          return std::string("first agreement");
        if (rank == victim)
          raise(SIGKILL);
        return agreement ? agreeOnce(channel, decision) : waitFor(channel, {victim}, Operation::Dispatch);
      });
      for (uint32_t rank = 0; rank < 4; ++rank) {
        const std::string lost = "error[E5106]: rank " + std::to_string(victim) + " was lost";
        EXPECT_TRUE(ends[rank].ended);
        EXPECT_TRUE(rank == victim ? ends[rank].text.empty() : has(ends[rank].text, lost)) << ends[rank].text;
        EXPECT_TRUE(rank == victim ||
                    has(ends[rank].text, agreement ? "agreement in step 2" : "dispatch of layer 3 in step 1"))
            << ends[rank].text;
        EXPECT_LT(ends[rank].seconds, 2);
      }
    }
}

TEST_F(ChannelTest, AStoppedRankIsNamedAtTheDeadline) {
  for (uint32_t ranks : {2u, 8u})
    for (uint32_t victim : {0u, ranks - 1})
      for (bool agreement : {true, false}) {
        const auto ends = group(ranks, [&](ControlChannel &channel, uint32_t rank) {
          StepDecision decision;
          if (agreeOnce(channel, decision) != "ok")
            return std::string("first agreement");
          if (rank == victim)
            raise(SIGSTOP);
          // Rank 1 has gone further and also misses ranks that themselves wait for the victim.
          std::vector<uint32_t> missing = {victim};
          if (rank == 1 && ranks > 3)
            missing = {2, 3, victim};
          return agreement ? agreeOnce(channel, decision) : waitFor(channel, missing, Operation::Combine);
        });
        for (uint32_t rank = 0; rank < ranks; ++rank) {
          const std::string stalled = "error[E5107]: rank " + std::to_string(victim) + " stalled";
          EXPECT_TRUE(rank == victim || has(ends[rank].text, stalled))
              << "rank " << rank << " of " << ranks << ", victim " << victim << ": " << ends[rank].text;
          EXPECT_LT(ends[rank].seconds, 2.9); // start, deadline of 1 s, a second more
        }
      }
}

TEST_F(ChannelTest, AStopBeforeTheWelcomeIsNamed) {
  connectMs = 700;
  const auto ends = runRanks(3, 10, [&](uint32_t rank) {
    std::string problem;
    if (rank == 2)
      raise(SIGSTOP);
    open(rank, 3, problem);
    return problem;
  });
  for (uint32_t rank : {0u, 1u})
    EXPECT_TRUE(has(ends[rank].text, "error[E5104]: rank 2 of 3 did not join")) << ends[rank].text;
}

TEST_F(ChannelTest, AFailureOfOneReachesAll) {
  for (uint32_t failing : {0u, 2u})
    for (const RankEnd &end : group(4, [&](ControlChannel &channel, uint32_t rank) {
           StepDecision decision;
           if (agreeOnce(channel, decision) != "ok")
             return std::string("first agreement");
           if (rank != failing)
             return waitFor(channel, {failing}, Operation::Dispatch);
           channel.announce(rt::fail(rt::kE5007, "NumericError in kernel 'k'"));
           return agreeOnce(channel, decision);
         })) {
      const std::string told = "error[E5109]: rank " + std::to_string(failing) + " failed: error[E5007]: NumericError";
      EXPECT_TRUE(has(end.text, told) || has(end.text, "error[E5114]")) << end.text;
      EXPECT_LT(end.seconds, 1);
    }
}

TEST_F(ChannelTest, LeavingEarlyIsALoss) {
  for (uint32_t leaver : {0u, 1u}) {
    const auto ends = group(2, [&](ControlChannel &channel, uint32_t rank) {
      StepDecision decision;
      return rank == leaver ? text(channel.close()) : agreeOnce(channel, decision);
    });
    const char *expected = leaver == 0 ? "error[E5108]: rank 1 wants to run step 1, but rank 0 ends the group"
                                       : "error[E5106]: rank 1 left the group before step 1";
    for (const RankEnd &end : ends)
      EXPECT_TRUE(has(end.text, expected)) << end.text;
  }
}

TEST_F(ChannelTest, AnIdleLeaderKeepsTheGroupByPolling) {
  for (const RankEnd &end : group(3, [&](ControlChannel &channel, uint32_t rank) {
         StepDecision decision;
         for (int i = 0; rank == 0 && i < 8; ++i) { // twice the deadline
           usleep(1000 * kDeadlineMs / 4);
           if (const rt::Status status = channel.poll(); !status.ok())
             return text(status);
         }
         const std::string said = agreeOnce(channel, decision);
         return said == "ok" ? text(channel.close()) : said;
       }))
    EXPECT_EQ(end.text, "ok");
}

// ---- hostile bytes ----

// A stranger speaks to rank 0 of 2 before the real rank 1 joins; then the channel works.
TEST_F(ChannelTest, StrangersAreDropped) {
  uint16_t port = 0;
  close(listenAt(port));
  const std::string at = "127.0.0.1:" + std::to_string(port);
  const auto ends = runRanks(2, 10, [&](uint32_t rank) {
    std::string problem;
    const std::string sayings[] = {"", "GET / HTTP/1.1\r\n\r\n", std::string("MRCF\x01\0\0\0\xff\xff\xff\xff", 12),
                                   std::string("MRCF\x01\0\0\0\x02\0\0\0xy", 14)};
    for (const std::string &said : sayings) {
      int fd = -1;
      Connector connector(at.c_str(), rank, 2);
      if (rank != 1 || !connector.connect(rt::nowNs() + 3000000000u, fd).ok())
        continue;
      if (write(fd, said.data(), said.size()) < 0 || said[0] == 'G')
        close(fd); // the others stay connected
    }
    const auto channel = open(rank, 2, problem, {}, at);
    StepDecision decision;
    return channel ? agreeOnce(*channel, decision) : problem;
  });
  EXPECT_EQ(ends[0].text, "ok");
  EXPECT_EQ(ends[1].text, "ok");
}

namespace {

// Joins as rank 1 of 2 by hand and then says what a rank must not say.
std::string joinAndSay(const std::string &at, const std::vector<uint8_t> &bytes) {
  Connector connector(at.c_str(), 1, 2);
  int fd = -1;
  if (!connector.connect(rt::nowNs() + 3000000000u, fd).ok())
    return "connect";
  Link link(fd, 1 << 20);
  HelloMessage hello = {};
  hello.protocol = kProtocol;
  hello.rank = 1;
  hello.ranks = 2;
  memcpy(hello.secret, connector.secret().words, sizeof(hello.secret));
  link.send(FrameType::Hello, bytesOf(hello));
  Frame frame;
  while (link.next(frame) == Link::Read::Nothing)
    usleep(1000);
  if (frame.type != FrameType::Welcome || write(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
    return "welcome";
  for (uint64_t begun = rt::nowNs(); link.next(frame) != Link::Read::Closed && rt::nowNs() - begun < 3000000000u;)
    usleep(1000);
  return "";
}

std::vector<uint8_t> frameOf(uint32_t type, std::vector<uint8_t> payload, uint32_t magic = 0x4643524d) {
  const uint32_t head[3] = {magic, type, static_cast<uint32_t>(payload.size())};
  std::vector<uint8_t> bytes(reinterpret_cast<const uint8_t *>(head), reinterpret_cast<const uint8_t *>(head) + 12);
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

template <typename T> std::vector<uint8_t> payloadOf(const T &message) {
  const Bytes bytes = bytesOf(message);
  return {bytes.begin(), bytes.end()};
}

} // namespace

TEST_F(ChannelTest, BytesThatARankMustNotSendAreNamed) {
  const auto type = [](FrameType value) { return static_cast<uint32_t>(value); };
  StalledMessage stalled = {};
  stalled.count = 9;
  AliveMessage alive = {1, -7, 0};
  VoteMessage negative = {};
  negative.live[1] = -4;
  FailureMessage failure = {};
  failure.code = 4711;
  failure.reporter = 4000000000u;
  memset(failure.text, 0xfe, sizeof(failure.text)); // not printable, no end
  const std::vector<std::vector<uint8_t>> cases = {
      frameOf(type(FrameType::Vote), {1, 2, 3}),
      frameOf(type(FrameType::Vote), std::vector<uint8_t>(24, 0xff)), // stop is neither 0 nor 1
      frameOf(type(FrameType::Vote), payloadOf(negative)),
      frameOf(type(FrameType::Decision), std::vector<uint8_t>(80)),
      frameOf(type(FrameType::Hello), {}),
      frameOf(type(FrameType::Welcome), {}),
      frameOf(type(FrameType::Stalled), payloadOf(stalled)),
      frameOf(type(FrameType::Alive), payloadOf(alive)),
      frameOf(type(FrameType::Failure), {1}),
      frameOf(type(FrameType::Failure), payloadOf(failure)),
      frameOf(99, {}),
      frameOf(type(FrameType::Alive), {}, 0x12345678),
      {0x4d, 0x52, 0x43, 0x46, 3, 0, 0, 0, 0xff, 0xff, 0xff, 0xff},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    const auto ends = runRanks(2, 10, [&](uint32_t rank) {
      std::string problem;
      StepDecision decision;
      if (rank == 1)
        return joinAndSay(rendezvous(), cases[i]);
      const auto channel = open(0, 2, problem);
      return channel ? agreeOnce(*channel, decision) : problem;
    });
    EXPECT_EQ(ends[1].text, "") << "case " << i;
    EXPECT_TRUE(has(ends[0].text, i == 9 ? "error[E5109]: rank 1 failed: ????" : "error[E5113]: rank 1 "))
        << "case " << i << ": " << ends[0].text;
    EXPECT_LT(ends[0].text.size(), 700u);
  }
}

} // namespace moray::test
