// The cmd dialect: programs over buffers, the form that the artifact stores (ops in CmdOps.td).
#ifndef MORAY_DIALECTS_CMD_CMD_H
#define MORAY_DIALECTS_CMD_CMD_H

#include "dialects/LM/LM.h"

#include "dialects/Cmd/CmdDialect.h.inc"
#include "dialects/Cmd/CmdEnums.h.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/Cmd/CmdTypes.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/Cmd/CmdAttrs.h.inc"
#define GET_OP_CLASSES
#include "dialects/Cmd/CmdOps.h.inc"

namespace moray::cmd {
/// Name of the module attribute with the upper bound of each capacity symbol: {T = 4096 : i64, ...}.
constexpr llvm::StringLiteral kSymbolsAttr = "cmd.symbols";
/// True for launch, call, copy and collective: what lifetimes count.
bool isCommand(mlir::Operation *op);
/// Pointers that a value takes in a launch: five for !lm.rows, none for an index, else one.
int64_t operandCount(mlir::Type type);
/// Pointers of a launch of `kernel`: block arguments, then results.
int64_t operandCount(KernelOp kernel);
} // namespace moray::cmd

#endif
