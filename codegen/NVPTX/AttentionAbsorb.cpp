//===- AttentionAbsorb.cpp - kv_b on either side of latent attention, on a GPU ----===//
// Emits mla.absorb_query and mla.absorb_value: a block keeps its part of one head's kv_b in shared memory as bf16 and
// multiplies 16 decode rows at a time with it.
//
// absorb_query: 128 columns of c, depth n; the weight rows are the depth (ldmatrix.trans). absorb_value: 32 rows of v,
// depth c. Bytes: each weight once, whatever the number of rows. Partial products of one scale block start from zero
// and enter the sum as fma(P, scale, sum), ascending; where scale rows change inside a head at other places than
// multiples of 16, the matrix instruction runs twice with masked operands.

#include "codegen/NVPTX/AttentionTiles.h"

using namespace mlir;
using namespace moray::codegen;
using Values = GpuBuilder::Values;

constexpr unsigned kThreads = 128, kWarps = kThreads / GpuBuilder::kWarp;
constexpr uint64_t kQueryColumns = 128, kValueRows = 32; // of a block

namespace {
struct AbsorbShape {
  bool query;
  uint64_t depth, paddedDepth; // n or c
  uint64_t width;              // of the result: c or v
  uint64_t slab;               // columns of the result per block
  uint64_t sourceWidth;        // of one head in a source row
  explicit AbsorbShape(const AttentionBody &s)
      : query(s.op == AttentionBody::AbsorbQuery), depth(query ? s.nope : s.latent), paddedDepth(padMma(depth)),
        width(query ? s.latent : s.value), slab(query ? kQueryColumns : kValueRows),
        sourceWidth(query ? s.nope + s.rope : s.latent) {}
  uint64_t slabs() const { return (width + slab - 1) / slab; }
  uint64_t weightBytes() const {
    return query ? GpuTile::bytesOf(paddedDepth, slab) : GpuTile::bytesOf(slab, paddedDepth);
  }
  uint64_t sharedBytes() const { return weightBytes() + GpuTile::bytesOf(kMma, paddedDepth); }
};

class AbsorbEmitter {
public:
  AbsorbEmitter(const AttentionBody &spec, GpuBuilder &g)
      : spec(spec), g(g), shape(spec), weights(g.dynamicShared(), shape.query ? shape.slab : shape.paddedDepth),
        source(g.at(g.dynamicShared(), int64_t(shape.weightBytes())), shape.paddedDepth) {}
  void emit();

private:
  const AttentionBody &spec;
  GpuBuilder &g;
  AbsorbShape shape;
  GpuTile weights, source;
  Value head, firstColumn; // of the result
  Value firstRow;          // of this head's half of kv_b
  Value warpColumn;        // first column of this warp within the slab

  void loadWeights();
  void loadSource(Value row);
  Values steps(uint64_t begin, Value end, ValueRange init, llvm::function_ref<Values(Value, ValueRange)> body);
  Values stepQuery(Value k, Values a, ValueRange sums);
  Values queryProduct();
  Values straddlingProduct();
  Values valueProduct();
  void writeTile(Value row, ArrayRef<Value> sums);
};

void AbsorbEmitter::loadWeights() {
  // Query: depth down, columns across. Value: rows of v down, depth across.
  auto live = [&](Value row) {
    return shape.query ? g.ult(row, int64_t(shape.depth)) : g.ult(g.add(firstColumn, row), int64_t(shape.width));
  };
  auto row = [&](Value row) {
    if (shape.query)
      return g.add(firstRow, g.minu(row, int64_t(shape.depth - 1)));
    return g.add(firstRow, g.minu(g.add(firstColumn, row), int64_t(shape.width - 1)));
  };
  if (shape.query)
    stageWeights(g, spec, weights, shape.paddedDepth, shape.slab, {row, live, firstColumn});
  else
    stageWeights(g, spec, weights, shape.slab, shape.paddedDepth, {row, live, g.c64(0)});
}

void AbsorbEmitter::loadSource(Value firstSource) {
  auto address = [&](Value row) {
    Value part = g.add(g.mul(g.add(firstSource, row), int64_t(spec.heads)), head);
    return g.at(g.operand(spec.sourceArg), g.mul(part, int64_t(2 * shape.sourceWidth)));
  };
  auto live = [&](Value row) { return g.ult(g.add(firstSource, row), g.live(1)); };
  stageRows(g, source, kMma, shape.depth, 0, shape.paddedDepth, {address, live, shape.sourceWidth % 8 == 0});
}

/// Depth steps of 16 from `begin` (static) to `end`.
Values AbsorbEmitter::steps(uint64_t begin, Value end, ValueRange init,
                            llvm::function_ref<Values(Value, ValueRange)> body) {
  return g.forLoop(g.c64(begin), end, g.c64(kMma), init, body);
}

/// 32 columns of c for 16 of depth.
Values AbsorbEmitter::stepQuery(Value k, Values a, ValueRange carried) {
  Values sums(carried.begin(), carried.end());
  for (uint64_t pair = 0; pair < 2; ++pair) {
    Values b = fragmentBTransposed(g, weights, k, g.add(warpColumn, int64_t(pair * kMma)));
    multiplyInto(g, sums, 2 * pair, a, ArrayRef<Value>(b).take_front(2));
    multiplyInto(g, sums, 2 * pair + 1, a, ArrayRef<Value>(b).drop_front(2));
  }
  return sums;
}

static Values promote(GpuBuilder &g, ArrayRef<Value> parts, ValueRange sums, Value scale) {
  Values result;
  for (auto [part, sum] : llvm::zip_equal(parts, sums))
    result.push_back(g.fma(part, scale, sum));
  return result;
}

/// One scale for each group of depth that is sure to lie in one scale row.
Values AbsorbEmitter::queryProduct() {
  auto whole = [&](Value begin, Value end, ValueRange init) {
    return g.forLoop(begin, end, g.c64(kMma), init,
                     [&](Value k, ValueRange sums) { return stepQuery(k, fragmentA(g, source, g.c64(0), k), sums); });
  };
  Value end = g.c64(shape.paddedDepth);
  if (spec.scalesArg < 0)
    return whole(g.c64(0), end, zeros(g, 16));
  uint64_t group = spec.headRows() % kScaleBlock == 0 ? kScaleBlock : kMma;
  return g.forLoop(0, end, group, zeros(g, 16), [&](Value begin, ValueRange sums) {
    Value scale = weightScale(g, spec, g.add(firstRow, begin), g.shrl(firstColumn, 7));
    return promote(g, whole(begin, g.minu(g.add(begin, int64_t(group)), end), zeros(g, 16)), sums, scale);
  });
}

/// Scale rows change anywhere: of the 16 of a step, those before the change are multiplied first, the others masked.
Values AbsorbEmitter::straddlingProduct() {
  return steps(0, g.c64(shape.paddedDepth), zeros(g, 16), [&](Value k, ValueRange carried) {
    Values a = fragmentA(g, source, g.c64(0), k), sums(carried.begin(), carried.end());
    Value row = g.add(firstRow, k), last = g.minu(g.add(k, kMma - 1), int64_t(shape.depth - 1));
    Value next =
        g.sub(g.mul(g.add(g.shrl(row, 7), 1), int64_t(kScaleBlock)), firstRow); // depth where the scale changes
    for (bool before : {true, false}) {
      Values masked;
      for (unsigned i = 0; i < 4; ++i) { // registers 0, 1: depth 2 (lane % 4) + {0, 1}; 2, 3: 8 more
        Value first = g.add(g.add(k, fragmentPlace(g).column), int64_t(i / 2 * 8));
        Value mask = g.ori(g.select(g.ult(first, next), g.c32(0xffff), g.c32(0)),
                           g.select(g.ult(g.add(first, 1), next), g.c32(int32_t(0xffff0000)), g.c32(0)));
        masked.push_back(g.andi(a[i], before ? mask : g.xori(mask, g.c32(-1))));
      }
      Value scale = weightScale(g, spec, before ? row : g.add(firstRow, last), g.shrl(firstColumn, 7));
      sums = promote(g, stepQuery(k, masked, zeros(g, 16)), sums, scale);
    }
    return sums;
  });
}

/// 8 rows of v per warp; each has its own scale per 128 of depth.
Values AbsorbEmitter::valueProduct() {
  auto whole = [&](Value begin, Value end, ValueRange init) {
    return g.forLoop(begin, end, g.c64(kMma), init, [&](Value k, ValueRange carried) {
      Value lane = g.zext(g.lane(), g.i64);
      Value address = weights.at(g, g.add(warpColumn, g.andi(lane, 7)), g.add(k, g.andi(lane, 8)));
      Values b = g.loadMatrix(address, 2), sums(carried.begin(), carried.end());
      multiplyInto(g, sums, 0, fragmentA(g, source, g.c64(0), k), b);
      return sums;
    });
  };
  Value end = g.c64(shape.paddedDepth);
  if (spec.scalesArg < 0)
    return whole(g.c64(0), end, zeros(g, 4));
  Value column = g.add(g.add(firstColumn, warpColumn), fragmentPlace(g).column), rows[2];
  for (int64_t i = 0; i < 2; ++i)
    rows[i] = g.add(firstRow, g.minu(g.add(column, i), int64_t(shape.width - 1)));
  return g.forLoop(0, end, kScaleBlock, zeros(g, 4), [&](Value begin, ValueRange carried) {
    Values part = whole(begin, g.minu(g.add(begin, int64_t(kScaleBlock)), end), zeros(g, 4)), sums;
    Value scales[2];
    for (unsigned i = 0; i < 2; ++i)
      scales[i] = weightScale(g, spec, rows[i], g.shrl(begin, 7));
    for (unsigned i = 0; i < 4; ++i)
      sums.push_back(g.fma(part[i], scales[i % 2], carried[i]));
    return sums;
  });
}

void AbsorbEmitter::writeTile(Value firstSource, ArrayRef<Value> sums) {
  Place mine = fragmentPlace(g);
  for (int64_t half = 0; half < 2; ++half) {
    Value row = g.add(g.add(firstSource, mine.row), 8 * half);
    g.ifThen(g.ult(row, g.live(1)), [&] {
      Value part = g.add(g.mul(row, int64_t(spec.heads)), head);
      Value to = g.at(g.operand(spec.outArg), g.mul(part, int64_t(2 * shape.width)));
      for (size_t tile = 0; tile < sums.size() / 4; ++tile) {
        Value column = g.add(g.add(firstColumn, warpColumn), g.add(mine.column, int64_t(8 * tile)));
        storePair(g, to, column, shape.width, sums[4 * tile + 2 * half], sums[4 * tile + 2 * half + 1]);
      }
    });
  }
}

void AbsorbEmitter::emit() {
  Value slab = g.remu(g.task(), int64_t(shape.slabs()));
  head = g.divu(g.task(), int64_t(shape.slabs())), firstColumn = g.mul(slab, int64_t(shape.slab));
  firstRow = g.add(g.mul(head, int64_t(spec.headRows())), int64_t(shape.query ? 0 : spec.nope));
  warpColumn = g.mul(g.zext(g.warp(), g.i64), int64_t(shape.slab / kWarps));
  Value rows = g.live(1);
  bool straddles = shape.query && spec.scalesArg >= 0 && spec.headRows() % kMma;
  g.ifThen(g.ult(g.c64(0), rows), [&] {
    loadWeights();
    g.forLoop(0, rows, kMma, [&](Value row) {
      loadSource(row);
      awaitTiles(g);
      writeTile(row, !shape.query ? valueProduct() : straddles ? straddlingProduct() : queryProduct());
      g.barrier(); // before the source rows are overwritten
    });
  });
}
} // namespace

GpuPlan moray::codegen::planAbsorb(const AttentionBody &spec) {
  AbsorbShape shape(spec);
  SizeExpr blocks(spec.heads * shape.slabs());
  return {{{"", SizeExpr::min(blocks, SizeExpr(Symbol::DecodeRows) * blocks), kThreads, unsigned(shape.sharedBytes())}},
          SizeExpr(0),
          "rows=16 columns=" + std::to_string(shape.slab)};
}
void moray::codegen::emitAbsorb(const AttentionBody &spec, GpuBuilder &g) { AbsorbEmitter(spec, g).emit(); }
