//===- AttentionExpanded.cpp - attention over expanded keys and values, on a GPU --===//
// Emits mla.attention: a block is one head and 128 rows of the step, of whatever sequences; it runs over their key
// blocks and expands each of them itself.
//
// Per key block of 64: (1) k_nope | v = latents W^T, all columns in accumulators (warps are 4 x 16 keys and 2 halves of
// a slab of 64 columns), the latents and weights passing through shared memory 128 of c at a time; (2) rounded to bf16
// they and the rotated keys replace those in shared memory; (3) each warp attends with its 16 rows: S, softmax and P in
// registers. Flops per key and head: 2 c (n + v) to expand, 2 (n + r + v) per row; every 128 rows expand their keys
// again, which keeps the workspace at zero. A row's arithmetic depends on its position and its keys alone: neither tile
// nor chunk changes a bit.

#include "codegen/Math.h"
#include "codegen/NVPTX/AttentionTiles.h"
#include <limits>

using namespace mlir;
using namespace moray::codegen;
using Values = GpuBuilder::Values;

namespace {

constexpr unsigned kThreads = 256;
constexpr uint64_t kRows = 128, kKeys = 64, kSlab = 64, kHalf = kSlab / 2, kDepth = kScaleBlock;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct ExpandedShape {
  uint64_t n, r, v;                                      // padded
  uint64_t columns;                                      // of keys | values, in whole slabs
  uint64_t query, keys, latents, weights, scales, bytes; // offsets in shared memory
  uint64_t depth;                                        // of a chunk of the latent
  explicit ExpandedShape(const AttentionBody &s)
      : n(padMma(s.nope)), r(padMma(s.rope)), v(padMma(s.value)), columns((n + v + kSlab - 1) / kSlab * kSlab),
        depth(std::min(padMma(s.latent), kDepth)) {
    query = 0, keys = GpuTile::bytesOf(kRows, n + r);
    // The parts of the product lie where its result goes.
    latents = keys, weights = latents + GpuTile::bytesOf(kKeys, depth);
    scales = std::max(weights + GpuTile::bytesOf(kSlab, depth), keys + GpuTile::bytesOf(kKeys, columns + r));
    bytes = scales + (s.activation >= AttentionBody::Quantised ? 4 * kKeys : 0);
  }
  size_t slabs() const { return columns / kSlab; }
};

class ExpandedEmitter {
public:
  ExpandedEmitter(const AttentionBody &spec, GpuBuilder &g)
      : spec(spec), g(g), shape(spec), query(shared(shape.query), shape.n + shape.r),
        keys(shared(shape.keys), shape.columns + shape.r), latents(shared(shape.latents), shape.depth),
        weights(shared(shape.weights), shape.depth), scales(shared(shape.scales)),
        quantised(spec.activation >= AttentionBody::Quantised) {}
  void emit();

private:
  const AttentionBody &spec;
  GpuBuilder &g;
  ExpandedShape shape;
  GpuTile query, keys, latents, weights;
  Value scales; // f32 [key]: of the quantised latents
  bool quantised;
  Value head, firstRow, begin, end; // rows [begin, end) of the tile that begins at firstRow exist
  Value sequence, lastPosition;     // of the segment
  // Of this key block: see keepHere.
  Value lane, warpRows;        // lane (i32), the warp's first row of the tile
  Value warpKeys, warpColumns; // this warp's part of an expansion

  Value shared(uint64_t offset) { return g.at(g.dynamicShared(), int64_t(offset)); }
  void readThread();
  size_t stateSize() const { return 4 + shape.v / 2; }
  void loadQuery();
  Value weightRow(Value column);
  Value weightExists(Value column);
  void loadLatents(Value block, Value firstKey, Value firstColumn, uint64_t columns);
  void quantiseLatents(uint64_t columns);
  Values slabProduct(size_t slab, Value block, uint64_t depth, Values sums);
  Values expandChunk(Value page, Value firstKey, Value firstColumn, uint64_t columns, Values sums);
  void expand(Value page, Value firstKey);
  void loadRopeKeys(Value page, Value firstKey);
  Values logits();
  Values attend(ArrayRef<Value> limits, ValueRange state);
  Values segment(Value begin, Value end, ValueRange state);
  Value rowOf(unsigned half);
  void writeRows(ValueRange state);
};

void ExpandedEmitter::readThread() {
  Value thread = keepHere(g, g.thread()), warp = g.zext(g.shrl(thread, 5), g.i64);
  lane = g.andi(thread, GpuBuilder::kWarp - 1);
  for (GpuTile *tile : {&query, &keys, &latents, &weights})
    tile->lane = lane;
  warpRows = g.mul(warp, int64_t(kMma));
  warpKeys = g.mul(g.andi(warp, 3), int64_t(kMma)), warpColumns = g.mul(g.shrl(warp, 2), int64_t(kHalf));
}

void ExpandedEmitter::loadQuery() {
  uint64_t width = spec.nope + spec.rope;
  auto live = [&](Value row) {
    Value index = g.add(firstRow, row);
    return g.andi(g.cmp(arith::CmpIPredicate::uge, index, begin), g.ult(index, end));
  };
  auto nope = [&](Value row) {
    Value part = g.add(g.mul(g.add(firstRow, row), int64_t(spec.heads)), head);
    return g.at(g.operand(spec.sourceArg), g.mul(part, int64_t(2 * width)));
  };
  auto rope = [&](Value row) { return g.at(nope(row), int64_t(2 * spec.nope)); };
  bool aligned = width % 8 == 0 && spec.nope % 8 == 0;
  stageRows(g, query, kRows, spec.rope, 0, shape.r, {rope, live, aligned});
  stageRows(g, query, kRows, spec.nope, shape.r, shape.n, {nope, live, aligned});
}

/// Row of kv_b that gives column `column` of keys | values; a row of the head in any case.
Value ExpandedEmitter::weightRow(Value column) {
  Value first = g.mul(head, int64_t(spec.headRows()));
  Value key = g.minu(column, int64_t(spec.nope - 1));
  Value value = g.add(g.minu(g.sub(column, int64_t(shape.n)), int64_t(spec.value - 1)), int64_t(spec.nope));
  return g.add(first, g.select(g.ult(column, int64_t(shape.n)), key, value));
}
Value ExpandedEmitter::weightExists(Value column) {
  Value value = g.sub(column, int64_t(shape.n)); // wraps for keys
  return g.ori(g.ult(column, int64_t(spec.nope)), g.ult(value, int64_t(spec.value)));
}

/// Keys behind the last row of the segment become zeros: they are masked, but must be finite.
void ExpandedEmitter::loadLatents(Value page, Value firstKey, Value firstColumn, uint64_t columns) {
  auto live = [&](Value key) { return g.cmp(arith::CmpIPredicate::ule, g.add(firstKey, key), lastPosition); };
  auto address = [&](Value key) {
    return g.at(g.at(page, g.mul(key, int64_t(2 * spec.cacheWidth()))), g.shl(firstColumn, 1));
  };
  stageRows(g, latents, kKeys, columns, 0, padMma(columns),
            {address, live, spec.cacheWidth() % 8 == 0, /*rolled=*/true});
}

void ExpandedEmitter::loadRopeKeys(Value page, Value firstKey) {
  auto live = [&](Value key) { return g.cmp(arith::CmpIPredicate::ule, g.add(firstKey, key), lastPosition); };
  auto address = [&](Value key) {
    return g.at(g.at(page, g.mul(key, int64_t(2 * spec.cacheWidth()))), int64_t(2 * spec.latent));
  };
  stageRows(g, keys, kKeys, spec.rope, 0, shape.r,
            {address, live, spec.cacheWidth() % 8 == 0 && spec.latent % 8 == 0, /*rolled=*/true});
}

/// One group of 128 of each latent becomes the values of its codes; the scales go to `scales` (spec fp8.md 4). Four
/// threads share a key.
void ExpandedEmitter::quantiseLatents(uint64_t columns) {
  Value thread = g.zext(g.thread(), g.i64), key = g.shrl(thread, 2);
  Value first = g.shl(g.andi(thread, 3), 3);
  Type four = GpuBuilder::vec(4, g.i32);
  auto forPieces = [&](ValueRange init, llvm::function_ref<Values(Value at, ValueRange)> body) {
    return g.forLoop(first, g.c64(padMma(columns)), g.c64(32), init,
                     [&](Value column, ValueRange carried) { return body(latents.at(g, key, column), carried); });
  };
  auto halves = [&](Value words, int64_t i) { // elements 2 i and 2 i + 1 as bits of f32
    Value word = vector::ExtractOp::create(g.b, g.loc, words, i);
    return std::pair<Value, Value>(g.shl(word, 16), g.andi(word, int32_t(0xffff0000)));
  };
  Value most = forPieces(ValueRange{g.c32(0)}, [&](Value at, ValueRange carried) {
    Value words = g.load(four, at, 16), largest = carried[0];
    for (int64_t i = 0; i < 4; ++i) {
      auto pair = halves(words, i);
      for (Value bits : {pair.first, pair.second})
        largest = g.maxu(largest, g.andi(bits, 0x7fffffff));
    }
    return Values{largest};
  })[0];
  most = g.bitcast(joinRow(g, most, [&](Value a, Value c) { return g.maxu(a, c); }), g.f32);
  Value scale = g.divf(g.select(g.cmpf(arith::CmpFPredicate::OLT, most, g.f(1e-4f)), g.f(1e-4f), most), g.f(448.0f));
  if (spec.activation == AttentionBody::QuantisedPow2)
    scale = math::roundUpToPowerOfTwo(g, scale);
  auto coded = [&](Value bits) { return g.widenF8(math::toE4M3(g, g.divf(g.bitcast(bits, g.f32), scale))); };
  forPieces(ValueRange{}, [&](Value at, ValueRange) {
    Value words = g.load(four, at, 16);
    Values results;
    for (int64_t i = 0; i < 4; ++i) {
      auto pair = halves(words, i);
      Value low = coded(pair.first), high = coded(pair.second);
      results.push_back(g.packBf16(low, high));
    }
    g.store(vector::FromElementsOp::create(g.b, g.loc, cast<VectorType>(four), results), at, 16);
    return Values{};
  });
  g.ifThen(g.eq(first, 0), [&] { g.store(scale, g.at(scales, g.shl(key, 2))); });
  g.barrier();
}

/// Adds the product of this chunk of depth (`block` of 128 of c) to the sums of a slab: 16 keys x 32 columns.
Values ExpandedEmitter::slabProduct(size_t slab, Value block, uint64_t depth, Values sums) {
  bool promoted = quantised || spec.scalesArg >= 0;
  Values parts =
      g.forLoop(0, g.c64(padMma(depth)), kMma, promoted ? zeros(g, 16) : sums, [&](Value k, ValueRange carried) {
        keepRolled(g);
        Values next(carried.begin(), carried.end()), a = fragmentA(g, latents, warpKeys, k);
        for (uint64_t pair = 0; pair < 2; ++pair) {
          Value row = g.add(warpColumns, int64_t(kMma * pair));
          Values b = fragmentB(g, weights, row, k);
          multiplyInto(g, next, 2 * pair, a, ArrayRef<Value>(b).take_front(2));
          multiplyInto(g, next, 2 * pair + 1, a, ArrayRef<Value>(b).drop_front(2));
        }
        return next;
      });
  if (!promoted)
    return parts;
  Place mine = fragmentPlace(g, lane);
  Value first = g.add(warpColumns, int64_t(slab * kSlab)), keyScale[2] = {};
  for (int64_t h = 0; quantised && h < 2; ++h)
    keyScale[h] = g.load(g.f32, g.at(scales, g.shl(g.add(g.add(warpKeys, mine.row), 8 * h), 2)));
  // 32 columns have one scale where no scale row changes inside a multiple of 32.
  bool uniform = spec.headRows() % kHalf == 0 && spec.nope % kHalf == 0;
  Value columnScale;
  if (spec.scalesArg >= 0 && uniform)
    columnScale = weightScale(g, spec, weightRow(first), block);
  for (size_t i = 0; i < 16; ++i) {
    if (spec.scalesArg >= 0 && !uniform && i % 4 < 2) {
      // Elements 0 and 2, 1 and 3 of a tile are in the same column.
      Value column = g.add(g.add(first, mine.column), int64_t(i / 4 * 8 + i % 2));
      Value scale = weightScale(g, spec, weightRow(column), block);
      for (size_t h = 0; h < 2; ++h)
        sums[i + 2 * h] = g.fma(parts[i + 2 * h], quantised ? g.mulf(keyScale[h], scale) : scale, sums[i + 2 * h]);
    } else if (uniform || spec.scalesArg < 0) {
      Value scale = !columnScale ? keyScale[i / 2 % 2]
                    : quantised  ? g.mulf(keyScale[i / 2 % 2], columnScale)
                                 : columnScale;
      sums[i] = g.fma(parts[i], scale, sums[i]);
    }
  }
  return sums;
}

/// Adds columns [firstColumn, firstColumn + columns) of c to the sums of all slabs.
Values ExpandedEmitter::expandChunk(Value page, Value firstKey, Value firstColumn, uint64_t columns, Values sums) {
  loadLatents(page, firstKey, firstColumn, columns);
  if (quantised) {
    awaitTiles(g);
    quantiseLatents(columns);
  }
  for (size_t slab = 0; slab < shape.slabs(); ++slab) {
    auto row = [&](Value row) { return weightRow(g.add(row, int64_t(slab * kSlab))); };
    auto live = [&](Value row) { return weightExists(g.add(row, int64_t(slab * kSlab))); };
    stageWeights(g, spec, weights, kSlab, padMma(columns), {row, live, firstColumn, /*ahead=*/1, /*rolled=*/true});
    awaitTiles(g);
    Values part = slabProduct(slab, g.shrl(firstColumn, 7), columns,
                              Values(sums.begin() + 16 * slab, sums.begin() + 16 * (slab + 1)));
    std::copy(part.begin(), part.end(), sums.begin() + 16 * slab);
    g.barrier();
  }
  return sums;
}

/// Keys and values of one key block to shared memory.
void ExpandedEmitter::expand(Value page, Value firstKey) {
  Values sums = zeros(g, 16 * shape.slabs());
  uint64_t full = spec.latent / kDepth * kDepth;
  if (full)
    sums = g.forLoop(g.c64(0), g.c64(full), g.c64(kDepth), sums, [&](Value column, ValueRange carried) {
      return expandChunk(page, firstKey, column, kDepth, Values(carried.begin(), carried.end()));
    });
  if (full < spec.latent)
    sums = expandChunk(page, firstKey, g.c64(full), spec.latent - full, sums);
  Place mine = fragmentPlace(g, lane);
  for (size_t i = 0; i < sums.size(); i += 2) {
    Value key = g.add(g.add(warpKeys, mine.row), int64_t(i / 2 % 2 * 8));
    Value column = g.add(g.add(warpColumns, mine.column), int64_t(shape.r + i / 16 * kSlab + i / 4 % 4 * 8));
    g.store(g.packBf16(sums[i], sums[i + 1]), keys.at(g, key, column));
  }
  loadRopeKeys(page, firstKey);
  awaitTiles(g);
}

/// Scaled logits of this warp's 16 rows and 64 keys.
Values ExpandedEmitter::logits() {
  Values sums = g.forLoop(0, g.c64(shape.r + shape.n), kMma, zeros(g, kKeys / 2), [&](Value k, ValueRange carried) {
    Values next(carried.begin(), carried.end());
    Values a = fragmentA(g, query, warpRows, k);
    for (uint64_t pair = 0; pair < kKeys / kMma; ++pair) {
      Values b = fragmentB(g, keys, g.c64(pair * kMma), k);
      multiplyInto(g, next, 2 * pair, a, ArrayRef<Value>(b).take_front(2));
      multiplyInto(g, next, 2 * pair + 1, a, ArrayRef<Value>(b).drop_front(2));
    }
    return next;
  });
  for (Value &sum : sums)
    sum = g.mulf(sum, g.f(spec.scale));
  return sums;
}

/// One key block for this warp's rows; `limits` (i32, may be negative) are the last keys of the block that rows lane /
/// 4 and + 8 see. State: their maxima, sums, context.
Values ExpandedEmitter::attend(ArrayRef<Value> limits, ValueRange state) {
  Values x = logits(), next(4), factors;
  Value column = g.trunc(fragmentPlace(g, lane).column, g.i32);
  for (unsigned h = 0; h < 2; ++h) {
    Value most = g.f(-kInfinity);
    for (size_t i = 0; i < x.size(); ++i)
      if (i / 2 % 2 == h) {
        Value key = g.add(column, int64_t(i / 4 * 8 + i % 2));
        x[i] = g.select(g.cmp(arith::CmpIPredicate::sle, key, limits[h]), x[i], g.f(-kInfinity));
        most = g.maxf(x[i], most);
      }
    Value newMax = g.maxf(joinRow(g, most, [&](Value a, Value c) { return g.maxf(a, c); }), state[h]);
    // A row of another segment has seen nothing: its maximum stays -inf, and everything else zero.
    Value base = g.select(g.cmpf(arith::CmpFPredicate::OEQ, newMax, g.f(-kInfinity)), g.f(0.0f), newMax);
    factors.push_back(math::exp(g, g.subf(state[h], base)));
    Value total = g.f(0.0f);
    for (size_t i = 0; i < x.size(); ++i)
      if (i / 2 % 2 == h) {
        x[i] = math::exp(g, g.subf(x[i], base));
        total = g.addf(total, x[i]);
      }
    total = joinRow(g, total, [&](Value a, Value c) { return g.addf(a, c); });
    next[h] = newMax, next[2 + h] = g.fma(state[2 + h], factors[h], total);
  }
  Values context;
  for (auto [i, value] : llvm::enumerate(state.drop_front(4)))
    context.push_back(g.mulf(value, factors[i / 2 % 2]));
  for (uint64_t k = 0; k < kKeys / kMma; ++k) {
    Values a; // accumulators of S are laid out as the operand of P V
    for (size_t i = 8 * k; i < 8 * k + 8; i += 2)
      a.push_back(g.packBf16(x[i], x[i + 1]));
    for (uint64_t tile = 0; tile < shape.v / 8; tile += 2) {
      Values b = fragmentBTransposed(g, keys, g.c64(k * kMma), g.c64(shape.r + shape.n + 8 * tile));
      multiplyInto(g, context, tile, a, ArrayRef<Value>(b).take_front(2));
      multiplyInto(g, context, tile + 1, a, ArrayRef<Value>(b).drop_front(2));
    }
  }
  next.append(context);
  return next;
}

Value ExpandedEmitter::rowOf(unsigned half) {
  return g.add(firstRow, g.add(warpRows, g.add(fragmentPlace(g, lane).row, int64_t(8 * half))));
}

/// All key blocks of the rows [segmentBegin, segmentEnd) of one sequence.
Values ExpandedEmitter::segment(Value segmentBegin, Value segmentEnd, ValueRange state) {
  lastPosition = loadIndex(g, spec.rowsArg, g.sub(segmentEnd, 1));
  Value own[2];
  for (unsigned h = 0; h < 2; ++h) {
    Value row = rowOf(h);
    Value mine = g.andi(g.cmp(arith::CmpIPredicate::uge, row, segmentBegin), g.ult(row, segmentEnd));
    Value position = loadIndex(g, spec.rowsArg, g.minu(g.maxu(row, segmentBegin), g.sub(segmentEnd, 1)));
    own[h] = g.select(mine, g.trunc(position, g.i32), g.c32(-1));
  }
  return g.forLoop(
      g.c64(0), g.add(g.divu(lastPosition, int64_t(kKeys)), 1), g.c64(1), state, [&](Value block, ValueRange carried) {
        Value firstKey = g.mul(block, int64_t(kKeys));
        readThread();
        expand(cacheBlock(g, spec, sequence, block), firstKey);
        Value limits[2], zero = g.c32(0);
        for (unsigned h = 0; h < 2; ++h)
          limits[h] = g.sub(own[h], g.trunc(firstKey, g.i32));
        Value sees =
            g.ori(g.cmp(arith::CmpIPredicate::sge, limits[0], zero), g.cmp(arith::CmpIPredicate::sge, limits[1], zero));
        Values next = g.ifElse(
            g.anyLane(sees), carried.getTypes(), [&] { return attend(limits, carried); },
            [&] { return Values(carried.begin(), carried.end()); });
        g.barrier(); // before the keys are overwritten
        return next;
      });
}

void ExpandedEmitter::writeRows(ValueRange state) {
  for (unsigned h = 0; h < 2; ++h) {
    Value row = rowOf(h), sum = state[2 + h];
    g.ifThen(g.andi(g.cmp(arith::CmpIPredicate::uge, row, begin), g.ult(row, end)), [&] {
      g.faultIf(g.isNotFinite(sum));
      Value part = g.add(g.mul(row, int64_t(spec.heads)), head);
      Value to = g.at(g.operand(spec.outArg), g.mul(part, int64_t(2 * spec.value)));
      for (size_t tile = 0; tile < shape.v / 8; ++tile)
        storePair(g, to, g.add(fragmentPlace(g, lane).column, int64_t(8 * tile)), spec.value,
                  g.divf(state[4 + 4 * tile + 2 * h], sum), g.divf(state[4 + 4 * tile + 2 * h + 1], sum));
    });
  }
}

void ExpandedEmitter::emit() {
  head = g.remu(g.task(), int64_t(spec.heads));
  firstRow = g.mul(g.divu(g.task(), int64_t(spec.heads)), int64_t(kRows));
  begin = spec.prefillOnly ? g.maxu(firstRow, g.live(1)) : firstRow;
  end = g.minu(g.add(firstRow, int64_t(kRows)), g.live(0));
  readThread();
  g.ifThen(g.ult(begin, end), [&] {
    loadQuery();
    Value firstSequence = loadIndex(g, spec.rowsArg + 1, begin);
    Value lastSequence = loadIndex(g, spec.rowsArg + 1, g.sub(end, 1));
    Values state{g.f(-kInfinity), g.f(-kInfinity), g.f(0.0f), g.f(0.0f)};
    state.append(zeros(g, stateSize() - 4));
    state = g.forLoop(firstSequence, g.add(lastSequence, 1), g.c64(1), state, [&](Value s, ValueRange carried) {
      sequence = s;
      Value segmentBegin = g.maxu(loadIndex(g, spec.rowsArg + 2, s), begin);
      Value segmentEnd = g.minu(loadIndex(g, spec.rowsArg + 2, g.add(s, 1)), end);
      return g.ifElse(
          g.ult(segmentBegin, segmentEnd), carried.getTypes(),
          [&] { return segment(segmentBegin, segmentEnd, carried); },
          [&] { return Values(carried.begin(), carried.end()); });
    });
    readThread();
    writeRows(state);
  });
}

} // namespace

GpuPlan moray::codegen::planExpandedAttention(const AttentionBody &spec) {
  ExpandedShape shape(spec);
  // Tiles begin at row 0 of the step, whatever its first rows are; a step without prompt rows has none.
  SizeExpr grid = SizeExpr::ceilDiv(SizeExpr(Symbol::Rows), SizeExpr(kRows)) * SizeExpr(spec.heads);
  if (spec.prefillOnly)
    grid = grid * SizeExpr::min(Symbol::PrefillRows, SizeExpr(1));
  return {{{"", grid, kThreads, unsigned(shape.bytes)}},
          SizeExpr(0),
          "rows=" + std::to_string(kRows) + " keys=" + std::to_string(kKeys)};
}
void moray::codegen::emitExpandedAttention(const AttentionBody &spec, GpuBuilder &g) {
  // One block at a time is enough: ptxas then spills nothing in order to fit two.
  g.setBlocksPerMultiprocessor(1);
  ExpandedEmitter(spec, g).emit();
}
