//===- Row.cpp - fused row kernels -------------------------------------------===//
// Emits a RowProgram: a task is a few rows, a row runs all stages, a stage walks blocks of 128 elements.
//
// Per block of 128 elements and operand: 128 lanes in registers (2 x 4 zmm, 4 x 4 ymm); traffic is one read of every
// operand and one write of every result; reductions add 128 fma per block. Values that several stages need are kept in
// scratch (f32, L1-sized).

#include "codegen/Emitter.h"
#include "codegen/Math.h"
#include "codegen/RowAddresses.h"
#include "codegen/X86/RowVectors.h"

using namespace mlir;
using namespace moray::codegen;
using Values = VectorBuilder::Values;

namespace {

class RowEmitter {
public:
  RowEmitter(const RowProgram &program, VectorBuilder &b)
      : program(program), b(b), lanes(rowLanes(b.target)), addresses(b) {}
  void emitRow(Value row);

private:
  const RowProgram &program;
  VectorBuilder &b;
  unsigned lanes;
  Value row;
  RowAddresses addresses; // of the current row
  Values scalars;

  Value address(const RowMemory &memory, Value element = {}) { return addresses.at(memory, element); }
  void emit(const RowLoop &loop);
  void emit(const RowRope &rope);
  void emit(const RowRopeTable &table);
  Value emitNode(const RowLoop &loop, unsigned index, const Values &done, Value element, unsigned count,
                 uint64_t before);
  void emitQuantise(const RowQuantise &quantise, ArrayRef<Value> pieces, Value base, unsigned count);
  void rotatePairs(const RowRope &rope, Value from, ArrayRef<Value> to);
  void rotateHalves(const RowRope &rope, Value from, ArrayRef<Value> to);
  Value rounded(Value value, bool round) { return round ? b.quantiseBf16(value) : value; }
};

Value RowEmitter::emitNode(const RowLoop &loop, unsigned index, const Values &done, Value element, unsigned count,
                           uint64_t before) {
  const RowNode &n = loop.nodes[index];
  switch (n.kind) {
  case RowNode::Load:
    return rounded(loadPiece(b, n.memory.type, address(n.memory, element), lanes, count, n.memory.column + before),
                   n.round);
  case RowNode::Round:
    return b.quantiseBf16(done[n.a]);
  case RowNode::Add:
    return rounded(b.addf(done[n.a], done[n.b]), n.round);
  case RowNode::Swiglu:
    return rounded(b.mulf(math::silu(b, done[n.a]), done[n.b]), n.round);
  case RowNode::Normalise:
    return rounded(b.mulf(b.mulf(done[n.a], b.splat(scalars[n.scalar], lanes)), done[n.b]), n.round);
  case RowNode::Combine:
    break;
  }
  const RowAddresses::CombineRows &rows = addresses.combine(n);
  Value sum = b.f(0.0f, lanes), offset = b.mul(element, int64_t(byteWidth(n.memory.type)));
  for (auto [source, gate] : llvm::zip(rows.rows, rows.gates)) {
    Value x = loadPiece(b, n.memory.type, b.at(source, offset), lanes, count, before);
    sum = b.addf(sum, b.mulf(b.splat(gate, lanes), x));
  }
  return rounded(sum, n.round);
}

void RowEmitter::emit(const RowLoop &loop) {
  Values init;
  for (size_t i = 0; i < loop.reductions.size(); ++i)
    init.append(zeroPartials(b, lanes));
  unsigned pieces = kRowPartials / lanes;
  Values sums = forBlocks(b, loop.width, init, [&](Value base, unsigned blockCount, ValueRange carried) {
    Values next(carried.begin(), carried.end());
    std::vector<Values> quantised(loop.quantises.size());
    for (unsigned piece = 0; piece * lanes < blockCount; ++piece) {
      unsigned count = std::min(lanes, blockCount - piece * lanes);
      Value element = b.add(base, int64_t(piece * lanes));
      // Only a partial piece asks what lies before it, and that one has a static place.
      uint64_t before = blockCount < kRowPartials ? loop.width / kRowPartials * kRowPartials + piece * lanes : 0;
      Values nodes;
      for (unsigned i = 0; i < loop.nodes.size(); ++i)
        nodes.push_back(emitNode(loop, i, nodes, element, count, before));
      for (const RowStore &s : loop.stores)
        storePiece(b, s.to.type, nodes[s.node], address(s.to, element), count);
      for (auto [i, r] : llvm::enumerate(loop.reductions))
        next[i * pieces + piece] = b.fma(nodes[r.node], nodes[r.node], next[i * pieces + piece]);
      for (auto [i, q] : llvm::enumerate(loop.quantises))
        quantised[i].push_back(nodes[q.node]);
    }
    for (auto [i, q] : llvm::enumerate(loop.quantises))
      emitQuantise(q, quantised[i], base, blockCount);
    return next;
  });
  for (auto [i, r] : llvm::enumerate(loop.reductions)) {
    Value sum = sumPartials(b, ValueRange(sums).slice(i * pieces, pieces));
    b.faultIf(b.isNotFinite(sum));
    Value mean = b.divf(sum, b.f(float(loop.width)));
    scalars[r.scalar] = b.divf(b.f(1.0f), b.sqrt(b.addf(mean, b.f(r.eps))));
  }
}

void RowEmitter::emitQuantise(const RowQuantise &q, ArrayRef<Value> pieces, Value base, unsigned count) {
  Values magnitudes;
  for (Value p : pieces)
    magnitudes.push_back(b.absf(p));
  Value most = b.bitcast(maxBits(b, magnitudes), b.f32);
  b.faultIf(b.isNotFinite(most));
  // Not maxf: a NaN must stay one, so that its codes say so.
  Value amax = b.select(b.cmpf(arith::CmpFPredicate::OLT, most, b.f(1e-4f)), b.f(1e-4f), most);
  Value scale = b.divf(amax, b.f(448.0f));
  if (q.powerOfTwo)
    scale = math::roundUpToPowerOfTwo(b, scale);
  b.store(scale, address(q.scales, b.shrl(base, 7)));
  Value divisor = b.splat(scale, lanes);
  for (auto [i, p] : llvm::enumerate(pieces)) {
    Value codes = math::toE4M3(b, b.divf(p, divisor));
    storePiece(b, DType::F8E4M3, codes, address(q.codes, b.add(base, int64_t(i * lanes))),
               std::min(lanes, count - unsigned(i) * lanes));
  }
}

constexpr unsigned kRopeLanes = 16;

/// Both rotations read a head's rotated part at `from` and write it to every address in `to`.
void RowEmitter::rotatePairs(const RowRope &r, Value from, ArrayRef<Value> to) {
  SmallVector<int64_t> twice, swap, signs;
  for (int64_t i = 0; i < kRopeLanes; ++i)
    twice.push_back(i / 2), swap.push_back(i ^ 1), signs.push_back(i % 2 ? kRopeLanes / 2 + i / 2 : i / 2);
  for (unsigned start = 0; start < r.rotated; start += kRopeLanes) {
    unsigned count = std::min<uint64_t>(kRopeLanes, r.rotated - start);
    Value pair = b.c64(start / 2);
    Value cos = loadPiece(b, r.cos.type, address(r.cos, pair), kRopeLanes / 2, count / 2, r.cos.column + start / 2);
    Value sin = loadPiece(b, r.sin.type, address(r.sin, pair), kRopeLanes / 2, count / 2, r.sin.column + start / 2);
    Value x = loadPiece(b, r.from.type, b.at(from, int64_t(start * byteWidth(r.from.type))), kRopeLanes, count,
                        r.headDim - r.rotated + start);
    // y[2i] = x[2i] cos - x[2i+1] sin, y[2i+1] = x[2i+1] cos + x[2i] sin; negation is exact.
    Value y = b.addf(b.mulf(x, b.shuffle(cos, cos, twice)),
                     b.mulf(b.shuffle(x, x, swap), b.shuffle(b.negf(sin), sin, signs)));
    for (auto [memory, target] : llvm::zip(r.to, to))
      storePiece(b, memory.type, rounded(y, r.round), b.at(target, int64_t(start * byteWidth(memory.type))), count);
  }
}

void RowEmitter::rotateHalves(const RowRope &r, Value from, ArrayRef<Value> to) {
  uint64_t half = r.rotated / 2;
  for (unsigned start = 0; start < half; start += kRopeLanes) {
    unsigned count = std::min<uint64_t>(kRopeLanes, half - start);
    auto piece = [&](const RowMemory &m, Value address, uint64_t before) {
      return loadPiece(b, m.type, address, kRopeLanes, count, before);
    };
    Value cos = piece(r.cos, address(r.cos, b.c64(start)), r.cos.column + start);
    Value sin = piece(r.sin, address(r.sin, b.c64(start)), r.sin.column + start);
    int64_t width = byteWidth(r.from.type);
    Value low = piece(r.from, b.at(from, start * width), r.headDim - r.rotated + start);
    Value high = piece(r.from, b.at(from, int64_t(half + start) * width), r.headDim - half + start);
    Value yLow = rounded(b.subf(b.mulf(low, cos), b.mulf(high, sin)), r.round);
    Value yHigh = rounded(b.addf(b.mulf(low, sin), b.mulf(high, cos)), r.round);
    for (auto [memory, target] : llvm::zip(r.to, to)) {
      int64_t bytes = byteWidth(memory.type);
      storePiece(b, memory.type, yLow, b.at(target, start * bytes), count);
      storePiece(b, memory.type, yHigh, b.at(target, int64_t(half + start) * bytes), count);
    }
  }
}

void RowEmitter::emit(const RowRope &r) {
  uint64_t kept = r.headDim - r.rotated;
  b.forLoop(0, b.c64(r.width / r.headDim), 1, [&](Value head) {
    Value first = b.mul(head, int64_t(r.headDim)), rotated = b.add(first, int64_t(kept));
    forBlocks(b, kept, [&](Value base, unsigned blockCount) {
      for (unsigned piece = 0; piece < blockCount; piece += lanes) {
        unsigned count = std::min(lanes, blockCount - piece);
        Value element = b.add(b.add(first, base), int64_t(piece));
        uint64_t before = blockCount < kRowPartials ? kept / kRowPartials * kRowPartials + piece : 0;
        Value x =
            rounded(loadPiece(b, r.from.type, address(r.from, element), lanes, count, r.from.column + before), r.round);
        for (const RowMemory &m : r.to)
          storePiece(b, m.type, x, address(m, element), count);
      }
    });
    Values to;
    for (const RowMemory &m : r.to)
      to.push_back(address(m, rotated));
    r.halfSplit ? rotateHalves(r, address(r.from, rotated), to) : rotatePairs(r, address(r.from, rotated), to);
  });
}

void RowEmitter::emit(const RowRopeTable &t) {
  Value position = b.load(b.i32, b.at(b.operand(t.positionsArg), b.shl(row, 2)));
  Value p = b.splat(b.toFloat(position, b.f32), kRopeLanes), multiplier = b.f(t.multiplier, kRopeLanes);
  for (size_t start = 0; start < t.invFreq.size(); start += kRopeLanes) {
    unsigned count = std::min<size_t>(kRopeLanes, t.invFreq.size() - start);
    SmallVector<float> frequencies(t.invFreq.begin() + start, t.invFreq.begin() + start + count);
    frequencies.resize(kRopeLanes, 0.0f);
    auto type = VectorBuilder::vec(kRopeLanes, b.f32);
    Value inv = arith::ConstantOp::create(b.b, b.loc, DenseElementsAttr::get(type, ArrayRef<float>(frequencies)));
    auto [sin, cos] = math::sinCos(b, b.mulf(p, inv));
    auto put = [&](const std::vector<RowMemory> &to, Value value) {
      for (const RowMemory &m : to)
        storePiece(b, m.type, b.mulf(value, multiplier), address(m, b.c64(start)), count);
    };
    put(t.cos, cos), put(t.sin, sin);
  }
}

void RowEmitter::emitRow(Value theRow) {
  row = theRow;
  scalars.assign(program.scalars, Value());
  addresses.find(program, row, b.scratch());
  for (const RowStage &stage : program.stages)
    std::visit([&](const auto &s) { emit(s); }, stage);
}

} // namespace

/// Rows of one task: enough work to hide the call, few enough to balance.
static uint64_t rowsPerTask(const RowProgram &program) {
  return std::clamp<uint64_t>(16384 / std::max<uint64_t>(1, program.elementsPerRow()), 1, 64);
}

static LaunchPlan planRow(const KernelSpec &spec, const Target &target) {
  const auto &program = spec.as<RowProgram>();
  uint64_t rows = rowsPerTask(program);
  return {SizeExpr::ceilDiv(program.domain.count(), rows), SizeExpr((program.scratchElements * 4 + 63) / 64 * 64),
          "rows=" + std::to_string(rows) + " lanes=" + std::to_string(rowLanes(target))};
}

static llvm::Error emitRow(const KernelSpec &spec, const Target &target, VectorBuilder &b) {
  const auto &program = spec.as<RowProgram>();
  int64_t rows = rowsPerTask(program);
  Value begin = b.mul(b.task(), rows), end = b.minu(b.add(begin, rows), b.rows(program.domain));
  if (program.domain.kind == RowDomain::Prefill) {
    Value decode = b.live(1);
    begin = b.add(begin, decode), end = b.add(end, decode);
  }
  b.forLoop(begin, end, b.c64(1), [&](Value row) { RowEmitter(program, b).emitRow(row); });
  return llvm::Error::success();
}

const Emitter moray::codegen::rowEmitter{KernelClass::Row, planRow, emitRow};
