// CPUID and XCR0 queries behind the CPU levels.
#include "runtime/device/cpu/cpu_level.h"
#include "runtime/artifact/artifact.h"
#include <cpuid.h>
#include <cstring>

namespace moray::rt {

using schema::CpuLevel;

namespace {

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx); // stays zero where the leaf does not exist
  return r;
}

bool hasAll(uint32_t value, uint32_t mask) { return (value & mask) == mask; }

// Register sets that the operating system saves.
uint64_t savedState() {
  constexpr uint32_t osxsave = 1u << 27;
  if (!hasAll(cpuid(1, 0).ecx, osxsave))
    return 0;
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

bool hasV3() {
  constexpr uint32_t fma = 1u << 12, movbe = 1u << 22, avx = 1u << 28, f16c = 1u << 29;
  constexpr uint32_t bmi1 = 1u << 3, avx2 = 1u << 5, bmi2 = 1u << 8, lzcnt = 1u << 5;
  constexpr uint64_t xmmAndYmm = 0x6;
  return hasAll(cpuid(1, 0).ecx, fma | movbe | avx | f16c) && hasAll(cpuid(7, 0).ebx, bmi1 | avx2 | bmi2) &&
         hasAll(cpuid(0x80000001, 0).ecx, lzcnt) && (savedState() & xmmAndYmm) == xmmAndYmm;
}

bool hasAvx512() {
  constexpr uint32_t f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31;
  constexpr uint64_t zmm = 0xE6;
  return hasV3() && hasAll(cpuid(7, 0).ebx, f | dq | bw | vl) && (savedState() & zmm) == zmm;
}

bool hasAmx() {
  constexpr uint32_t bf16 = 1u << 22, tile = 1u << 24;
  constexpr uint64_t tiles = 0x600E6;
  return hasAvx512() && hasAll(cpuid(7, 0).edx, bf16 | tile) && (savedState() & tiles) == tiles;
}

} // namespace

bool hasCpuLevel(CpuLevel level) {
  switch (level) {
  case CpuLevel::X86_64_V3:
    return hasV3();
  case CpuLevel::Avx512:
    return hasAvx512();
  case CpuLevel::Amx:
    return hasAmx();
  }
  return false;
}

Status parseCpuLevel(const char *name, CpuLevel &level) {
  for (CpuLevel candidate : schema::EnumValuesCpuLevel())
    if (strcmp(name, levelName(candidate)) == 0) {
      level = candidate;
      return {};
    }
  return fail(kE4023, "unknown CPU level '%s', expected auto, x86-64-v3, avx512 or amx", name);
}

} // namespace moray::rt
