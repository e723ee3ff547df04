//===- Probe.cpp - kernels that measure a GPU ---------------------------------------===//
// Read bandwidth (16-byte loads, eight under way in each thread) and the peak of bf16 matrix products (mma.sync on
// registers, independent chains).

#include "codegen/NVPTX/Emitters.h"
#include "codegen/NVPTX/GpuBuilder.h"

using namespace mlir;
using namespace moray::codegen;
using Values = GpuBuilder::Values;

constexpr int64_t kThreads = 256, kWarps = kThreads / GpuBuilder::kWarp;
constexpr int64_t kRound = kThreads * 16; // bytes that a block reads with one load of each thread; divides symbols[B]
constexpr int64_t kLoads = 8;
constexpr int64_t kChains = 8, kSteps = 256; // matrix products of a warp under way; rounds of one iteration
constexpr int64_t kMmaFlops = 2 * 16 * 8 * 16;

/// A block is a task.
static GpuPlan planProbe(const KernelSpec &spec, const GpuTarget &) {
  bool read = spec.as<ProbeBody>().kind == ProbeBody::ReadBandwidth;
  return {{{"", SizeExpr(Symbol::T), unsigned(kThreads), 0}}, SizeExpr(0), read ? "loads=8" : "mma=bf16 chains=8"};
}

static Value dataOfTask(GpuBuilder &g) { return g.at(g.operand(0), g.mul(g.task(), g.capacity(Symbol::B))); }

/// Stores the work of the task and, for each warp, a checksum (i32) that keeps the loops alive.
static void storeResult(GpuBuilder &g, Value work, Value checksum) {
  static_assert(kWarps * 4 == 32, "checksums fill the second half of the task's 64 bytes");
  Value sink = g.at(g.operand(1), g.mul(g.task(), 64)), sum = g.sumLanes(checksum);
  g.ifThen(g.eq(g.lane(), 0), [&] { g.store(sum, g.at(g.at(sink, 32), g.zext(g.shl(g.warp(), 2), g.i64))); });
  g.ifThen(g.eq(g.thread(), 0), [&] { g.store(work, sink); });
}

static void emitRead(GpuBuilder &g) {
  VectorType four = g.vec(4, g.i32);
  Value bytes = g.capacity(Symbol::B), mine = g.at(dataOfTask(g), g.shl(g.zext(g.thread(), g.i64), 4));
  Value even = g.mul(g.divu(bytes, kRound * kLoads), kRound * kLoads);
  auto load = [&](Value offset) { return g.load(four, g.at(mine, offset), 16); };
  Value sum = g.forLoop(0, g.layer(), 1, g.constI(four, 0), [&](Value, ValueRange outer) {
    Value rounds = g.forLoop(0, even, kRound * kLoads, outer, [&](Value offset, ValueRange c) {
      Values loaded;
      for (int64_t i = 0; i < kLoads; ++i)
        loaded.push_back(load(g.add(offset, i * kRound)));
      Value next = c[0];
      for (Value v : loaded)
        next = g.xori(next, v);
      return Values{next};
    })[0];
    return g.forLoop(even, bytes, g.c64(kRound), rounds,
                     [&](Value offset, ValueRange c) { return Values{g.xori(c[0], load(offset))}; });
  })[0];
  Value checksum = g.extract(sum, 0);
  for (int64_t i = 1; i < 4; ++i)
    checksum = g.xori(checksum, g.extract(sum, i));
  storeResult(g, g.mul(bytes, g.layer()), checksum);
}

static void emitMma(GpuBuilder &g) {
  Value from = g.at(dataOfTask(g), g.shl(g.zext(g.lane(), g.i64), 5));
  Values a, b;
  for (int64_t i = 0; i < 6; ++i)
    (i < 4 ? a : b).push_back(g.load(g.i32, g.at(from, 4 * i)));
  Value rounds = g.mul(g.layer(), kSteps);
  Values sums = g.forLoop(0, rounds, 1, Values(4 * kChains, g.f(0.0f)), [&](Value, ValueRange c) {
    Values next;
    for (int64_t chain = 0; chain < kChains; ++chain)
      llvm::append_range(next, g.mmaBf16(a, b, c.slice(4 * chain, 4)));
    return next;
  });
  Value checksum = g.c32(0);
  for (Value sum : sums)
    checksum = g.xori(checksum, g.bitcast(sum, g.i32));
  storeResult(g, g.mul(rounds, kChains * kMmaFlops * kWarps), checksum);
}

static llvm::Error emitProbe(const KernelSpec &spec, const GpuTarget &, unsigned, GpuBuilder &g) {
  if (spec.as<ProbeBody>().kind == ProbeBody::ReadBandwidth)
    emitRead(g);
  else
    emitMma(g);
  return llvm::Error::success();
}

const GpuEmitter moray::codegen::gpuProbeEmitter{KernelClass::Probe, planProbe, emitProbe};
