// Checks that every linear, attention and experts op has the numeric mode of its module.
#include "passes/Passes.h"
#include "passes/Weights.h"

namespace moray {
#define GEN_PASS_DEF_VERIFYQUANTIZE
#include "passes/Passes.h.inc"
} // namespace moray

using namespace mlir;
using namespace moray;

namespace {
class ModeChecker {
public:
  ModeChecker(lm::Mode mode, MLIRContext *context)
      : mode(mode), f32(Float32Type::get(context)), bf16(BFloat16Type::get(context)),
        codes(Float8E4M3FNType::get(context)) {}

  LogicalResult check(Operation *op) {
    if (auto linear = dyn_cast<lm::LinearOp>(op))
      return checkOperands(op, elementTypeOf(linear.getSource()), /*quantised=*/false);
    if (auto linear = dyn_cast<lm::ScaledLinearOp>(op))
      return checkOperands(op, elementTypeOf(linear.getSource()), /*quantised=*/true);
    if (auto attention = dyn_cast<mla::AttentionOp>(op))
      return checkOperands(op, attention.getActivation(), isFP8(attention.getKvB()));
    if (auto experts = dyn_cast<moe::ExpertsOp>(op))
      return checkOperands(op, experts.getActivation(), isFP8(experts.getGate()));
    if (auto linear = dyn_cast<moe::GroupedLinearOp>(op))
      return checkOperands(op, elementTypeOf(linear.getSource()), isFP8(linear.getWeight()));
    return success();
  }

private:
  /// `found`: the type that enters the product; `quantised`: the weight is FP8.
  LogicalResult checkOperands(Operation *op, Type found, bool quantised) {
    if (mode == lm::Mode::Bf16 && quantised)
      return op->emitError("E3203: has FP8 weights, expected dense ones in mode bf16");
    Type expected = mode == lm::Mode::Ref32 ? f32 : mode == lm::Mode::Fp8 && quantised ? codes : bf16;
    if (found == expected)
      return success();
    return op->emitError() << "E3203: multiplies rows of " << found << ", expected " << expected << " in mode "
                           << lm::stringifyMode(mode);
  }

  lm::Mode mode;
  Type f32, bf16, codes;
};

struct VerifyQuantize : moray::impl::VerifyQuantizeBase<VerifyQuantize> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto numerics = module->getAttrOfType<lm::NumericsAttr>(lm::kNumericsAttr);
    if (!numerics) {
      module.emitError() << "E3202: has no attribute " << lm::kNumericsAttr
                         << " after phase quantize (run --moray-set-numerics)";
      return signalPassFailure();
    }
    ModeChecker checker(numerics.getMode(), module.getContext());
    WalkResult result = module.walk(
        [&](Operation *op) { return failed(checker.check(op)) ? WalkResult::interrupt() : WalkResult::advance(); });
    if (result.wasInterrupted())
      signalPassFailure();
  }
};
} // namespace
