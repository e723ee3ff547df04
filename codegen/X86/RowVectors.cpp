//===- RowVectors.cpp - pieces of rows and the fixed row reduction ------------===//
// See RowVectors.h.

#include "codegen/X86/RowVectors.h"

using namespace mlir;
using namespace moray::codegen;
using Values = VectorBuilder::Values;

Value moray::codegen::loadPiece(VectorBuilder &b, DType type, Value address, unsigned lanes, unsigned count,
                                uint64_t before) {
  if (count == lanes)
    return b.loadWide(type, address, lanes);
  if (before + count >= lanes)
    return b.loadWideTail(type, address, lanes, count, lanes);
  // Powers of two, widest first, put side by side: never touches a byte outside the piece.
  Value result = b.f(0.0f, lanes);
  for (unsigned done = 0; done < count;) {
    unsigned n = 1u << llvm::Log2_32(count - done);
    Value part = b.loadWide(type, b.at(address, int64_t(done * byteWidth(type))), n);
    SmallVector<int64_t> order;
    for (unsigned i = 0; i < lanes; ++i)
      order.push_back(i < n ? i : n - 1);
    Value spread = b.shuffle(part, part, order);
    order.clear();
    for (unsigned i = 0; i < lanes; ++i)
      order.push_back(i >= done && i < done + n ? lanes + (i - done) : i);
    result = b.shuffle(result, spread, order);
    done += n;
  }
  return result;
}

void moray::codegen::storePiece(VectorBuilder &b, DType type, Value lanes, Value address, unsigned count) {
  Value stored = type == DType::BF16 ? b.roundToBf16(lanes) : lanes;
  unsigned total = cast<VectorType>(stored.getType()).getNumElements();
  if (count == total)
    return b.store(stored, address);
  for (unsigned done = 0; done < count;) {
    unsigned n = 1u << llvm::Log2_32(count - done);
    SmallVector<int64_t> order;
    for (unsigned i = 0; i < n; ++i)
      order.push_back(done + i);
    b.store(b.shuffle(stored, stored, order), b.at(address, int64_t(done * byteWidth(type))));
    done += n;
  }
}

Values moray::codegen::zeroPartials(VectorBuilder &b, unsigned lanes) {
  return Values(kRowPartials / lanes, b.f(0.0f, lanes));
}

Value moray::codegen::sumPartials(VectorBuilder &b, ValueRange partials) {
  Values level(partials.begin(), partials.end());
  while (level.size() > 1) {
    Values next;
    for (size_t i = 0; i < level.size() / 2; ++i)
      next.push_back(b.addf(level[i], level[i + level.size() / 2]));
    level = next;
  }
  return b.treeSum(level[0]);
}

Value moray::codegen::maxBits(VectorBuilder &b, llvm::ArrayRef<Value> vectors) {
  Value most = b.bitcast(vectors[0], b.i32);
  for (Value v : vectors.drop_front())
    most = b.maxu(most, b.bitcast(v, b.i32));
  for (int64_t lanes = cast<VectorType>(most.getType()).getNumElements(); lanes > 1; lanes /= 2) {
    SmallVector<int64_t> low, high;
    for (int64_t i = 0; i < lanes / 2; ++i)
      low.push_back(i), high.push_back(i + lanes / 2);
    most = b.maxu(b.shuffle(most, most, low), b.shuffle(most, most, high));
  }
  return b.extract(most, 0);
}

Values moray::codegen::forBlocks(VectorBuilder &b, uint64_t width, ValueRange init,
                                 llvm::function_ref<Values(Value, unsigned, ValueRange)> body) {
  uint64_t full = width / kRowPartials * kRowPartials;
  Values carried(init.begin(), init.end());
  if (full)
    carried = b.forLoop(0, b.c64(full), kRowPartials, carried,
                        [&](Value base, ValueRange c) { return body(base, kRowPartials, c); });
  if (full < width)
    carried = body(b.c64(full), width - full, carried);
  return carried;
}
void moray::codegen::forBlocks(VectorBuilder &b, uint64_t width, llvm::function_ref<void(Value, unsigned)> body) {
  forBlocks(b, width, ValueRange{}, [&](Value base, unsigned count, ValueRange) {
    body(base, count);
    return Values{};
  });
}
