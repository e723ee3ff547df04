//===- AttentionLatent.cpp - attention of decode rows on the latent cache, on a GPU ===//
// Emits mla.latent_attention: a block is one decode row, 16 heads (the rows of a matrix instruction) and one split of
// the keys; a second stage joins the splits of a row.
//
// Splits: 256 keys each; a row with more than kMaxSplits of them has kMaxSplits longer ones. They depend on the row's
// own position alone, never on the batch. Per key block of 64 the latent rows (c + r) lie once in shared memory: key of
// S = Q K^T (8 warps x 8 keys) and value of O += P V (8 warps x c/8 columns, ldmatrix.trans). Bytes per key:
// 2 (c + r) for 16 heads, from L2 for all groups of heads but the first. A row with a single split writes its result
// itself, with the bits that the join would give: factors of exactly 1.

#include "codegen/Math.h"
#include "codegen/NVPTX/AttentionTiles.h"
#include "runtime/schema/kernel_abi.h"
#include <limits>

using namespace mlir;
using namespace moray::codegen;
using Values = GpuBuilder::Values;

namespace {

constexpr unsigned kThreads = 256, kWarps = kThreads / GpuBuilder::kWarp, kJoinThreads = 128;
constexpr uint64_t kSplitKeys = 256, kPage = 64, kPartialHead = 4; // floats before the context: maximum, sum, 2 unused
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct LatentShape {
  uint64_t groups;                                          // of 16 heads
  uint64_t maxSplits;                                       // of one row
  uint64_t values;                                          // columns of the context, padded to 16 for each warp
  uint64_t rope;                                            // padded
  uint64_t keys, query, probabilities, maxima, sums, bytes; // offsets in shared memory
  uint64_t partial;                                         // floats of one head and split in scratch
  explicit LatentShape(const AttentionBody &s)
      : groups((s.heads + kMma - 1) / kMma), maxSplits(std::clamp<uint64_t>(128 / groups, 8, 64)),
        values((s.latent + 16 * kWarps - 1) / (16 * kWarps) * (16 * kWarps)), rope(padMma(s.rope)),
        partial(kPartialHead + (s.latent + 3) / 4 * 4) {
    uint64_t end = 0;
    auto place = [&](uint64_t &offset, uint64_t size) { offset = end, end += (size + 15) / 16 * 16; };
    place(keys, GpuTile::bytesOf(kPage, values + rope));
    place(query, GpuTile::bytesOf(kMma, values + rope));
    place(probabilities, GpuTile::bytesOf(kMma, kPage));
    place(maxima, 4 * kWarps * kMma);
    place(sums, 4 * kWarps * kMma);
    bytes = end;
  }
  /// Splits that a row of this load can have at most.
  SizeExpr splits() const {
    return SizeExpr::min(SizeExpr(maxSplits),
                         SizeExpr::ceilDiv(SizeExpr(Symbol::P) * SizeExpr(kPage), SizeExpr(kSplitKeys)));
  }
};

/// The splits of one row; all values i64.
struct Splits {
  Value keys, perSplit, count, capacity;
  Splits(GpuBuilder &g, const AttentionBody &spec, const LatentShape &shape, Value row) {
    keys = g.add(loadIndex(g, spec.rowsArg, row), 1);
    perSplit = g.mul(g.ceilDiv(keys, int64_t(kSplitKeys * shape.maxSplits)), int64_t(kSplitKeys));
    count = g.divu(g.add(keys, g.sub(perSplit, 1)), perSplit);
    capacity = splitCapacity(g, shape);
  }
  static Value splitCapacity(GpuBuilder &g, const LatentShape &shape) {
    return g.minu(g.ceilDiv(g.mul(g.capacity(Symbol::P), int64_t(kPage)), int64_t(kSplitKeys)),
                  int64_t(shape.maxSplits));
  }
};

/// Partial result of one head (index over rows and heads) and split in scratch.
Value partialAt(GpuBuilder &g, const LatentShape &shape, Value capacity, Value part, Value split) {
  Value index = g.add(g.mul(part, capacity), split);
  return g.at(g.at(g.scratch(), int64_t(MORAY_GPU_COUNTER_BYTES)), g.mul(index, int64_t(4 * shape.partial)));
}

class SplitEmitter {
public:
  SplitEmitter(const AttentionBody &spec, GpuBuilder &g)
      : spec(spec), g(g), shape(spec), keys(shared(shape.keys), shape.values + shape.rope),
        query(shared(shape.query), shape.values + shape.rope), probabilities(shared(shape.probabilities), kPage),
        maxima(shared(shape.maxima)), sums(shared(shape.sums)) {}
  void emit();

private:
  const AttentionBody &spec;
  GpuBuilder &g;
  LatentShape shape;
  GpuTile keys, query, probabilities;
  Value maxima, sums; // f32 [warp][head]
  Value row, firstHead, sequence, position;

  Value shared(uint64_t offset) { return g.at(g.dynamicShared(), int64_t(offset)); }
  Value warpIndex() { return g.zext(g.warp(), g.i64); }
  size_t accumulators() const { return shape.values / kWarps / 2; }
  void loadQuery();
  void loadKeys(Value block, Value firstKey);
  void addDots(uint64_t begin, uint64_t end, Values &dots);
  Values logits(Value firstKey);
  void publish(Value array, ArrayRef<Value> rowValues);
  Value collect(Value array, Value row, llvm::function_ref<Value(Value, Value)> join);
  Values blockStep(Value block, ValueRange state);
  void addContext(MutableArrayRef<Value> context);
  void finish(const Splits &splits, Value split, ValueRange state);
};

void SplitEmitter::loadQuery() {
  Value first = g.mul(row, int64_t(spec.heads));
  auto live = [&](Value head) { return g.ult(g.add(firstHead, head), int64_t(spec.heads)); };
  auto part = [&](Value head) { return g.add(first, g.add(firstHead, head)); };
  auto absorbed = [&](Value head) {
    return g.at(g.operand(spec.sourceArg), g.mul(part(head), int64_t(2 * spec.latent)));
  };
  uint64_t width = spec.nope + spec.rope;
  auto rope = [&](Value head) {
    return g.at(g.at(g.operand(spec.queryArg), g.mul(part(head), int64_t(2 * width))), int64_t(2 * spec.nope));
  };
  stageRows(g, query, kMma, spec.latent, 0, shape.values, {absorbed, live, spec.latent % 8 == 0});
  stageRows(g, query, kMma, spec.rope, shape.values, shape.rope, {rope, live, width % 8 == 0 && spec.nope % 8 == 0});
}

/// Keys behind the row's own position become zeros: they are masked, but must be finite.
void SplitEmitter::loadKeys(Value block, Value firstKey) {
  Value page = cacheBlock(g, spec, sequence, block);
  auto live = [&](Value key) { return g.cmp(arith::CmpIPredicate::ule, g.add(firstKey, key), position); };
  auto latent = [&](Value key) { return g.at(page, g.mul(key, int64_t(2 * spec.cacheWidth()))); };
  auto rope = [&](Value key) { return g.at(latent(key), int64_t(2 * spec.latent)); };
  bool aligned = spec.cacheWidth() % 8 == 0 && spec.latent % 8 == 0;
  stageRows(g, keys, kPage, spec.latent, 0, shape.values, {latent, live, aligned});
  stageRows(g, keys, kPage, spec.rope, shape.values, shape.rope, {rope, live, aligned});
}

/// Adds columns [begin, end) to two sets of sums, so that neighbouring steps do not wait for each other.
void SplitEmitter::addDots(uint64_t begin, uint64_t end, Values &dots) {
  Value lane = g.zext(g.lane(), g.i64);
  Value key = g.add(g.shl(warpIndex(), 3), g.andi(lane, 7));
  uint64_t pairs = (end - begin) / 32 * 32;
  auto step = [&](Value column, unsigned count, ValueRange carried) {
    Values next(carried.begin(), carried.end());
    Values b = g.loadMatrix(keys.at(g, key, g.add(column, g.andi(lane, count == 2 ? 24 : 8))), 2 * count);
    for (unsigned i = 0; i < count; ++i)
      multiplyInto(g, next, i, fragmentA(g, query, g.c64(0), g.add(column, int64_t(kMma * i))),
                   ArrayRef<Value>(b).slice(2 * i, 2));
    return next;
  };
  if (pairs)
    dots = g.forLoop(g.c64(begin), g.c64(begin + pairs), g.c64(32), dots,
                     [&](Value column, ValueRange carried) { return step(column, 2, carried); });
  if (begin + pairs < end)
    dots = step(g.c64(begin + pairs), 1, dots);
}

/// Scaled logits of 16 heads and this warp's 8 keys, masked.
Values SplitEmitter::logits(Value firstKey) {
  Values dots = zeros(g, 8);
  addDots(0, padMma(spec.latent), dots);
  addDots(shape.values, shape.values + shape.rope, dots);
  Value key = g.add(firstKey, g.add(g.shl(warpIndex(), 3), fragmentPlace(g).column));
  Values x;
  for (unsigned i = 0; i < 4; ++i) {
    Value allowed = g.cmp(arith::CmpIPredicate::ule, g.add(key, int64_t(i % 2)), position);
    Value logit = g.mulf(g.addf(dots[i], dots[4 + i]), g.f(spec.scale));
    x.push_back(g.select(allowed, logit, g.f(-kInfinity)));
  }
  return x;
}

/// Stores this warp's values of rows lane / 4 and + 8, which four lanes hold in common.
void SplitEmitter::publish(Value array, ArrayRef<Value> rowValues) {
  Place mine = fragmentPlace(g);
  Value to = g.at(g.at(array, g.mul(warpIndex(), int64_t(4 * kMma))), g.shl(mine.row, 2));
  g.ifThen(g.eq(mine.column, 0), [&] {
    g.store(rowValues[0], to);
    g.store(rowValues[1], g.at(to, int64_t(32)));
  });
}
Value SplitEmitter::collect(Value array, Value head, llvm::function_ref<Value(Value, Value)> join) {
  Value at = g.at(array, g.shl(head, 2)), result = g.load(g.f32, at);
  for (int64_t w = 1; w < int64_t(kWarps); ++w)
    result = join(result, g.load(g.f32, g.at(at, int64_t(4 * kMma) * w)));
  return result;
}

/// O += P V for this warp's columns.
void SplitEmitter::addContext(MutableArrayRef<Value> context) {
  Value firstColumn = g.mul(warpIndex(), int64_t(shape.values / kWarps));
  for (uint64_t k = 0; k < kPage; k += kMma) {
    Values a = fragmentA(g, probabilities, g.c64(0), g.c64(k));
    for (uint64_t tile = 0; tile < context.size() / 4; tile += 2) {
      Values b = fragmentBTransposed(g, keys, g.c64(k), g.add(firstColumn, int64_t(8 * tile)));
      multiplyInto(g, context, tile, a, ArrayRef<Value>(b).take_front(2));
      multiplyInto(g, context, tile + 1, a, ArrayRef<Value>(b).drop_front(2));
    }
  }
}

/// One key block. State: maxima of rows lane / 4 and + 8, their sums, the context.
Values SplitEmitter::blockStep(Value block, ValueRange state) {
  auto larger = [&](Value a, Value c) { return g.maxf(a, c); };
  auto plus = [&](Value a, Value c) { return g.addf(a, c); };
  Value firstKey = g.mul(block, int64_t(kPage));
  loadKeys(block, firstKey);
  awaitTiles(g);
  Values x = logits(firstKey);
  publish(maxima, {joinRow(g, g.maxf(x[0], x[1]), larger), joinRow(g, g.maxf(x[2], x[3]), larger)});
  g.barrier();
  Place mine = fragmentPlace(g);
  Value newMax[2], factor[2], part[2];
  for (unsigned h = 0; h < 2; ++h) {
    Value head = g.add(mine.row, int64_t(8 * h));
    newMax[h] = g.maxf(collect(maxima, head, larger), state[h]);
    factor[h] = math::exp(g, g.subf(state[h], newMax[h]));
    Value p0 = math::exp(g, g.subf(x[2 * h], newMax[h])), p1 = math::exp(g, g.subf(x[2 * h + 1], newMax[h]));
    g.store(g.packBf16(p0, p1), probabilities.at(g, head, g.add(g.shl(warpIndex(), 3), mine.column)));
    part[h] = joinRow(g, g.addf(p0, p1), plus);
  }
  publish(sums, part);
  g.barrier();
  Values next{newMax[0], newMax[1]};
  for (unsigned h = 0; h < 2; ++h)
    next.push_back(g.fma(state[2 + h], factor[h], collect(sums, g.add(mine.row, int64_t(8 * h)), plus)));
  Values context;
  for (auto [i, value] : llvm::enumerate(state.drop_front(4)))
    context.push_back(g.mulf(value, factor[i / 2 % 2]));
  addContext(context);
  next.append(context);
  g.barrier(); // before the keys and probabilities are overwritten
  return next;
}

void SplitEmitter::finish(const Splits &splits, Value split, ValueRange state) {
  Place mine = fragmentPlace(g);
  Value firstColumn = g.add(g.mul(warpIndex(), int64_t(shape.values / kWarps)), mine.column);
  Value single = g.eq(splits.count, 1);
  for (unsigned h = 0; h < 2; ++h) {
    Value head = g.add(firstHead, g.add(mine.row, int64_t(8 * h)));
    Value part = g.add(g.mul(row, int64_t(spec.heads)), head), sum = state[2 + h];
    auto pairs = [&](llvm::function_ref<void(Value column, Value low, Value high)> store) {
      for (size_t tile = 0; tile < accumulators() / 4; ++tile)
        store(g.add(firstColumn, int64_t(8 * tile)), state[4 + 4 * tile + 2 * h], state[4 + 4 * tile + 2 * h + 1]);
    };
    auto direct = [&] {
      g.faultIf(g.isNotFinite(sum));
      Value to = g.at(g.operand(spec.outArg), g.mul(part, int64_t(2 * spec.latent)));
      pairs([&](Value column, Value low, Value high) {
        storePair(g, to, column, spec.latent, g.divf(low, sum), g.divf(high, sum));
      });
    };
    auto partial = [&] {
      Value to = partialAt(g, shape, splits.capacity, part, split);
      g.ifThen(g.eq(firstColumn, 0), [&] {
        g.store(state[h], to);
        g.store(sum, g.at(to, int64_t(4)));
      });
      pairs([&](Value column, Value low, Value high) {
        Value at = g.at(g.at(to, int64_t(4 * kPartialHead)), g.shl(column, 2));
        g.ifThen(g.ult(column, int64_t(spec.latent)), [&] { g.store(low, at); });
        g.ifThen(g.ult(g.add(column, 1), int64_t(spec.latent)), [&] { g.store(high, g.at(at, int64_t(4))); });
      });
    };
    g.ifThen(g.ult(head, int64_t(spec.heads)), [&] { g.ifElse(single, direct, partial); });
  }
}

void SplitEmitter::emit() {
  Value capacity = Splits::splitCapacity(g, shape), group = g.remu(g.task(), int64_t(shape.groups));
  Value rest = g.divu(g.task(), int64_t(shape.groups));
  row = g.divu(rest, capacity);
  Value split = g.sub(rest, g.mul(row, capacity));
  firstHead = g.mul(group, int64_t(kMma));
  g.ifThen(g.ult(row, g.live(1)), [&] {
    Splits splits(g, spec, shape, row);
    g.ifThen(g.ult(split, splits.count), [&] {
      position = g.sub(splits.keys, 1), sequence = loadIndex(g, spec.rowsArg + 1, row);
      loadQuery();
      Value first = g.divu(g.mul(split, splits.perSplit), int64_t(kPage));
      Value end = g.ceilDiv(g.minu(g.mul(g.add(split, 1), splits.perSplit), splits.keys), int64_t(kPage));
      Values state{g.f(-kInfinity), g.f(-kInfinity), g.f(0.0f), g.f(0.0f)};
      state.append(zeros(g, accumulators()));
      state = g.forLoop(first, end, g.c64(1), state,
                        [&](Value block, ValueRange carried) { return blockStep(block, carried); });
      finish(splits, split, state);
    });
  });
}

/// Joins the splits of one row and head in ascending order.
void emitJoin(const AttentionBody &spec, GpuBuilder &g) {
  LatentShape shape(spec);
  Value row = g.divu(g.task(), int64_t(spec.heads));
  g.ifThen(g.ult(row, g.live(1)), [&] {
    Splits splits(g, spec, shape, row);
    g.ifThen(g.ult(g.c64(1), splits.count), [&] {
      auto at = [&](Value split) { return partialAt(g, shape, splits.capacity, g.task(), split); };
      Value most =
          g.forLoop(g.c64(0), splits.count, g.c64(1), ValueRange{g.f(-kInfinity)},
                    [&](Value split, ValueRange m) { return Values{g.maxf(g.load(g.f32, at(split)), m[0])}; })[0];
      Value thread = g.zext(g.thread(), g.i64);
      size_t columns = (spec.latent + kJoinThreads - 1) / kJoinThreads;
      auto column = [&](size_t i) { return g.add(thread, int64_t(i * kJoinThreads)); };
      Values sums =
          g.forLoop(g.c64(0), splits.count, g.c64(1), zeros(g, 1 + columns), [&](Value split, ValueRange carried) {
            Value from = at(split), factor = math::exp(g, g.subf(g.load(g.f32, from), most));
            Values next{g.fma(g.load(g.f32, g.at(from, int64_t(4))), factor, carried[0])};
            for (size_t i = 0; i < columns; ++i) {
              Value existing = g.minu(column(i), int64_t(spec.latent - 1));
              Value part = g.load(g.f32, g.at(g.at(from, int64_t(4 * kPartialHead)), g.shl(existing, 2)));
              next.push_back(g.fma(part, factor, carried[1 + i]));
            }
            return next;
          });
      g.faultIf(g.isNotFinite(sums[0]));
      Value to = g.at(g.operand(spec.outArg), g.mul(g.task(), int64_t(2 * spec.latent)));
      for (size_t i = 0; i < columns; ++i)
        g.ifThen(g.ult(column(i), int64_t(spec.latent)),
                 [&] { g.storeNarrow(DType::BF16, g.divf(sums[1 + i], sums[0]), g.at(to, g.shl(column(i), 1))); });
    });
  });
}
} // namespace

GpuPlan moray::codegen::planLatentAttention(const AttentionBody &spec) {
  LatentShape shape(spec);
  SizeExpr rows(Symbol::DecodeRows);
  SizeExpr partials = rows * SizeExpr(spec.heads) * shape.splits() * SizeExpr(4 * shape.partial);
  return {{{"split", rows * SizeExpr(shape.groups) * shape.splits(), kThreads, unsigned(shape.bytes)},
           {"join", rows * SizeExpr(spec.heads), kJoinThreads, 0}},
          partials + SizeExpr(MORAY_GPU_COUNTER_BYTES),
          "heads=16 split=" + std::to_string(kSplitKeys) + " splits<=" + std::to_string(shape.maxSplits)};
}
void moray::codegen::emitLatentAttention(const AttentionBody &spec, unsigned stage, GpuBuilder &g) {
  if (stage == 0)
    SplitEmitter(spec, g).emit();
  else
    emitJoin(spec, g);
}
