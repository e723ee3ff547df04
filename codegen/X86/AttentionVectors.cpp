//===- AttentionVectors.cpp - small matrix pieces in scratch ------------------===//
// See AttentionVectors.h.

#include "codegen/X86/AttentionVectors.h"

using namespace mlir;
using namespace moray::codegen;
using Values = VectorBuilder::Values;

void moray::codegen::panelProduct(VectorBuilder &b, Panel left, Panel right, uint64_t depth, unsigned rows,
                                  uint64_t columns, llvm::function_ref<Value(unsigned, Value, unsigned)> init,
                                  llvm::function_ref<void(unsigned, Value, Value)> done) {
  auto tile = [&](Value column, unsigned lanes) {
    Values sums;
    for (unsigned i = 0; i < rows; ++i)
      sums.push_back(init(i, column, lanes));
    sums = b.forLoop(0, b.c64(depth), 1, sums, [&](Value k, ValueRange carried) {
      Value r = b.load(VectorBuilder::vec(lanes, b.f32), right.at(b, k, column));
      Value first = b.at(left.base, b.shl(k, 2));
      Values next;
      for (unsigned i = 0; i < rows; ++i)
        next.push_back(b.fma(b.splat(b.load(b.f32, b.at(first, i * left.pitch)), lanes), r, carried[i]));
      return next;
    });
    for (unsigned i = 0; i < rows; ++i)
      done(i, column, sums[i]);
  };
  unsigned widest = 4 * b.target.floatLanes;
  uint64_t full = columns / widest * widest;
  if (full)
    b.forLoop(0, b.c64(full), widest, [&](Value column) { tile(column, widest); });
  if (full < columns)
    tile(b.c64(full), columns - full);
}

/// Transposes n vectors of n lanes: interleaving rows i and i + n/2 rotates the (row, lane) address by one bit, log2(n)
/// rotations swap the two halves of the address.
static Values transposeSquare(VectorBuilder &b, Values rows) {
  int64_t n = rows.size();
  SmallVector<int64_t> low, high;
  for (int64_t i = 0; i < n / 2; ++i) {
    low.append({i, n + i});
    high.append({n / 2 + i, n + n / 2 + i});
  }
  for (int64_t round = 1; round < n; round *= 2) {
    Values next;
    for (int64_t i = 0; i < n / 2; ++i) {
      next.push_back(b.shuffle(rows[i], rows[i + n / 2], low));
      next.push_back(b.shuffle(rows[i], rows[i + n / 2], high));
    }
    rows = next;
  }
  return rows;
}

Values moray::codegen::transpose16(VectorBuilder &b, Values rows) {
  if (b.target.floatLanes >= kTile)
    return transposeSquare(b, rows);
  // Quarters of 8 x 8, the size of a register.
  const SmallVector<int64_t> first{0, 1, 2, 3, 4, 5, 6, 7}, second{8, 9, 10, 11, 12, 13, 14, 15};
  auto quarter = [&](unsigned row, ArrayRef<int64_t> lanes) {
    Values part;
    for (unsigned i = 0; i < 8; ++i)
      part.push_back(b.shuffle(rows[row + i], rows[row + i], lanes));
    return transposeSquare(b, part);
  };
  SmallVector<int64_t> both = first;
  both.append(second);
  Values result;
  for (ArrayRef<int64_t> lanes : {ArrayRef<int64_t>(first), ArrayRef<int64_t>(second)}) {
    Values upper = quarter(0, lanes), lower = quarter(8, lanes);
    for (unsigned i = 0; i < 8; ++i)
      result.push_back(b.shuffle(upper[i], lower[i], both));
  }
  return result;
}

Value moray::codegen::loadWeight(VectorBuilder &b, const AttentionBody &spec, Value row, Value column, unsigned lanes) {
  int64_t bytes = byteWidth(spec.w), pitch = (spec.latent * bytes + 63) / 64 * 64;
  Value w = b.loadWide(spec.w, b.at(b.at(b.operand(spec.wArg), b.mul(row, pitch)), b.mul(column, bytes)), lanes);
  if (spec.scalesArg < 0)
    return w;
  int64_t scalePitch = ((spec.latent + 127) / 128 * 4 + 63) / 64 * 64;
  Value scales = b.at(b.operand(spec.scalesArg), b.mul(b.shrl(row, 7), scalePitch));
  Value scale = b.load(b.f32, b.at(scales, b.shl(b.shrl(column, 7), 2)));
  return b.mulf(w, b.splat(b.mulf(scale, b.f(256.0f)), lanes)); // codes come as value * 2^-8
}
Value moray::codegen::loadWeight16(VectorBuilder &b, const AttentionBody &spec, Value row, Value column) {
  return loadWeight(b, spec, row, column, kTile);
}

Value moray::codegen::loadIndex(VectorBuilder &b, int arg, Value i) {
  return b.zext(b.load(b.i32, b.at(b.operand(arg), b.shl(i, 2))), b.i64);
}

Value moray::codegen::cacheBlock(VectorBuilder &b, const AttentionBody &spec, Value sequence, Value block) {
  Value page = loadIndex(b, spec.rowsArg + 3, b.add(b.mul(sequence, b.capacity(Symbol::P)), block));
  return b.at(b.operand(spec.cacheArg), b.mul(page, int64_t(spec.page * spec.cacheWidth() * byteWidth(spec.cache))));
}

void moray::codegen::widenRow(VectorBuilder &b, DType type, Value from, Value to, uint64_t count) {
  uint64_t full = count / kTile * kTile;
  int64_t bytes = byteWidth(type);
  if (full)
    b.forLoop(0, b.c64(full), kTile,
              [&](Value i) { b.store(b.loadWide(type, b.at(from, b.mul(i, bytes)), kTile), b.at(to, b.shl(i, 2))); });
  if (full < count)
    b.store(loadPiece(b, type, b.at(from, int64_t(full) * bytes), kTile, count - full, full),
            b.at(to, int64_t(4 * full)));
}
