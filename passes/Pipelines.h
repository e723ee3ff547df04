// The phases of a compilation and the passes that lead from one to the next.
#ifndef MORAY_PASSES_PIPELINES_H
#define MORAY_PASSES_PIPELINES_H

#include "dialects/LM/LM.h"

#include "mlir/Pass/PassManager.h"
#include <optional>

namespace moray {

/// Phases in order. The frontend ends with Import; Codegen and Package are the compiler's (they have no passes).
enum class Phase { Import, Quantize, Fuse, Partition, Schedule, Codegen, Package };

struct PhaseInfo {
  Phase phase;
  llvm::StringLiteral name;      // as in --compile-to
  llvm::StringLiteral invariant; // what holds after it
};

/// All phases in order.
llvm::ArrayRef<PhaseInfo> allPhases();
/// The phase called `name`, if there is one.
std::optional<Phase> parsePhase(llvm::StringRef name);
llvm::StringRef stringifyPhase(Phase phase);

struct PipelineOptions {
  lm::Mode mode = lm::Mode::W8A16;
  lm::Order order = lm::Order::Deterministic;
  bool quantizeFp8 = false; // block-quantise a BF16 checkpoint (--quantize=fp8)
  lm::ScaleFormat scaleFormat = lm::ScaleFormat::F32;
  bool fuse = true; // false: every op its own kernel (to find out whether a fusion is at fault)
};

/// Adds the passes that take a module on which phase `from` has ended to the end of phase `to`, each phase followed by
/// its verifier. `from == to` adds nothing. The verifier of Import runs before Quantize.
void buildPipeline(mlir::OpPassManager &manager, const PipelineOptions &options, Phase from, Phase to);

} // namespace moray

#endif
