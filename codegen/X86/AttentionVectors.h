//===- AttentionVectors.h - small matrix pieces in scratch ------------*- C++ -*-===//
// What the attention kernels share: register-tiled products of f32 panels, 16x16 transposes, rows of kv_b as f32, the
// paged cache.

#ifndef MORAY_CODEGEN_X86_ATTENTIONVECTORS_H
#define MORAY_CODEGEN_X86_ATTENTIONVECTORS_H

#include "codegen/AttentionSpec.h"
#include "codegen/X86/RowVectors.h"

namespace moray::codegen {

constexpr unsigned kTile = 16; // lanes of a panel's unit: widths are padded to it
inline uint64_t padTile(uint64_t n) { return (n + kTile - 1) / kTile * kTile; }

/// An f32 matrix in memory: first element and bytes from row to row.
struct Panel {
  mlir::Value base;
  int64_t pitch = 0;
  mlir::Value at(VectorBuilder &b, mlir::Value row, uint64_t column) const {
    return b.at(b.at(base, b.mul(row, pitch)), int64_t(4 * column));
  }
  mlir::Value at(VectorBuilder &b, mlir::Value row, mlir::Value column) const {
    return b.at(b.at(base, b.mul(row, pitch)), b.shl(column, 2));
  }
};

/// Rows of a register tile of panelProduct.
inline unsigned tileRows(const Target &target) { return target.vectorRegisters >= 32 ? 4 : 2; }

/// acc[i][j] = init + sum_k left[i][k] * right[k][j], k ascending, one fma chain per element; `rows` (static) rows of
/// left, `columns` (a multiple of 16) of right. `done` gets whole vectors of columns.
void panelProduct(VectorBuilder &b, Panel left, Panel right, uint64_t depth, unsigned rows, uint64_t columns,
                  llvm::function_ref<mlir::Value(unsigned row, mlir::Value column, unsigned lanes)> init,
                  llvm::function_ref<void(unsigned row, mlir::Value column, mlir::Value sum)> done);

/// Transposes 16 vectors of 16 lanes.
VectorBuilder::Values transpose16(VectorBuilder &b, VectorBuilder::Values rows);

/// 16 elements of kv_b's row (i64, over all heads) from column `column` (i64, a multiple of 16) as f32, scale included.
mlir::Value loadWeight16(VectorBuilder &b, const AttentionBody &spec, mlir::Value row, mlir::Value column);
/// The same for `lanes` elements that lie in one block of 128.
mlir::Value loadWeight(VectorBuilder &b, const AttentionBody &spec, mlir::Value row, mlir::Value column,
                       unsigned lanes);

/// int32 at index `i` of pointer `arg`, as i64.
mlir::Value loadIndex(VectorBuilder &b, int arg, mlir::Value i);
/// First byte of key block `block` (i64) of sequence `sequence` in the cache.
mlir::Value cacheBlock(VectorBuilder &b, const AttentionBody &spec, mlir::Value sequence, mlir::Value block);

/// Copies `count` elements of type `type` at `from` to f32 at `to`, zero up to a multiple of 16.
void widenRow(VectorBuilder &b, DType type, mlir::Value from, mlir::Value to, uint64_t count);

} // namespace moray::codegen

#endif
