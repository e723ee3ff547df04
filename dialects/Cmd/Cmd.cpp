// Registration and verifiers of the cmd dialect.
#include "dialects/Cmd/Cmd.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace moray::cmd;

#include "dialects/Cmd/CmdDialect.cpp.inc"
#include "dialects/Cmd/CmdEnums.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/Cmd/CmdTypes.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/Cmd/CmdAttrs.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/Cmd/CmdOps.cpp.inc"

void CmdDialect::initialize() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/Cmd/CmdTypes.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/Cmd/CmdAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/Cmd/CmdOps.cpp.inc"
      >();
}

bool moray::cmd::isCommand(Operation *op) { return isa<LaunchOp, CallOp, CopyOp, CollectiveOp>(op); }

int64_t moray::cmd::operandCount(Type type) { return isa<lm::RowsType>(type) ? 5 : type.isIndex() ? 0 : 1; }

int64_t moray::cmd::operandCount(KernelOp kernel) {
  Block &block = kernel.getBody().front();
  int64_t count = block.getTerminator()->getNumOperands();
  for (Type type : block.getArgumentTypes())
    count += operandCount(type);
  return count;
}

LogicalResult KernelOp::verify() {
  if ((getDomain() == lm::Domain::Slots) != getSlotsPerRow().has_value())
    return emitOpError("needs slots per row (`of`) exactly for the domain slots");
  if (!isa<lm::YieldOp>(getBody().front().back()))
    return emitOpError("must end with lm.yield");
  return success();
}

LogicalResult InvokeOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto kernel = symbols.lookupNearestSymbolFrom<KernelOp>(*this, getKernelAttr());
  if (!kernel)
    return emitOpError() << "refers to " << getKernelAttr() << ", which is no cmd.kernel";
  Block &block = kernel.getBody().front();
  if (getInputs().getTypes() != TypeRange(block.getArgumentTypes()) ||
      getOutputs().getTypes() != TypeRange(block.getTerminator()->getOperandTypes()))
    return emitOpError() << "does not match the operands and results of " << getKernelAttr();
  return success();
}

LogicalResult ProgramOp::verify() {
  int64_t commands = 0;
  for (Operation &op : getBody().front()) {
    if (op.getDialect() != (*this)->getDialect())
      return op.emitOpError("may not stand in a cmd.program");
    commands += isCommand(&op);
  }
  if (getKind() != ProgramKind::Layer && getBody().front().getNumArguments() != 0)
    return emitOpError("has parameters, but only layer programs take them");
  for (BufferOp buffer : getBody().front().getOps<BufferOp>())
    if (buffer.getFirst() &&
        (*buffer.getFirst() > *buffer.getLast() || *buffer.getLast() >= static_cast<uint64_t>(commands)))
      return buffer.emitOpError() << "has the lifetime [" << *buffer.getFirst() << ", " << *buffer.getLast()
                                  << "] in a program of " << commands << " commands";
  return success();
}

LogicalResult WeightOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto weight = symbols.lookupNearestSymbolFrom<lm::WeightOp>(*this, getWeightAttr());
  if (!weight)
    return emitOpError() << "refers to " << getWeightAttr() << ", which is no lm.weight";
  if (weight.getTensorType().getElementType() != getType().getElementType())
    return emitOpError() << "has type " << getType() << ", but " << getWeightAttr() << " holds " << weight.getType();
  return success();
}

LogicalResult LaunchOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto kernel = symbols.lookupNearestSymbolFrom<KernelOp>(*this, getKernelAttr());
  if (!kernel)
    return emitOpError() << "refers to " << getKernelAttr() << ", which is no cmd.kernel";
  if (static_cast<int64_t>(getArgs().size()) != operandCount(kernel))
    return emitOpError() << "passes " << getArgs().size() << " buffers, but " << getKernelAttr() << " takes "
                         << operandCount(kernel);
  return success();
}

LogicalResult CallOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto program = symbols.lookupNearestSymbolFrom<ProgramOp>(*this, getCalleeAttr());
  if (!program || program.getKind() != ProgramKind::Layer)
    return emitOpError() << "refers to " << getCalleeAttr() << ", which is no layer program";
  if (program.getBody().front().getArgumentTypes() != getArgs().getTypes())
    return emitOpError() << "passes " << getArgs().getTypes() << ", expected "
                         << program.getBody().front().getArgumentTypes();
  return getCount() > 0 ? success() : emitOpError("has an empty layer range");
}

/// Buffers come in pairs of one type: what is sent and what is received. Indices are i32, gates and scales f32.
LogicalResult CollectiveOp::verify() {
  if (getWait())
    return getStart() || !getArgs().empty() || getRowBytes() || getScaleBytes()
               ? emitOpError("waits, expected neither buffers nor sizes")
               : success();
  bool dispatch = getCollective() == Collective::Dispatch, scales = getScaleBytes() > 0;
  if (getArgs().size() != (dispatch ? 7 + 2 * scales : 3) || (scales && !dispatch))
    return emitOpError() << "has " << getArgs().size() << " buffers, expected "
                         << (dispatch ? "x, tokens, offsets, gates, what is received of the first three, and scales as "
                                        "sent and received with `scale_bytes`"
                                      : "received rows, own rows and gates, no scales");
  auto element = [&](size_t i) { return cast<BufferType>(getArgs()[i].getType()).getElementType(); };
  auto check = [&](size_t i, Type expected) -> LogicalResult {
    return element(i) == expected
               ? success()
               : emitOpError() << "has a buffer of " << element(i) << " as argument " << i << ", expected " << expected;
  };
  Type i32 = IntegerType::get(getContext(), 32), f32 = Float32Type::get(getContext()), rows = element(0);
  SmallVector<Type> types{rows, rows, f32};
  if (dispatch)
    types = {rows, i32, i32, f32, rows, i32, i32, f32, f32};
  for (size_t i = 0; i < getArgs().size(); ++i)
    if (failed(check(i, types[i])))
      return failure();
  uint64_t elementBytes = rows.getIntOrFloatBitWidth() / 8;
  if (getRowBytes() == 0 || elementBytes == 0 || getRowBytes() % elementBytes != 0 || getScaleBytes() % 4 != 0)
    return emitOpError() << "has rows of " << getRowBytes() << " bytes of " << rows << " and scales of "
                         << getScaleBytes() << " bytes";
  return success();
}
