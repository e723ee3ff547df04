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

constexpr int64_t kRowBlock = 16; // weight rows of absorb_query that are added before the sums move on

/// Rows of the decode range that one pass works on.
static unsigned rowTile(const Target &target) { return tileRows(target); }

static uint64_t sourceWidth(const AttentionBody &spec) {
  return padTile(spec.op == AttentionBody::AbsorbQuery ? spec.nope : spec.latent);
}

LaunchPlan moray::codegen::planAbsorb(const AttentionBody &spec, const Target &target) {
  unsigned tile = rowTile(target);
  // No decode rows: no tasks.
  SizeExpr tasks = SizeExpr::min(SizeExpr(spec.heads), SizeExpr(Symbol::DecodeRows) * spec.heads);
  return {tasks, SizeExpr(tile * (sourceWidth(spec) + padTile(spec.latent)) * 4), "tile=" + std::to_string(tile)};
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
  Panel sums; // AbsorbQuery: f32 [tile][c]
  AbsorbEmitter(const AttentionBody &spec, VectorBuilder &b)
      : spec(spec), b(b), head(b.task()), source{b.scratch(), int64_t(4 * sourceWidth(spec))},
        sums{b.at(b.scratch(), int64_t(4 * rowTile(b.target) * sourceWidth(spec))), int64_t(4 * padTile(spec.latent))} {
  }

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
  void prefetchRow(Value row, Value last, Value column, unsigned count);
  void queryColumns(Value n, unsigned rows, Value column, unsigned lanes);
  void valueRows(Value first, unsigned rows, Value v, unsigned group, unsigned live);
  void value(Value first, unsigned rows);
};
} // namespace

/// Fetches `count` elements of a row of kv_b ahead of use; the row is at most the head's last one of its half.
void AbsorbEmitter::prefetchRow(Value row, Value last, Value column, unsigned count) {
  int64_t bytes = byteWidth(spec.w), pitch = (spec.latent * bytes + 63) / 64 * 64;
  Value from = b.at(b.at(b.operand(spec.wArg), b.mul(b.minu(row, last), pitch)), b.mul(column, bytes));
  for (int64_t line = 0; line < count * bytes; line += 64)
    b.prefetch(b.at(from, line));
}

/// Adds weight rows [n, n + kRowBlock) to columns [column, column + lanes) of the sums; the columns lie in one block of
/// 128.
void AbsorbEmitter::queryColumns(Value n, unsigned rows, Value column, unsigned lanes) {
  auto type = VectorBuilder::vec(lanes, b.f32);
  Value firstRow = b.mul(head, int64_t(spec.headRows())), end = b.minu(b.add(n, kRowBlock), int64_t(spec.nope));
  Value last = b.add(firstRow, int64_t(spec.nope - 1));
  Values init;
  for (unsigned i = 0; i < rows; ++i)
    init.push_back(b.load(type, b.at(sums.at(b, b.c64(i), 0), b.shl(column, 2))));
  Values done = b.forLoop(n, end, b.c64(1), init, [&](Value k, ValueRange carried) {
    Value row = b.add(firstRow, k);
    prefetchRow(b.add(row, kRowBlock), last, column, lanes);
    Value w = loadWeight(b, spec, row, column, lanes);
    Values next;
    for (unsigned i = 0; i < rows; ++i) {
      Value q = b.load(b.f32, b.at(source.at(b, b.c64(i), 0), b.shl(k, 2)));
      next.push_back(b.fma(b.splat(q, lanes), w, carried[i]));
    }
    return next;
  });
  for (unsigned i = 0; i < rows; ++i)
    b.store(done[i], b.at(sums.at(b, b.c64(i), 0), b.shl(column, 2)));
}

/// Weight rows go by in blocks, so that memory is read in order; the sums of all columns wait in the first-level cache.
void AbsorbEmitter::query(Value first, unsigned rows) {
  loadSource(first, rows, spec.nope + spec.rope, spec.nope);
  unsigned lanes = b.target.floatLanes * (rows == 1 ? 8 : 4);
  uint64_t columns = padTile(spec.latent), full = columns / lanes * lanes;
  for (unsigned i = 0; i < rows; ++i)
    b.forLoop(0, b.c64(columns), kTile,
              [&](Value c) { b.store(b.f(0.0f, kTile), b.at(sums.at(b, b.c64(i), 0), b.shl(c, 2))); });
  b.forLoop(0, b.c64(spec.nope), kRowBlock, [&](Value n) {
    if (full)
      b.forLoop(0, b.c64(full), lanes, [&](Value column) { queryColumns(n, rows, column, lanes); });
    if (full < columns)
      b.forLoop(b.c64(full), b.c64(columns), b.c64(kTile), [&](Value column) { queryColumns(n, rows, column, kTile); });
  });
  for (unsigned i = 0; i < rows; ++i) {
    Value to = result(b.add(first, i), spec.latent);
    auto write = [&](Value column, unsigned live) {
      Value sum = b.load(VectorBuilder::vec(kTile, b.f32), b.at(sums.at(b, b.c64(i), 0), b.shl(column, 2)));
      storePiece(b, spec.out, sum, b.at(to, b.mul(column, int64_t(byteWidth(spec.out)))), live);
    };
    uint64_t whole = spec.latent / kTile * kTile;
    if (whole)
      b.forLoop(0, b.c64(whole), kTile, [&](Value column) { write(column, kTile); });
    if (whole < spec.latent)
      write(b.c64(whole), spec.latent - whole);
  }
}

/// Dot products of `live` weight rows from v on with the source rows, columns in steps of a cache line of FP8 codes.
void AbsorbEmitter::valueRows(Value first, unsigned rows, Value v, unsigned group, unsigned live) {
  Value firstWeight = b.add(b.mul(head, int64_t(spec.headRows())), int64_t(spec.nope));
  Value last = b.add(firstWeight, int64_t(spec.value - 1));
  uint64_t columns = padTile(spec.latent);
  unsigned step = columns % 64 == 0 ? 64 : kTile;
  Values sums =
      b.forLoop(0, b.c64(columns), step, Values(rows * group, b.f(0.0f, kTile)), [&](Value c, ValueRange carried) {
        Values next(carried.begin(), carried.end());
        for (unsigned g = 0; g < group; ++g) {
          Value row = b.add(firstWeight, b.add(v, std::min(g, live - 1)));
          prefetchRow(b.add(row, group), last, c, step);
          for (unsigned part = 0; part < step; part += kTile) {
            Value column = b.add(c, part), w = loadWeight16(b, spec, row, column);
            for (unsigned i = 0; i < rows; ++i) {
              Value u = b.load(VectorBuilder::vec(kTile, b.f32), b.at(source.at(b, b.c64(i), 0), b.shl(column, 2)));
              next[i * group + g] = b.fma(u, w, next[i * group + g]);
            }
          }
        }
        return next;
      });
  for (unsigned i = 0; i < rows; ++i) {
    Value values = b.treeSums(ArrayRef<Value>(sums).slice(i * group, group));
    storePiece(b, spec.out, values, b.at(result(b.add(first, i), spec.value), b.mul(v, int64_t(byteWidth(spec.out)))),
               live);
  }
}

void AbsorbEmitter::value(Value first, unsigned rows) {
  loadSource(first, rows, spec.latent, spec.latent);
  unsigned group = b.target.vectorRegisters >= 32 ? 8 : 4; // weight rows at once
  group = rows == 1 ? group : group / 2;
  uint64_t full = spec.value / group * group;
  if (full)
    b.forLoop(0, b.c64(full), group, [&](Value v) { valueRows(first, rows, v, group, group); });
  if (full < spec.value)
    valueRows(first, rows, b.c64(full), group, spec.value - full);
}

void moray::codegen::emitAbsorbQuery(const AttentionBody &spec, VectorBuilder &b) {
  AbsorbEmitter emitter(spec, b);
  forRowTiles(b, rowTile(b.target), [&](Value first, unsigned rows) { emitter.query(first, rows); });
}
void moray::codegen::emitAbsorbValue(const AttentionBody &spec, VectorBuilder &b) {
  AbsorbEmitter emitter(spec, b);
  forRowTiles(b, rowTile(b.target), [&](Value first, unsigned rows) { emitter.value(first, rows); });
}
