// The lm dialect: what every transformer has (ops in LMOps.td, LMRowOps.td, LMLinearOps.td).
#ifndef MORAY_DIALECTS_LM_LM_H
#define MORAY_DIALECTS_LM_LM_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/CallInterfaces.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/LM/LMDialect.h.inc"
#include "dialects/LM/LMEnums.h.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/LM/LMTypes.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/LM/LMAttrs.h.inc"
#define GET_OP_CLASSES
#include "dialects/LM/LMOps.h.inc"

namespace moray::lm {

/// Elements of an FP8 block and of an activation group along K, and rows of a weight block (spec fp8.md 2).
constexpr int64_t kBlock = 128;

/// Name of the module attribute with the numeric mode.
constexpr llvm::StringLiteral kNumericsAttr = "lm.numerics";
/// Name of the attribute of lm.program with its kind.
constexpr llvm::StringLiteral kKindAttr = "lm.kind";

/// Blocks of 128 that cover n elements.
inline int64_t blocksOf(int64_t n) { return (n + kBlock - 1) / kBlock; }

/// Width of a rank-2 activation tensor; -1 for other ranks and for a width that is not static.
inline int64_t widthOf(mlir::Value value) {
  auto type = llvm::cast<mlir::RankedTensorType>(value.getType());
  return type.getRank() == 2 && !type.isDynamicDim(1) ? type.getDimSize(1) : -1;
}

// Verifier helpers shared by our dialects. Each emits an error on `op` that names the operand, what was found and what
// was expected.

/// `value` has rank 2 with a dynamic leading dimension and `width` columns; fails for any value when `width` is
/// negative.
mlir::LogicalResult verifyActivation(mlir::Operation *op, mlir::Value value, llvm::StringRef what, int64_t width);
/// `value` has rank 2 with a dynamic leading dimension and some static width.
mlir::LogicalResult verifyActivation(mlir::Operation *op, mlir::Value value, llvm::StringRef what);
/// `value` has rank 1 with a dynamic dimension.
mlir::LogicalResult verifyVector(mlir::Operation *op, mlir::Value value, llvm::StringRef what);
/// `value` has exactly the static shape `shape`.
mlir::LogicalResult verifyShape(mlir::Operation *op, mlir::Value value, llvm::StringRef what,
                                llvm::ArrayRef<int64_t> shape);
/// Scales of a `[.., O, K]` weight: present exactly for f8E4M3FN, with shape `[.., ceil(O/128), ceil(K/128)]`.
mlir::LogicalResult verifyScales(mlir::Operation *op, mlir::Value weight, mlir::Value scales, llvm::StringRef what);
/// `activation` is f32, bf16 or f8E4M3FN and agrees with the element type of the rows that enter the op.
mlir::LogicalResult verifyActivationType(mlir::Operation *op, mlir::Type activation, mlir::Value rows);

} // namespace moray::lm

#endif
