//===- Permute.cpp - sorting slots by expert on a GPU ----------------------------===//
// Emits the counting sort of (row, expert) pairs: one block per expert, no atomics, so the order is that of the CPU.
//
// A block reads all ids twice: once to count those of lower experts, which gives its first slot, and once to place its
// own in ascending order. Traffic: 2 * 4 bytes * pairs per expert, from L2.

#include "codegen/NVPTX/Emitters.h"
#include "codegen/NVPTX/GpuBuilder.h"
#include "codegen/RouterSpec.h"

using namespace mlir;
using namespace moray::codegen;
using Values = GpuBuilder::Values;

constexpr unsigned kThreads = 256, kWarps = kThreads / GpuBuilder::kWarp;

namespace {
class PermuteEmitter {
public:
  PermuteEmitter(const PermuteBody &spec, GpuBuilder &g) : spec(spec), g(g) {}
  void emit();

private:
  const PermuteBody &spec;
  GpuBuilder &g;
  Value expert, pairs, warpCounts;

  Value word(int arg, Value index) { return g.at(g.operand(arg), g.shl(index, 2)); }
  void forPairs(ValueRange init, Values &results, llvm::function_ref<Values(Value pair, Value id, ValueRange)> body);
  std::pair<Value, Value> rankInBlock(Value condition);
  void place(Value pair, Value slot);
};

/// Every thread takes part in every round; ids beyond the last pair are -1.
void PermuteEmitter::forPairs(ValueRange init, Values &results,
                              llvm::function_ref<Values(Value, Value, ValueRange)> body) {
  Value mine = g.zext(g.thread(), g.i64);
  results = g.forLoop(0, pairs, kThreads, init, [&](Value base, ValueRange carried) {
    Value pair = g.add(base, mine);
    Value id = g.ifElse(
        g.ult(pair, pairs), TypeRange(g.i32), [&] { return Values{g.load(g.i32, word(spec.idsArg, pair))}; },
        [&] { return Values{g.c32(-1)}; })[0];
    return body(pair, id, carried);
  });
}

/// How many threads before this one have `condition`, and how many of the block.
std::pair<Value, Value> PermuteEmitter::rankInBlock(Value condition) {
  Value rank, inWarp;
  std::tie(rank, inWarp) = g.rankAmongLanes(condition);
  return g.addWarps(rank, inWarp, warpCounts);
}

void PermuteEmitter::place(Value pair, Value slot) {
  int64_t top = spec.top;
  Value row = g.divu(pair, top), first = g.mul(row, top), column = g.trunc(g.sub(pair, first), g.i32);
  g.store(g.trunc(row, g.i32), word(spec.tokensArg, g.zext(slot, g.i64)));
  // Place among the row's experts in ascending order, the first of equals first.
  Value place = g.c32(0);
  for (int64_t i = 0; i < top; ++i) {
    Value other = g.load(g.i32, word(spec.idsArg, g.add(first, i)));
    Value lower = g.ult(other, expert);
    Value earlier = g.andi(g.eq(other, expert), g.ult(g.c32(i), column));
    place = g.add(place, g.zext(g.ori(lower, earlier), g.i32));
  }
  Value target = g.add(first, g.zext(place, g.i64));
  g.store(slot, word(spec.ranksArg, target));
  g.store(g.load(g.f32, word(spec.gatesArg, pair)), word(spec.sortedArg, target));
}

void PermuteEmitter::emit() {
  warpCounts = g.sharedArray(4 * kWarps);
  expert = g.trunc(g.task(), g.i32);
  pairs = g.mul(g.rows(spec.domain), int64_t(spec.top));
  Values lower, placed;
  forPairs(ValueRange{g.c32(0)}, lower,
           [&](Value, Value id, ValueRange sum) { return Values{g.add(sum[0], g.zext(g.ult(id, expert), g.i32))}; });
  Value firstSlot = g.addWarps(g.c32(0), g.sumLanes(lower[0]), warpCounts).second;

  forPairs(ValueRange{firstSlot}, placed, [&](Value pair, Value id, ValueRange next) {
    Value mine = g.eq(id, expert);
    Value rank, total;
    std::tie(rank, total) = rankInBlock(mine);
    g.ifThen(mine, [&] { place(pair, g.add(next[0], rank)); });
    return Values{g.add(next[0], total)};
  });
  g.ifThen(g.eq(g.thread(), 0), [&] {
    g.store(firstSlot, word(spec.offsetsArg, g.task()));
    g.ifThen(g.eq(expert, int64_t(spec.experts) - 1),
             [&] { g.store(placed[0], g.at(g.operand(spec.offsetsArg), int64_t(4 * spec.experts))); });
  });
}
} // namespace

static GpuPlan planPermute(const KernelSpec &kernel, const GpuTarget &) {
  return {{{"", SizeExpr(kernel.as<PermuteBody>().experts), kThreads, 0}}, SizeExpr(0), "blocks=experts"};
}

static llvm::Error emitPermute(const KernelSpec &kernel, const GpuTarget &, unsigned, GpuBuilder &g) {
  PermuteEmitter(kernel.as<PermuteBody>(), g).emit();
  return llvm::Error::success();
}

const GpuEmitter moray::codegen::gpuPermuteEmitter{KernelClass::Permute, planPermute, emitPermute};
