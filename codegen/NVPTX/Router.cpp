//===- Router.cpp - expert selection on a GPU --------------------------------------===//
// Emits the router as one launch: f32 row dots with every expert, scores, group and expert selection, weights.
//
// A block takes 4 rows and one expert for each of its 4 warps; a warp holds the 128 partial sums of 4 dots, 4
// neighbours in each lane, so a weight row is read once for 4 rows and many blocks read the weights of few rows. Logits
// go to scratch; the block that arrives last at a group of rows selects for it, a warp for each row. Where there are
// more groups than counters a block does all experts of its rows itself: the same code, the same bits.

#include "codegen/Math.h"
#include "codegen/NVPTX/Emitters.h"
#include "codegen/NVPTX/GpuBuilder.h"
#include "codegen/NVPTX/RowPieces.h"
#include "codegen/RouterSpec.h"
#include "kernel_abi.h"
#include <limits>
#include <numeric>
#include <utility>

using namespace mlir;
using namespace moray::codegen;
using Values = GpuBuilder::Values;

namespace {

constexpr int64_t kRows = 4, kWarps = 4, kThreads = kWarps * GpuBuilder::kWarp;
constexpr int64_t kCounters = MORAY_GPU_COUNTER_BYTES / 4;
constexpr int64_t kGroupsAtOnce = 8; // 8-byte weight loads of a lane under way
constexpr float kInfinity = std::numeric_limits<float>::infinity();

class RouterEmitter {
public:
  RouterEmitter(const RouterBody &spec, GpuBuilder &g) : spec(spec), g(g) {}
  void emit();
  /// Shared memory in which one warp selects.
  static uint64_t warpBytes(const RouterBody &spec) {
    bool grouped = spec.selection != RouterBody::All;
    return 4 * (2 * spec.experts + spec.top + (grouped ? 2 * spec.groups : 0));
  }
  /// Blocks that share the experts of one group of rows.
  static int64_t splits(const RouterBody &spec) { return (int64_t(spec.experts) + kWarps - 1) / kWarps; }

private:
  const RouterBody &spec;
  GpuBuilder &g;
  Value liveRows, lane, warp; // i64
  Value scores, choice, groupScores, kept,
      chosen; // shared memory of the warp: f32 [experts] or [groups], i32, f32 [top]

  Value word(Value base, Value index) { return g.at(base, g.shl(index, 2)); }
  Value logit(Value row, Value expert) {
    Value index = g.add(g.mul(row, int64_t(spec.experts)), expert);
    return g.at(word(g.scratch(), index), int64_t(MORAY_GPU_COUNTER_BYTES));
  }
  void emitLogits(Value firstRow, Value expert);
  Value arriveLast(Value group, Value alone);

  void makeWarpMemory();
  void forLanes(uint64_t count, llvm::function_ref<void(Value index)> body);
  Value largest(Value base, uint64_t count);
  void scoreRow(Value row);
  void softmax(ArrayRef<Value> logits, SmallVectorImpl<Value> &result);
  void keepGroups();
  void chooseTop(Value row);
};

//===----------------------------------------------------------------------===//
// Logits
//===----------------------------------------------------------------------===//

/// The dots of kRows rows with one expert's weights, by one warp.
void RouterEmitter::emitLogits(Value firstRow, Value expert) {
  int64_t xBytes = byteWidth(spec.x), wBytes = byteWidth(spec.w), full = spec.hidden / kRowGroup;
  int64_t wPitch = (int64_t(spec.hidden) * wBytes + 63) / 64 * 64, xPitch = int64_t(spec.hidden) * xBytes;
  Value weights = g.at(g.operand(spec.wArg), g.mul(expert, wPitch)), last = g.sub(liveRows, 1);
  Values rows; // rows that do not exist are the last one again
  for (int64_t r = 0; r < kRows; ++r)
    rows.push_back(g.at(g.operand(spec.xArg), g.mul(g.minu(g.add(firstRow, r), last), xPitch)));
  auto step = [&](Value group, int64_t groups, unsigned count, ValueRange sums) {
    Values w, next(sums.begin(), sums.end());
    auto load = [&](DType type, Value base, int64_t i, int64_t bytes, int64_t pitch) {
      Value element = g.add(g.shl(g.add(group, i), 7), g.mul(lane, int64_t(kPerLane)));
      unsigned alignment = unsigned(std::gcd<int64_t>(std::gcd<int64_t>(16, kPerLane * bytes), pitch));
      return loadFour(g, {type, g.at(base, g.mul(element, bytes)), alignment, count, /*invariant=*/true});
    };
    for (int64_t i = 0; i < groups; ++i)
      w.push_back(load(spec.w, weights, i, wBytes, wPitch));
    for (int64_t i = 0; i < groups; ++i)
      for (auto [row, sum] : llvm::zip(rows, next))
        sum = g.fma(load(spec.x, row, i, xBytes, xPitch), w[i], sum);
    return next;
  };
  Values sums(kRows, g.f(0.0f, kPerLane));
  int64_t even = full / kGroupsAtOnce * kGroupsAtOnce;
  if (even)
    sums = g.forLoop(0, g.c64(even), kGroupsAtOnce, sums,
                     [&](Value group, ValueRange c) { return step(group, kGroupsAtOnce, kRowGroup, c); });
  if (even < full)
    sums =
        g.forLoop(even, g.c64(full), 1, sums, [&](Value group, ValueRange c) { return step(group, 1, kRowGroup, c); });
  if (spec.hidden % kRowGroup)
    sums = step(g.c64(full), 1, unsigned(spec.hidden % kRowGroup), sums);
  for (int64_t r = 0; r < kRows; ++r) {
    Value dot = sumFours(g, sums[r]), row = g.add(firstRow, r);
    g.ifThen(g.andi(g.eq(lane, 0), g.ult(row, liveRows)), [&] { g.store(dot, logit(row, expert)); });
  }
}

/// Whether the logits of the group are all there (i1, the same in all threads). Its counter is zero again then.
Value RouterEmitter::arriveLast(Value group, Value alone) {
  Value flag = g.sharedArray(4);
  g.fenceDevice();
  g.barrier();
  g.ifThen(g.eq(g.thread(), 0), [&] {
    auto count = [&] {
      Value counter = word(g.scratch(), group), before = g.atomicAdd(counter, g.c32(1));
      Value last = g.eq(before, splits(spec) - 1);
      g.ifThen(last, [&] { g.store(g.c32(0), counter); });
      return Values{g.zext(last, g.i32)};
    };
    g.store(g.ifElse(alone, TypeRange(g.i32), [&] { return Values{g.c32(1)}; }, count)[0], flag);
  });
  g.barrier();
  Value last = g.eq(g.load(g.i32, flag), 1);
  g.fenceDevice();
  return last;
}

//===----------------------------------------------------------------------===//
// Selection, by one warp
//===----------------------------------------------------------------------===//

void RouterEmitter::makeWarpMemory() {
  Value mine = g.at(g.dynamicShared(), g.mul(warp, int64_t(warpBytes(spec))));
  int64_t used = 0;
  auto array = [&](uint64_t words) { return g.at(mine, std::exchange(used, used + int64_t(4 * words))); };
  scores = array(spec.experts), choice = array(spec.experts), chosen = array(spec.top);
  if (spec.selection != RouterBody::All)
    groupScores = array(spec.groups), kept = array(spec.groups);
}

void RouterEmitter::forLanes(uint64_t count, llvm::function_ref<void(Value)> body) {
  g.forLoop(lane, g.c64(count), g.c64(GpuBuilder::kWarp), body);
}

/// Index of the largest of `count` floats in shared memory, the first of equals; 0 if all are NaN or -inf.
Value RouterEmitter::largest(Value base, uint64_t count) {
  Values best = g.forLoop(lane, g.c64(count), g.c64(GpuBuilder::kWarp), ValueRange{g.c32(-1), g.f(-kInfinity)},
                          [&](Value i, ValueRange best) {
                            Value s = g.load(g.f32, word(base, i));
                            Value better = g.cmpf(arith::CmpFPredicate::OGT, s, best[1]);
                            return Values{g.select(better, g.trunc(i, g.i32), best[0]), g.select(better, s, best[1])};
                          });
  Value key = orderedKey(g, best[1]), none = g.c32(-1);
  Value candidate = g.select(g.eq(key, g.maxLanes(key)), best[0], none);
  Value first = g.xori(g.maxLanes(g.xori(candidate, none)), none); // smallest
  return g.zext(g.select(g.eq(first, none), g.c32(0), first), g.i64);
}

/// exp(z - max) over their sum, which has the 128 partial sums and the tree of a row reduction.
void RouterEmitter::softmax(ArrayRef<Value> logits, SmallVectorImpl<Value> &result) {
  auto exists = [&](size_t k) { return g.ult(lane, int64_t(spec.experts) - int64_t(k * GpuBuilder::kWarp)); };
  auto isWhole = [&](size_t k) { return (k + 1) * GpuBuilder::kWarp <= spec.experts; };
  Value most = g.f(-kInfinity);
  for (auto [k, z] : llvm::enumerate(logits)) {
    Value larger = g.maxf(z, most);
    most = isWhole(k) ? larger : g.select(exists(k), larger, most);
  }
  for (unsigned lanes = 16; lanes; lanes /= 2)
    most = g.maxf(g.shuffleXor(most, lanes), most);
  Values partials(kPerLane, g.f(0.0f));
  for (auto [k, z] : llvm::enumerate(logits)) {
    result.push_back(math::exp(g, g.subf(z, most)));
    Value live = isWhole(k) ? result.back() : g.select(exists(k), result.back(), g.f(0.0f));
    partials[k % kPerLane] = g.addf(partials[k % kPerLane], live);
  }
  Value sum = sumStrided(g, partials);
  for (Value &e : result)
    e = g.divf(e, sum);
}

/// Logits become scores, and what is compared: scores, plus the bias where there is one. Lane l has experts l, l + 32
/// ...
void RouterEmitter::scoreRow(Value row) {
  Values logits, result;
  size_t perLane = (spec.experts + GpuBuilder::kWarp - 1) / GpuBuilder::kWarp;
  auto guarded = [&](size_t k, llvm::function_ref<Value(Value expert)> read) {
    Value expert = g.add(lane, int64_t(k * GpuBuilder::kWarp));
    if ((k + 1) * GpuBuilder::kWarp <= spec.experts)
      return read(expert);
    return g.ifElse(
        g.ult(expert, int64_t(spec.experts)), TypeRange(g.f32), [&] { return Values{read(expert)}; },
        [&] { return Values{g.f(0.0f)}; })[0];
  };
  Value bad;
  for (size_t k = 0; k < perLane; ++k) {
    logits.push_back(guarded(k, [&](Value expert) { return g.load(g.f32, logit(row, expert)); }));
    Value notFinite = g.isNotFinite(logits.back());
    bad = bad ? g.ori(bad, notFinite) : notFinite;
  }
  g.faultIf(bad);
  if (spec.softmax)
    softmax(logits, result);
  else
    for (Value z : logits)
      result.push_back(math::sigmoid(g, z));
  for (size_t k = 0; k < perLane; ++k) {
    Value expert = g.add(lane, int64_t(k * GpuBuilder::kWarp));
    g.ifThen(g.ult(expert, int64_t(spec.experts)), [&] {
      g.store(result[k], word(scores, expert));
      Value c = result[k];
      if (spec.biasArg >= 0)
        c = g.addf(c, g.loadInvariant(g.f32, word(g.operand(spec.biasArg), expert)));
      g.store(c, word(choice, expert));
    });
  }
  g.syncWarp();
}

/// Experts outside the kept groups drop out of the choice (-inf). A lane scores whole groups.
void RouterEmitter::keepGroups() {
  int64_t size = spec.experts / spec.groups;
  Value lowest = g.f(-kInfinity);
  forLanes(spec.groups, [&](Value group) {
    Value first = g.mul(group, size);
    Values two =
        g.forLoop(first, g.add(first, size), g.c64(1), ValueRange{lowest, lowest}, [&](Value i, ValueRange best) {
          Value s = g.load(g.f32, word(choice, i)), loser = g.minf(s, best[0]);
          return Values{g.maxf(s, best[0]), g.maxf(loser, best[1])};
        });
    bool sum = spec.selection == RouterBody::GroupTopTwo && size > 1;
    g.store(sum ? g.addf(two[0], two[1]) : two[0], word(groupScores, group));
    g.store(g.c32(0), word(kept, group));
  });
  g.syncWarp();
  // Kept groups are taken one by one; a taken group cannot win again.
  g.forLoop(0, g.c64(spec.keep), 1, [&](Value) {
    Value group = largest(groupScores, spec.groups);
    g.syncWarp(); // all have read
    g.ifThen(g.eq(lane, 0), [&] {
      g.store(lowest, word(groupScores, group));
      g.store(g.c32(1), word(kept, group));
    });
    g.syncWarp();
  });
  forLanes(spec.experts, [&](Value i) {
    Value isKept = g.eq(g.load(g.i32, word(kept, g.divu(i, size))), 1);
    g.store(g.select(isKept, g.load(g.f32, word(choice, i)), lowest), word(choice, i));
  });
  g.syncWarp();
}

void RouterEmitter::chooseTop(Value row) {
  Value first = g.mul(row, int64_t(spec.top));
  Value sum = g.forLoop(0, g.c64(spec.top), 1, g.f(0.0f), [&](Value k, ValueRange total) {
    Value expert = largest(choice, spec.experts), s = g.load(g.f32, word(scores, expert));
    g.syncWarp(); // all have read
    g.ifThen(g.eq(lane, 0), [&] {
      g.store(g.f(-kInfinity), word(choice, expert));
      g.store(s, word(chosen, k));
      g.store(g.trunc(expert, g.i32), word(g.operand(spec.idsArg), g.add(first, k)));
    });
    g.syncWarp();
    return Values{g.addf(total[0], s)};
  })[0];
  Value divisor = g.addf(sum, g.f(1e-20f));
  forLanes(spec.top, [&](Value k) {
    Value w = g.load(g.f32, word(chosen, k));
    if (spec.normalise)
      w = g.divf(w, divisor);
    if (spec.normalise || spec.scale != 1.0f)
      w = g.mulf(w, g.f(spec.scale));
    g.store(w, word(g.operand(spec.gatesArg), g.add(first, k)));
  });
}

void RouterEmitter::emit() {
  liveRows = g.rows(spec.domain);
  lane = g.zext(g.lane(), g.i64), warp = g.zext(g.warp(), g.i64);
  makeWarpMemory();
  Value groups = g.ceilDiv(liveRows, kRows), alone = g.ult(g.c64(kCounters), groups);
  Value group = g.select(alone, g.task(), g.divu(g.task(), splits(spec)));
  Value split = g.select(alone, g.c64(0), g.remu(g.task(), splits(spec)));
  Value end = g.select(alone, g.c64(splits(spec)), g.add(split, 1));
  g.ifThen(g.ult(group, groups), [&] {
    Value firstRow = g.mul(group, kRows);
    g.forLoop(split, end, g.c64(1), [&](Value part) {
      Value expert = g.add(g.mul(part, kWarps), warp);
      g.ifThen(g.ult(expert, int64_t(spec.experts)), [&] { emitLogits(firstRow, expert); });
    });
    g.ifThen(arriveLast(group, alone), [&] {
      Value row = g.add(firstRow, warp); // kRows == kWarps
      g.ifThen(g.ult(row, liveRows), [&] {
        scoreRow(row);
        if (spec.selection != RouterBody::All)
          keepGroups();
        chooseTop(row);
      });
    });
  });
}

} // namespace

static GpuPlan planRouter(const KernelSpec &kernel, const GpuTarget &) {
  const auto &spec = kernel.as<RouterBody>();
  SizeExpr groups = SizeExpr::ceilDiv(spec.domain.count(), kRows);
  SizeExpr grid = SizeExpr::max(SizeExpr::min(groups, kCounters) * SizeExpr(RouterEmitter::splits(spec)), groups);
  SizeExpr scratch = SizeExpr(MORAY_GPU_COUNTER_BYTES) + spec.domain.capacity() * SizeExpr(spec.experts * 4);
  unsigned shared = unsigned(RouterEmitter::warpBytes(spec) * kWarps);
  return {{{"", grid, unsigned(kThreads), shared}}, scratch, "rows=4 experts=4"};
}

static llvm::Error emitRouter(const KernelSpec &kernel, const GpuTarget &, unsigned, GpuBuilder &g) {
  static_assert(kRows == kWarps, "a warp selects for a row");
  RouterEmitter(kernel.as<RouterBody>(), g).emit();
  return llvm::Error::success();
}

const GpuEmitter moray::codegen::gpuRouterEmitter{KernelClass::Router, planRouter, emitRouter};
