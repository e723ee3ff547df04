// Expands moe.experts into its grouped form: dispatch, two grouped linears around swiglu, combine.
#include "passes/Passes.h"
#include "passes/Weights.h"

#include "llvm/Support/MathExtras.h"

namespace moray {
#define GEN_PASS_DEF_EXPANDEXPERTS
#include "passes/Passes.h.inc"
} // namespace moray

using namespace mlir;
using namespace moray;

namespace {
class Expander {
public:
  Expander(moe::ExpertsOp experts, DerivedWeights &weights)
      : experts(experts), weights(weights), builder(experts), loc(experts.getLoc()),
        rowType(elementTypeOf(experts.getSource())) {}

  LogicalResult run();

private:
  RankedTensorType rows(int64_t width, Type type) { return RankedTensorType::get({ShapedType::kDynamic, width}, type); }
  Value scalesOf(unsigned index) { return experts.getScales().empty() ? Value() : Value(experts.getScales()[index]); }
  Value linear(Value source, Value tokens, Value weight, Value scales);
  std::pair<Value, Value> quantised(Value source);
  Value gateUp(Value weight, Value scales);

  moe::ExpertsOp experts;
  DerivedWeights &weights;
  OpBuilder builder;
  Location loc;
  Type rowType;
  Value offsets, tokens, ranks, gates;
};

/// Codes and scales of `source`, shared with an earlier quantize of the same value if there is one.
std::pair<Value, Value> Expander::quantised(Value source) {
  for (Operation *user : source.getUsers())
    if (auto quantize = dyn_cast<lm::QuantizeOp>(user); quantize && quantize.getFormat() == experts.getFormat() &&
                                                        quantize->getBlock() == experts->getBlock() &&
                                                        quantize->isBeforeInBlock(experts))
      return {quantize.getCodes(), quantize.getScales()};
  int64_t width = lm::widthOf(source);
  auto quantize =
      lm::QuantizeOp::create(builder, loc, rows(width, Float8E4M3FNType::get(builder.getContext())),
                             rows(lm::blocksOf(width), builder.getF32Type()), source, experts.getFormatAttr());
  return {quantize.getCodes(), quantize.getScales()};
}

Value Expander::linear(Value source, Value tokens, Value weight, Value scales) {
  Value sourceScales;
  if (isa<Float8E4M3FNType>(experts.getActivation()))
    std::tie(source, sourceScales) = quantised(source);
  int64_t width = cast<RankedTensorType>(weight.getType()).getDimSize(1);
  return moe::GroupedLinearOp::create(builder, loc, rows(width, rowType), source, sourceScales, tokens, offsets, weight,
                                      scales);
}

/// silu(gate) * up over the slots, both from one linear with the joined weight.
Value Expander::gateUp(Value weight, Value scales) {
  Value joined = linear(experts.getSource(), tokens, weight, scales);
  SmallVector<Value> parts{experts.getGate(), experts.getUp()};
  auto type = rows(cast<RankedTensorType>(experts.getGate().getType()).getDimSize(1), rowType);
  Value gate = lm::SliceOp::create(builder, loc, type, joined, builder.getI64IntegerAttr(0));
  int64_t offset = concatOffset(parts, 1, concatAlign(experts.getGate()));
  Value up = lm::SliceOp::create(builder, loc, type, joined, builder.getI64IntegerAttr(offset));
  return lm::SwigluOp::create(builder, loc, type, gate, up);
}

LogicalResult Expander::run() {
  int64_t align = concatAlign(experts.getGate());
  Value weight = weights.concat(builder, {experts.getGate(), experts.getUp()}, align);
  Value scales = scalesOf(0) ? weights.concat(builder, {scalesOf(0), scalesOf(1)}, 1) : Value();
  if (!weight || static_cast<bool>(scales) != static_cast<bool>(scalesOf(0))) {
    experts.emitRemark("declined: gate and up are no lm.weight_of values of one layer");
    return failure();
  }
  auto count = cast<RankedTensorType>(experts.getGate().getType()).getDimSize(0);
  Type i32 = builder.getI32Type();
  auto dispatch = moe::DispatchOp::create(
      builder, loc, RankedTensorType::get({count + 1}, i32), RankedTensorType::get({ShapedType::kDynamic}, i32),
      experts.getIds().getType(), experts.getGates().getType(), experts.getIds(), experts.getGates());
  offsets = dispatch.getOffsets(), tokens = dispatch.getTokens(), ranks = dispatch.getRanks(),
  gates = dispatch.getSortedGates();
  Value hidden = gateUp(weight, scales);
  Value down = linear(hidden, Value(), experts.getDown(), scalesOf(2));
  Value sum = moe::CombineOp::create(builder, loc, experts.getType(), down, ranks, gates);
  experts.getResult().replaceAllUsesWith(sum);
  experts.erase();
  return success();
}

struct ExpandExperts : moray::impl::ExpandExpertsBase<ExpandExperts> {
  void runOnOperation() override {
    DerivedWeights weights(getOperation());
    SmallVector<moe::ExpertsOp> all;
    getOperation().walk([&](moe::ExpertsOp experts) { all.push_back(experts); });
    for (moe::ExpertsOp experts : all)
      (void)Expander(experts, weights).run(); // a decline leaves the op as it is
    weights.eraseUnused();
  }
};
} // namespace
