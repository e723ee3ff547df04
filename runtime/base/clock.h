// Monotonic time in nanoseconds.
#pragma once
#include <cstdint>
#include <time.h>

namespace moray::rt {

// Read without a system call (vDSO).
inline uint64_t nowNs() {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1000000000u + static_cast<uint64_t>(time.tv_nsec);
}

} // namespace moray::rt
