// Verifiers and folders of the row-wise ops and linears of the lm dialect.
#include "dialects/LM/LM.h"

using namespace mlir;
using namespace moray::lm;

static ArrayRef<int64_t> shapeOf(Value value) { return cast<RankedTensorType>(value.getType()).getShape(); }

/// Operand and result have the same rank-2 shape.
static LogicalResult verifySameWidth(Operation *op, Value operand, StringRef what, Value result) {
  if (failed(verifyActivation(op, result, "result")))
    return failure();
  return verifyActivation(op, operand, what, widthOf(result));
}

/// Both hold elements of one type: the op moves values without rounding.
static LogicalResult verifySameElement(Operation *op, Value source, Value result) {
  Type from = cast<RankedTensorType>(source.getType()).getElementType(),
       to = cast<RankedTensorType>(result.getType()).getElementType();
  if (from != to)
    return op->emitOpError() << "moves " << from << " to " << to << ", expected one element type (round by lm.cast)";
  return success();
}

LogicalResult EmbedOp::verify() {
  if (shapeOf(getWeight()).size() != 2)
    return emitOpError() << "weight is " << getWeight().getType() << ", expected [vocabulary, hidden]";
  if (failed(verifyVector(*this, getTokens(), "tokens")))
    return failure();
  return verifyActivation(*this, getResult(), "result", shapeOf(getWeight())[1]);
}

LogicalResult GatherRowsOp::verify() {
  if (failed(verifyVector(*this, getIndices(), "indices")) ||
      failed(verifySameWidth(*this, getSource(), "source", getResult())))
    return failure();
  return verifySameElement(*this, getSource(), getResult());
}

LogicalResult SliceOp::verify() {
  if (failed(verifyActivation(*this, getSource(), "source")) ||
      failed(verifyActivation(*this, getResult(), "result")) ||
      failed(verifySameElement(*this, getSource(), getResult())))
    return failure();
  int64_t offset = getOffset(), size = widthOf(getResult()), width = widthOf(getSource());
  if (offset < 0 || offset > width - size)
    return emitOpError() << "takes columns [" << offset << ", " << offset + size << ") of " << width;
  return success();
}

OpFoldResult SliceOp::fold(FoldAdaptor) {
  if (getSource().getType() == getType())
    return getSource();
  // Columns of columns: read the outer source.
  if (auto outer = getSource().getDefiningOp<SliceOp>()) {
    setOffset(getOffset() + outer.getOffset());
    getSourceMutable().assign(outer.getSource());
    return getResult();
  }
  return {};
}

LogicalResult CastOp::verify() { return verifySameWidth(*this, getSource(), "source", getResult()); }

OpFoldResult CastOp::fold(FoldAdaptor) {
  if (getSource().getType() == getType())
    return getSource();
  // Widening is exact, so going there and back changes nothing.
  auto inner = getSource().getDefiningOp<CastOp>();
  if (inner && inner.getSource().getType() == getType() && inner.getType().getElementType().isF32())
    return inner.getSource();
  return {};
}

LogicalResult AddOp::verify() {
  if (failed(verifySameWidth(*this, getLhs(), "lhs", getResult())))
    return failure();
  return verifySameWidth(*this, getRhs(), "rhs", getResult());
}

LogicalResult SwigluOp::verify() {
  if (failed(verifySameWidth(*this, getGate(), "gate", getResult())))
    return failure();
  return verifySameWidth(*this, getUp(), "up", getResult());
}

LogicalResult RmsNormOp::verify() {
  if (failed(verifySameWidth(*this, getSource(), "source", getResult())))
    return failure();
  if (!(getEps().convertToFloat() > 0))
    return emitOpError("eps must be positive");
  return verifyShape(*this, getWeight(), "weight", {widthOf(getResult())});
}

LogicalResult RopeTableOp::verify() {
  int64_t pairs = getInvFreq().size();
  if (pairs == 0)
    return emitOpError("inv_freq is empty");
  if (failed(verifyActivation(*this, getCos(), "cos", pairs)))
    return failure();
  return verifyActivation(*this, getSin(), "sin", pairs);
}

LogicalResult RopeOp::verify() {
  if (failed(verifySameWidth(*this, getSource(), "source", getResult())))
    return failure();
  if (failed(verifyActivation(*this, getCos(), "cos")))
    return failure();
  int64_t rope = 2 * widthOf(getCos()), headDim = getHeadDim();
  if (headDim <= 0 || widthOf(getSource()) % headDim != 0)
    return emitOpError() << "head_dim " << headDim << " does not divide the width " << widthOf(getSource());
  if (rope > headDim)
    return emitOpError() << "rotates " << rope << " elements of heads of " << headDim;
  return verifyActivation(*this, getSin(), "sin", widthOf(getCos()));
}

LogicalResult QuantizeOp::verify() {
  int64_t width = widthOf(getSource());
  if (failed(verifyActivation(*this, getSource(), "source")) ||
      failed(verifyActivation(*this, getCodes(), "codes", width)))
    return failure();
  return verifyActivation(*this, getScales(), "scales", blocksOf(width));
}

LogicalResult SampleOp::verify() {
  if (failed(verifyActivation(*this, getLogits(), "logits")))
    return failure();
  if (widthOf(getParams()) != 24)
    return emitOpError() << "params are " << getParams().getType()
                         << ", expected tensor<?x24xui8> (moray_sample_params)";
  return verifyVector(*this, getResult(), "result");
}

LogicalResult LogProbOp::verify() {
  if (failed(verifyActivation(*this, getLogits(), "logits")) || failed(verifyVector(*this, getResult(), "result")))
    return failure();
  return verifyVector(*this, getTargets(), "targets");
}

/// [rows, K] x [O, K] -> [rows, O], bias [O].
static LogicalResult verifyLinear(Operation *op, Value source, Value weight, Value bias, Value result) {
  if (shapeOf(weight).size() != 2)
    return op->emitOpError() << "weight is " << weight.getType() << ", expected rank 2";
  if (failed(verifyActivation(op, source, "source", shapeOf(weight)[1])) ||
      failed(verifyActivation(op, result, "result", shapeOf(weight)[0])))
    return failure();
  return bias ? verifyShape(op, bias, "bias", {shapeOf(weight)[0]}) : success();
}

LogicalResult LinearOp::verify() { return verifyLinear(*this, getSource(), getWeight(), getBias(), getResult()); }

LogicalResult ScaledLinearOp::verify() {
  if (failed(verifyLinear(*this, getSource(), getWeight(), getBias(), getResult())) ||
      failed(verifyScales(*this, getWeight(), getScales(), "weight")))
    return failure();
  bool codes = isa<Float8E4M3FNType>(cast<RankedTensorType>(getSource().getType()).getElementType());
  if (codes != static_cast<bool>(getSourceScales()))
    return emitOpError("needs source scales (`by`) exactly when the source is f8E4M3FN");
  return codes ? verifyActivation(*this, getSourceScales(), "source scales", blocksOf(widthOf(getSource())))
               : success();
}
