//===- KernelRegion.cpp - a kernel region seen through its interface ----------===//
// See KernelRegion.h.

#include "codegen/KernelRegion.h"
#include "dialects/LM/LM.h"

using namespace mlir;
using namespace moray::codegen;

KernelRegion::KernelRegion(Block &body, RowDomain domain) : body(body), domain(domain) {
  for (BlockArgument argument : body.getArguments()) {
    first.push_back(resultBase);
    resultBase += isa<moray::lm::RowsType>(argument.getType()) ? 5 : 1;
  }
}

int KernelRegion::argument(Value value) const {
  auto argument = dyn_cast<BlockArgument>(value);
  return argument && argument.getOwner() == &body ? int(first[argument.getArgNumber()]) : -1;
}

llvm::SmallVector<int> KernelRegion::resultsOf(Value value) const {
  llvm::SmallVector<int> found;
  for (auto [i, operand] : llvm::enumerate(results()))
    if (operand == value)
      found.push_back(result(i));
  return found;
}

Operation *KernelRegion::onlyOp() const { return body.getOperations().size() == 2 ? &body.front() : nullptr; }

std::optional<DType> moray::codegen::dtypeOf(Type type) {
  type = getElementTypeOrSelf(type);
  if (type.isF32())
    return DType::F32;
  if (type.isBF16())
    return DType::BF16;
  if (isa<Float8E4M3FNType>(type))
    return DType::F8E4M3;
  if (type.isInteger(32))
    return DType::I32;
  if (type.isUnsignedInteger(8))
    return DType::U8;
  return std::nullopt;
}

uint64_t moray::codegen::weightPitch(RankedTensorType type) {
  return (type.getShape().back() * byteWidth(*dtypeOf(type)) + 63) / 64 * 64;
}

llvm::Error moray::codegen::unsupportedRegion(Operation *op, const llvm::Twine &why) {
  return llvm::createStringError("E3102: '" + op->getName().getStringRef() + "' " + why);
}
