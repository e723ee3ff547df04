//===- AttentionExpanded.cpp - attention over expanded keys and values --------===//
// Emits mla.attention: a task is one head of one sequence and runs over all key blocks, so every latent is expanded
// once per head.
//
// Scratch (f32): kv_b of the head transposed [c, n + v], and per key block of `page` positions the latents, keys
// (transposed), values; per query row its context, maximum and sum. A tile of 4 (ymm: 2) rows x 64 (32) columns lives
// in registers. Flops per key and head: 2 c (n + v) to expand, 2 (n + r + v) per query row; bytes: the latent block
// once, everything else stays in the second-level cache.

#include "codegen/Math.h"
#include "codegen/X86/Attention.h"
#include "codegen/X86/AttentionVectors.h"
#include <limits>

using namespace mlir;
using namespace moray::codegen;
using Values = VectorBuilder::Values;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Byte offsets of the scratch panels.
struct Layout {
  uint64_t n, r, v, c; // padded to tiles
  uint64_t weights, latents, keys, keysT, values, probabilities, query, state, statePitch;
  Layout(const AttentionBody &s, unsigned rows)
      : n(padTile(s.nope)), r(padTile(s.rope)), v(padTile(s.value)), c(padTile(s.latent)) {
    uint64_t end = 0;
    auto place = [&](uint64_t &offset, uint64_t floats) { offset = end, end += (floats * 4 + 63) / 64 * 64; };
    place(weights, c * (n + v));
    place(latents, s.page * c);
    place(keys, s.page * n);
    place(keysT, (n + r) * s.page);
    place(values, s.page * v);
    place(probabilities, rows * s.page);
    place(query, rows * (n + r));
    state = end;
    statePitch = 4 * (v + kTile); // context, maximum, sum
  }
};

class ExpandedEmitter {
public:
  ExpandedEmitter(const AttentionBody &spec, VectorBuilder &b)
      : spec(spec), b(b), tile(tileRows(b.target)), layout(spec, tile), page(spec.page) {
    weights = panel(layout.weights, layout.n + layout.v), latents = panel(layout.latents, layout.c);
    keys = panel(layout.keys, layout.n), keysT = panel(layout.keysT, spec.page),
    values = panel(layout.values, layout.v);
    probabilities = panel(layout.probabilities, spec.page), query = panel(layout.query, layout.n + layout.r);
    state = {b.at(b.scratch(), int64_t(layout.state)), int64_t(layout.statePitch)};
  }
  void emit();

private:
  const AttentionBody &spec;
  VectorBuilder &b;
  unsigned tile;
  Layout layout;
  int64_t page;
  Panel weights, latents, keys, keysT, values, probabilities, query, state;
  Value head, sequence, begin, count, firstPosition, lastPosition;

  Panel panel(uint64_t offset, uint64_t width) { return {b.at(b.scratch(), int64_t(offset)), int64_t(4 * width)}; }
  Value rounded(Value v) { return spec.round ? b.quantiseBf16(v) : v; }
  /// A number of keys rounded up to whole tiles.
  Value endOfTiles(Value keys) { return b.mul(b.ceilDiv(keys, kTile), int64_t(kTile)); }
  void loadWeights();
  void clearState();
  void loadLatents(Value block, Value validKeys);
  void quantiseLatent(Value row);
  void loadRopeKeys(Value block, Value validKeys);
  void clearPanel(const Panel &panel, uint64_t rows);
  void expandKeys(Value keyEnd);
  void attendTile(Value firstRow, Value firstKey);
  Value reduce(Values pieces, llvm::function_ref<Value(Value, Value)> join);
  Value softmaxRow(unsigned i, Value firstRow, Value firstKey);
  void writeRows();
};

/// The head's rows of kv_b as f32, transposed to [c][n | v]. Padding columns repeat a row: they meet zeros of q or are
/// never written.
void ExpandedEmitter::loadWeights() {
  Value firstRow = b.mul(head, int64_t(spec.headRows()));
  auto part = [&](uint64_t rowOffset, uint64_t rows, uint64_t columnOffset) {
    Value first = b.add(firstRow, int64_t(rowOffset));
    b.forLoop(0, b.c64(padTile(rows)), kTile, [&](Value group) {
      b.forLoop(0, b.c64(layout.c), kTile, [&](Value c) {
        Values lanes;
        for (unsigned i = 0; i < kTile; ++i)
          lanes.push_back(loadWeight16(b, spec, b.add(first, b.minu(b.add(group, i), int64_t(rows - 1))), c));
        lanes = transpose16(b, lanes);
        for (unsigned i = 0; i < kTile; ++i)
          b.store(lanes[i], b.at(weights.at(b, b.add(c, i), columnOffset), b.shl(group, 2)));
      });
    });
  };
  if (spec.nope == layout.n)
    return part(0, spec.headRows(), 0); // key and value rows are neighbours on both sides
  part(0, spec.nope, 0);
  part(spec.nope, spec.value, layout.n);
}

void ExpandedEmitter::clearState() {
  b.forLoop(0, b.add(count, int64_t(tile)), 1, [&](Value row) {
    b.forLoop(0, b.c64(layout.v), kTile,
              [&](Value c) { b.store(b.f(0.0f, kTile), b.at(state.at(b, row, 0), b.shl(c, 2))); });
    b.store(b.f(-kInfinity), state.at(b, row, layout.v));
    b.store(b.f(0.0f), state.at(b, row, layout.v + 1));
  });
}

void ExpandedEmitter::clearPanel(const Panel &panel, uint64_t rows) {
  b.forLoop(0, b.c64(rows * panel.pitch), 4 * kTile, [&](Value i) { b.store(b.f(0.0f, kTile), b.at(panel.base, i)); });
}

/// Groups of 128 of a latent become dec(code) * scale (spec fp8.md 4 and 6).
void ExpandedEmitter::quantiseLatent(Value row) {
  forBlocks(b, layout.c, [&](Value base, unsigned blockCount) {
    Values parts, magnitudes;
    for (unsigned i = 0; i < blockCount; i += kTile) {
      parts.push_back(b.load(VectorBuilder::vec(kTile, b.f32), b.at(row, b.shl(b.add(base, i), 2))));
      magnitudes.push_back(b.absf(parts.back()));
    }
    Value most = b.bitcast(maxBits(b, magnitudes), b.f32);
    Value scale = b.divf(b.select(b.cmpf(arith::CmpFPredicate::OLT, most, b.f(1e-4f)), b.f(1e-4f), most), b.f(448.0f));
    if (spec.activation == AttentionBody::QuantisedPow2)
      scale = math::roundUpToPowerOfTwo(b, scale);
    Value divisor = b.splat(scale, kTile), factor = b.splat(b.mulf(scale, b.f(256.0f)), kTile);
    for (auto [i, x] : llvm::enumerate(parts))
      b.store(b.mulf(b.widenF8(math::toE4M3(b, b.divf(x, divisor))), factor),
              b.at(row, b.shl(b.add(base, i * kTile), 2)));
  });
}

/// Latents of the block as f32. Keys that do not exist repeat the last one: they are masked later but must be finite.
void ExpandedEmitter::loadLatents(Value block, Value validKeys) {
  int64_t tokenBytes = spec.cacheWidth() * byteWidth(spec.cache);
  b.forLoop(0, endOfTiles(validKeys), 1, [&](Value key) {
    Value token = b.at(block, b.mul(b.minu(key, b.sub(validKeys, 1)), tokenBytes)), row = latents.at(b, key, 0);
    widenRow(b, spec.cache, token, row, spec.latent);
    if (spec.activation >= AttentionBody::Quantised)
      quantiseLatent(row);
    if (spec.activation == AttentionBody::Rounded)
      b.forLoop(0, b.c64(layout.c), kTile, [&](Value c) {
        Value at = b.at(row, b.shl(c, 2));
        b.store(b.quantiseBf16(b.load(VectorBuilder::vec(kTile, b.f32), at)), at);
      });
  });
}

/// Rotated keys, transposed, below the expanded keys.
void ExpandedEmitter::loadRopeKeys(Value block, Value validKeys) {
  int64_t bytes = byteWidth(spec.cache), tokenBytes = spec.cacheWidth() * bytes;
  b.forLoop(0, endOfTiles(validKeys), kTile, [&](Value key) {
    for (uint64_t r = 0; r < spec.rope; r += kTile) {
      unsigned live = std::min<uint64_t>(kTile, spec.rope - r);
      Values lanes;
      for (unsigned i = 0; i < kTile; ++i) {
        Value token = b.at(block, b.mul(b.minu(b.add(key, i), b.sub(validKeys, 1)), tokenBytes));
        lanes.push_back(
            loadPiece(b, spec.cache, b.at(token, int64_t(spec.latent + r) * bytes), kTile, live, spec.latent + r));
      }
      lanes = transpose16(b, lanes);
      for (unsigned i = 0; i < kTile; ++i)
        b.store(lanes[i], b.at(keysT.at(b, b.c64(layout.n + r + i), 0), b.shl(key, 2)));
    }
  });
}

/// Keys (row-major, then transposed) and values of the block, for keys [0, keyEnd).
void ExpandedEmitter::expandKeys(Value keyEnd) {
  b.forLoop(0, keyEnd, tile, [&](Value key) {
    Panel left{latents.at(b, key, 0), latents.pitch};
    auto zero = [&](unsigned, Value, unsigned lanes) { return b.f(0.0f, lanes); };
    panelProduct(b, left, weights, layout.c, tile, layout.n, zero, [&](unsigned i, Value column, Value sum) {
      b.store(rounded(sum), keys.at(b, b.add(key, i), column));
    });
    panelProduct(
        b, left, {b.at(weights.base, int64_t(4 * layout.n)), weights.pitch}, layout.c, tile, layout.v, zero,
        [&](unsigned i, Value column, Value sum) { b.store(rounded(sum), values.at(b, b.add(key, i), column)); });
  });
  b.forLoop(0, keyEnd, kTile, [&](Value key) {
    b.forLoop(0, b.c64(layout.n), kTile, [&](Value n) {
      Values lanes;
      for (unsigned i = 0; i < kTile; ++i)
        lanes.push_back(b.load(VectorBuilder::vec(kTile, b.f32), b.at(keys.at(b, b.add(key, i), 0), b.shl(n, 2))));
      lanes = transpose16(b, lanes);
      for (unsigned i = 0; i < kTile; ++i)
        b.store(lanes[i], b.at(keysT.at(b, b.add(n, i), 0), b.shl(key, 2)));
    });
  });
}

/// Joins element i with i + half, half = count / 2, .., 1, over pieces of 16 lanes.
Value ExpandedEmitter::reduce(Values pieces, llvm::function_ref<Value(Value, Value)> join) {
  while (pieces.size() > 1) {
    Values next;
    for (size_t i = 0; i < pieces.size() / 2; ++i)
      next.push_back(join(pieces[i], pieces[i + pieces.size() / 2]));
    pieces = next;
  }
  Value v = pieces[0];
  for (int64_t lanes = kTile; lanes > 1; lanes /= 2) {
    SmallVector<int64_t> low, high;
    for (int64_t i = 0; i < lanes / 2; ++i)
      low.push_back(i), high.push_back(i + lanes / 2);
    v = join(b.shuffle(v, v, low), b.shuffle(v, v, high));
  }
  return b.extract(v, 0);
}

/// Logits of tile row `i` become probabilities; updates maximum and sum and returns the factor of the old context.
Value ExpandedEmitter::softmaxRow(unsigned i, Value firstRow, Value firstKey) {
  Value row = b.add(firstRow, i), at = probabilities.at(b, b.c64(i), 0);
  auto type = VectorBuilder::vec(kTile, b.f32);
  SmallVector<int32_t> iota;
  for (int32_t k = 0; k < int32_t(kTile); ++k)
    iota.push_back(k);
  Value lane = arith::ConstantOp::create(
      b.b, b.loc, DenseElementsAttr::get(VectorBuilder::vec(kTile, b.i32), ArrayRef<int32_t>(iota)));
  Value lastKey = b.trunc(b.sub(b.add(firstPosition, row), firstKey), b.i32); // the row's own position within the block
  Values x; // the page in pieces of 16 keys; trees over the page are trees over pieces, then over lanes
  for (int64_t k = 0; k < page; k += kTile) {
    Value allowed = b.cmp(arith::CmpIPredicate::sle, lane, b.splat(b.sub(lastKey, k), kTile));
    Value logit = b.mulf(b.load(type, b.at(at, 4 * k)), b.f(spec.scale, kTile));
    x.push_back(b.select(allowed, logit, b.f(-kInfinity, kTile)));
  }
  Value most = reduce(x, [&](Value l, Value r) { return b.maxf(l, r); });
  Value maxAt = state.at(b, row, layout.v), sumAt = state.at(b, row, layout.v + 1);
  Value oldMax = b.load(b.f32, maxAt), newMax = b.maxf(most, oldMax);
  Value factor = math::exp(b, b.subf(oldMax, newMax));
  Values p;
  for (auto [k, piece] : llvm::enumerate(x)) {
    p.push_back(math::exp(b, b.subf(piece, b.splat(newMax, kTile))));
    b.store(rounded(p.back()), b.at(at, int64_t(4 * k * kTile)));
  }
  b.store(newMax, maxAt);
  Value sum = reduce(p, [&](Value l, Value r) { return b.addf(l, r); });
  b.store(b.fma(b.load(b.f32, sumAt), factor, sum), sumAt);
  return factor;
}

void ExpandedEmitter::attendTile(Value firstRow, Value firstKey) {
  int64_t bytes = byteWidth(spec.q), width = spec.nope + spec.rope;
  for (unsigned i = 0; i < tile; ++i) {
    Value row = b.add(begin, b.minu(b.add(firstRow, i), b.sub(count, 1)));
    Value from = b.at(b.operand(spec.sourceArg), b.mul(b.add(b.mul(row, int64_t(spec.heads)), head), width * bytes));
    Value to = query.at(b, b.c64(i), 0);
    widenRow(b, spec.q, from, to, spec.nope);
    widenRow(b, spec.q, b.at(from, int64_t(spec.nope) * bytes), b.at(to, int64_t(4 * layout.n)), spec.rope);
  }
  panelProduct(
      b, query, keysT, layout.n + layout.r, tile, page,
      [&](unsigned, Value, unsigned lanes) { return b.f(0.0f, lanes); },
      [&](unsigned i, Value column, Value sum) { b.store(sum, probabilities.at(b, b.c64(i), column)); });
  Values factors;
  for (unsigned i = 0; i < tile; ++i)
    factors.push_back(softmaxRow(i, firstRow, firstKey));
  panelProduct(
      b, probabilities, values, page, tile, layout.v,
      [&](unsigned i, Value column, unsigned lanes) {
        Value old = b.load(VectorBuilder::vec(lanes, b.f32), state.at(b, b.add(firstRow, i), column));
        return b.mulf(old, b.splat(factors[i], lanes));
      },
      [&](unsigned i, Value column, Value sum) { b.store(sum, state.at(b, b.add(firstRow, i), column)); });
}

void ExpandedEmitter::writeRows() {
  int64_t bytes = byteWidth(spec.out);
  b.forLoop(0, count, 1, [&](Value row) {
    Value sum = b.load(b.f32, state.at(b, row, layout.v + 1));
    b.faultIf(b.isNotFinite(sum));
    Value out = b.at(b.operand(spec.outArg),
                     b.mul(b.add(b.mul(b.add(begin, row), int64_t(spec.heads)), head), int64_t(spec.value) * bytes));
    for (uint64_t c = 0; c < spec.value; c += kTile) {
      Value context = b.load(VectorBuilder::vec(kTile, b.f32), state.at(b, row, c));
      storePiece(b, spec.out, b.divf(context, b.splat(sum, kTile)), b.at(out, int64_t(c) * bytes),
                 std::min<uint64_t>(kTile, spec.value - c));
    }
  });
}

void ExpandedEmitter::emit() {
  head = b.remu(b.task(), int64_t(spec.heads)), sequence = b.divu(b.task(), int64_t(spec.heads));
  begin = loadIndex(b, spec.rowsArg + 2, sequence);
  if (spec.prefillOnly)
    begin = b.maxu(begin, b.live(1));
  Value end = loadIndex(b, spec.rowsArg + 2, b.add(sequence, 1));
  b.ifThen(b.ult(begin, end), [&] {
    count = b.sub(end, begin);
    firstPosition = loadIndex(b, spec.rowsArg, begin), lastPosition = loadIndex(b, spec.rowsArg, b.sub(end, 1));
    loadWeights();
    clearState();
    // What a short last block leaves unwritten meets probabilities of zero: it must be finite.
    clearPanel(keysT, layout.n + layout.r);
    clearPanel(values, page);
    b.forLoop(0, b.add(b.divu(lastPosition, page), 1), 1, [&](Value blockIndex) {
      Value firstKey = b.mul(blockIndex, page);
      Value validKeys = b.minu(b.sub(b.add(lastPosition, 1), firstKey), page);
      Value block = cacheBlock(b, spec, sequence, blockIndex);
      loadLatents(block, validKeys);
      loadRopeKeys(block, validKeys);
      expandKeys(endOfTiles(validKeys));
      // Rows before the block see none of its keys.
      Value firstRow = b.sub(b.maxu(firstKey, firstPosition), firstPosition);
      b.forLoop(firstRow, count, b.c64(tile), [&](Value row) { attendTile(row, firstKey); });
    });
    writeRows();
  });
}

} // namespace

LaunchPlan moray::codegen::planExpandedAttention(const AttentionBody &spec, const Target &target) {
  unsigned tile = tileRows(target);
  Layout layout(spec, tile);
  SizeExpr rows = SizeExpr(Symbol::T) + SizeExpr(tile);
  // A task is a head of a sequence, whatever its rows; a step without prompt rows has none.
  SizeExpr sequences(Symbol::Seqs);
  if (spec.prefillOnly)
    sequences = sequences * SizeExpr::min(Symbol::PrefillRows, SizeExpr(1));
  return {sequences * spec.heads, rows * layout.statePitch + SizeExpr((layout.state + 63) / 64 * 64),
          "tile=" + std::to_string(tile) + "x" + std::to_string(4 * target.floatLanes)};
}
void moray::codegen::emitExpandedAttention(const AttentionBody &spec, VectorBuilder &b) {
  ExpandedEmitter(spec, b).emit();
}
