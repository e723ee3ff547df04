//===- RowPieces.cpp - a lane's share of 128 row elements -------------------------===//
// See RowPieces.h.

#include "codegen/NVPTX/RowPieces.h"
#include "codegen/Math.h"

using namespace mlir;
using namespace moray::codegen;
using Values = GpuBuilder::Values;

/// Whether element `offset` of the lane's four exists (i1).
static Value exists(GpuBuilder &g, unsigned count, unsigned offset) {
  return g.ult(g.mul(g.lane(), int64_t(kPerLane)), int64_t(count) - int64_t(offset));
}

Value moray::codegen::loadFour(GpuBuilder &g, const LaneMemory &m) {
  Type stored = m.type == DType::BF16 ? g.i16 : g.f32;
  auto four = g.vec(kPerLane, stored);
  auto whole = [&] {
    return m.invariant ? g.loadInvariant(four, m.address, m.alignment) : g.load(four, m.address, m.alignment);
  };
  Value bits, zero = stored == g.f32 ? g.constF(four, 0) : g.constI(four, 0);
  if (m.count == kRowGroup) {
    bits = whole();
  } else if (m.count % kPerLane == 0) {
    auto inside = [&] { return Values{whole()}; };
    bits = g.ifElse(exists(g, m.count, 0), TypeRange(four), inside, [&] { return Values{zero}; })[0];
  } else {
    bits = zero;
    for (unsigned e = 0; e < kPerLane && e < m.count; ++e) {
      auto inside = [&] {
        return Values{g.insert(g.load(stored, g.at(m.address, int64_t(e * byteWidth(m.type)))), bits, e)};
      };
      bits = g.ifElse(exists(g, m.count, e), TypeRange(four), inside, [&] { return Values{bits}; })[0];
    }
  }
  return m.type == DType::BF16 ? g.widenBf16(bits) : bits;
}

void moray::codegen::storeFour(GpuBuilder &g, Value value, const LaneMemory &m) {
  Value bits = m.type == DType::BF16 ? g.roundToBf16(value) : value;
  if (m.count == kRowGroup)
    return g.store(bits, m.address, m.alignment);
  if (m.count % kPerLane == 0)
    return g.ifThen(exists(g, m.count, 0), [&] { g.store(bits, m.address, m.alignment); });
  for (unsigned e = 0; e < kPerLane && e < m.count; ++e)
    g.ifThen(exists(g, m.count, e),
             [&] { g.store(g.extract(bits, e), g.at(m.address, int64_t(e * byteWidth(m.type)))); });
}

Value moray::codegen::sumFours(GpuBuilder &g, Value partials) {
  Values p;
  for (unsigned e = 0; e < kPerLane; ++e)
    p.push_back(g.extract(partials, e));
  for (unsigned lanes = 16; lanes; lanes /= 2)
    for (Value &v : p)
      v = g.addf(v, g.shuffleXor(v, lanes));
  return g.addf(g.addf(p[0], p[2]), g.addf(p[1], p[3]));
}

Value moray::codegen::sumStrided(GpuBuilder &g, ValueRange p) {
  Value sum = g.addf(g.addf(p[0], p[2]), g.addf(p[1], p[3]));
  for (unsigned lanes = 16; lanes; lanes /= 2)
    sum = g.addf(sum, g.shuffleXor(sum, lanes));
  return sum;
}

Value moray::codegen::orderedKey(GpuBuilder &g, Value x) {
  Value bits = g.bitcast(math::canonicalZero(g, x), g.i32);
  return g.xori(bits, g.ori(g.shra(bits, 31), g.constI(bits.getType(), int32_t(0x80000000))));
}
