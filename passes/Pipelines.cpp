// Builds the pass pipelines of Pipelines.h and registers them with the pass driver.
#include "passes/Pipelines.h"

#include "passes/Passes.h"

#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace moray;

llvm::ArrayRef<PhaseInfo> moray::allPhases() {
  static const PhaseInfo phases[] = {
      {Phase::Import, "import", "textbook lm/mla/moe ops in f32, every weight a symbol"},
      {Phase::Quantize, "quantize", "every linear has a numeric mode"},
      {Phase::Fuse, "fuse", "every op is inside a kernel"},
      {Phase::Partition, "partition", "all data movement between ranks is explicit"},
      {Phase::Schedule, "schedule", "programs over buffers with lifetimes"},
      {Phase::Codegen, "codegen", "machine code for every kernel"},
      {Phase::Package, "package", "one artifact that the loader accepts"},
  };
  return phases;
}

std::optional<Phase> moray::parsePhase(StringRef name) {
  for (const PhaseInfo &info : allPhases())
    if (info.name == name)
      return info.phase;
  return std::nullopt;
}

StringRef moray::stringifyPhase(Phase phase) { return allPhases()[static_cast<size_t>(phase)].name; }

//===----------------------------------------------------------------------===//
// Phases
//===----------------------------------------------------------------------===//

static void addQuantize(OpPassManager &manager, const PipelineOptions &options) {
  manager.addPass(createVerifyImport());
  if (options.quantizeFp8)
    manager.addPass(createQuantizeWeights({options.scaleFormat}));
  manager.addPass(createSetNumerics({options.mode, options.order}));
  manager.addPass(createVerifyQuantize());
}

static void addFuse(OpPassManager &manager, const PipelineOptions &options) {
  manager.addPass(createExpandExperts());
  manager.addPass(createAbsorbMLA());
  if (options.fuse) {
    manager.addPass(createMergeProjections());
    manager.addPass(createRotateNorms());
    manager.addPass(createFuseGemmEpilogue());
    manager.addPass(createFuseRouter());
    manager.addPass(createFuseRows());
  }
  manager.addPass(createWrapKernels());
  manager.addPass(createVerifyFuse());
}

static void addPartition(OpPassManager &manager) {
  manager.addPass(createPartitionExperts());
  manager.addPass(createVerifyPartition());
}

static void addSchedule(OpPassManager &manager) {
  manager.addPass(createOutlineKernels());
  manager.addPass(createLowerToCmd());
  manager.addPass(createOverlapBatches());
  manager.addPass(createComputeLifetimes());
  manager.addPass(createVerifySchedule());
}

void moray::buildPipeline(OpPassManager &manager, const PipelineOptions &options, Phase from, Phase to) {
  auto runs = [&](Phase phase) { return from < phase && phase <= to; };
  if (runs(Phase::Quantize))
    addQuantize(manager, options);
  if (runs(Phase::Fuse))
    addFuse(manager, options);
  if (runs(Phase::Partition))
    addPartition(manager);
  if (runs(Phase::Schedule))
    addSchedule(manager);
}

//===----------------------------------------------------------------------===//
// Registration
//===----------------------------------------------------------------------===//

namespace {
llvm::cl::ValuesClass phaseValues() {
  return llvm::cl::values(clEnumValN(Phase::Import, "import", ""), clEnumValN(Phase::Quantize, "quantize", ""),
                          clEnumValN(Phase::Fuse, "fuse", ""), clEnumValN(Phase::Partition, "partition", ""),
                          clEnumValN(Phase::Schedule, "schedule", ""));
}

struct PipelineFlags : PassPipelineOptions<PipelineFlags> {
  Option<Phase> from{*this, "from", llvm::cl::desc("Phase that the input has ended"), llvm::cl::init(Phase::Import),
                     phaseValues()};
  Option<Phase> to{*this, "to", llvm::cl::desc("Phase to stop after"), llvm::cl::init(Phase::Schedule), phaseValues()};
  Option<lm::Mode> mode{
      *this, "mode", llvm::cl::desc("Numeric mode"), llvm::cl::init(lm::Mode::W8A16),
      llvm::cl::values(clEnumValN(lm::Mode::Ref32, "ref32", ""), clEnumValN(lm::Mode::Bf16, "bf16", ""),
                       clEnumValN(lm::Mode::W8A16, "w8a16", ""), clEnumValN(lm::Mode::Fp8, "fp8", ""))};
  Option<bool> quantize{*this, "quantize", llvm::cl::desc("Quantise BF16 weights to FP8"), llvm::cl::init(false)};
  Option<bool> fuse{*this, "fuse", llvm::cl::desc("Fuse ops into larger kernels"), llvm::cl::init(true)};
};
} // namespace

void moray::registerPasses() {
  registerMorayPasses();
  PassPipelineRegistration<PipelineFlags>("moray-pipeline",
                                          "The phases of a compilation, each followed by its verifier",
                                          [](OpPassManager &manager, const PipelineFlags &flags) {
                                            PipelineOptions options;
                                            options.mode = flags.mode;
                                            options.quantizeFp8 = flags.quantize;
                                            options.fuse = flags.fuse;
                                            buildPipeline(manager, options, flags.from, flags.to);
                                          });
}
