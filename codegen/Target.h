//===- Target.h - what a kernel is compiled for ---------------------*- C++ -*-===//
// The CPU levels of an artifact and the machine parameters that tile choices depend on.

#ifndef MORAY_CODEGEN_TARGET_H
#define MORAY_CODEGEN_TARGET_H

#include "llvm/ADT/StringRef.h"
#include <cstdint>
#include <optional>

namespace moray::codegen {

/// Same order and values as schema CpuLevel.
enum class CpuLevel : uint8_t { X86_64_V3, Avx512, Amx };

struct Target {
  CpuLevel level;
  llvm::StringRef name;     // "x86-64-v3", "avx512"
  llvm::StringRef cpu;      // LLVM target-cpu
  llvm::StringRef features; // LLVM target-features beyond the cpu's
  unsigned floatLanes;      // f32 lanes of one register
  unsigned vectorRegisters; // architectural vector registers
  uint64_t l1Bytes;         // data cache of one core, smallest machine of the level
  uint64_t l2Bytes;
  bool hasAmx = false; // 16x64-byte tiles; no emitter uses them yet
};

/// The two levels that every CPU artifact carries; `level` must be one of them.
const Target &getTarget(CpuLevel level);
std::optional<CpuLevel> parseCpuLevel(llvm::StringRef name);
/// Whether the machine that runs this process has the level.
bool hostSupports(CpuLevel level);

} // namespace moray::codegen

#endif
