// Registration of the lm dialect, its functions' syntax and the verifier helpers shared by our dialects.
#include "dialects/LM/LM.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/Interfaces/FunctionImplementation.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

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

LogicalResult moray::lm::verifyActivation(Operation *op, Value value, StringRef what) {
  if (widthOf(value) < 0 || !tensorOf(value).isDynamicDim(0))
    return op->emitOpError() << what << " is " << value.getType()
                             << ", expected [rows, width] with a dynamic number of rows and a static width";
  return success();
}

LogicalResult moray::lm::verifyActivation(Operation *op, Value value, StringRef what, int64_t width) {
  if (failed(verifyActivation(op, value, what)))
    return failure();
  if (widthOf(value) != width)
    return op->emitOpError() << what << " is " << value.getType() << ", expected tensor<?x" << width << "x..>";
  return success();
}

LogicalResult moray::lm::verifyVector(Operation *op, Value value, StringRef what) {
  RankedTensorType type = tensorOf(value);
  if (!type || type.getRank() != 1 || !type.isDynamicDim(0))
    return op->emitOpError() << what << " is " << value.getType() << ", expected rank 1 with a dynamic size";
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
  if (!getTensorType().hasStaticShape() || getTensorType().getRank() < 1 || getTensorType().getRank() > 3)
    return emitOpError() << "is declared as " << getType() << ", expected a static shape of rank 1 to 3";
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

//===----------------------------------------------------------------------===//
// Recipes
//===----------------------------------------------------------------------===//

/// Rows of a weight, and its type with another number of rows: the second-last dimension, or the only one.
static int64_t rowsOf(RankedTensorType type) { return type.getDimSize(std::max<int64_t>(type.getRank() - 2, 0)); }
static RankedTensorType withRows(RankedTensorType type, int64_t rows) {
  SmallVector<int64_t> shape(type.getShape());
  shape[std::max<int64_t>(type.getRank() - 2, 0)] = rows;
  return type.clone(shape);
}

/// The type that a recipe over sources of these types gives, when the weight is declared as `declared`; null when it
/// cannot be applied.
static RankedTensorType typeOfRecipe(Attribute recipe, ArrayRef<RankedTensorType> sources, RankedTensorType declared) {
  RankedTensorType first = sources.front();
  auto blocks = [&] {
    SmallVector<int64_t> shape(first.getShape());
    for (int64_t &dim : MutableArrayRef(shape).take_back(2))
      dim = blocksOf(dim);
    return RankedTensorType::get(shape, Float32Type::get(first.getContext()));
  };
  bool dense = !isa<Float8E4M3FNType>(first.getElementType());
  return TypeSwitch<Attribute, RankedTensorType>(recipe)
      .Case([&](ConcatAttr attr) -> RankedTensorType {
        int64_t rows = 0;
        for (RankedTensorType part : sources) {
          if (attr.getAlign() < 1 || withRows(part, 1) != withRows(first, 1))
            return {};
          rows = llvm::alignTo(rows, attr.getAlign()) + rowsOf(part);
        }
        return withRows(first, rows);
      })
      .Case([&](SliceRowsAttr attr) -> RankedTensorType {
        if (attr.getOffset() < 0 || attr.getSize() < 1 || attr.getOffset() > rowsOf(first) - attr.getSize())
          return {};
        return withRows(first, attr.getSize());
      })
      .Case([&](PadRowsAttr) {
        return rowsOf(declared) < rowsOf(first) ? RankedTensorType() : withRows(first, rowsOf(declared));
      })
      .Case([&](QuantizeCodesAttr) -> RankedTensorType {
        if (!dense || first.getRank() < 2)
          return {};
        return RankedTensorType::get(first.getShape(), Float8E4M3FNType::get(first.getContext()));
      })
      .Case([&](QuantizeScalesAttr) { return dense && first.getRank() >= 2 ? blocks() : RankedTensorType(); })
      .Case([&](DequantizeAttr) -> RankedTensorType {
        if (dense || first.getRank() < 2 || sources[1] != blocks() || isa<Float8E4M3FNType>(declared.getElementType()))
          return {};
        return RankedTensorType::get(first.getShape(), declared.getElementType());
      });
}

/// Whether `target` is reached by following recipes from `weight`.
static bool derivesFrom(SymbolTableCollection &symbols, WeightOp weight, WeightOp target,
                        llvm::SmallPtrSetImpl<Operation *> &seen) {
  if (!weight || !seen.insert(weight).second)
    return false;
  return llvm::any_of(weight.getRecipeSources(), [&](FlatSymbolRefAttr name) {
    auto source = symbols.lookupNearestSymbolFrom<WeightOp>(weight->getParentOp(), name);
    return source == target || derivesFrom(symbols, source, target, seen);
  });
}

LogicalResult WeightOp::verifySymbolUses(SymbolTableCollection &symbols) {
  SmallVector<RankedTensorType> types;
  for (FlatSymbolRefAttr name : getRecipeSources()) {
    auto source = symbols.lookupNearestSymbolFrom<WeightOp>((*this)->getParentOp(), name);
    if (!source)
      return emitOpError() << "has a recipe over " << name << ", which is no lm.weight";
    if (source.getPerLayer() != getPerLayer())
      return emitOpError() << "and its source " << name << " must both be per_layer or both not";
    types.push_back(source.getTensorType());
  }
  if (types.empty())
    return success();
  RankedTensorType type = typeOfRecipe(getRecipeAttr(), types, getTensorType());
  if (!type)
    return emitOpError() << "has the recipe " << getRecipeAttr() << ", which does not fit the types of its sources";
  if (type != getTensorType())
    return emitOpError() << "is declared as " << getType() << ", but its recipe gives " << type;
  llvm::SmallPtrSet<Operation *, 8> seen;
  if (derivesFrom(symbols, *this, *this, seen))
    return emitOpError("has a recipe that leads back to itself");
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
                      function_interface_impl::VariadicFlag,
                      std::string &) { return builder.getFunctionType(arguments, results); };
  return function_interface_impl::parseFunctionOp(
      parser, result, /*allowVariadic=*/false, FuncOp::getFunctionTypeAttrName(result.name), buildType,
      FuncOp::getArgAttrsAttrName(result.name), FuncOp::getResAttrsAttrName(result.name));
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
    return emitOpError() << "needs the attribute " << kKindAttr << " = #lm<program_kind step|sample|score|step_dist>";
  return verifyReturn(*this);
}

LogicalResult CallOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto layer = symbols.lookupNearestSymbolFrom<LayerOp>(*this, getCalleeAttr());
  if (!layer)
    return emitOpError() << "refers to " << getCalleeAttr() << ", which is no lm.layer";
  if (getFirst() < 0 || getCount() < 1)
    return emitOpError() << "has the layer range [" << getFirst() << ", " << getCount()
                         << "], expected first >= 0 and count >= 1";
  if (getInputs().getTypes() != TypeRange(layer.getArgumentTypes().drop_front()))
    return emitOpError() << "passes " << getInputs().getTypes() << ", expected "
                         << layer.getArgumentTypes().drop_front();
  if (getOutputs().getTypes() != TypeRange(layer.getResultTypes()))
    return emitOpError() << "yields " << getOutputs().getTypes() << ", expected " << layer.getResultTypes();
  return success();
}

LogicalResult KernelOp::verify() {
  if ((getDomain() == Domain::Slots) != getSlotsPerRow().has_value() || getSlotsPerRow().value_or(1) < 1)
    return emitOpError("needs a positive number of slots per row (`of`) exactly for the domain slots");
  Block &block = getBody().front();
  if (block.getArgumentTypes() != getInputs().getTypes())
    return emitOpError() << "has region arguments " << block.getArgumentTypes() << ", expected "
                         << getInputs().getTypes();
  if (getDomain() == Domain::Slots && getKernelClass() == KernelClass::Row) {
    auto last = getInputs().empty() ? RankedTensorType() : dyn_cast<RankedTensorType>(getInputs().back().getType());
    if (!last || !last.hasStaticShape() || last.getRank() != 1 || !last.getElementType().isInteger(32))
      return emitOpError("over slots takes the offsets of the slots as its last operand");
  }
  auto yield = dyn_cast<YieldOp>(block.getTerminator());
  if (!yield)
    return emitOpError("must end with lm.yield");
  if (yield.getOperandTypes() != getOutputs().getTypes())
    return emitOpError() << "yields " << yield.getOperandTypes() << ", expected " << getOutputs().getTypes();
  return success();
}
