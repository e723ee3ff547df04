//===- AttentionTiles.h - tiles in shared memory for attention -------*- C++ -*-===//
// What the GPU attention kernels share: bf16 tiles in shared memory, how rows and weights get there, fragments, plans.

#ifndef MORAY_CODEGEN_NVPTX_ATTENTIONTILES_H
#define MORAY_CODEGEN_NVPTX_ATTENTIONTILES_H

#include "codegen/AttentionSpec.h"
#include "codegen/Emitter.h"
#include "codegen/NVPTX/GpuBuilder.h"

namespace moray::codegen {

constexpr uint64_t kMma = 16;         // rows and depth of one matrix instruction
constexpr uint64_t kScaleBlock = 128; // rows and columns of kv_b under one scale
inline uint64_t padMma(uint64_t n) { return (n + kMma - 1) / kMma * kMma; }

/// A bf16 matrix in shared memory. Rows are 16 bytes longer than a multiple of 32, so that the eight rows of an 8x8
/// matrix lie in different banks.
struct GpuTile {
  mlir::Value base;
  int64_t pitch = 0; // bytes
  mlir::Value lane;  // i32 as keepHere gives it; empty: that of the builder
  static uint64_t pitchOf(uint64_t columns) { return 2 * columns + 16; }
  static uint64_t bytesOf(uint64_t rows, uint64_t columns) { return rows * pitchOf(columns); }
  GpuTile() = default;
  GpuTile(mlir::Value base, uint64_t columns) : base(base), pitch(int64_t(pitchOf(columns))) {}
  /// Address of an element (i64 indices).
  mlir::Value at(GpuBuilder &g, mlir::Value row, mlir::Value column) const {
    return g.at(g.at(base, g.mul(row, pitch)), g.shl(column, 1));
  }
};

/// Rows that a tile is filled from; both take the row within the tile (i64).
struct TileSource {
  llvm::function_ref<mlir::Value(mlir::Value row)> address; // global address of the first element; not read if not live
  llvm::function_ref<mlir::Value(mlir::Value row)> live;    // i1; rows that are not live become zero
  bool aligned = true;                                      // addresses are multiples of 16 bytes
  bool rolled = false;                                      // keepRolled
};

/// Copies `columns` bf16 elements of `rows` rows to `tile` from its column `tileColumn` on; zeros follow up to `padded`
/// columns (a multiple of 16). All threads take part. Ends with the copies committed, not awaited.
void stageRows(GpuBuilder &g, const GpuTile &tile, uint64_t rows, uint64_t columns, uint64_t tileColumn,
               uint64_t padded, const TileSource &source);

/// A part of kv_b: columns [firstColumn, firstColumn + columns) of the rows that `row` names.
struct WeightPart {
  llvm::function_ref<mlir::Value(mlir::Value row)> row;  // row of kv_b for a row of the tile; any valid one if not live
  llvm::function_ref<mlir::Value(mlir::Value row)> live; // i1
  mlir::Value firstColumn;                               // i64, a multiple of 16
  unsigned ahead = 4;                                    // loads of codes under way: 4 registers each
  bool rolled = false;                                   // keepRolled
};
/// Weights as bf16 in `tile`: FP8 codes widened exactly, without their scales. `columns` is a multiple of 16; columns
/// beyond the latent become zero. Committed, not awaited, as above.
void stageWeights(GpuBuilder &g, const AttentionBody &spec, const GpuTile &tile, uint64_t rows, uint64_t columns,
                  const WeightPart &part);
/// Scale of row `row` of kv_b and block `block` of its columns (i64).
mlir::Value weightScale(GpuBuilder &g, const AttentionBody &spec, mlir::Value row, mlir::Value block);

/// `value` (i32), but LLVM does not know: what is computed from it is not moved out of the loops around. Addresses of
/// all parts of a loop would otherwise wait in registers for their turn.
mlir::Value keepHere(GpuBuilder &g, mlir::Value value);

/// At the beginning of a loop's body: ptxas does not unroll the loop, which would take registers where they are short.
void keepRolled(GpuBuilder &g);

/// Waits for all copies of all threads.
void awaitTiles(GpuBuilder &g);

/// A (16 rows x 16 of depth) at (row, column).
GpuBuilder::Values fragmentA(GpuBuilder &g, const GpuTile &tile, mlir::Value row, mlir::Value column);
/// B of 16 columns of the result and 16 of depth: two fragments of two registers each. The tile holds columns of the
/// result as rows (fragmentB), or depth as rows (fragmentBTransposed).
GpuBuilder::Values fragmentB(GpuBuilder &g, const GpuTile &tile, mlir::Value row, mlir::Value column);
GpuBuilder::Values fragmentBTransposed(GpuBuilder &g, const GpuTile &tile, mlir::Value row, mlir::Value column);

/// Accumulators: element i of tile t is at [4 t + i]; elements 0, 1 are row lane / 4, 2, 3 that row + 8; elements 0, 2
/// are column 2 (lane % 4), 1, 3 the next one.
GpuBuilder::Values zeros(GpuBuilder &g, size_t count);
/// acc[tile] += a * b for one 8-column tile.
void multiplyInto(GpuBuilder &g, llvm::MutableArrayRef<mlir::Value> acc, size_t tile, mlir::ValueRange a,
                  mlir::ValueRange b);
/// An element of a matrix, i64.
struct Place {
  mlir::Value row, column;
};
/// First row (lane / 4) and first column (2 (lane % 4)) of this thread's accumulators.
Place fragmentPlace(GpuBuilder &g, mlir::Value lane = {});
/// Joins over the four lanes that share accumulator rows.
mlir::Value joinRow(GpuBuilder &g, mlir::Value value, llvm::function_ref<mlir::Value(mlir::Value, mlir::Value)> join);

/// Stores two neighbouring results as bf16 at element `column` of a row of `width` elements that begins at `row`; the
/// columns from `width` on do not exist.
void storePair(GpuBuilder &g, mlir::Value row, mlir::Value column, uint64_t width, mlir::Value low, mlir::Value high);

/// int32 at index `i` of pointer `arg`, as i64.
mlir::Value loadIndex(GpuBuilder &g, int arg, mlir::Value i);
/// First byte of key block `block` of sequence `sequence` in the cache.
mlir::Value cacheBlock(GpuBuilder &g, const AttentionBody &spec, mlir::Value sequence, mlir::Value block);

// One plan and one body per op; Attention.cpp dispatches.
GpuPlan planAbsorb(const AttentionBody &spec);
void emitAbsorb(const AttentionBody &spec, GpuBuilder &g);
GpuPlan planLatentAttention(const AttentionBody &spec);
void emitLatentAttention(const AttentionBody &spec, unsigned stage, GpuBuilder &g);
GpuPlan planExpandedAttention(const AttentionBody &spec);
void emitExpandedAttention(const AttentionBody &spec, GpuBuilder &g);

} // namespace moray::codegen

#endif
