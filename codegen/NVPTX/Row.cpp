//===- Row.cpp - fused row kernels on a GPU ---------------------------------------===//
// Emits a RowProgram: a block takes a row and runs all stages, with a barrier between them.
//
// In a loop a warp takes groups of 128 elements, a lane 4 neighbours: 8-byte bf16 and 16-byte f32 accesses, and a few
// groups at once so that their loads are under way together. What a reduction sums goes through shared memory, where
// thread t then adds partial t in ascending order; so the order is that of RowProgram.h whatever the number of threads.
// Traffic: one read of every operand and one write of every result.

#include "codegen/Math.h"
#include "codegen/NVPTX/Emitters.h"
#include "codegen/NVPTX/GpuBuilder.h"
#include "codegen/NVPTX/RowLayout.h"
#include "codegen/NVPTX/RowPieces.h"
#include "codegen/RowAddresses.h"
#include "kernel_abi.h"
#include <numeric>

using namespace mlir;
using namespace moray::codegen;
using Values = GpuBuilder::Values;

namespace {

constexpr unsigned kLoadsInFlight = 4; // vector loads of a lane that are issued before the first is needed

class RowEmitter {
public:
  RowEmitter(const RowProgram &program, const RowLayout &layout, GpuBuilder &g)
      : program(program), layout(layout), g(g), warps(layout.threads / GpuBuilder::kWarp), addresses(g) {}
  void emitRow(Value row);

private:
  const RowProgram &program;
  const RowLayout &layout;
  GpuBuilder &g;
  const int64_t warps;
  Value row, blockMemory, warp, lane, firstOfLane; // i64 but blockMemory: pointer
  RowAddresses addresses;                          // of the current row
  Values scalars, partials;                        // partials: of each reduction of a loop, 128 f32 in shared memory

  /// Four elements of a lane: its first one, and how many of the group exist (128 but at the ragged end).
  struct Piece {
    Value element;
    unsigned count;
  };

  Value address(const RowMemory &memory, Value element) { return addresses.at(memory, element); }
  LaneMemory memory(const RowMemory &memory, Value address, const Piece &piece);
  void store(const RowMemory &m, Value value, const Piece &piece) {
    storeFour(g, value, memory(m, address(m, piece.element), piece));
  }

  void emit(const RowLoop &loop);
  void emit(const RowRope &rope);
  void emit(const RowRopeTable &table);
  void emitGroups(const RowLoop &loop, ArrayRef<Piece> pieces);
  Value emitNode(const RowLoop &loop, unsigned index, const Values &done, const Piece &piece);
  void emitQuantise(const RowQuantise &quantise, Value value, const Piece &piece);
  void emitReductions(const RowLoop &loop);
  void emitPartial(Value source, uint64_t width, Value to);
  void copyKept(const RowRope &rope);
  void rotate(const RowRope &rope);
  void forAll(uint64_t total, unsigned copies, llvm::function_ref<void(ArrayRef<Value> indices)> body);
  Value rounded(Value value, bool round) { return round ? g.quantiseBf16(value) : value; }
};

/// Bytes that accesses of `bytes` to every multiple of `bytes` in a row are aligned to. Operands are 64-byte aligned.
unsigned alignmentOf(const RowMemory &m, uint64_t bytes) {
  uint64_t alignment = std::gcd<uint64_t>(16, bytes);
  alignment = std::gcd(alignment, m.column * byteWidth(m.type));
  bool pitched = m.base != RowMemory::Shared && m.base != RowMemory::Scratch;
  return unsigned(pitched ? std::gcd(alignment, m.pitch) : alignment);
}

/// A lane's elements of a row memory; `at` is the address of the first.
LaneMemory RowEmitter::memory(const RowMemory &m, Value at, const Piece &piece) {
  return {m.type, at, alignmentOf(m, kPerLane * byteWidth(m.type)), piece.count, m.base == RowMemory::Shared};
}

//===----------------------------------------------------------------------===//
// Loops
//===----------------------------------------------------------------------===//

Value RowEmitter::emitNode(const RowLoop &loop, unsigned index, const Values &done, const Piece &piece) {
  const RowNode &n = loop.nodes[index];
  switch (n.kind) {
  case RowNode::Load:
    return rounded(loadFour(g, memory(n.memory, address(n.memory, piece.element), piece)), n.round);
  case RowNode::Round:
    return g.quantiseBf16(done[n.a]);
  case RowNode::Add:
    return rounded(g.addf(done[n.a], done[n.b]), n.round);
  case RowNode::Swiglu:
    return rounded(g.mulf(math::silu(g, done[n.a]), done[n.b]), n.round);
  case RowNode::Normalise:
    return rounded(g.mulf(g.mulf(done[n.a], g.splat(scalars[n.scalar], kPerLane)), done[n.b]), n.round);
  case RowNode::Combine:
    break;
  }
  const RowAddresses::CombineRows &rows = addresses.combine(n);
  Value offset = g.mul(piece.element, int64_t(byteWidth(n.memory.type)));
  Values sources;
  for (Value source : rows.rows)
    sources.push_back(loadFour(g, memory(n.memory, g.at(source, offset), piece)));
  Value sum = g.f(0.0f, kPerLane);
  for (auto [x, gate] : llvm::zip(sources, rows.gates))
    sum = g.addf(sum, g.mulf(g.splat(gate, kPerLane), x));
  return rounded(sum, n.round);
}

void RowEmitter::emitQuantise(const RowQuantise &q, Value value, const Piece &piece) {
  Value magnitudes = g.bitcast(g.absf(value), g.i32), most = g.extract(magnitudes, 0);
  for (unsigned e = 1; e < kPerLane; ++e)
    most = g.maxu(most, g.extract(magnitudes, e));
  most = g.bitcast(g.maxLanes(most), g.f32);
  Value first = g.eq(lane, 0);
  g.faultIf(g.andi(first, g.isNotFinite(most)));
  // Not maxf: a NaN must stay one, so that its codes say so.
  Value amax = g.select(g.cmpf(arith::CmpFPredicate::OLT, most, g.f(1e-4f)), g.f(1e-4f), most);
  Value scale = g.divf(amax, g.f(448.0f));
  if (q.powerOfTwo)
    scale = math::roundUpToPowerOfTwo(g, scale);
  g.ifThen(first, [&] { g.store(scale, address(q.scales, g.shrl(piece.element, 7))); });
  Value codes = math::toE4M3(g, g.divf(value, g.splat(scale, kPerLane)));
  store(q.codes, codes, piece);
}

/// Several groups of a warp at once: all loads come before the first store.
void RowEmitter::emitGroups(const RowLoop &loop, ArrayRef<Piece> pieces) {
  SmallVector<Values> nodes(pieces.size());
  for (unsigned i = 0; i < loop.nodes.size(); ++i)
    for (auto [piece, done] : llvm::zip(pieces, nodes))
      done.push_back(emitNode(loop, i, done, piece));
  for (auto [piece, done] : llvm::zip(pieces, nodes)) {
    for (const RowStore &s : loop.stores)
      store(s.to, done[s.node], piece);
    for (auto [i, r] : llvm::enumerate(loop.reductions)) {
      StagedNode staged = stagedNode(loop, i, layout.staging);
      Value to = g.at(g.at(blockMemory, g.shl(piece.element, 2)), int64_t(staged.byte));
      if (staged.ownStore)
        storeFour(g, done[r.node], {DType::F32, to, 16, piece.count});
    }
    for (const RowQuantise &q : loop.quantises)
      emitQuantise(q, done[q.node], piece);
  }
}

void RowEmitter::emit(const RowLoop &loop) {
  int64_t full = loop.width / kRowGroup;
  unsigned loads = 0;
  for (const RowNode &n : loop.nodes)
    loads += n.kind == RowNode::Load ? 1 : n.kind == RowNode::Combine ? unsigned(n.top) : 0;
  int64_t copies = loads >= kLoadsInFlight ? 1 : loads > 1 ? 2 : 4;
  while (copies > 1 && full < warps * copies)
    copies /= 2;
  auto piece = [&](Value group, unsigned count) {
    return Piece{g.add(g.mul(group, int64_t(kRowGroup)), firstOfLane), count};
  };
  // Rounds in which every warp has all its groups, then what is left, then the ragged end.
  int64_t even = full / (warps * copies) * (warps * copies);
  if (even)
    g.forLoop(0, g.c64(even), warps * copies, [&](Value first) {
      SmallVector<Piece> pieces;
      for (int64_t c = 0; c < copies; ++c)
        pieces.push_back(piece(g.add(g.add(first, warp), c * warps), kRowGroup));
      emitGroups(loop, pieces);
    });
  if (even < full)
    g.forLoop(g.add(warp, even), g.c64(full), g.c64(warps),
              [&](Value group) { emitGroups(loop, {piece(group, kRowGroup)}); });
  if (loop.width % kRowGroup)
    g.ifThen(g.eq(warp, full % warps),
             [&] { emitGroups(loop, {piece(g.c64(full), unsigned(loop.width % kRowGroup))}); });
  if (!loop.reductions.empty())
    emitReductions(loop);
}

/// Thread t < 128: the sum of elements t, t + 128, ... by fma, ascending, from 0; stored as partial t.
void RowEmitter::emitPartial(Value source, uint64_t width, Value to) {
  constexpr int64_t kUnroll = 8;
  int64_t full = width / kRowGroup, even = full / kUnroll * kUnroll;
  Value thread = g.zext(g.thread(), g.i64), mine = g.at(source, g.shl(thread, 2));
  auto element = [&](Value group) { return g.load(g.f32, g.at(mine, g.shl(group, 9))); };
  auto sum = [&](Value first, int64_t count, Value partial) {
    Values x;
    for (int64_t i = 0; i < count; ++i)
      x.push_back(element(g.add(first, i)));
    for (Value v : x)
      partial = g.fma(v, v, partial);
    return partial;
  };
  Value partial = g.f(0.0f);
  if (even)
    partial = g.forLoop(0, g.c64(even), kUnroll, partial,
                        [&](Value group, ValueRange c) { return Values{sum(group, kUnroll, c[0])}; })[0];
  partial = sum(g.c64(even), full - even, partial);
  if (width % kRowGroup)
    partial = g.ifElse(
        g.ult(thread, int64_t(width % kRowGroup)), TypeRange(g.f32),
        [&] { return Values{sum(g.c64(full), 1, partial)}; }, [&] { return Values{partial}; })[0];
  g.store(partial, g.at(to, g.shl(thread, 2)));
}

void RowEmitter::emitReductions(const RowLoop &loop) {
  while (partials.size() < loop.reductions.size())
    partials.push_back(g.sharedArray(4 * kRowGroup));
  g.barrier();
  auto sumAll = [&] {
    for (size_t i = 0; i < loop.reductions.size(); ++i)
      emitPartial(g.at(blockMemory, int64_t(stagedNode(loop, i, layout.staging).byte)), loop.width, partials[i]);
  };
  if (layout.threads > kRowGroup)
    g.ifThen(g.ult(g.thread(), int64_t(kRowGroup)), sumAll);
  else
    sumAll();
  g.barrier();
  // Every warp adds the same tree; lane l holds partials l, l + 32, l + 64, l + 96.
  for (auto [i, r] : llvm::enumerate(loop.reductions)) {
    Values p;
    for (int64_t j = 0; j < 4; ++j)
      p.push_back(g.load(g.f32, g.at(g.at(partials[i], g.shl(lane, 2)), 128 * j)));
    Value sum = sumStrided(g, p);
    g.faultIf(g.andi(g.eq(g.thread(), 0), g.isNotFinite(sum)));
    Value mean = g.divf(sum, g.f(float(loop.width)));
    scalars[r.scalar] = g.divf(g.f(1.0f), g.sqrt(g.addf(mean, g.f(r.eps))));
  }
}

//===----------------------------------------------------------------------===//
// Rope
//===----------------------------------------------------------------------===//

/// Threads take indices [0, total) in turn, `copies` at once.
void RowEmitter::forAll(uint64_t total, unsigned copies, llvm::function_ref<void(ArrayRef<Value>)> body) {
  int64_t threads = layout.threads;
  while (copies > 1 && total < uint64_t(threads) * copies)
    copies /= 2;
  int64_t even = total / (threads * copies) * (threads * copies);
  Value thread = g.zext(g.thread(), g.i64);
  if (even)
    g.forLoop(0, g.c64(even), threads * copies, [&](Value first) {
      Values indices;
      for (int64_t c = 0; c < copies; ++c)
        indices.push_back(g.add(g.add(first, thread), c * threads));
      body(indices);
    });
  if (uint64_t(even) < total)
    g.forLoop(g.add(thread, even), g.c64(total), g.c64(threads), [&](Value index) { body({index}); });
}

/// The elements of every head before its rotated ones.
void RowEmitter::copyKept(const RowRope &r) {
  uint64_t kept = r.headDim - r.rotated;
  int64_t n = kept % kPerLane == 0 && r.headDim % kPerLane == 0 ? kPerLane : 1;
  auto stored = [&](DType type) -> Type {
    Type element = type == DType::BF16 ? g.i16 : g.f32;
    return n == 1 ? element : Type(g.vec(n, element));
  };
  auto alignment = [&](const RowMemory &m) { return alignmentOf(m, n * byteWidth(m.type)); };
  forAll(r.width / r.headDim * (kept / n), 4, [&](ArrayRef<Value> indices) {
    Values elements, x;
    for (Value index : indices) {
      Value head = g.divu(index, int64_t(kept / n)), place = g.remu(index, int64_t(kept / n));
      elements.push_back(g.add(g.mul(head, int64_t(r.headDim)), g.mul(place, n)));
      Value bits = g.load(stored(r.from.type), address(r.from, elements.back()), alignment(r.from));
      x.push_back(rounded(r.from.type == DType::BF16 ? g.widenBf16(bits) : bits, r.round));
    }
    for (auto [element, value] : llvm::zip(elements, x))
      for (const RowMemory &m : r.to)
        g.store(m.type == DType::BF16 ? g.roundToBf16(value) : value, address(m, element), alignment(m));
  });
}

void RowEmitter::rotate(const RowRope &r) {
  int64_t half = r.rotated / 2, kept = r.headDim - r.rotated;
  struct Pair {
    Value first, second, cos, sin, low, high; // elements, factors, values
  };
  forAll(r.width / r.headDim * half, 4, [&](ArrayRef<Value> indices) {
    SmallVector<Pair> pairs;
    for (Value index : indices) {
      Value head = g.divu(index, half), i = g.remu(index, half), start = g.add(g.mul(head, int64_t(r.headDim)), kept);
      Pair p;
      p.first = g.add(start, r.halfSplit ? i : g.mul(i, 2));
      p.second = g.add(p.first, r.halfSplit ? half : 1);
      p.cos = g.loadWide(r.cos.type, address(r.cos, i)), p.sin = g.loadWide(r.sin.type, address(r.sin, i));
      p.low = g.loadWide(r.from.type, address(r.from, p.first));
      p.high = g.loadWide(r.from.type, address(r.from, p.second));
      pairs.push_back(p);
    }
    for (const Pair &p : pairs) {
      Value low = rounded(g.subf(g.mulf(p.low, p.cos), g.mulf(p.high, p.sin)), r.round);
      Value high = rounded(g.addf(g.mulf(p.high, p.cos), g.mulf(p.low, p.sin)), r.round);
      for (const RowMemory &m : r.to) {
        g.storeNarrow(m.type, low, address(m, p.first));
        g.storeNarrow(m.type, high, address(m, p.second));
      }
    }
  });
}

void RowEmitter::emit(const RowRope &r) {
  if (r.headDim > r.rotated)
    copyKept(r);
  rotate(r);
}

void RowEmitter::emit(const RowRopeTable &t) {
  Value frequencies = g.constantTable(t.invFreq);
  Value position = g.load(g.i32, g.at(g.operand(t.positionsArg), g.shl(row, 2)));
  Value p = g.toFloat(position, g.f32), multiplier = g.f(t.multiplier);
  forAll(t.invFreq.size(), 1, [&](ArrayRef<Value> indices) {
    Value i = indices[0], frequency = g.load(g.f32, g.at(frequencies, g.shl(i, 2)));
    auto [sin, cos] = math::sinCos(g, g.mulf(p, frequency));
    auto put = [&](const std::vector<RowMemory> &to, Value value) {
      for (const RowMemory &m : to)
        g.storeNarrow(m.type, g.mulf(value, multiplier), address(m, i));
    };
    put(t.cos, cos), put(t.sin, sin);
  });
}

void RowEmitter::emitRow(Value theRow) {
  row = theRow;
  lane = g.zext(g.lane(), g.i64), warp = g.zext(g.warp(), g.i64);
  firstOfLane = g.mul(lane, int64_t(kPerLane));
  if (layout.bytes)
    blockMemory =
        layout.inShared
            ? g.dynamicShared()
            : g.at(g.scratch(), g.add(g.mul(g.task(), int64_t(layout.bytes)), int64_t(MORAY_GPU_COUNTER_BYTES)));
  scalars.assign(program.scalars, Value());
  addresses.find(program, row, blockMemory);
  for (auto [i, stage] : llvm::enumerate(program.stages)) {
    std::visit([&](const auto &s) { emit(s); }, stage);
    // What a stage wrote, other threads may read; reductions have their own barriers behind all stores.
    auto *loop = std::get_if<RowLoop>(&stage);
    if (i + 1 < program.stages.size() && (!loop || loop->reductions.empty()))
      g.barrier();
  }
}

} // namespace

static GpuPlan planRow(const KernelSpec &spec, const GpuTarget &target) {
  const auto &program = spec.as<RowProgram>();
  RowLayout layout(program, target);
  GpuPlan plan;
  plan.stages = {{"", program.domain.count(), layout.threads, layout.inShared ? unsigned(layout.bytes) : 0}};
  if (!layout.inShared)
    plan.scratchBytes = SizeExpr(MORAY_GPU_COUNTER_BYTES) + program.domain.capacity() * SizeExpr(layout.bytes);
  plan.config = "rows=1 threads=" + std::to_string(layout.threads);
  return plan;
}

static llvm::Error emitRow(const KernelSpec &spec, const GpuTarget &target, unsigned, GpuBuilder &g) {
  const auto &program = spec.as<RowProgram>();
  RowLayout layout(program, target);
  g.ifThen(g.ult(g.task(), g.rows(program.domain)), [&] {
    Value row = g.task();
    if (program.domain.kind == RowDomain::Prefill)
      row = g.add(row, g.live(1));
    RowEmitter(program, layout, g).emitRow(row);
  });
  return llvm::Error::success();
}

const GpuEmitter moray::codegen::gpuRowEmitter{KernelClass::Row, planRow, emitRow};
