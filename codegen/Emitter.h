//===- Emitter.h - from kernel specs to code ------------------------*- C++ -*-===//
// The table of emitters, one per kernel class, and the driver that compiles kernels to images.

#ifndef MORAY_CODEGEN_EMITTER_H
#define MORAY_CODEGEN_EMITTER_H

#include "codegen/KernelSpec.h"
#include "codegen/Target.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/Error.h"

namespace moray::codegen {

class VectorBuilder;

/// How the runtime has to launch a kernel.
struct LaunchPlan {
  SizeExpr tasks;        // per step, from capacities and live counts
  SizeExpr scratchBytes; // per worker
  std::string config;    // one line for people: tile sizes
};

/// Both functions are pure. `emit` fills the entry block of the kernel and leaves the return to the caller; it reports
/// a spec that it cannot compile as an error "E3xxx: ...".
struct Emitter {
  KernelClass klass;
  LaunchPlan (*plan)(const KernelSpec &spec, const Target &target);
  llvm::Error (*emit)(const KernelSpec &spec, const Target &target, VectorBuilder &builder);
};

/// The emitter of a class, or null where the class has none.
const Emitter *findEmitter(KernelClass klass);

// The emitters, one per file in X86/.
extern const Emitter gemmEmitter, groupedGemmEmitter, probeEmitter;
extern const Emitter rowEmitter, routerEmitter, permuteEmitter, attentionEmitter, samplingEmitter;

/// The probe kernels that every artifact carries, by name.
std::vector<std::pair<std::string, KernelSpec>> probeKernels();

struct CompileOptions {
  llvm::SmallVector<CpuLevel> levels{CpuLevel::X86_64_V3, CpuLevel::Avx512};
  unsigned threads = 0;  // 0: one per core
  std::string objectDir; // not empty: also write <symbol>.<level>.o there, with symbols, for gdb and perf
};

/// One kernel in one image.
struct CompiledVariant {
  uint64_t entry = 0;    // offset in the image
  uint64_t codeSize = 0; // bytes
  LaunchPlan launch;
};
/// Position-independent code of one level, to be mapped read + execute as it is. `variants` is parallel to the specs.
struct CompiledImage {
  CpuLevel level;
  std::vector<char> bytes;
  std::vector<CompiledVariant> variants;
};

/// Compiles every spec for every level: equal specs once, kernels in parallel, the same bytes for the same input
/// whatever the number of threads. Errors are "E3xxx: ..." texts of the first failing kernel in input order.
llvm::Expected<std::vector<CompiledImage>> compileKernels(llvm::ArrayRef<KernelSpec> specs,
                                                          const CompileOptions &options);

} // namespace moray::codegen

#endif
