// Tests of the simulated NCCL without faults: what arrives, in which order, in graphs, and how a communicator ends.
#include "test/Unit/NcclSim/rank_process.h"

#include <filesystem>
#include <numeric>

namespace ncclsim {
namespace {

uint32_t *at(void *memory, size_t word) { return static_cast<uint32_t *>(memory) + word; }

// What rank `from` sends to rank `to`.
Words message(int from, int to, size_t words) {
  Words values(words);
  std::iota(values.begin(), values.end(), uint32_t(1000000 * from + 100000 * to));
  return values;
}

TEST(NcclSim, RefusesBadCalls) {
  expectRanks(1, [](Rank &it) {
    int number = 0;
    ncclComm_t comm = nullptr;
    ncclConfig_t config = {};
    CHECK(it.ncclGetVersion(&number) == ncclSuccess && number == 22809);
    CHECK(it.ncclGetVersion(nullptr) == ncclInvalidArgument);
    CHECK(it.ncclCommInitRank(&comm, 2, it.id, 2) == ncclInvalidArgument);
    CHECK(it.ncclCommInitRank(&comm, 1, ncclUniqueId(), 0) == ncclSystemError);
    CHECK(std::string(it.ncclGetLastError(nullptr)).find("unique id") != std::string::npos);
    CHECK(it.ncclCommInitRankConfig(&comm, 1, it.id, 0, &config) == ncclInvalidArgument);
    CHECK(it.ncclGroupEnd() == ncclInvalidUsage);
    CHECK(it.join());
    void *memory = it.memory(Words{1});
    CHECK(it.ncclCommCount(it.comm, &number) == ncclSuccess && number == 1);
    CHECK(it.ncclCommUserRank(it.comm, &number) == ncclSuccess && number == 0);
    CHECK(it.ncclSend(memory, 1, ncclInt32, 1, it.comm, it.stream) == ncclInvalidArgument);
    CHECK(it.ncclSend(memory, 1, ncclNumTypes, 0, it.comm, it.stream) == ncclInvalidArgument);
    CHECK(it.ncclSend(memory, 1, ncclInt32, 0, nullptr, it.stream) == ncclInvalidArgument);
    it.ncclGroupStart();
    CHECK(it.ncclSend(memory, 1, ncclInt32, 0, it.comm, it.stream) == ncclSuccess);
    CHECK(it.ncclRecv(memory, 1, ncclInt32, 7, it.comm, it.stream) == ncclInvalidArgument);
    CHECK(it.ncclGroupEnd() == ncclInvalidArgument); // and nothing was issued
    CHECK(it.leave());
    CHECK(it.ncclCommCount(it.comm, &number) == ncclInvalidArgument);
    CHECK(std::string(it.ncclGetErrorString(ncclInProgress)) == "NCCL operation in progress");
  });
}

TEST(NcclSim, OldVersionLacksNewCalls) {
  Libraries old = loadLibraries(false, "moray_ncclsim_2_26");
  int version = 0;
  EXPECT_EQ(ncclSuccess, old.ncclGetVersion(&version));
  EXPECT_EQ(22602, version);
  EXPECT_EQ(nullptr, old.ncclAlltoAll);
  EXPECT_EQ(nullptr, old.ncclCommWindowRegister);
}

TEST(NcclSim, MustBePolledBeforeTheNextCall) {
  expectRanks(1, [](Rank &it) {
    void *received = nullptr;
    CHECK(it.join());
    CHECK(it.allToAll({5}, received, it.stream) == ncclInProgress);
    CHECK(it.allToAll({5}, received, it.stream) == ncclInvalidArgument);
    CHECK(it.settle() == ncclSuccess && it.wait(it.stream) && it.leave());
  });
}

// Uneven, with empty messages, pieces larger than a mailbox, and two messages of one pair in one group.
TEST(NcclSim, GroupedMessagesArrive) {
  for (int ranks = 1; ranks <= 4; ++ranks)
    expectRanks(ranks, [](Rank &it) {
      auto words = [](int from, int to) { return size_t((from * 3 + to * 5) % 4) * 20011; };
      std::vector<void *> received;
      CHECK(it.join());
      it.ncclGroupStart();
      it.ncclGroupStart();
      for (int peer = 0; peer < it.ranks; ++peer) {
        const size_t sends = words(it.rank, peer), receives = words(peer, it.rank);
        void *from = it.memory(message(it.rank, peer, sends + 1));
        received.push_back(it.memory(receives + 1));
        CHECK(it.ncclSend(from, sends, ncclInt32, peer, it.comm, it.stream) == ncclSuccess);
        CHECK(it.ncclRecv(received.back(), receives, ncclInt32, peer, it.comm, it.stream) == ncclSuccess);
        CHECK(it.ncclSend(at(from, sends), 4, ncclUint8, peer, it.comm, it.stream) == ncclSuccess);
        CHECK(it.ncclRecv(at(received.back(), receives), 4, ncclUint8, peer, it.comm, it.stream) == ncclSuccess);
      }
      CHECK(it.ncclGroupEnd() == ncclSuccess);
      CHECK(it.ncclGroupEnd() == ncclInProgress && it.settle() == ncclSuccess && it.wait(it.stream));
      for (int peer = 0; peer < it.ranks; ++peer) {
        const size_t receives = words(peer, it.rank) + 1;
        CHECK(it.read(received[size_t(peer)], receives) == message(peer, it.rank, receives));
      }
      CHECK(it.leave() && it.allReports().empty());
    });
}

TEST(NcclSim, CollectivesAgree) {
  expectRanks(3, [](Rank &it) {
    const uint32_t mine = uint32_t(it.rank);
    void *from = it.memory(Words{mine, mine + 10, mine + 20}), *to = it.memory(9);
    CHECK(it.join(true));
    CHECK(it.ncclAllGather(from, to, 2, ncclUint32, it.comm, it.stream) == ncclSuccess && it.wait(it.stream));
    CHECK(it.read(to, 6) == (Words{0, 10, 1, 11, 2, 12}));
    CHECK(it.ncclAlltoAll(from, to, 1, ncclUint32, it.comm, it.stream) == ncclSuccess && it.wait(it.stream));
    CHECK(it.read(to, 3) == (Words{10 * mine, 10 * mine + 1, 10 * mine + 2}));
    CHECK(it.ncclReduceScatter(from, to, 1, ncclUint32, ncclMax, it.comm, it.stream) == ncclSuccess);
    CHECK(it.wait(it.stream) && it.read(to, 1) == Words{10 * mine + 2});
    CHECK(it.ncclAllReduce(from, from, 3, ncclUint32, ncclSum, it.comm, it.stream) == ncclSuccess);
    CHECK(it.wait(it.stream) && it.read(from, 3) == (Words{3, 33, 63}));
    CHECK(it.ncclBroadcast(it.memory(Words{mine}), to, 1, ncclUint32, 2, it.comm, it.stream) == ncclSuccess);
    CHECK(it.wait(it.stream) && it.read(to, 1) == Words{2});
    CHECK(it.ncclAllReduce(from, from, 3, ncclFloat16, ncclSum, it.comm, it.stream) == ncclInvalidArgument);
    CHECK(it.ncclAllGather(nullptr, nullptr, 0, ncclInt32, it.comm, it.stream) == ncclSuccess);
    CHECK(it.leave() && it.allReports().empty());
  });
}

TEST(NcclSim, ReducesNarrowNumbersToNearestEven) {
  expectRanks(2, [](Rank &it) {
    // 256 + 1 and 256 + 3 in bfloat16; 0.5 + 0.25 in float.
    void *narrow = it.memory(Words{it.rank ? 0x40403f80u : 0x43804380u});
    void *wide = it.memory(Words{it.rank ? 0x3e800000u : 0x3f000000u});
    CHECK(it.join(true));
    CHECK(it.ncclAllReduce(narrow, narrow, 2, ncclBfloat16, ncclSum, it.comm, it.stream) == ncclSuccess);
    CHECK(it.ncclAllReduce(wide, wide, 1, ncclFloat32, ncclSum, it.comm, it.stream) == ncclSuccess);
    CHECK(it.wait(it.stream) && it.read(narrow, 1) == Words{0x43824380u} && it.read(wide, 1) == Words{0x3f400000u});
    CHECK(it.leave());
  });
}

TEST(NcclSim, BytesThatWereNeverWrittenStaySo) {
  expectRanks(1, [](Rank &it) {
    void *from = it.memory(2), *to = it.memory(2);
    uint32_t word = 0;
    CHECK(it.cuMemsetD32_v2(reinterpret_cast<uint64_t>(from), 3, 1) == 0 && it.cuCtxSynchronize() == 0);
    CHECK(it.join(true));
    CHECK(it.ncclAllGather(from, to, 2, ncclInt32, it.comm, it.stream) == ncclSuccess && it.wait(it.stream));
    CHECK(it.read(to, 1) == Words{3});
    CHECK(it.cuMemcpyDtoH_v2(&word, reinterpret_cast<uint64_t>(at(to, 1)), 4) == gpusim::CUDA_ERROR_LAUNCH_FAILED);
  });
}

TEST(NcclSim, FaultsOfTheDeviceAreErrors) {
  expectRanks(1, [](Rank &it) {
    ncclResult_t error = ncclSuccess;
    CHECK(it.join(true));
    CHECK(it.ncclAllGather(it.memory(4), it.memory(2), 4, ncclInt32, it.comm, it.stream) == ncclSuccess);
    CHECK(it.wait(it.stream, &error) || error == ncclUnhandledCudaError);
    CHECK(it.allReports().find("write by a host function") != std::string::npos);
  });
}

TEST(NcclSim, GraphsReplay) {
  expectRanks(2, [](Rank &it) {
    void *from = it.memory(Words{uint32_t(it.rank)}), *to = it.memory(2);
    gpusim::CUgraph graph = nullptr;
    gpusim::CUgraphExec exec = nullptr;
    CHECK(it.join());
    CHECK(it.cuStreamBeginCapture_v2(it.stream, gpusim::CU_CAPTURE_THREAD_LOCAL) == 0);
    CHECK(it.ncclAllGather(from, to, 1, ncclInt32, it.comm, it.stream) == ncclInProgress);
    CHECK(it.settle() == ncclSuccess);
    CHECK(it.cuStreamEndCapture(it.stream, &graph) == 0 && it.cuGraphInstantiateWithFlags(&exec, graph, 0) == 0);
    for (uint32_t round = 0; round < 3; ++round) {
      const uint32_t value = 10 * round + uint32_t(it.rank);
      CHECK(it.cuMemsetD32Async(reinterpret_cast<uint64_t>(from), value, 1, it.stream) == 0);
      CHECK(it.cuGraphLaunch(exec, it.stream) == 0 && it.wait(it.stream));
      CHECK(it.read(to, 2) == (Words{10 * round, 10 * round + 1}));
    }
    // NCCL would wait for the graph's end for ever.
    CHECK(it.leave() && it.allReports().find("while a graph that captured it exists") != std::string::npos);
    CHECK(it.cuGraphLaunch(exec, it.stream) == 0 && it.wait(it.stream));
    CHECK(it.allReports().find("a graph runs an operation of a destroyed communicator") != std::string::npos);
  });
}

TEST(NcclSim, WindowsAreRegisteredOutsideOfCaptures) {
  expectRanks(1, [](Rank &it) {
    void *memory = nullptr;
    ncclWindow_t window = nullptr;
    gpusim::CUgraph graph = nullptr;
    CHECK(it.join(true));
    CHECK(it.ncclMemAlloc(&memory, 100) == ncclSuccess);
    CHECK(it.ncclCommWindowRegister(it.comm, at(memory, 1), 4, &window, 0) == ncclInvalidArgument);
    CHECK(it.ncclCommWindowRegister(it.comm, memory, 100, &window, 0) == ncclSuccess);
    CHECK(it.ncclCommWindowDeregister(it.comm, window) == ncclSuccess);
    CHECK(it.ncclCommWindowDeregister(it.comm, window) == ncclInvalidArgument);
    CHECK(it.cuStreamBeginCapture_v2(it.stream, gpusim::CU_CAPTURE_THREAD_LOCAL) == 0);
    CHECK(it.ncclCommWindowRegister(it.comm, memory, 100, &window, 0) == ncclUnhandledCudaError);
    CHECK(it.cuStreamEndCapture(it.stream, &graph) == gpusim::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    CHECK(it.ncclMemFree(memory) == ncclSuccess && it.leave() && it.allReports().empty());
  });
}

// Streams alone would run the younger one first; the order of calls counts.
TEST(NcclSim, StreamsOfOneCommunicatorKeepTheOrderOfCalls) {
  expectRanks(2, [](Rank &it) {
    void *first = nullptr, *second = nullptr, *third = nullptr;
    CHECK(it.join(true));
    CHECK(it.allToAll(Words(2, 1), first, it.stream) == ncclSuccess);
    CHECK(it.allToAll(Words(4, 2), second, it.other) == ncclSuccess);
    CHECK(it.allToAll(Words(6, 3), third, it.stream) == ncclSuccess);
    CHECK(it.wait(it.stream) && it.wait(it.other));
    CHECK(it.read(first, 2) == Words(2, 1) && it.read(second, 4) == Words(4, 2) && it.read(third, 6) == Words(6, 3));
    // A group with two streams waits for both and is waited for by both.
    void *from = it.memory(1), *to = it.memory(1);
    CHECK(it.cuMemsetD32Async(reinterpret_cast<uint64_t>(from), 9, 1, it.other) == 0);
    it.ncclGroupStart();
    it.ncclRecv(to, 1, ncclInt32, 1 - it.rank, it.comm, it.stream);
    it.ncclSend(from, 1, ncclInt32, 1 - it.rank, it.comm, it.other);
    CHECK(it.ncclGroupEnd() == ncclSuccess && it.wait(it.other) && it.read(to, 1) == Words{9});
    CHECK(it.leave() && it.allReports().empty());
  });
}

TEST(NcclSim, LeavesNothingBehind) {
  auto files = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
  };
  auto names = [] {
    size_t count = 0;
    for (const auto &entry : std::filesystem::directory_iterator("/dev/shm"))
      count += entry.path().string().find("moray") != std::string::npos;
    return count;
  };
  const size_t before = names();
  expectRanks(1, [&](Rank &it) {
    const auto open = files();
    ncclUniqueId id = {};
    CHECK(it.ncclGetUniqueId(&id) == ncclSuccess && files() == open + 1);
    CHECK(it.ncclCommInitRank(&it.comm, 1, id, 0) == ncclSuccess && files() == open);
    CHECK(it.leave());
  });
  EXPECT_EQ(before, names());
}

} // namespace
} // namespace ncclsim
