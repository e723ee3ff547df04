// Tests of aborts and of every planted fault.
#include "test/Unit/NcclSim/rank_process.h"

#include <chrono>
#include <csignal>
#include <thread>

namespace ncclsim {
namespace {

using Clock = std::chrono::steady_clock;

void sleepMs(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

// Whether the stream is still busy after a while.
bool isStuck(Rank &it) {
  for (int i = 0; i < 100; ++i, sleepMs(2))
    if (it.cuStreamQuery(it.stream) != gpusim::CUDA_ERROR_NOT_READY)
      return false;
  return true;
}

// Aborts on another thread, as a runtime must, and waits for the stream's end.
bool abortEnds(Rank &it) {
  bool good = false;
  std::thread helper([&] { good = it.ncclCommAbort(it.comm) == ncclSuccess; });
  const bool ended = it.cuStreamSynchronize(it.stream) == 0;
  helper.join();
  return good && ended;
}

TEST(NcclSimFaults, AbortEndsAWaitAndTheOthersSeeIt) {
  expectRanks(2, [](Rank &it) {
    void *memory = it.memory(1);
    ncclResult_t error = ncclSuccess;
    CHECK(it.join());
    CHECK(it.ncclRecv(memory, 1, ncclInt32, 1 - it.rank, it.comm, it.stream) == ncclInProgress);
    CHECK(it.settle() == ncclSuccess);
    if (it.rank == 0) {
      CHECK(isStuck(it) && abortEnds(it));
      CHECK(it.ncclRecv(memory, 1, ncclInt32, 1, it.comm, it.stream) == ncclInvalidArgument);
      CHECK(it.ncclCommAbort(it.comm) == ncclInvalidArgument);
      return;
    }
    CHECK(it.wait(it.stream, &error) && error == ncclRemoteError);
    CHECK(it.ncclRecv(memory, 1, ncclInt32, 0, it.comm, it.stream) == ncclRemoteError);
    CHECK(isStuck(it) && abortEnds(it)); // an error alone ends nothing
  });
}

TEST(NcclSimFaults, AbortWaitsForGraphs) {
  expectRanks(1, [](Rank &it) {
    gpusim::CUgraph graph = nullptr;
    CHECK(it.join(true));
    CHECK(it.cuStreamBeginCapture_v2(it.stream, gpusim::CU_CAPTURE_THREAD_LOCAL) == 0);
    CHECK(it.ncclRecv(nullptr, 0, ncclInt32, 0, it.comm, it.stream) == ncclSuccess);
    CHECK(it.cuStreamEndCapture(it.stream, &graph) == 0);
    std::atomic<bool> done{false};
    std::thread helper([&] {
      it.ncclCommAbort(it.comm);
      done = true;
    });
    sleepMs(50);
    CHECK(!done && it.cuGraphDestroy(graph) == 0);
    helper.join();
  });
}

TEST(NcclSimFaults, MismatchesAreReported) {
  struct Case {
    const char *what;
    size_t count;
    ncclDataType_t type;
  } cases[] = {{"different count", 3, ncclInt32}, {"different type", 4, ncclUint32}};
  for (const Case &one : cases)
    expectRanks(2, [&](Rank &it) {
      ncclResult_t error = ncclSuccess;
      CHECK(it.join(true));
      if (it.rank == 0)
        it.ncclSend(it.memory(Words(4)), 4, ncclInt32, 1, it.comm, it.stream);
      else
        it.ncclRecv(it.memory(4), one.count, one.type, 0, it.comm, it.stream);
      if (it.rank == 0) {
        it.wait(it.stream); // a piece that nobody takes does not keep a small message from ending
        CHECK(it.ncclRecv(it.memory(1), 1, ncclInt32, 1, it.comm, it.stream) == ncclSuccess);
      }
      CHECK(it.wait(it.stream, &error) && error == (it.rank == 0 ? ncclRemoteError : ncclInvalidUsage));
      CHECK(it.rank == 0 || it.allReports().find(one.what) != std::string::npos);
      CHECK(abortEnds(it));
    });
}

TEST(NcclSimFaults, OrderOfCollectivesIsReported) {
  expectRanks(2, [](Rank &it) {
    void *from = it.memory(Words(4)), *to = it.memory(8);
    ncclResult_t error = ncclSuccess;
    CHECK(it.join(true));
    if (it.rank == 0)
      it.ncclAllGather(from, to, 2, ncclInt32, it.comm, it.stream);
    else
      it.ncclAlltoAll(from, to, 2, ncclInt32, it.comm, it.stream);
    CHECK(it.wait(it.stream, &error) && (error == ncclInvalidUsage || error == ncclRemoteError));
    CHECK(error != ncclInvalidUsage || it.allReports().find("different order of calls") != std::string::npos);
    CHECK(abortEnds(it));
  });
}

// Operations of different sizes on three ranks; what each rank then says.
void exchangeOften(Rank &it, ncclResult_t expected, ncclResult_t expectedElsewhere, int faulty) {
  void *received = nullptr;
  ncclResult_t error = ncclSuccess;
  CHECK(it.join(true));
  CHECK(it.allToAll(Words(6, 1), received, it.stream) == ncclSuccess);
  CHECK(it.allToAll(Words(12, 2), received, it.stream) == ncclSuccess);
  CHECK(it.allToAll(Words(9, 3), received, it.stream) == ncclSuccess);
  CHECK(it.wait(it.stream, &error));
  const ncclResult_t due = it.rank == faulty ? expected : expectedElsewhere;
  // Who sees a mismatch first decides who is remote.
  CHECK(error == due || (error && due && (error == ncclRemoteError || error == ncclInvalidUsage)));
  CHECK(error ? abortEnds(it) : it.read(received, 9) == Words(9, 3) && it.leave());
}

TEST(NcclSimFaults, PlantedDelay) {
  const auto begin = Clock::now();
  expectRanks(3, [](Rank &it) { exchangeOften(it, ncclSuccess, ncclSuccess, 1); }, "delay@1:2:300");
  EXPECT_GE(Clock::now() - begin, std::chrono::milliseconds(300));
}

TEST(NcclSimFaults, PlantedCount) {
  expectRanks(3, [](Rank &it) { exchangeOften(it, ncclRemoteError, ncclInvalidUsage, 1); }, "count@1:2");
}

TEST(NcclSimFaults, PlantedOrder) {
  expectRanks(3, [](Rank &it) { exchangeOften(it, ncclInvalidUsage, ncclInvalidUsage, 2); }, "order@2:1");
}

TEST(NcclSimFaults, PlantedError) {
  expectRanks(3, [](Rank &it) { exchangeOften(it, ncclSystemError, ncclRemoteError, 0); }, "error@0:1");
}

// A rank that is killed or stopped looks slow to the others, until they abort.
TEST(NcclSimFaults, PlantedLoss) {
  for (const char *fault : {"kill@1:2", "stop@1:2"}) {
    std::vector<Ended> ended = runRanks(
        3,
        [](Rank &it) {
          void *received = nullptr;
          CHECK(it.join(true));
          CHECK(it.allToAll(Words(3, 1), received, it.stream) == ncclSuccess && it.wait(it.stream));
          CHECK(it.allToAll(Words(3, 1), received, it.stream) == ncclSuccess);
          CHECK(isStuck(it) && abortEnds(it));
        },
        fault);
    EXPECT_EQ(0, ended[0].failures + ended[2].failures);
    EXPECT_EQ(*fault == 'k' ? SIGKILL : SIGSTOP, ended[1].signal);
  }
}

TEST(NcclSimFaults, PlantedAbsence) {
  expectRanks(
      2,
      [](Rank &it) {
        ncclConfig_t config = {sizeof config, configMagic, 22809, 0};
        ncclResult_t state = ncclSuccess;
        CHECK(it.ncclCommInitRankConfig(&it.comm, 2, it.id, it.rank, &config) == ncclInProgress);
        sleepMs(100);
        CHECK(it.ncclCommGetAsyncError(it.comm, &state) == ncclSuccess && state == ncclInProgress);
        CHECK(it.ncclCommAbort(it.comm) == ncclSuccess);
      },
      "init@1,nonsense");
}

TEST(NcclSimFaults, GroupsThatDisagree) {
  expectRanks(2, [](Rank &it) {
    ncclComm_t comm = nullptr;
    // Both say that they are rank 0 of 1, or one says 3 ranks: one of them is refused.
    ncclConfig_t config = {sizeof config, configMagic, 22809, 0};
    CHECK(it.ncclCommInitRankConfig(&comm, it.rank == 0 ? 2 : 3, it.id, it.rank, &config) == ncclInProgress);
    sleepMs(200);
    ncclResult_t state = ncclSuccess;
    CHECK(it.ncclCommGetAsyncError(comm, &state) == ncclSuccess);
    CHECK(state == ncclInProgress || state == ncclSystemError);
    CHECK(it.ncclCommAbort(comm) == ncclSuccess);
  });
}

} // namespace
} // namespace ncclsim
