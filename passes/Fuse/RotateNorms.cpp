// Moves the input norm of every layer to the end of the layer before it, where it can be fused with the residual
// addition.
#include "passes/Passes.h"
#include "passes/Weights.h"

namespace moray {
#define GEN_PASS_DEF_ROTATENORMS
#include "passes/Passes.h.inc"
} // namespace moray

using namespace mlir;
using namespace moray;

namespace {
/// A norm of a stored weight, and the quantisers of its result.
struct Norm {
  lm::RmsNormOp op;
  lm::WeightOfOp use;
  lm::WeightOp weight;
  SmallVector<lm::QuantizeOp> quantisers;
};

/// Everything that one rotation changes. All of it is checked before anything is changed.
class Rotation {
public:
  Rotation(ModuleOp module, DerivedWeights &weights) : module(module), weights(weights) {}

  /// True if the module has the form; otherwise a remark says what is in the way.
  bool match();
  LogicalResult apply();

private:
  bool matchNorm(lm::RmsNormOp op, bool perLayer, Norm &norm);
  bool matchLayer(lm::LayerOp layer);
  bool matchStep(lm::ProgramOp step);
  bool agree();
  LogicalResult rotateLayer(lm::LayerOp layer, Norm &norm);
  void rotateStep();
  SmallVector<Value> emitNorm(OpBuilder &builder, Location loc, Value residual, Value weight);

  ModuleOp module;
  DerivedWeights &weights;
  SmallVector<std::pair<lm::LayerOp, Norm>> layers;
  SmallVector<lm::CallOp> calls;
  lm::GatherRowsOp gather; // between the last call and the final norm, or null
  Norm last;
  std::optional<lm::ScaleFormat> format; // in which the layers quantise their rows, if they do
};
} // namespace

static bool decline(Operation *op, const Twine &why) {
  op->emitRemark("declined: ") << why;
  return false;
}

//===----------------------------------------------------------------------===//
// Match
//===----------------------------------------------------------------------===//

bool Rotation::matchNorm(lm::RmsNormOp op, bool perLayer, Norm &norm) {
  norm.op = op;
  norm.use = weightOf(op.getWeight());
  norm.weight = norm.use ? weights.find(norm.use) : lm::WeightOp();
  if (!norm.weight || !norm.weight.getSource() || norm.weight.getLast() || norm.weight.getPerLayer() != perLayer)
    return decline(op, "the weight of the norm is not stored as it is");
  for (Operation *user : op->getUsers())
    if (auto quantise = dyn_cast<lm::QuantizeOp>(user))
      norm.quantisers.push_back(quantise);
  return true;
}

bool Rotation::matchLayer(lm::LayerOp layer) {
  if (layer.getResultTypes().size() != 1)
    return decline(layer, "the layer carries more than its residual");
  lm::RmsNormOp norm;
  for (Operation *user : layer.getBody().getArgument(1).getUsers())
    if (auto found = dyn_cast<lm::RmsNormOp>(user)) {
      if (norm)
        return decline(layer, "the residual is normed twice");
      norm = found;
    }
  if (!norm)
    return decline(layer, "the layer does not start with a norm of its residual");
  layers.emplace_back(layer, Norm());
  return matchNorm(norm, /*perLayer=*/true, layers.back().second);
}

/// embed -> calls -> [gather ->] norm, every value used once.
bool Rotation::matchStep(lm::ProgramOp step) {
  calls = llvm::to_vector(step.getBody().front().getOps<lm::CallOp>());
  if (calls.empty())
    return decline(step, "the step calls no layer");
  if (!calls.front().getInputs().front().getDefiningOp<lm::EmbedOp>())
    return decline(calls.front(), "the first layer does not take the embedding");
  for (auto [i, call] : llvm::enumerate(calls)) {
    if (!call.getInputs().front().hasOneUse())
      return decline(call, "the residual has another use");
    if (i > 0 && call.getInputs().front() != calls[i - 1].getResult(0))
      return decline(call, "the layer does not take the result of the layer before it");
    if (i > 0 && call.getFirst() != calls[i - 1].getFirst() + calls[i - 1].getCount())
      return decline(call, "the layer numbers do not follow each other");
  }
  Value out = calls.back().getResult(0);
  Operation *user = out.hasOneUse() ? *out.user_begin() : nullptr;
  if ((gather = dyn_cast_or_null<lm::GatherRowsOp>(user)))
    user = gather->hasOneUse() ? *gather->user_begin() : nullptr;
  auto norm = dyn_cast_or_null<lm::RmsNormOp>(user);
  return norm ? matchNorm(norm, /*perLayer=*/false, last)
              : decline(step, "the last layer is not followed by the final norm alone");
}

/// All norms can stand for each other: the norm of the next layer is written in terms of this one.
bool Rotation::agree() {
  for (auto &[layer, norm] : layers) {
    Norm &first = layers.front().second;
    for (Norm *other : {&first, &last})
      if (norm.weight.getType() != other->weight.getType() || norm.op.getEpsAttr() != other->op.getEpsAttr() ||
          norm.op.getType() != norm.op.getSource().getType() || norm.op.getType() != other->op.getType())
        return decline(norm.op, "the norms of the layers and the final norm differ in type or eps");
    if (norm.weight.getSource() != first.weight.getSource())
      return decline(norm.op, "the input norms of the layer kinds have different name templates");
    for (lm::QuantizeOp found : norm.quantisers) {
      if (format && found.getFormat() != *format)
        return decline(found, "the layers quantise their rows in different formats");
      format = found.getFormat();
    }
  }
  return true;
}

bool Rotation::match() {
  lm::ProgramOp step;
  for (lm::ProgramOp program : module.getOps<lm::ProgramOp>())
    if (auto kind = program->getAttrOfType<lm::ProgramKindAttr>(lm::kKindAttr);
        kind && kind.getValue() == lm::ProgramKind::Step)
      step = program;
  if (!step)
    return decline(module, "the module has no step program");
  for (lm::LayerOp layer : module.getOps<lm::LayerOp>())
    if (!matchLayer(layer))
      return false;
  return matchStep(step) && agree();
}

//===----------------------------------------------------------------------===//
// Apply
//===----------------------------------------------------------------------===//

/// normed [, codes, scales] of `residual`.
SmallVector<Value> Rotation::emitNorm(OpBuilder &builder, Location loc, Value residual, Value weight) {
  SmallVector<Value> values{
      lm::RmsNormOp::create(builder, loc, residual.getType(), residual, weight, last.op.getEpsAttr())};
  if (format) {
    auto columns = [&](int64_t width, Type type) { return RankedTensorType::get({ShapedType::kDynamic, width}, type); };
    int64_t width = lm::widthOf(residual);
    auto codes = lm::QuantizeOp::create(builder, loc, columns(width, Float8E4M3FNType::get(builder.getContext())),
                                        columns(lm::blocksOf(width), builder.getF32Type()), values.front(), *format);
    values.append({codes.getCodes(), codes.getScales()});
  }
  return values;
}

LogicalResult Rotation::rotateLayer(lm::LayerOp layer, Norm &norm) {
  // The next layer's norm: its number is one higher, and after the last layer stands the final norm.
  std::string next = norm.weight.getSource()->str();
  next.replace(next.find("{l}"), 3, "{l+1}");
  lm::WeightOp weight =
      weights.store((norm.weight.getSymName() + ".next").str(), next, last.weight.getSourceAttr(), true, norm.weight);
  Operation *end = layer.getBody().front().getTerminator();
  OpBuilder builder(end);
  SmallVector<Value> normed =
      emitNorm(builder, norm.op.getLoc(), end->getOperand(0), weights.use(builder, weight, norm.use));
  end->insertOperands(1, normed);

  // The same values arrive after the residual.
  for (auto [i, value] : llvm::enumerate(normed))
    if (failed(layer.insertArgument(2 + i, value.getType(), DictionaryAttr(), norm.op.getLoc())) ||
        failed(layer.insertResult(1 + i, value.getType(), DictionaryAttr())))
      return failure();
  for (lm::QuantizeOp old : norm.quantisers) {
    old.getCodes().replaceAllUsesWith(layer.getBody().getArgument(3));
    old.getScales().replaceAllUsesWith(layer.getBody().getArgument(4));
    old->erase();
  }
  norm.op->getResult(0).replaceAllUsesWith(layer.getBody().getArgument(2));
  norm.op->erase();
  return success();
}

void Rotation::rotateStep() {
  Norm *first = nullptr;
  for (auto &[layer, norm] : layers)
    if (layer.getSymName() == calls.front().getCallee())
      first = &norm;
  std::string source = first->weight.getSource()->str();
  source.replace(source.find("{l}"), 3, std::to_string(calls.front().getFirst()));
  lm::WeightOp weight =
      weights.store((first->weight.getSymName() + ".first").str(), source, StringAttr(), false, first->weight);

  OpBuilder builder(calls.front());
  Location loc = calls.front().getLoc();
  SmallVector<Value> carried{calls.front().getInputs().front()};
  llvm::append_range(carried, emitNorm(builder, loc, carried.front(), weights.use(builder, weight, last.use)));
  for (lm::CallOp call : calls) {
    builder.setInsertionPoint(call);
    SmallVector<Value> inputs = carried;
    llvm::append_range(inputs, call.getInputs().drop_front());
    auto rotated = lm::CallOp::create(builder, call.getLoc(), ValueRange(carried).getTypes(), call.getCalleeAttr(),
                                      call.getFirstAttr(), call.getCountAttr(), inputs);
    carried.assign(rotated.result_begin(), rotated.result_end());
    call.getResult(0).replaceAllUsesWith(carried.front());
    call.erase();
  }
  Value normed = carried[1];
  if (gather) {
    builder.setInsertionPoint(gather);
    normed = lm::GatherRowsOp::create(builder, gather.getLoc(), gather.getType(), normed, gather.getIndices());
  }
  last.op.getResult().replaceAllUsesWith(normed);
}

LogicalResult Rotation::apply() {
  for (auto &[layer, norm] : layers)
    if (failed(rotateLayer(layer, norm)))
      return failure();
  rotateStep();
  last.op.erase();
  if (gather)
    gather.erase();
  return success();
}

namespace {
struct RotateNorms : moray::impl::RotateNormsBase<RotateNorms> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto layers = module.getOps<lm::LayerOp>();
    // A module without layers has nothing to rotate, and one whose layers carry more than the residual has been
    // rotated.
    if (llvm::all_of(layers, [](lm::LayerOp layer) { return layer.getResultTypes().size() > 1; }))
      return;
    DerivedWeights weights(module);
    Rotation rotation(module, weights);
    if (!rotation.match())
      return;
    if (failed(rotation.apply()))
      return signalPassFailure();
    weights.eraseUnused();
  }
};
} // namespace
