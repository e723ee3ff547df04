//===- Target.h - what a kernel is compiled for ---------------------*- C++ -*-===//
// The CPU levels and GPU generations of an artifact and the machine parameters that tile choices depend on.

#ifndef MORAY_CODEGEN_TARGET_H
#define MORAY_CODEGEN_TARGET_H

#include "llvm/ADT/ArrayRef.h"
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

/// A GPU generation whose PTX an artifact can carry. The PTX runs on this and all later chips, so limits are the
/// smallest among them.
struct GpuTarget {
  unsigned sm;                       // compute capability: 80, 89
  llvm::StringRef name;              // "cuda:sm_80"
  llvm::StringRef chip;              // LLVM target-cpu: "sm_80"
  llvm::StringRef features;          // LLVM target-features: the lowest PTX version that serves
  unsigned ptxVersion;               // that version, major * 10 + minor
  bool hasFp8Mma;                    // e4m3 mma.sync m16n8k32
  unsigned sharedBytes;              // shared memory that one block may ask for
  unsigned multiprocessors;          // of the chip that tile choices have in mind
  llvm::ArrayRef<unsigned> cubinFor; // chips for which the PTX is assembled when ptxas is at hand
};

/// All GPU targets, ascending.
llvm::ArrayRef<GpuTarget> allGpuTargets();
/// The target called "cuda:sm_80" etc., or null.
const GpuTarget *findGpuTarget(llvm::StringRef name);

} // namespace moray::codegen

#endif
