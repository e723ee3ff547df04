//===- RowVectors.h - pieces of rows and the fixed row reduction ------*- C++ -*-===//
// Loads, stores and reductions over rows whose width is no multiple of the vector width.

#ifndef MORAY_CODEGEN_X86_ROWVECTORS_H
#define MORAY_CODEGEN_X86_ROWVECTORS_H

#include "codegen/X86/VectorBuilder.h"

namespace moray::codegen {

/// Partial sums of a row reduction: element i belongs to partial i mod 128.
constexpr unsigned kRowPartials = 128;

/// Lanes that row loops work on at once: four registers.
inline unsigned rowLanes(const Target &target) { return target.floatLanes * 4; }

/// Elements [column, column + count) of a row that starts at `row`, as `lanes` f32 lanes; lanes from `count` on are
/// zero. The row has `rowElements` elements in memory. `column` is dynamic but known to be at least `before` (elements
/// that may be touched as well).
mlir::Value loadPiece(VectorBuilder &b, DType type, mlir::Value address, unsigned lanes, unsigned count,
                      uint64_t before = 0);
/// Stores the first `count` lanes, rounded to `type` (F32, BF16; F8E4M3 stores i8 lanes as they are).
void storePiece(VectorBuilder &b, DType type, mlir::Value lanes, mlir::Value address, unsigned count);

/// f32 zeros: the 128 partial sums as 128 / lanes vectors.
VectorBuilder::Values zeroPartials(VectorBuilder &b, unsigned lanes);
/// The tree +64, +32, ..., +1 over 128 partials in ascending order.
mlir::Value sumPartials(VectorBuilder &b, mlir::ValueRange partials);
/// Largest lane of non-negative f32 vectors by their bits, as i32: order does not matter, and a NaN or infinity wins.
mlir::Value maxBits(VectorBuilder &b, llvm::ArrayRef<mlir::Value> vectors);

/// Walks [0, width) in blocks of 128 with a rolled loop for the full blocks. `body(base, count, carried)` gets the
/// first element (i64), the number of elements (static, at most 128) and returns the carried values.
VectorBuilder::Values
forBlocks(VectorBuilder &b, uint64_t width, mlir::ValueRange init,
          llvm::function_ref<VectorBuilder::Values(mlir::Value base, unsigned count, mlir::ValueRange carried)> body);
void forBlocks(VectorBuilder &b, uint64_t width, llvm::function_ref<void(mlir::Value base, unsigned count)> body);

} // namespace moray::codegen

#endif
