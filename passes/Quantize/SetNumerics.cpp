// Retypes the imported f32 module to a numeric mode: rounding points become bf16 types, FP8 linears get the operands of
// the mode.
#include "passes/Passes.h"
#include "passes/Weights.h"

#include "llvm/ADT/TypeSwitch.h"

namespace moray {
#define GEN_PASS_DEF_SETNUMERICS
#include "passes/Passes.h.inc"
} // namespace moray

using namespace mlir;
using namespace moray;

/// `type` with bf16 elements if it is a tensor of f32 or a cache of f32.
static Type roundedType(Type type) {
  auto bf16 = BFloat16Type::get(type.getContext());
  if (auto tensor = dyn_cast<RankedTensorType>(type); tensor && tensor.getElementType().isF32())
    return tensor.clone(bf16);
  if (auto cache = dyn_cast<mla::CacheType>(type))
    return mla::CacheType::get(type.getContext(), cache.getLatent(), cache.getRope(), cache.getPage(), bf16);
  if (auto cache = dyn_cast<mla::LayerCacheType>(type))
    return mla::LayerCacheType::get(type.getContext(), cache.getLatent(), cache.getRope(), cache.getPage(), bf16);
  return type;
}

static void round(Value value) { value.setType(roundedType(value.getType())); }

//===----------------------------------------------------------------------===//
// Rounding points
//===----------------------------------------------------------------------===//

/// The lm_head: its logits stay f32.
static bool feedsReturnOfProgram(Operation *op) {
  return llvm::any_of(op->getUsers(), [](Operation *user) {
    return isa<lm::ReturnOp>(user) && isa<lm::ProgramOp>(user->getParentOp());
  });
}

/// The f32 sum of routed experts is rounded where the shared expert is added; without one it needs a rounding of its
/// own.
static void roundExperts(moe::ExpertsOp experts) {
  experts.setActivation(BFloat16Type::get(experts.getContext()));
  Value sum = experts.getResult();
  if (sum.hasOneUse())
    if (auto add = dyn_cast<lm::AddOp>(*sum.user_begin())) {
      Value other = add.getLhs() == sum ? add.getRhs() : add.getLhs();
      if (isa_and_nonnull<lm::LinearOp, lm::ScaledLinearOp>(other.getDefiningOp()))
        return;
    }
  OpBuilder builder(experts->getContext());
  builder.setInsertionPointAfter(experts);
  auto cast = lm::CastOp::create(builder, experts.getLoc(), roundedType(sum.getType()), sum);
  sum.replaceAllUsesExcept(cast, cast);
}

/// Retypes the results of `op`; operands have been retyped.
static void roundResults(Operation *op) {
  llvm::TypeSwitch<Operation *>(op)
      .Case<lm::LinearOp, lm::ScaledLinearOp>([](auto linear) {
        if (!feedsReturnOfProgram(linear))
          round(linear.getResult());
      })
      .Case<lm::EmbedOp, lm::RmsNormOp, lm::RopeOp, lm::AddOp, lm::SwigluOp, mla::LayerCacheOp>(
          [](auto rounding) { round(rounding.getResult()); })
      .Case<lm::SliceOp, lm::GatherRowsOp>([](auto copy) {
        auto type = cast<RankedTensorType>(copy.getType());
        copy.getResult().setType(cast<RankedTensorType>(type.clone(elementTypeOf(copy.getSource()))));
      })
      .Case([](mla::AttentionOp attention) {
        attention.setActivation(BFloat16Type::get(attention.getContext()));
        round(attention.getResult());
      })
      .Case([](moe::ExpertsOp experts) { roundExperts(experts); })
      .Case([](lm::CallOp call) {
        for (Value result : call.getResults())
          round(result);
      });
}

/// `carried` leading tensor arguments (after the layer number) and the caches are rounded; rope tables, indices and
/// logits keep their types.
static void roundFunction(FunctionOpInterface function, unsigned carried) {
  Block &body = function.getFunctionBody().front();
  for (BlockArgument argument : body.getArguments())
    if (isa<mla::CacheType>(argument.getType()) || (argument.getArgNumber() >= 1 && argument.getArgNumber() <= carried))
      round(argument);
  for (Operation &op : llvm::make_early_inc_range(body))
    roundResults(&op);
  function.setType(
      FunctionType::get(function.getContext(), body.getArgumentTypes(), body.getTerminator()->getOperandTypes()));
}

//===----------------------------------------------------------------------===//
// FP8 weights
//===----------------------------------------------------------------------===//

/// bf16: weights without codes. Codes and scales that are no symbols cannot be joined into one weight.
static LogicalResult dequantise(Operation *op, DerivedWeights &weights) {
  OpBuilder builder(op);
  auto dense = [&](Value codes, Value scales) -> Value {
    lm::WeightOfOp codesOf = weightOf(codes), scalesOf = weightOf(scales);
    if (codesOf && scalesOf)
      return weights.dequantise(builder, codesOf, scalesOf);
    op->emitError("E3201: has FP8 weights that are no lm.weight_of values, expected symbols to dequantise");
    return Value();
  };
  if (auto linear = dyn_cast<lm::ScaledLinearOp>(op)) {
    Value weight = dense(linear.getWeight(), linear.getScales());
    if (!weight)
      return failure();
    Value result =
        lm::LinearOp::create(builder, linear.getLoc(), linear.getType(), linear.getSource(), weight, linear.getBias());
    linear.getResult().replaceAllUsesWith(result);
    linear.erase();
  } else if (auto attention = dyn_cast<mla::AttentionOp>(op); attention && attention.getKvBScales()) {
    Value weight = dense(attention.getKvB(), attention.getKvBScales());
    if (!weight)
      return failure();
    attention.getKvBMutable().assign(weight);
    attention.getKvBScalesMutable().clear();
  } else if (auto experts = dyn_cast<moe::ExpertsOp>(op); experts && !experts.getScales().empty()) {
    Value gate = dense(experts.getGate(), experts.getScales()[0]), up = dense(experts.getUp(), experts.getScales()[1]),
          down = dense(experts.getDown(), experts.getScales()[2]);
    if (!gate || !up || !down)
      return failure();
    experts.getGateMutable().assign(gate);
    experts.getUpMutable().assign(up);
    experts.getDownMutable().assign(down);
    experts.getScalesMutable().clear();
  }
  return success();
}

namespace {
/// fp8: rows of FP8 linears are quantised, once per value.
class RowQuantiser {
public:
  explicit RowQuantiser(lm::LayerOp layer) : layer(layer) {}

  void run() {
    for (Operation &op : layer.getBody().front())
      if (auto attention = dyn_cast<mla::AttentionOp>(op))
        format = attention.getFormat();
    Type codes = Float8E4M3FNType::get(layer.getContext());
    for (Operation &op : llvm::make_early_inc_range(layer.getBody().front())) {
      if (auto linear = dyn_cast<lm::ScaledLinearOp>(op))
        quantiseRows(linear);
      else if (auto attention = dyn_cast<mla::AttentionOp>(op); attention && attention.getKvBScales())
        attention.setActivation(codes);
      else if (auto experts = dyn_cast<moe::ExpertsOp>(op); experts && !experts.getScales().empty())
        experts.setActivation(codes);
    }
  }

private:
  void quantiseRows(lm::ScaledLinearOp linear) {
    lm::QuantizeOp &quantize = quantised[linear.getSource()];
    if (!quantize) {
      OpBuilder builder(linear->getContext());
      builder.setInsertionPointAfterValue(linear.getSource());
      int64_t width = lm::widthOf(linear.getSource());
      auto type = [&](int64_t columns, Type element) {
        return RankedTensorType::get({ShapedType::kDynamic, columns}, element);
      };
      quantize =
          lm::QuantizeOp::create(builder, linear.getLoc(), type(width, Float8E4M3FNType::get(builder.getContext())),
                                 type(lm::blocksOf(width), builder.getF32Type()), linear.getSource(), format);
    }
    linear.getSourceMutable().assign(quantize.getCodes());
    linear.getSourceScalesMutable().assign(quantize.getScales());
  }

  lm::LayerOp layer;
  /// Every layer of the families has an attention that states the format; f32 is that of a checkpoint without
  /// scale_fmt.
  lm::ScaleFormat format = lm::ScaleFormat::F32;
  DenseMap<Value, lm::QuantizeOp> quantised;
};

struct SetNumerics : moray::impl::SetNumericsBase<SetNumerics> {
  using SetNumericsBase::SetNumericsBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (auto found = module->getAttrOfType<lm::NumericsAttr>(lm::kNumericsAttr);
        found && found.getMode() != lm::Mode::Ref32) {
      if (found.getMode() == mode)
        return;
      module.emitError() << "E3201: has numeric mode " << lm::stringifyMode(found.getMode())
                         << ", expected ref32 or none to set " << lm::stringifyMode(mode)
                         << ": start from the imported module";
      return signalPassFailure();
    }
    module->setAttr(lm::kNumericsAttr, lm::NumericsAttr::get(module.getContext(), mode, order));
    if (mode == lm::Mode::Ref32)
      return;
    for (Operation &op : *module.getBody())
      if (auto layer = dyn_cast<lm::LayerOp>(op))
        roundFunction(layer, layer.getResultTypes().size());
      else if (auto program = dyn_cast<lm::ProgramOp>(op))
        roundFunction(program, 0);
    if (mode == lm::Mode::Bf16)
      return dequantiseAll();
    if (mode == lm::Mode::Fp8)
      for (lm::LayerOp layer : module.getOps<lm::LayerOp>())
        RowQuantiser(layer).run();
  }

private:
  void dequantiseAll() {
    DerivedWeights weights(getOperation());
    SmallVector<Operation *> ops;
    getOperation().walk([&](Operation *op) {
      if (isa<lm::ScaledLinearOp, mla::AttentionOp, moe::ExpertsOp>(op))
        ops.push_back(op);
    });
    for (Operation *op : ops)
      if (failed(dequantise(op, weights)))
        return signalPassFailure();
    weights.eraseUnused();
  }
};
} // namespace
