//===- Emitter.h - from kernel specs to code ------------------------*- C++ -*-===//
// The table of emitters, one per kernel class, and the driver that compiles kernels to images.

#ifndef MORAY_CODEGEN_EMITTER_H
#define MORAY_CODEGEN_EMITTER_H

#include "codegen/KernelSpec.h"
#include "codegen/Target.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/Error.h"
#include <functional>

namespace moray::codegen {

class GpuBuilder;
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
/// The kernels by which a GPU moves rows to and from other ranks, by name.
std::vector<std::pair<std::string, KernelSpec>> exchangeKernels();

/// One launch of a GPU kernel (schema Stage): the entry point is the kernel's symbol and, where there are several
/// stages,
/// `_name`. The grid is 1-D; a stage whose grid is 0 is not launched.
struct GpuStage {
  std::string name;
  SizeExpr grid;              // blocks, from capacities and live counts
  unsigned threads = 128;     // of a block; a multiple of 32
  unsigned dynamicShared = 0; // bytes
};
/// How the runtime has to launch a GPU kernel: stages in order, which share the scratch memory.
struct GpuPlan {
  std::vector<GpuStage> stages;
  SizeExpr scratchBytes; // of the launch as a whole
  std::string config;    // one line for people: tile sizes
};

/// As Emitter, for GPUs. `emit` fills the entry block of one stage.
struct GpuEmitter {
  KernelClass klass;
  GpuPlan (*plan)(const KernelSpec &spec, const GpuTarget &target);
  llvm::Error (*emit)(const KernelSpec &spec, const GpuTarget &target, unsigned stage, GpuBuilder &builder);
};

/// The GPU emitter of a class, or null where the class has none.
const GpuEmitter *findGpuEmitter(KernelClass klass);

/// How kernels are compiled; none of it changes what they compute.
struct CompileOptions {
  llvm::SmallVector<CpuLevel> levels{CpuLevel::X86_64_V3, CpuLevel::Avx512};
  unsigned threads = 0;  // 0: one per core
  std::string objectDir; // not empty: also write <symbol>.<level>.o there, with symbols, for gdb and perf
  std::string ptxDir;    // not empty: also write <symbol>.<chip>.ptx there
  std::string ptxas;     // assembler for cubins; empty: PTX alone
  std::function<void(size_t done, size_t total)> progress; // kernels; one call at a time, from any thread; may be empty
};

/// Code of one or many kernels; schema Image says what the kinds hold.
struct CompiledImage {
  enum Kind : uint8_t { X86, Ptx, Cubin } kind = X86;
  CpuLevel level = CpuLevel::X86_64_V3; // X86
  unsigned sm = 0, ptxVersion = 0;      // Ptx, Cubin
  std::vector<char> bytes;              // Ptx: with the terminating zero
};
/// Schema Stage.
struct CompiledStage {
  std::string entry;
  SizeExpr grid;
  unsigned threads = 0, staticShared = 0, dynamicShared = 0;
  unsigned registers = 0; // 0: not known
};
/// One kernel in one image (schema Variant).
struct CompiledVariant {
  unsigned image = 0;                // index into CompiledKernels::images
  uint64_t entry = 0;                // X86: offset in the image
  uint64_t codeSize = 0;             // X86: bytes
  SizeExpr tasks;                    // X86
  SizeExpr scratchBytes;             // X86: per worker; else of the launch
  std::string config;                // one line for people
  std::vector<CompiledStage> stages; // Ptx, Cubin
};
/// What compileKernels makes for one target. `variants` is parallel to the specs.
struct CompiledKernels {
  std::vector<CompiledImage> images;
  std::vector<std::vector<CompiledVariant>> variants;
};

/// Compiles every spec for every CPU level of `options` into one image per level: equal specs once, kernels in
/// parallel, the same bytes for the same input whatever the number of threads. Errors are "E31xx: ..." texts of the
/// first failing kernel in input order.
llvm::Expected<CompiledKernels> compileKernels(llvm::ArrayRef<KernelSpec> specs, const CompileOptions &options);
/// The same for a GPU: one PTX image per distinct kernel and, with `ptxas`, cubins for the chips of the target.
llvm::Expected<CompiledKernels> compileGpuKernels(llvm::ArrayRef<KernelSpec> specs, const GpuTarget &target,
                                                  const CompileOptions &options);

} // namespace moray::codegen

#endif
