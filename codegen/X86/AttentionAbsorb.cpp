//===- AttentionAbsorb.cpp - kv_b on either side of latent attention ----------===//
// Emits mla.absorb_query and mla.absorb_value for decode rows: a task is one head, its rows of kv_b are streamed for
// all decode rows.
//
// Bytes: the head's half of kv_b once per tile of rows (from the first-level caches after the first). absorb_query adds
// weight rows scaled by q (lanes along c, 4 or 8 registers of sums), absorb_value takes dot products of weight rows
// with u (16 lanes, several rows at once).

#include "codegen/X86/Attention.h"
#include "codegen/X86/AttentionVectors.h"

using namespace mlir;
using namespace moray::codegen;
using Values = VectorBuilder::Values;

/// Rows of the decode range that one pass works on.
static unsigned rowTile(const Target &target) { return tileRows(target); }

static uint64_t sourceWidth(const AttentionBody &spec) {
  return padTile(spec.op == AttentionBody::AbsorbQuery ? spec.nope : spec.latent);
}

LaunchPlan moray::codegen::planAbsorb(const AttentionBody &spec, const Target &target) {
  unsigned tile = rowTile(target);
  // No decode rows: no tasks.
  SizeExpr tasks = SizeExpr::min(SizeExpr(spec.heads), SizeExpr(Symbol::DecodeRows) * spec.heads);
  return {tasks, SizeExpr(tile * sourceWidth(spec) * 4), "tile=" + std::to_string(tile)};
}

/// Calls `body(first, rows)` for tiles of decode rows: full tiles of `tile` rows, then single ones.
static void forRowTiles(VectorBuilder &b, unsigned tile, llvm::function_ref<void(Value first, unsigned rows)> body) {
  Value rows = b.live(1), full = b.mul(b.divu(rows, int64_t(tile)), int64_t(tile));
  b.forLoop(0, full, tile, [&](Value first) { body(first, tile); });
  b.forLoop(full, rows, b.c64(1), [&](Value first) { body(first, 1); });
}

namespace {
/// What both directions share: the head of the task and the f32 copies of the source rows.
struct AbsorbEmitter {
  const AttentionBody &spec;
  VectorBuilder &b;
  Value head;
  Panel source;
  AbsorbEmitter(const AttentionBody &spec, VectorBuilder &b)
      : spec(spec), b(b), head(b.task()), source{b.scratch(), int64_t(4 * sourceWidth(spec))} {}

  /// Rows [first, first + rows) of the head's part of the source as f32 in scratch.
  void loadSource(Value first, unsigned rows, uint64_t partWidth, uint64_t count) {
    int64_t bytes = byteWidth(spec.q);
    for (unsigned i = 0; i < rows; ++i) {
      Value row = b.add(b.mul(b.add(first, i), int64_t(spec.heads)), head);
      widenRow(b, spec.q, b.at(b.operand(spec.sourceArg), b.mul(row, int64_t(partWidth) * bytes)),
               source.at(b, b.c64(i), 0), count);
    }
  }
  /// The head's part of result row `row`.
  Value result(Value row, uint64_t partWidth) {
    Value part = b.add(b.mul(row, int64_t(spec.heads)), head);
    return b.at(b.operand(spec.outArg), b.mul(part, int64_t(partWidth * byteWidth(spec.out))));
  }
  void query(Value first, unsigned rows);
  void queryColumns(Value first, unsigned rows, Value column, unsigned lanes, unsigned live);
  void value(Value first, unsigned rows);
};
} // namespace

/// Columns [column, column + lanes) of q~; they lie in one block of 128, `live` of them exist.
void AbsorbEmitter::queryColumns(Value first, unsigned rows, Value column, unsigned lanes, unsigned live) {
  Value firstRow = b.mul(head, int64_t(spec.headRows()));
  int64_t pitch = (spec.latent * byteWidth(spec.w) + 63) / 64 * 64;
  Values sums = b.forLoop(0, b.c64(spec.nope), 1, Values(rows, b.f(0.0f, lanes)), [&](Value n, ValueRange carried) {
    Value row = b.add(firstRow, n);
    // The columns of the rows that come: too far apart for the hardware to foresee.
    b.prefetch(
        b.at(b.at(b.operand(spec.wArg), b.mul(b.add(row, 16), pitch)), b.mul(column, int64_t(byteWidth(spec.w)))));
    Value w = loadWeight(b, spec, row, column, lanes);
    Values next;
    for (unsigned i = 0; i < rows; ++i)
      next.push_back(b.fma(b.splat(b.load(b.f32, b.at(source.at(b, b.c64(i), 0), b.shl(n, 2))), lanes), w, carried[i]));
    return next;
  });
  for (unsigned i = 0; i < rows; ++i)
    storePiece(b, spec.out, sums[i],
               b.at(result(b.add(first, i), spec.latent), b.mul(column, int64_t(byteWidth(spec.out)))), live);
}

void AbsorbEmitter::query(Value first, unsigned rows) {
  loadSource(first, rows, spec.nope + spec.rope, spec.nope);
  unsigned lanes = b.target.floatLanes * (rows == 1 ? 8 : 4);
  uint64_t full = spec.latent / lanes * lanes;
  if (full)
    b.forLoop(0, b.c64(full), lanes, [&](Value column) { queryColumns(first, rows, column, lanes, lanes); });
  for (uint64_t column = full; column < spec.latent; column += kTile)
    queryColumns(first, rows, b.c64(column), kTile, std::min<uint64_t>(kTile, spec.latent - column));
}

void AbsorbEmitter::value(Value first, unsigned rows) {
  loadSource(first, rows, spec.latent, spec.latent);
  unsigned group = b.target.vectorRegisters >= 32 ? 8 : 4; // weight rows at once
  group = rows == 1 ? group : group / 2;
  Value firstWeight = b.add(b.mul(head, int64_t(spec.headRows())), int64_t(spec.nope));
  auto dots = [&](Value v, unsigned live) {
    Values sums = b.forLoop(0, b.c64(padTile(spec.latent)), kTile, Values(rows * group, b.f(0.0f, kTile)),
                            [&](Value c, ValueRange carried) {
                              Values next(carried.begin(), carried.end());
                              for (unsigned g = 0; g < group; ++g) {
                                Value w = loadWeight16(b, spec, b.add(firstWeight, b.add(v, std::min(g, live - 1))), c);
                                for (unsigned i = 0; i < rows; ++i) {
                                  Value u = b.load(VectorBuilder::vec(kTile, b.f32),
                                                   b.at(source.at(b, b.c64(i), 0), b.shl(c, 2)));
                                  next[i * group + g] = b.fma(u, w, next[i * group + g]);
                                }
                              }
                              return next;
                            });
    for (unsigned i = 0; i < rows; ++i) {
      Value values = b.treeSums(ArrayRef<Value>(sums).slice(i * group, group));
      storePiece(b, spec.out, values, b.at(result(b.add(first, i), spec.value), b.mul(v, int64_t(byteWidth(spec.out)))),
                 live);
    }
  };
  uint64_t full = spec.value / group * group;
  if (full)
    b.forLoop(0, b.c64(full), group, [&](Value v) { dots(v, group); });
  if (full < spec.value)
    dots(b.c64(full), spec.value - full);
}

void moray::codegen::emitAbsorbQuery(const AttentionBody &spec, VectorBuilder &b) {
  AbsorbEmitter emitter(spec, b);
  forRowTiles(b, rowTile(b.target), [&](Value first, unsigned rows) { emitter.query(first, rows); });
}
void moray::codegen::emitAbsorbValue(const AttentionBody &spec, VectorBuilder &b) {
  AbsorbEmitter emitter(spec, b);
  forRowTiles(b, rowTile(b.target), [&](Value first, unsigned rows) { emitter.value(first, rows); });
}
