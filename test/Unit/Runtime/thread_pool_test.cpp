// The thread pool: barriers, sleeping workers, floating-point mode.
#include "runtime/base/clock.h"
#include "runtime/device/cpu/cpu_level.h"
#include "runtime/device/cpu/thread_pool.h"
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MORAY_TEST_ASAN 1
#endif
#endif

using namespace moray::rt;

// Every worker adds to its own cell; after a barrier it reads all of them.
static void checkBarriers(uint32_t threads, int rounds) {
  ThreadPool pool;
  ASSERT_TRUE(pool.start(threads).ok());
  std::vector<uint64_t> cells(threads * 8), wrong(threads * 8);
  pool.run([&](uint32_t worker) {
    for (int round = 1; round <= rounds; ++round) {
      ++cells[worker * 8];
      pool.barrier().arrive();
      for (uint32_t other = 0; other < threads; ++other)
        wrong[worker * 8] += cells[other * 8] != static_cast<uint64_t>(round);
      pool.barrier().arrive();
    }
  });
  for (uint32_t worker = 0; worker < threads; ++worker) {
    EXPECT_EQ(cells[worker * 8], static_cast<uint64_t>(rounds));
    EXPECT_EQ(wrong[worker * 8], 0u);
  }
}

TEST(ThreadPool, BarrierKeepsWorkersInStep) {
  checkBarriers(1, 1000);
  checkBarriers(2, 2000);
}

TEST(ThreadPool, MoreThreadsThanProcessors) { checkBarriers(ThreadPool::processors() + 5, 100); }

TEST(ThreadPool, SleepingWorkersWakeUp) {
  ThreadPool pool;
  ASSERT_TRUE(pool.start(3).ok());
  for (int i = 0; i < 5; ++i) {
    usleep(3000); // longer than workers spin
    std::atomic<uint32_t> sum{0};
    pool.run([&](uint32_t worker) { sum += worker + 1; });
    EXPECT_EQ(sum.load(), 6u);
  }
}

TEST(ThreadPool, KernelsSeeTheirFloatMode) {
  ThreadPool pool;
  ASSERT_TRUE(pool.start(2).ok());
  const unsigned mine = _mm_getcsr();
  _mm_setcsr(0x9FC0); // flush to zero, denormals are zero
  unsigned seen[2] = {};
  pool.run([&](uint32_t worker) { seen[worker] = _mm_getcsr() & 0xFFC0; });
  const unsigned after = _mm_getcsr();
  _mm_setcsr(mine);
  EXPECT_EQ(seen[0], 0x1F80u);
  EXPECT_EQ(seen[1], 0x1F80u);
  EXPECT_EQ(after & 0xFFC0, 0x9FC0u);
}

#if !defined(__SANITIZE_ADDRESS__) && !MORAY_TEST_ASAN
// In a process of its own with room for a few stacks; the threads that did start end in the destructor.
static void startTooMany() {
  struct rlimit limit = {uint64_t{1} << 28, uint64_t{1} << 28};
  setrlimit(RLIMIT_AS, &limit);
  int code = 0;
  {
    ThreadPool pool;
    const Status status = pool.start(1024);
    code = moray_status_code(status.get());
    fprintf(stderr, "%s", moray_status_message(status.get()));
  }
  _exit(code == 5010 ? 6 : 1);
}

TEST(ThreadPool, TooManyThreadsIsAnError) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(startTooMany(), testing::ExitedWithCode(6), "E5010");
}
#endif

TEST(ThreadPool, BarrierIsCheap) {
  if (ThreadPool::processors() < 2)
    GTEST_SKIP() << "needs two processors";
  ThreadPool pool;
  ASSERT_TRUE(pool.start(2).ok());
  constexpr int rounds = 200;
  uint64_t best = UINT64_MAX;
  for (int attempt = 0; attempt < 50; ++attempt) {
    const uint64_t start = nowNs();
    pool.run([&](uint32_t) {
      for (int i = 0; i < rounds; ++i)
        pool.barrier().arrive();
    });
    best = std::min(best, (nowNs() - start) / rounds);
  }
  RecordProperty("barrier_ns", static_cast<int>(best));
  printf("barrier of two threads: %d ns\n", static_cast<int>(best));
  // Generous, as neighbours may take a processor away; the printed figure is what counts.
  EXPECT_LT(best, 1000000u);
}
