// A barrier for a fixed group of threads: spins for a bounded time, then sleeps in the kernel.
#pragma once
#include <atomic>
#include <climits>
#include <cstdint>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

namespace moray::rt {

class SpinBarrier {
public:
  // `spinCycles`: time-stamp cycles to spin before sleeping; 0 sleeps at once (more threads than processors).
  SpinBarrier(uint32_t threads, uint64_t spinCycles) : threads(threads), spinCycles(spinCycles) {}

  // Returns when all threads have arrived. The last one runs `last` before it lets the others go: whatever that writes
  // is seen by all. Makes no system call unless a thread had to sleep.
  template <typename Function> void arrive(Function &&last) {
    const uint32_t seen = generation.load(std::memory_order_relaxed);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == threads) {
      last();
      arrived.store(0, std::memory_order_relaxed);
      generation.store(seen + 1, std::memory_order_seq_cst);
      if (sleepers.load(std::memory_order_seq_cst) != 0)
        futex(FUTEX_WAKE_PRIVATE, INT_MAX);
      return;
    }
    if (!spin(seen))
      sleep(seen);
  }
  void arrive() {
    arrive([] {});
  }

  // Arrives for `absent` threads that will never come, without waiting; at least one other arrival must follow.
  void excuse(uint32_t absent) { arrived.fetch_add(absent, std::memory_order_acq_rel); }

private:
  bool spin(uint32_t seen) const {
    const uint64_t start = __rdtsc();
    do {
      for (int i = 0; i < 32; ++i) {
        if (generation.load(std::memory_order_acquire) != seen)
          return true;
        _mm_pause();
      }
    } while (__rdtsc() - start < spinCycles);
    return false;
  }

  void sleep(uint32_t seen) {
    sleepers.fetch_add(1, std::memory_order_seq_cst);
    while (generation.load(std::memory_order_seq_cst) == seen)
      futex(FUTEX_WAIT_PRIVATE, seen);
    sleepers.fetch_sub(1, std::memory_order_relaxed);
  }

  void futex(int operation, uint32_t value) {
    syscall(SYS_futex, reinterpret_cast<uint32_t *>(&generation), operation, value, nullptr, nullptr, 0);
  }

  // Each on its own line: arrivals must not disturb those who spin.
  alignas(64) std::atomic<uint32_t> arrived{0};
  alignas(64) std::atomic<uint32_t> generation{0};
  alignas(64) std::atomic<uint32_t> sleepers{0};
  const uint32_t threads;
  const uint64_t spinCycles;
};

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t), "a futex word is a plain 32-bit word");

} // namespace moray::rt
