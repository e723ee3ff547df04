// Checks what the frontend built: textbook ops in f32 (that symbols resolve is checked by the ops themselves).
#include "passes/Passes.h"

namespace moray {
#define GEN_PASS_DEF_VERIFYIMPORT
#include "passes/Passes.h.inc"
} // namespace moray

using namespace mlir;
using namespace moray;

/// Ops that only later phases make.
static bool isLaterForm(Operation *op) {
  return isa<lm::KernelOp, lm::QuantizeOp, moe::DispatchOp, moe::GroupedLinearOp, moe::CombineOp, mla::AbsorbQueryOp,
             mla::AbsorbValueOp, mla::LatentAttentionOp>(op);
}

static LogicalResult verifyOp(Operation *op) {
  if (isLaterForm(op))
    return op->emitError("E3207: is no textbook op, expected the form of phase import");
  if (isa<lm::WeightOfOp>(op))
    return success();
  for (Value result : op->getResults())
    if (auto type = dyn_cast<RankedTensorType>(result.getType()); type && type.getElementType().isBF16())
      return op->emitError() << "E3207: has a result " << type << ", expected f32 in phase import";
  return success();
}

namespace {
struct VerifyImport : moray::impl::VerifyImportBase<VerifyImport> {
  void runOnOperation() override {
    WalkResult result = getOperation().walk(
        [&](Operation *op) { return failed(verifyOp(op)) ? WalkResult::interrupt() : WalkResult::advance(); });
    if (result.wasInterrupted())
      signalPassFailure();
  }
};
} // namespace
