//===- Router.cpp - expert selection -----------------------------------------===//
// Emits the router: f32 row dots with every expert, scores, group and expert selection, weights.
//
// A task is a few rows. Per row: two experts at a time, 128 partial sums each (2 x 4 zmm, or one quarter of the row per
// pass on ymm); the router weight is read once per row and stays in cache. The selection is a few scans over the
// experts in scratch.

#include "codegen/Emitter.h"
#include "codegen/RouterSpec.h"
#include "codegen/Math.h"
#include "codegen/X86/RowVectors.h"
#include <limits>

using namespace mlir;
using namespace moray::codegen;
using Values = VectorBuilder::Values;

namespace {

constexpr unsigned kExpertLanes = 16;
constexpr uint64_t kRowsPerTask = 4;
uint64_t padded(uint64_t n) { return (n + kExpertLanes - 1) / kExpertLanes * kExpertLanes; }

class RouterEmitter {
public:
  RouterEmitter(const RouterBody &spec, VectorBuilder &b)
      : spec(spec), b(b), scores(b.scratch()), choice(b.at(scores, int64_t(4 * padded(spec.experts)))),
        groupScores(b.at(choice, int64_t(4 * padded(spec.experts)))) {}
  void emitRow(Value row);

private:
  const RouterBody &spec;
  VectorBuilder &b;
  Value scores;      // f32 [padded experts]: logits, then scores
  Value choice;      // f32 [padded experts]: what the selection compares
  Value groupScores; // f32 [groups]

  Value floatAt(Value base, Value index) { return b.load(b.f32, b.at(base, b.shl(index, 2))); }
  void setFloat(Value value, Value base, Value index) { b.store(value, b.at(base, b.shl(index, 2))); }
  Values dotPair(Value x, Value first, Value second);
  void emitLogits(Value x);
  void forExperts(llvm::function_ref<void(Value address, Value choiceAddress, unsigned start, unsigned count)> body);
  void emitScores();
  void emitChoice();
  void emitGroupScores();
  void emitGroups();
  Value largest(Value base, uint64_t count);
  void emitTop(Value row);
};

/// Dots of the row with two weight rows.
Values RouterEmitter::dotPair(Value x, Value first, Value second) {
  unsigned lanes = rowLanes(b.target), pieces = kRowPartials / lanes;
  unsigned perPass = b.target.vectorRegisters >= 32 ? pieces : 1; // partial sums of both experts stay in registers
  uint64_t full = spec.hidden / kRowPartials * kRowPartials;
  int64_t xBytes = byteWidth(spec.x), wBytes = byteWidth(spec.w);
  Values partials[2];
  for (unsigned pass = 0; pass < pieces; pass += perPass) {
    auto step = [&](Value base, uint64_t blockStart, unsigned blockCount, ValueRange sums) {
      Values next(sums.begin(), sums.end());
      for (unsigned p = 0; p < perPass; ++p) {
        unsigned offset = (pass + p) * lanes;
        if (offset >= blockCount)
          continue;
        unsigned count = std::min(lanes, blockCount - offset);
        Value element = b.add(base, int64_t(offset));
        auto piece = [&](DType type, Value row, int64_t bytes) {
          return loadPiece(b, type, b.at(row, b.mul(element, bytes)), lanes, count, blockStart + offset);
        };
        Value xs = piece(spec.x, x, xBytes);
        next[2 * p] = b.fma(xs, piece(spec.w, first, wBytes), next[2 * p]);
        next[2 * p + 1] = b.fma(xs, piece(spec.w, second, wBytes), next[2 * p + 1]);
      }
      return next;
    };
    Values sums(2 * perPass, b.f(0.0f, lanes));
    if (full)
      sums = b.forLoop(0, b.c64(full), kRowPartials, sums,
                       [&](Value base, ValueRange c) { return step(base, 0, kRowPartials, c); });
    if (full < spec.hidden)
      sums = step(b.c64(full), full, spec.hidden - full, sums);
    for (unsigned p = 0; p < perPass; ++p)
      partials[0].push_back(sums[2 * p]), partials[1].push_back(sums[2 * p + 1]);
  }
  return {sumPartials(b, partials[0]), sumPartials(b, partials[1])};
}

void RouterEmitter::emitLogits(Value x) {
  Value last = b.c64(spec.experts - 1);
  int64_t pitch = (spec.hidden * byteWidth(spec.w) + 63) / 64 * 64;
  b.forLoop(0, b.c64(spec.experts), 2, [&](Value first) {
    Value second = b.minu(b.add(first, 1), last); // an odd last expert is done twice
    auto weights = [&](Value expert) { return b.at(b.operand(spec.wArg), b.mul(expert, pitch)); };
    Values dots = dotPair(x, weights(first), weights(second));
    setFloat(dots[0], scores, first);
    setFloat(dots[1], scores, second);
  });
}

void RouterEmitter::forExperts(llvm::function_ref<void(Value, Value, unsigned, unsigned)> body) {
  for (unsigned start = 0; start < spec.experts; start += kExpertLanes)
    body(b.at(scores, int64_t(4 * start)), b.at(choice, int64_t(4 * start)), start,
         std::min<uint64_t>(kExpertLanes, spec.experts - start));
}

/// Logits become scores. Lanes beyond the experts read and give zeros.
void RouterEmitter::emitScores() {
  Values logits, magnitudes;
  forExperts([&](Value address, Value, unsigned, unsigned count) {
    logits.push_back(loadPiece(b, DType::F32, address, kExpertLanes, count));
    magnitudes.push_back(b.absf(logits.back()));
  });
  b.faultIf(b.isNotFinite(b.bitcast(maxBits(b, magnitudes), b.f32)));
  Values result;
  if (!spec.softmax) {
    for (Value z : logits)
      result.push_back(math::sigmoid(b, z));
  } else {
    // The largest logit: a row of experts always has one, padding must not win.
    Value most = b.forLoop(0, b.c64(spec.experts), 1, b.f(-std::numeric_limits<float>::infinity()),
                           [&](Value i, ValueRange m) { return Values{b.maxf(floatAt(scores, i), m[0])}; })[0];
    Values partials(kRowPartials / kExpertLanes, b.f(0.0f, kExpertLanes));
    for (auto [i, z] : llvm::enumerate(logits)) {
      result.push_back(math::exp(b, b.subf(z, b.splat(most, kExpertLanes))));
      unsigned count = std::min<uint64_t>(kExpertLanes, spec.experts - i * kExpertLanes);
      Value live = result.back();
      if (count < kExpertLanes) {
        SmallVector<int64_t> order;
        for (unsigned l = 0; l < kExpertLanes; ++l)
          order.push_back(l < count ? l : kExpertLanes + l);
        live = b.shuffle(live, b.f(0.0f, kExpertLanes), order);
      }
      Value &partial = partials[i % partials.size()];
      partial = b.addf(partial, live);
    }
    Value sum = b.splat(sumPartials(b, partials), kExpertLanes);
    for (Value &e : result)
      e = b.divf(e, sum);
  }
  forExperts([&](Value address, Value, unsigned start, unsigned count) {
    storePiece(b, DType::F32, result[start / kExpertLanes], address, count);
  });
}

/// What is compared: scores, plus the bias where there is one.
void RouterEmitter::emitChoice() {
  forExperts([&](Value address, Value to, unsigned start, unsigned count) {
    Value s = loadPiece(b, DType::F32, address, kExpertLanes, count);
    if (spec.biasArg >= 0)
      s = b.addf(s, loadPiece(b, DType::F32, b.at(b.operand(spec.biasArg), int64_t(4 * start)), kExpertLanes, count));
    storePiece(b, DType::F32, s, to, count);
  });
}

void RouterEmitter::emitGroupScores() {
  int64_t size = spec.experts / spec.groups;
  Value lowest = b.f(-std::numeric_limits<float>::infinity());
  b.forLoop(0, b.c64(spec.groups), 1, [&](Value group) {
    Value first = b.mul(group, size);
    Values two =
        b.forLoop(first, b.add(first, size), b.c64(1), ValueRange{lowest, lowest}, [&](Value i, ValueRange best) {
          Value s = floatAt(choice, i);
          Value loser = b.minf(s, best[0]);
          return Values{b.maxf(s, best[0]), b.maxf(loser, best[1])};
        });
    bool sum = spec.selection == RouterBody::GroupTopTwo && size > 1;
    setFloat(sum ? b.addf(two[0], two[1]) : two[0], groupScores, group);
  });
}

/// Index of the largest of `count` floats, the first of equals; 0 if all are NaN.
Value RouterEmitter::largest(Value base, uint64_t count) {
  Value lowest = b.f(-std::numeric_limits<float>::infinity());
  return b.forLoop(0, b.c64(count), 1, ValueRange{b.c64(0), lowest}, [&](Value i, ValueRange best) {
    Value s = floatAt(base, i), better = b.cmpf(arith::CmpFPredicate::OGT, s, best[1]);
    return Values{b.select(better, i, best[0]), b.select(better, s, best[1])};
  })[0];
}

/// Experts outside the kept groups drop out of the choice (-inf).
void RouterEmitter::emitGroups() {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  emitGroupScores();
  // Kept groups are taken one by one; a taken group cannot win again.
  Value kept = b.at(groupScores, int64_t(4 * padded(spec.groups)));
  b.forLoop(0, b.c64(spec.groups), 1, [&](Value g) { b.store(b.constI(b.i32, 0), b.at(kept, b.shl(g, 2))); });
  b.forLoop(0, b.c64(spec.keep), 1, [&](Value) {
    Value g = largest(groupScores, spec.groups);
    setFloat(b.f(-infinity), groupScores, g);
    b.store(b.constI(b.i32, 1), b.at(kept, b.shl(g, 2)));
  });
  int64_t size = spec.experts / spec.groups;
  b.forLoop(0, b.c64(spec.experts), 1, [&](Value i) {
    Value isKept = b.eq(b.load(b.i32, b.at(kept, b.shl(b.divu(i, size), 2))), 1);
    setFloat(b.select(isKept, floatAt(choice, i), b.f(-infinity)), choice, i);
  });
}

void RouterEmitter::emitTop(Value row) {
  Value ids = b.at(b.operand(spec.idsArg), b.mul(row, int64_t(4 * spec.top)));
  Value gates = b.at(b.operand(spec.gatesArg), b.mul(row, int64_t(4 * spec.top)));
  Value sum = b.forLoop(0, b.c64(spec.top), 1, b.f(0.0f), [&](Value k, ValueRange total) {
    Value expert = largest(choice, spec.experts);
    setFloat(b.f(-std::numeric_limits<float>::infinity()), choice, expert);
    b.store(b.trunc(expert, b.i32), b.at(ids, b.shl(k, 2)));
    Value s = floatAt(scores, expert);
    setFloat(s, gates, k);
    return Values{b.addf(total[0], s)};
  })[0];
  if (!spec.normalise && spec.scale == 1.0f)
    return;
  Value divisor = b.addf(sum, b.f(1e-20f));
  b.forLoop(0, b.c64(spec.top), 1, [&](Value k) {
    Value w = floatAt(gates, k);
    if (spec.normalise)
      w = b.divf(w, divisor);
    setFloat(b.mulf(w, b.f(spec.scale)), gates, k);
  });
}

void RouterEmitter::emitRow(Value row) {
  emitLogits(b.at(b.operand(spec.xArg), b.mul(row, int64_t(spec.hidden * byteWidth(spec.x)))));
  emitScores();
  emitChoice();
  if (spec.selection != RouterBody::All)
    emitGroups();
  emitTop(row);
}

} // namespace

static LaunchPlan planRouter(const KernelSpec &kernel, const Target &target) {
  const auto &spec = kernel.as<RouterBody>();
  uint64_t floats = 2 * padded(spec.experts) + 2 * padded(spec.groups);
  return {SizeExpr::ceilDiv(spec.domain.count(), kRowsPerTask), SizeExpr(floats * 4),
          "rows=" + std::to_string(kRowsPerTask)};
}

static llvm::Error emitRouter(const KernelSpec &kernel, const Target &target, VectorBuilder &b) {
  const auto &spec = kernel.as<RouterBody>();
  Value begin = b.mul(b.task(), int64_t(kRowsPerTask)),
        end = b.minu(b.add(begin, int64_t(kRowsPerTask)), b.rows(spec.domain));
  b.forLoop(begin, end, b.c64(1), [&](Value row) { RouterEmitter(spec, b).emitRow(row); });
  return llvm::Error::success();
}

const Emitter moray::codegen::routerEmitter{KernelClass::Router, planRouter, emitRouter};
