// Gives the dense weights of a BF16 checkpoint FP8 codes and block scales (spec fp8.md 7) by recipes.
#include "passes/Passes.h"
#include "passes/Weights.h"

namespace moray {
#define GEN_PASS_DEF_QUANTIZEWEIGHTS
#include "passes/Passes.h.inc"
} // namespace moray

using namespace mlir;
using namespace moray;

namespace {
struct QuantizeWeights : moray::impl::QuantizeWeightsBase<QuantizeWeights> {
  using QuantizeWeightsBase::QuantizeWeightsBase;

  void runOnOperation() override {
    DerivedWeights weights(getOperation());
    // Only layers: the lm_head stands in the step program and stays as it is (spec fp8.md 2.1).
    for (lm::LayerOp layer : getOperation().getOps<lm::LayerOp>())
      for (Operation &op : llvm::make_early_inc_range(layer.getBody().front())) {
        if (auto linear = dyn_cast<lm::LinearOp>(op))
          quantiseLinear(linear, weights);
        else if (auto attention = dyn_cast<mla::AttentionOp>(op))
          quantiseAttention(attention, weights);
        else if (auto experts = dyn_cast<moe::ExpertsOp>(op))
          quantiseExperts(experts, weights);
      }
    weights.eraseUnused();
  }

private:
  /// The symbol value behind a weight that is not FP8 yet.
  static lm::WeightOfOp denseWeight(Value weight) { return isFP8(weight) ? lm::WeightOfOp() : weightOf(weight); }

  void quantiseLinear(lm::LinearOp linear, DerivedWeights &weights) {
    lm::WeightOfOp dense = denseWeight(linear.getWeight());
    if (!dense)
      return (void)linear.emitRemark("declined: the weight is no lm.weight_of value");
    OpBuilder builder(linear);
    auto [codes, scales] = weights.quantise(builder, dense, format);
    Value result = lm::ScaledLinearOp::create(builder, linear.getLoc(), linear.getType(), linear.getSource(), Value(),
                                              codes, scales, linear.getBias());
    linear.getResult().replaceAllUsesWith(result);
    linear.erase();
    ++numQuantised;
  }

  void quantiseAttention(mla::AttentionOp attention, DerivedWeights &weights) {
    lm::WeightOfOp dense = denseWeight(attention.getKvB());
    if (!dense)
      return;
    OpBuilder builder(attention);
    auto [codes, scales] = weights.quantise(builder, dense, format);
    attention.getKvBMutable().assign(codes);
    attention.getKvBScalesMutable().assign(scales);
    attention.setFormat(format);
    ++numQuantised;
  }

  void quantiseExperts(moe::ExpertsOp experts, DerivedWeights &weights) {
    SmallVector<Value> codes, scales;
    OpBuilder builder(experts);
    for (Value weight : {experts.getGate(), experts.getUp(), experts.getDown()}) {
      lm::WeightOfOp dense = denseWeight(weight);
      if (!dense)
        return;
      auto [code, scale] = weights.quantise(builder, dense, format);
      codes.push_back(code);
      scales.push_back(scale);
    }
    experts.getGateMutable().assign(codes[0]);
    experts.getUpMutable().assign(codes[1]);
    experts.getDownMutable().assign(codes[2]);
    experts.getScalesMutable().assign(scales);
    experts.setFormat(format);
    numQuantised += 3;
  }
};
} // namespace
