// Which compiled CPU levels this machine can execute, and the floating-point state that kernels expect.
#pragma once
#include "artifact_generated.h"
#include "runtime/base/status.h"
#include <xmmintrin.h>

namespace moray::rt {

// Whether the processor has the instructions of the level and the operating system saves its registers (CPUID and
// XCR0).
bool hasCpuLevel(schema::CpuLevel level);

// "x86-64-v3", "avx512", "amx"; 4023 for any other name.
Status parseCpuLevel(const char *name, schema::CpuLevel &level);

// Sets round-to-nearest without flushing of subnormals for its lifetime.
class ScopedFloatMode {
public:
  ScopedFloatMode() : saved(_mm_getcsr()) { _mm_setcsr(0x1F80); }
  ~ScopedFloatMode() { _mm_setcsr(saved); }
  ScopedFloatMode(const ScopedFloatMode &) = delete;
  ScopedFloatMode &operator=(const ScopedFloatMode &) = delete;

private:
  unsigned saved;
};

} // namespace moray::rt
