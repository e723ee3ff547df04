//===- ClassifyGemm.cpp - regions with one matrix product ---------------------===//
// A linear, possibly on a slice or gathered rows, possibly followed by SwiGLU over two ranges of its columns.

#include "codegen/KernelRegion.h"
#include "dialects/LM/LM.h"
#include "dialects/MoE/MoE.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace moray::codegen;

namespace {
/// Operands of the linear of the region, whatever its op.
struct Product {
  Operation *op = nullptr;
  Value x, xScales, w, wScales, bias, tokens, offsets, result;
};

class GemmClassifier {
public:
  explicit GemmClassifier(const KernelRegion &region) : region(region), body(std::make_shared<GemmBody>()) {}
  llvm::Expected<KernelSpec> classify();

private:
  llvm::Error readProduct(Operation *op);
  llvm::Error readSource();
  llvm::Error readWeight();
  llvm::Error readResult();
  llvm::Error readSwiglu(moray::lm::SwigluOp op);
  /// Pointer of a block argument; an error names the op that uses another value.
  llvm::Error bind(Value value, int &arg);

  const KernelRegion &region;
  std::shared_ptr<GemmBody> body;
  Product product;
  unsigned used = 0; // ops of the region that the spec covers
};
} // namespace

llvm::Error GemmClassifier::readProduct(Operation *op) {
  Product found;
  found.op = op;
  if (auto linear = dyn_cast<moray::lm::LinearOp>(op))
    found.x = linear.getSource(), found.w = linear.getWeight(), found.bias = linear.getBias();
  else if (auto scaled = dyn_cast<moray::lm::ScaledLinearOp>(op)) {
    found.x = scaled.getSource(), found.xScales = scaled.getSourceScales(), found.w = scaled.getWeight();
    found.wScales = scaled.getScales(), found.bias = scaled.getBias();
  } else if (auto grouped = dyn_cast<moray::moe::GroupedLinearOp>(op)) {
    found.x = grouped.getSource(), found.xScales = grouped.getSourceScales(), found.w = grouped.getWeight();
    found.wScales = grouped.getScales(), found.tokens = grouped.getTokens(), found.offsets = grouped.getOffsets();
  } else
    return llvm::Error::success();
  if (product.op)
    return unsupportedRegion(op, "is the second matrix product of one kernel");
  found.result = op->getResult(0);
  product = found;
  ++used;
  return llvm::Error::success();
}

llvm::Error GemmClassifier::bind(Value value, int &arg) {
  if (!value)
    return llvm::Error::success();
  arg = region.argument(value);
  if (arg < 0)
    return unsupportedRegion(value.getDefiningOp() ? value.getDefiningOp() : product.op,
                             "is not an operand of the kernel");
  return llvm::Error::success();
}

llvm::Error GemmClassifier::readSource() {
  Value x = product.x;
  body->K = moray::lm::widthOf(x);
  if (auto slice = x.getDefiningOp<moray::lm::SliceOp>()) {
    body->xOffset = slice.getOffset();
    x = slice.getSource(), ++used;
  }
  if (auto gather = x.getDefiningOp<moray::lm::GatherRowsOp>(); gather && !product.tokens) {
    product.tokens = gather.getIndices();
    x = gather.getSource(), ++used;
  }
  body->xPitch = moray::lm::widthOf(x);
  auto type = dtypeOf(x.getType());
  if (!type)
    return unsupportedRegion(product.op, "has rows of an unknown element type");
  body->x = *type;
  if (llvm::Error error = bind(x, body->xArg))
    return error;
  if (llvm::Error error = bind(product.xScales, body->xScaleArg))
    return error;
  return bind(product.tokens, body->gatherArg);
}

llvm::Error GemmClassifier::readWeight() {
  auto type = dyn_cast<RankedTensorType>(product.w.getType());
  auto dtype = type ? dtypeOf(type) : std::nullopt;
  if (!dtype || type.getRank() < 2 || !type.hasStaticShape())
    return unsupportedRegion(product.op, "has a weight without static shape or known element type");
  ArrayRef<int64_t> shape = type.getShape();
  if (product.offsets)
    body->experts = uint64_t(shape[0]);
  body->w = *dtype, body->O = uint64_t(shape[shape.size() - 2]), body->wPitch = weightPitch(type);
  if (product.wScales)
    body->scalePitch = weightPitch(cast<RankedTensorType>(product.wScales.getType()));
  if (product.bias)
    body->bias = *dtypeOf(product.bias.getType());
  if (llvm::Error error = bind(product.w, body->wArg))
    return error;
  if (llvm::Error error = bind(product.wScales, body->wScaleArg))
    return error;
  if (llvm::Error error = bind(product.offsets, body->offsetsArg))
    return error;
  return bind(product.bias, body->biasArg);
}

llvm::Error GemmClassifier::readSwiglu(moray::lm::SwigluOp op) {
  auto gate = op.getGate().getDefiningOp<moray::lm::SliceOp>(), up = op.getUp().getDefiningOp<moray::lm::SliceOp>();
  if (!gate || !up || gate.getSource() != product.result || up.getSource() != product.result)
    return unsupportedRegion(op, "must take two slices of the matrix product");
  used += 3;
  body->epilogue = {GemmEpilogue::Swiglu, uint64_t(gate.getOffset()), uint64_t(up.getOffset()),
                    uint64_t(moray::lm::widthOf(op.getResult())), dtypeOf(product.result.getType()) == DType::BF16};
  return llvm::Error::success();
}

llvm::Error GemmClassifier::readResult() {
  if (region.results().size() != 1)
    return unsupportedRegion(product.op, "must be the only result of its kernel");
  Value result = region.results()[0];
  body->outArg = region.result(0);
  body->out = dtypeOf(result.getType()).value_or(DType::I32);
  body->checkFinite = region.domain.kind == RowDomain::Outs && body->out == DType::F32;
  if (auto cast = result.getDefiningOp<moray::lm::CastOp>(); cast && dtypeOf(cast.getSource().getType()) == DType::F32)
    result = cast.getSource(), ++used; // rounds once, as the product itself would
  if (auto swiglu = result.getDefiningOp<moray::lm::SwigluOp>())
    return readSwiglu(swiglu);
  return result == product.result ? llvm::Error::success()
                                  : unsupportedRegion(product.op, "is not what the kernel returns");
}

llvm::Expected<KernelSpec> GemmClassifier::classify() {
  for (Operation &op : region.body.without_terminator())
    if (llvm::Error error = readProduct(&op))
      return error;
  if (!product.op)
    return llvm::createStringError("E3121: a kernel of class gemm without a matrix product");
  body->domain = region.domain;
  for (auto step : {&GemmClassifier::readSource, &GemmClassifier::readWeight, &GemmClassifier::readResult})
    if (llvm::Error error = (this->*step)())
      return error;
  if (used != region.body.getOperations().size() - 1)
    return unsupportedRegion(product.op, "stands beside ops that a matrix-product kernel cannot absorb");
  return KernelSpec{body->experts ? KernelClass::GroupedGemm : KernelClass::Gemm, region.pointerCount(), body};
}

llvm::Expected<KernelSpec> moray::codegen::classifyGemm(const KernelRegion &region) {
  return GemmClassifier(region).classify();
}
