//===- AttentionLatent.cpp - attention of decode rows on the latent cache -----===//
// Emits mla.latent_attention: a task is one decode row and eight heads, which read the latent cache together, block by
// block.
//
// Per key block (64 tokens x (c + r) elements, read twice, from the second-level cache the second time): logits of 8
// heads x 2 keys in 16 registers of 16 partials; softmax with lanes = (key parity, head); then u of 8 heads x 2
// registers of c, keys ascending. Flops per key and head: 2 (c + r) + 2 c; bytes per key: (c + r) elements for 8 heads.

#include "codegen/X86/Attention.h"
#include "codegen/X86/AttentionVectors.h"
#include "codegen/Math.h"
#include <limits>

using namespace mlir;
using namespace moray::codegen;
using Values = VectorBuilder::Values;

namespace {

constexpr unsigned kHeads = 8; // heads of a task; a vector of 16 holds two keys x 8 heads
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Layout {
  uint64_t c, r; // padded
  uint64_t query, logits, context, factors, size;
  explicit Layout(const AttentionBody &s) : c((s.latent + 31) / 32 * 32), r(padTile(s.rope)) {
    query = 0;
    logits = query + 4 * kHeads * (c + r);
    context = logits + 4 * kHeads * s.page;
    factors = context + 4 * kHeads * c;
    size = factors + 64;
  }
};

class LatentEmitter {
public:
  LatentEmitter(const AttentionBody &spec, VectorBuilder &b)
      : spec(spec), b(b), layout(spec), query{at(layout.query), int64_t(4 * (layout.c + layout.r))},
        logits(at(layout.logits)), context{at(layout.context), int64_t(4 * layout.c)}, factors(at(layout.factors)),
        wide(VectorBuilder::vec(kTile, b.f32)) {}
  void emit();

private:
  const AttentionBody &spec;
  VectorBuilder &b;
  Layout layout;
  Panel query;   // f32 [8][c | r]
  Value logits;  // f32 [page][8], then probabilities
  Panel context; // f32 [8][c]
  Value factors; // f32 [16]
  Type wide;
  Value row, firstHead;
  llvm::SmallVector<int64_t> swapHalves{8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7};

  Value at(uint64_t offset) { return b.at(b.scratch(), int64_t(offset)); }
  Value headOf(unsigned h) { return b.minu(b.add(firstHead, h), int64_t(spec.heads - 1)); } // beyond the last: repeated
  int64_t tokenBytes() { return spec.cacheWidth() * byteWidth(spec.cache); }
  void loadQuery();
  Value dots(ArrayRef<Value> tokens, ArrayRef<unsigned> heads);
  Value pairLogits(ArrayRef<Value> tokens);
  void blockLogits(Value block, Value keys);
  Values blockSoftmax(Value keys, Value oldMax, Value oldSum);
  void blockContext(Value block, Value keys);
  void contextColumns(Value block, Value keys, Value column, unsigned lanes, unsigned live);
  void writeResult(Value sums);
};

void LatentEmitter::loadQuery() {
  int64_t bytes = byteWidth(spec.q), width = spec.nope + spec.rope;
  Value first = b.mul(row, int64_t(spec.heads));
  for (unsigned h = 0; h < kHeads; ++h) {
    Value part = b.add(first, headOf(h)), to = query.at(b, b.c64(h), 0);
    Value end = b.at(to, int64_t(4 * (layout.c - kTile))); // c is padded to 32: clear what widenRow does not reach
    b.store(b.f(0.0f, kTile), end);
    widenRow(b, spec.q, b.at(b.operand(spec.sourceArg), b.mul(part, int64_t(spec.latent) * bytes)), to, spec.latent);
    Value rope = b.at(b.operand(spec.queryArg), b.mul(b.add(b.mul(part, width), int64_t(spec.nope)), bytes));
    widenRow(b, spec.q, rope, b.at(to, int64_t(4 * layout.c)), spec.rope);
  }
}

/// q . (latent | rope key) of some heads for some keys, key-major: 1, 2, 4, 8 or 16 sums.
Value LatentEmitter::dots(ArrayRef<Value> tokens, ArrayRef<unsigned> heads) {
  int64_t bytes = byteWidth(spec.cache);
  Values sums(tokens.size() * heads.size(), b.f(0.0f, kTile));
  auto part = [&](uint64_t cacheColumn, uint64_t queryColumn, uint64_t count) {
    auto step = [&](llvm::function_ref<Value(Value token)> loadKey, Value offset, ValueRange carried) {
      Values keys, next;
      for (Value token : tokens)
        keys.push_back(loadKey(b.at(token, int64_t(cacheColumn) * bytes)));
      for (size_t i = 0; i < carried.size(); ++i) {
        Value q = b.load(wide, b.at(query.at(b, b.c64(heads[i % heads.size()]), queryColumn), b.shl(offset, 2)));
        next.push_back(b.fma(q, keys[i / heads.size()], carried[i]));
      }
      return next;
    };
    uint64_t full = count / kTile * kTile;
    if (full)
      sums = b.forLoop(0, b.c64(full), kTile, sums, [&](Value i, ValueRange carried) {
        return step([&](Value from) { return b.loadWide(spec.cache, b.at(from, b.mul(i, bytes)), kTile); }, i, carried);
      });
    if (full < count) {
      auto tail = [&](Value from) {
        return loadPiece(b, spec.cache, b.at(from, int64_t(full) * bytes), kTile, count - full, cacheColumn + full);
      };
      sums = step(tail, b.c64(full), sums);
    }
  };
  part(0, 0, spec.latent);
  part(spec.latent, layout.c, spec.rope);
  return b.treeSums(sums);
}

/// The sums of two keys and 8 heads, in as many steps as registers ask for.
Value LatentEmitter::pairLogits(ArrayRef<Value> tokens) {
  unsigned allHeads[kHeads] = {0, 1, 2, 3, 4, 5, 6, 7};
  if (b.target.vectorRegisters >= 32)
    return dots(tokens, allHeads);
  Value result = b.f(0.0f, kTile);
  for (unsigned quarter = 0; quarter < 4; ++quarter) {
    Value four = dots(tokens[quarter / 2], ArrayRef<unsigned>(allHeads).slice(quarter % 2 * 4, 4));
    SmallVector<int64_t> spread, order;
    for (unsigned l = 0; l < kTile; ++l)
      spread.push_back(l % 4), order.push_back(l / 4 == quarter ? kTile + l : l);
    result = b.shuffle(result, b.shuffle(four, four, spread), order);
  }
  return result;
}

/// Scaled logits [key][head] of the block; keys that do not exist get -inf.
void LatentEmitter::blockLogits(Value block, Value keys) {
  SmallVector<int32_t> parity(kTile, 0);
  for (unsigned l = kHeads; l < kTile; ++l)
    parity[l] = 1;
  Value second = arith::ConstantOp::create(
      b.b, b.loc, DenseElementsAttr::get(VectorBuilder::vec(kTile, b.i32), ArrayRef<int32_t>(parity)));
  b.forLoop(b.c64(0), keys, b.c64(2), [&](Value key) {
    Value next = b.minu(b.add(key, 1), b.sub(keys, 1));
    Value sums = pairLogits({b.at(block, b.mul(key, tokenBytes())), b.at(block, b.mul(next, tokenBytes()))});
    Value index = b.add(b.splat(b.trunc(key, b.i32), kTile), second);
    Value exists = b.cmp(arith::CmpIPredicate::slt, index, b.splat(b.trunc(keys, b.i32), kTile));
    Value scaled = b.select(exists, b.mulf(sums, b.f(spec.scale, kTile)), b.f(-kInfinity, kTile));
    b.store(scaled, b.at(logits, b.mul(key, int64_t(4 * kHeads))));
  });
}

/// Logits become probabilities. Lanes are (key parity, head): both halves hold the same maximum and their own sum.
/// Returns both, updated.
Values LatentEmitter::blockSoftmax(Value keys, Value oldMax, Value oldSum) {
  auto pairAt = [&](Value key) { return b.at(logits, b.mul(key, int64_t(4 * kHeads))); };
  Value most = b.forLoop(b.c64(0), keys, b.c64(2), oldMax,
                         [&](Value key, ValueRange m) { return Values{b.maxf(b.load(wide, pairAt(key)), m[0])}; })[0];
  Value newMax = b.maxf(b.shuffle(most, most, swapHalves), most);
  Value factor = math::exp(b, b.subf(oldMax, newMax));
  b.store(factor, factors);
  Value sum = b.forLoop(b.c64(0), keys, b.c64(2), b.mulf(oldSum, factor), [&](Value key, ValueRange total) {
    Value p = math::exp(b, b.subf(b.load(wide, pairAt(key)), newMax));
    b.store(spec.round ? b.quantiseBf16(p) : p, pairAt(key));
    return Values{b.addf(total[0], p)};
  })[0];
  return {newMax, sum};
}

/// u of 8 heads, columns [column, column + lanes) of which `live` exist.
void LatentEmitter::contextColumns(Value block, Value keys, Value column, unsigned lanes, unsigned live) {
  auto type = VectorBuilder::vec(lanes, b.f32);
  int64_t bytes = byteWidth(spec.cache);
  auto place = [&](unsigned h) { return b.at(context.at(b, b.c64(h), 0), b.shl(column, 2)); };
  Values sums;
  for (unsigned h = 0; h < kHeads; ++h)
    sums.push_back(b.mulf(b.load(type, place(h)), b.splat(b.load(b.f32, b.at(factors, int64_t(4 * h))), lanes)));
  Value first = b.at(block, b.mul(column, bytes));
  sums = b.forLoop(0, keys, 1, sums, [&](Value key, ValueRange carried) {
    Value z = loadPiece(b, spec.cache, b.at(first, b.mul(key, tokenBytes())), lanes, live);
    Value p = b.at(logits, b.mul(key, int64_t(4 * kHeads)));
    Values next;
    for (unsigned h = 0; h < kHeads; ++h)
      next.push_back(b.fma(b.splat(b.load(b.f32, b.at(p, int64_t(4 * h))), lanes), z, carried[h]));
    return next;
  });
  for (unsigned h = 0; h < kHeads; ++h)
    b.store(sums[h], place(h));
}

void LatentEmitter::blockContext(Value block, Value keys) {
  unsigned lanes = b.target.vectorRegisters >= 32 ? 2 * b.target.floatLanes : b.target.floatLanes;
  uint64_t full = spec.latent / lanes * lanes;
  if (full)
    b.forLoop(0, b.c64(full), lanes, [&](Value column) { contextColumns(block, keys, column, lanes, lanes); });
  if (full < spec.latent)
    contextColumns(block, keys, b.c64(full), lanes, spec.latent - full);
}

void LatentEmitter::writeResult(Value sums) {
  sums = b.addf(sums, b.shuffle(sums, sums, swapHalves)); // even keys + odd keys
  b.faultIf(b.anyLane(b.isNotFinite(sums)));
  int64_t bytes = byteWidth(spec.out);
  for (unsigned h = 0; h < kHeads; ++h) {
    Value part = b.add(b.mul(row, int64_t(spec.heads)), headOf(h)), sum = b.extract(sums, h);
    Value out = b.at(b.operand(spec.outArg), b.mul(part, int64_t(spec.latent) * bytes));
    auto write = [&](Value column, unsigned live) {
      Value u = b.load(wide, b.at(context.at(b, b.c64(h), 0), b.shl(column, 2)));
      storePiece(b, spec.out, b.divf(u, b.splat(sum, kTile)), b.at(out, b.mul(column, bytes)), live);
    };
    uint64_t full = spec.latent / kTile * kTile;
    if (full)
      b.forLoop(0, b.c64(full), kTile, [&](Value column) { write(column, kTile); });
    if (full < spec.latent)
      write(b.c64(full), spec.latent - full);
  }
}

void LatentEmitter::emit() {
  int64_t groups = (spec.heads + kHeads - 1) / kHeads;
  row = b.divu(b.task(), groups), firstHead = b.mul(b.remu(b.task(), groups), int64_t(kHeads));
  loadQuery();
  b.forLoop(0, b.c64(kHeads * layout.c), kTile,
            [&](Value i) { b.store(b.f(0.0f, kTile), b.at(context.base, b.shl(i, 2))); });
  Value sequence = loadIndex(b, spec.rowsArg + 1, row), position = loadIndex(b, spec.rowsArg, row);
  Values state = b.forLoop(b.c64(0), b.add(b.divu(position, int64_t(spec.page)), 1), b.c64(1),
                           ValueRange{b.f(-kInfinity, kTile), b.f(0.0f, kTile)}, [&](Value index, ValueRange carried) {
                             Value firstKey = b.mul(index, int64_t(spec.page));
                             Value keys = b.minu(b.sub(b.add(position, 1), firstKey), int64_t(spec.page));
                             Value block = cacheBlock(b, spec, sequence, index);
                             blockLogits(block, keys);
                             Values next = blockSoftmax(keys, carried[0], carried[1]);
                             blockContext(block, keys);
                             return next;
                           });
  writeResult(state[1]);
}
} // namespace

LaunchPlan moray::codegen::planLatentAttention(const AttentionBody &spec, const Target &target) {
  return {SizeExpr(Symbol::DecodeRows) * ((spec.heads + kHeads - 1) / kHeads),
          SizeExpr((Layout(spec).size + 63) / 64 * 64), "heads=" + std::to_string(kHeads)};
}
void moray::codegen::emitLatentAttention(const AttentionBody &spec, VectorBuilder &b) { LatentEmitter(spec, b).emit(); }
