//===- GemmFragments.h - operands and sums of a matrix product on GPUs -*- C++ -*-===//
// What the ways to multiply share: which element of K a lane holds, the products of 64 of K, promotion, and the
// epilogue.

#ifndef MORAY_CODEGEN_NVPTX_GEMMFRAGMENTS_H
#define MORAY_CODEGEN_NVPTX_GEMMFRAGMENTS_H

#include "codegen/NVPTX/GpuBuilder.h"
#include "codegen/NVPTX/GpuTileConfig.h"
#include "llvm/Support/Error.h"

namespace moray::codegen {

/// An error where the spec is not one that the GPU emitters can compile.
llvm::Error checkGpuGemm(const GemmBody &spec);

/// Y[m, o] on tensor cores, activations as the A operand (16 rows), weights as the B operand (8 rows of w).
///
/// For each 128 of K a partial P from zero: bf16 m16n8k16 eight times (FP8 codes widened exactly), or e4m3 m16n8k32
/// four times where both sides are FP8 and the target multiplies them; then total = fma(P, scale, total) or total + P,
/// blocks ascending. Every path keeps this, so a result does not depend on the number of rows nor on tile sizes.
///
/// K is handled in units of 64. An instruction does not care which k its positions stand for as long as both operands
/// agree, so the lanes of a quad take 16-byte chunks of a row instead of the pairs of the PTX manual: weights go from
/// memory into fragments with 16-byte loads, without `ldmatrix` and, when they are streamed, without shared memory. The
/// assignment is fixed by the element types alone.
class GpuGemm {
public:
  using Value = mlir::Value;
  using Values = GpuBuilder::Values;
  using ValueRange = mlir::ValueRange;

  /// What a tile works on. `w` and `scales` point at row 0 of the matrix. Row m of the tile is row firstRow + m of the
  /// result and of the gather list.
  struct Place {
    Value w, scales;
    Value firstRow;    // i64
    Value count;       // i32, at least 1: live rows from firstRow on; those beyond the tile do not matter
    Value firstColumn; // i32, of the result
  };

protected:
  GpuGemm(const GemmBody &spec, GpuBuilder &g);

  const GemmBody &spec;
  GpuBuilder &g;
  unsigned parts;
  static constexpr unsigned blockK = 128, unitK = 64;
  unsigned xUnit, wUnit;   // bytes of 64 of K
  unsigned xLoads, wLoads; // 16-byte chunks of them that one lane holds
  unsigned groups, steps;  // instructions of a unit: `groups` chunks of activations, `steps` with each

  Value quadRow() { return g.shrl(g.lane(), 2); }  // row of the fragment: 0..7
  Value quadLane() { return g.andi(g.lane(), 3); } // 0..3
  /// Number of the 16-byte chunk of a unit that is a lane's load `load`.
  Value xChunk(unsigned load);
  Value wChunk(unsigned load);
  /// Four i32 of a 16-byte chunk.
  Values words(Value chunk);
  mlir::Type chunkType() { return KernelBuilder::vec(4, g.i32); }

  // ---- where operands are ----
  /// Row of x behind row `row` (i32) of the tile; rows beyond the last repeat it. i64.
  Value sourceRow(const Place &place, Value row);
  /// Start of the K elements of that row.
  Value sourceAddress(Value sourceRow);
  /// Row of w (i32) behind column `column` (i32) of the result; columns beyond the last repeat it.
  Value weightRow(Value part, Value column);
  Value weightRow(unsigned part, Value column) { return weightRow(g.constI(g.i1, part), column); }
  /// Whether chunks of x may be read whole, at 16-byte addresses, and every one of them lies in the row.
  bool xAligned() const { return xPiece == 16; }
  /// 16 bytes of a row of x at byte `offset` (i32); zeros beyond K.
  Value loadPieces(Value row, Value offset);
  /// Scale of a weight row and block; `column` is one of the result.
  Value weightScale(const Place &place, unsigned part, Value column, Value block);
  Value sourceScale(Value sourceRow, Value block);
  /// Whether the columns of a tile of `columns` share their row of scales, in each part.
  bool oneScaleRow(unsigned columns) const;

  // ---- products ----
  /// partials[n] += A * B[n] for one group of a unit; `low` and `high` are the words of rows q and q + 8, `weights[n]`
  /// the fragments of weightFragments.
  void multiply(const Values &low, const Values &high, llvm::ArrayRef<Values> weights,
                llvm::MutableArrayRef<Values> partials);
  /// Pairs of registers, one per step, from the words of the chunks of a unit of a weight row. Of several chunks only
  /// number `group` is asked for.
  Values weightFragments(llvm::ArrayRef<Values> chunks, unsigned group);
  /// total with P of one block added; `weight`, `source`: scales, or null.
  Value promote(Value total, Value partial, Value weight, Value source);

  // ---- epilogue ----
  /// Result of a column from its dot products: bias, activation.
  Value finish(llvm::ArrayRef<Value> dots, Value column);
  Value outAddress(const Place &place, Value row, Value column);
  /// i1: a fault of this value.
  Value isFault(Value value) { return g.isNotFinite(value); }

private:
  bool native() const; // e4m3 instructions
  unsigned xPiece;     // bytes of x that lie together and aligned, inside the row or outside of it
};

} // namespace moray::codegen

#endif
