// Registration of the lm dialect, its functions' syntax and the verifier helpers shared by our dialects.
#include "dialects/LM/LM.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/Interfaces/FunctionImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace moray::lm;

#include "dialects/LM/LMDialect.cpp.inc"
#include "dialects/LM/LMEnums.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/LM/LMTypes.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/LM/LMAttrs.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/LM/LMOps.cpp.inc"

void LMDialect::initialize() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/LM/LMTypes.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/LM/LMAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/LM/LMOps.cpp.inc"
      >();
}

//===----------------------------------------------------------------------===//
// Verifier helpers
//===----------------------------------------------------------------------===//

static RankedTensorType tensorOf(Value value) { return dyn_cast<RankedTensorType>(value.getType()); }

LogicalResult moray::lm::verifyActivation(Operation *op, Value value, StringRef what, int64_t width) {
  RankedTensorType type = tensorOf(value);
  if (!type || type.getRank() != 2 || !type.isDynamicDim(0) || type.getDimSize(1) != width)
    return op->emitOpError() << what << " is " << value.getType() << ", expected tensor<?x" << width << "x..>";
  return success();
}

LogicalResult moray::lm::verifyShape(Operation *op, Value value, StringRef what, ArrayRef<int64_t> shape) {
  RankedTensorType type = tensorOf(value);
  if (type && type.getShape() == shape)
    return success();
  InFlightDiagnostic error = op->emitOpError() << what << " is " << value.getType() << ", expected shape [";
  llvm::interleaveComma(shape, error);
  return error << "]";
}

LogicalResult moray::lm::verifyScales(Operation *op, Value weight, Value scales, StringRef what) {
  RankedTensorType type = tensorOf(weight);
  bool quantised = isa<Float8E4M3FNType>(type.getElementType());
  if (!quantised)
    return scales ? op->emitOpError() << what << " has scales, but the weight is " << type : success();
  if (!scales)
    return op->emitOpError() << what << " is FP8 and needs scales";
  SmallVector<int64_t> shape(type.getShape());
  for (int64_t &dim : MutableArrayRef(shape).take_back(2))
    dim = blocksOf(dim);
  return verifyShape(op, scales, (what + " scales").str(), shape);
}

LogicalResult moray::lm::verifyActivationType(Operation *op, Type activation, Value rows) {
  Type element = tensorOf(rows).getElementType();
  if (activation == element || (isa<Float8E4M3FNType>(activation) && element.isBF16()))
    return success();
  return op->emitOpError() << "activation type " << activation << " does not fit rows of " << element
                           << ", expected the same type, or f8E4M3FN on bf16 rows";
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

SmallVector<FlatSymbolRefAttr> WeightOp::getRecipeSources() {
  Attribute recipe = getRecipeAttr();
  if (!recipe)
    return {};
  return TypeSwitch<Attribute, SmallVector<FlatSymbolRefAttr>>(recipe)
      .Case([](ConcatAttr attr) { return SmallVector<FlatSymbolRefAttr>(attr.getParts()); })
      .Case([](DequantizeAttr attr) { return SmallVector<FlatSymbolRefAttr>{attr.getCodes(), attr.getScales()}; })
      .Case<SliceRowsAttr, PadRowsAttr, QuantizeCodesAttr, QuantizeScalesAttr>(
          [](auto attr) { return SmallVector<FlatSymbolRefAttr>{attr.getSource()}; })
      .Default([](Attribute) { return SmallVector<FlatSymbolRefAttr>(); });
}

LogicalResult WeightOp::verify() {
  if (getSource().has_value() == getRecipeAttr().operator bool())
    return emitOpError("needs either a source (`from`) or a recipe");
  if (getRecipeAttr() && getRecipeSources().empty())
    return emitOpError() << "has an unknown recipe " << getRecipeAttr();
  if (getLast() && (!getSource() || !getPerLayer()))
    return emitOpError("`last` needs a per_layer weight with a source");
  if (std::optional<StringRef> source = getSource()) {
    if (source->contains("{l") != getPerLayer())
      return emitOpError() << "per_layer and the placeholder {l} of source \"" << *source << "\" disagree";
    if (source->contains("{e}") && getTensorType().getRank() != 3)
      return emitOpError() << "source \"" << *source << "\" names experts, expected a tensor of rank 3";
  }
  return success();
}

LogicalResult WeightOfOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto weight = symbols.lookupNearestSymbolFrom<WeightOp>(*this, getWeightAttr());
  if (!weight)
    return emitOpError() << "refers to " << getWeightAttr() << ", which is no lm.weight";
  if (weight.getType() != getType())
    return emitOpError() << "has type " << getType() << ", but " << getWeightAttr() << " is " << weight.getType();
  if (weight.getPerLayer() != static_cast<bool>(getLayer()))
    return emitOpError() << (weight.getPerLayer() ? "needs" : "takes no") << " a layer number for " << getWeightAttr();
  return success();
}

//===----------------------------------------------------------------------===//
// Programs, layers, calls, kernels
//===----------------------------------------------------------------------===//

template <typename FuncOp> static ParseResult parseFunc(OpAsmParser &parser, OperationState &result) {
  auto buildType = [](Builder &builder, ArrayRef<Type> arguments, ArrayRef<Type> results,
                      function_interface_impl::VariadicFlag, std::string &) {
    return builder.getFunctionType(arguments, results);
  };
  return function_interface_impl::parseFunctionOp(parser, result, /*allowVariadic=*/false,
                                                  FuncOp::getFunctionTypeAttrName(result.name), buildType,
                                                  FuncOp::getArgAttrsAttrName(result.name),
                                                  FuncOp::getResAttrsAttrName(result.name));
}

template <typename FuncOp> static void printFunc(OpAsmPrinter &printer, FuncOp op) {
  function_interface_impl::printFunctionOp(printer, op, /*isVariadic=*/false, op.getFunctionTypeAttrName(),
                                           op.getArgAttrsAttrName(), op.getResAttrsAttrName());
}

ParseResult LayerOp::parse(OpAsmParser &parser, OperationState &result) { return parseFunc<LayerOp>(parser, result); }
void LayerOp::print(OpAsmPrinter &printer) { printFunc(printer, *this); }
ParseResult ProgramOp::parse(OpAsmParser &parser, OperationState &result) {
  return parseFunc<ProgramOp>(parser, result);
}
void ProgramOp::print(OpAsmPrinter &printer) { printFunc(printer, *this); }

/// The terminator returns exactly the result types of the function.
template <typename FuncOp> static LogicalResult verifyReturn(FuncOp op) {
  auto terminator = dyn_cast<ReturnOp>(op.getBody().front().getTerminator());
  if (!terminator)
    return op.emitOpError("must end with lm.return");
  if (terminator.getOperandTypes() != TypeRange(op.getResultTypes()))
    return terminator.emitOpError() << "returns " << terminator.getOperandTypes() << ", expected "
                                    << op.getFunctionType().getResults();
  return success();
}

LogicalResult LayerOp::verify() {
  ArrayRef<Type> inputs = getArgumentTypes();
  if (inputs.empty() || !inputs.front().isIndex())
    return emitOpError("expects the layer number (index) as its first argument");
  if (getResultTypes().size() + 1 > inputs.size() || inputs.slice(1, getResultTypes().size()) != getResultTypes())
    return emitOpError("must return values of the types of its arguments after the layer number, in order");
  return verifyReturn(*this);
}

LogicalResult ProgramOp::verify() {
  if (!(*this)->getAttrOfType<ProgramKindAttr>(kKindAttr))
    return emitOpError() << "needs the attribute " << kKindAttr << " = #lm<program_kind step|sample|score>";
  return verifyReturn(*this);
}

LogicalResult CallOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto layer = symbols.lookupNearestSymbolFrom<LayerOp>(*this, getCalleeAttr());
  if (!layer)
    return emitOpError() << "refers to " << getCalleeAttr() << ", which is no lm.layer";
  if (getFirst() < 0 || getCount() < 1)
    return emitOpError() << "has the layer range [" << getFirst() << ", " << getCount() << "], expected first >= 0 and count >= 1";
  if (getInputs().getTypes() != TypeRange(layer.getArgumentTypes().drop_front()))
    return emitOpError() << "passes " << getInputs().getTypes() << ", expected " << layer.getArgumentTypes().drop_front();
  if (getOutputs().getTypes() != TypeRange(layer.getResultTypes()))
    return emitOpError() << "yields " << getOutputs().getTypes() << ", expected " << layer.getResultTypes();
  return success();
}

LogicalResult KernelOp::verify() {
  if ((getDomain() == Domain::Slots) != getSlotsPerRow().has_value() || getSlotsPerRow().value_or(1) < 1)
    return emitOpError("needs a positive number of slots per row (`of`) exactly for the domain slots");
  Block &block = getBody().front();
  if (block.getArgumentTypes() != getInputs().getTypes())
    return emitOpError() << "has region arguments " << block.getArgumentTypes() << ", expected " << getInputs().getTypes();
  auto yield = dyn_cast<YieldOp>(block.getTerminator());
  if (!yield)
    return emitOpError("must end with lm.yield");
  if (yield.getOperandTypes() != getOutputs().getTypes())
    return emitOpError() << "yields " << yield.getOperandTypes() << ", expected " << getOutputs().getTypes();
  return success();
}
