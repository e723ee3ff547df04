//===- Sampling.cpp - drawing tokens and scoring them on a GPU ---------------------===//
// Emits lm.sample and lm.log_prob: a block takes one row of logits.
//
// Keys and weights are computed anew from the logits in every pass, which come from L2: nothing is kept between passes.
// Top-k and top-p are searches for the largest key whose tokens and all larger ones reach a count or weight: 16 passes
// that settle 2 bits each. Weights are integers, so sums do not depend on how threads share them. The draw narrows the
// range of ids twice by a factor of 16, then one warp walks the rest. Passes over the row: 2 greedy, 3 without filters,
// 17 more for each filter.

#include "codegen/Math.h"
#include "codegen/NVPTX/Emitters.h"
#include "codegen/NVPTX/GpuBuilder.h"
#include "codegen/NVPTX/RowPieces.h"
#include "codegen/SamplingSpec.h"
#include <limits>

using namespace mlir;
using namespace moray::codegen;
using arith::CmpIPredicate;
using Values = GpuBuilder::Values;

namespace {

constexpr int64_t kThreads = 512, kWarps = kThreads / GpuBuilder::kWarp;
constexpr int64_t kUnroll = 4; // loads of a thread under way
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Tokens in descending order up to a threshold: all with key > key, and the first `ties` with the same key.
struct Selection {
  Value key;    // i32
  Value above;  // i64: weight of all larger keys
  Value ties;   // i64
  Value weight; // i64: of one token with the key
};

class SamplingEmitter {
public:
  SamplingEmitter(const SamplingBody &spec, GpuBuilder &g, Value row)
      : spec(spec), g(g), row(row), logits(g.at(g.operand(spec.logitsArg), g.mul(row, int64_t(spec.vocab * 4)))),
        thread(g.zext(g.thread(), g.i64)), lane(g.zext(g.lane(), g.i64)), warp(g.zext(g.warp(), g.i64)),
        warpWords(g.sharedArray(8 * 3 * kWarps)) {}
  void emitSample();
  void emitLogProb();

private:
  const SamplingBody &spec;
  GpuBuilder &g;
  Value row, logits, thread, lane, warp; // i64 but logits
  Value warpWords;                       // shared: up to three i64 of each warp
  Value temperature, top;                // f32; top: the largest logit / temperature

  /// What the range that holds the drawn token begins with.
  struct Range {
    Value first;   // i64: id
    Value running; // i64: kept weight before it
    Value ties;    // i64: tokens with the threshold's key before it
  };

  Value logitAt(Value id) { return g.load(g.f32, g.at(logits, g.shl(id, 2))); }
  Values forTokens(ValueRange init, llvm::function_ref<Values(Value id, Value logit, ValueRange carried)> body);
  Values sumOfBlock(Values sums);
  Value maxOfBlock(Value most);
  Value maximum();
  Value argmax(Value most);

  Value scaled(Value logit) { return math::canonicalZero(g, g.divf(logit, temperature)); }
  Value weightOf(Value x) { return g.toInt(g.mulf(math::exp(g, g.subf(x, top)), g.f(kWeightUnit)), g.i64); }
  Value only(Value condition, Value weight) { return g.select(condition, weight, g.c64(0)); }
  /// What `then` makes of the carried values where `condition` holds: few tokens are likely, and exp is not free.
  Values where(Value condition, ValueRange carried, llvm::function_ref<Values()> then) {
    return g.ifElse(condition, carried.getTypes(), then, [&] { return Values(carried.begin(), carried.end()); });
  }
  Value totalWeight();
  Selection select(bool byWeight, Value target);
  Selection topP(Value p, const Selection &kept, Value limited);
  Value randomBits(Value params);
  Value mix(Value z);
  Range narrow(const Range &range, int64_t segment, const Selection &kept, Value r);
  Value walk(const Range &range, int64_t size, const Selection &kept, Value r);
  Value sampleToken(Value params, Value most);
};

/// The float whose orderedKey is `key`.
Value fromKey(GpuBuilder &g, Value key) {
  Value flip = g.ori(g.xori(g.shra(key, 31), g.c32(-1)), g.c32(int32_t(0x80000000)));
  return g.bitcast(g.xori(key, flip), g.f32);
}

//===----------------------------------------------------------------------===//
// All tokens
//===----------------------------------------------------------------------===//

/// Thread t has tokens t, t + kThreads, ...
Values SamplingEmitter::forTokens(ValueRange init, llvm::function_ref<Values(Value, Value, ValueRange)> body) {
  int64_t even = int64_t(spec.vocab) / (kThreads * kUnroll) * (kThreads * kUnroll);
  Values carried(init.begin(), init.end());
  if (even)
    carried = g.forLoop(0, g.c64(even), kThreads * kUnroll, carried, [&](Value first, ValueRange c) {
      Values ids, loaded, next(c.begin(), c.end());
      for (int64_t i = 0; i < kUnroll; ++i) {
        ids.push_back(g.add(g.add(first, thread), i * kThreads));
        loaded.push_back(logitAt(ids.back()));
      }
      for (auto [id, logit] : llvm::zip(ids, loaded))
        next = body(id, logit, next);
      return next;
    });
  if (even < int64_t(spec.vocab))
    carried = g.forLoop(g.add(thread, even), g.c64(spec.vocab), g.c64(kThreads), carried,
                        [&](Value id, ValueRange c) { return body(id, logitAt(id), c); });
  return carried;
}

/// Sums of i64s over all threads, in all threads.
Values SamplingEmitter::sumOfBlock(Values sums) {
  auto place = [&](Value w, size_t i) { return g.at(g.at(warpWords, g.mul(w, 24)), int64_t(8 * i)); };
  for (Value &sum : sums)
    for (unsigned lanes = 16; lanes; lanes /= 2)
      sum = g.add(sum, g.shuffleXor(sum, lanes));
  g.ifThen(g.eq(lane, 0), [&] {
    for (auto [i, sum] : llvm::enumerate(sums))
      g.store(sum, place(warp, i));
  });
  g.barrier();
  for (auto [i, sum] : llvm::enumerate(sums)) {
    sum = g.c64(0);
    for (int64_t w = 0; w < kWarps; ++w)
      sum = g.add(sum, g.load(g.i64, place(g.c64(w), i)));
  }
  g.barrier(); // before the words are written again
  return sums;
}

/// The largest unsigned i32 of all threads, in all threads.
Value SamplingEmitter::maxOfBlock(Value most) {
  most = g.maxLanes(most);
  g.ifThen(g.eq(lane, 0), [&] { g.store(most, g.at(warpWords, g.shl(warp, 2))); });
  g.barrier();
  for (int64_t w = 0; w < kWarps; ++w)
    most = g.maxu(most, g.load(g.i32, g.at(warpWords, 4 * w)));
  g.barrier();
  return most;
}

/// The largest logit; faults on NaN and where no logit is finite.
Value SamplingEmitter::maximum() {
  Values result = forTokens(ValueRange{g.c32(0), g.constI(g.i1, 0)}, [&](Value, Value logit, ValueRange c) {
    Value isNaN = g.cmpf(arith::CmpFPredicate::UNO, logit, logit);
    return Values{g.maxu(c[0], g.select(isNaN, g.c32(0), orderedKey(g, logit))), g.ori(c[1], isNaN)};
  });
  Value most = fromKey(g, maxOfBlock(result[0]));
  g.faultIf(g.ori(result[1], g.isNotFinite(most)));
  return most;
}

/// The smallest id whose logit equals `most`; the last id if there is none.
Value SamplingEmitter::argmax(Value most) {
  Value all = g.c32(-1);
  Value least = forTokens(ValueRange{g.c32(int64_t(spec.vocab - 1))}, [&](Value id, Value logit, ValueRange c) {
    Value equal = g.cmpf(arith::CmpFPredicate::OEQ, logit, most);
    return Values{g.minu(c[0], g.select(equal, g.trunc(id, g.i32), c[0]))};
  })[0];
  return g.xori(maxOfBlock(g.xori(least, all)), all);
}

//===----------------------------------------------------------------------===//
// Top-k and top-p
//===----------------------------------------------------------------------===//

Value SamplingEmitter::totalWeight() {
  Values sum = forTokens(ValueRange{g.c64(0)}, [&](Value, Value logit, ValueRange c) {
    return Values{g.add(c[0], weightOf(scaled(logit)))};
  });
  return sumOfBlock(sum)[0];
}

/// The shortest prefix in descending order whose count (or weight) reaches `target` >= 1; the target must be reachable.
Selection SamplingEmitter::select(bool byWeight, Value target) {
  // The largest key such that it and all larger ones reach the target, two bits at a time from the top.
  Values state = g.forLoop(0, g.c64(16), 1, ValueRange{g.c32(0), g.c32(1 << 30)}, [&](Value, ValueRange s) {
    Values thresholds = {g.add(s[0], s[1])};
    for (int i = 0; i < 2; ++i)
      thresholds.push_back(g.add(thresholds.back(), s[1]));
    Values reached = forTokens(Values(3, g.c64(0)), [&](Value, Value logit, ValueRange c) {
      Value x = scaled(logit), key = orderedKey(g, x);
      return where(g.cmp(CmpIPredicate::uge, key, thresholds[0]), c, [&] {
        Value measure = byWeight ? weightOf(x) : g.c64(1);
        Values next = {g.add(c[0], measure)};
        for (auto [threshold, sum] : llvm::zip(llvm::drop_begin(thresholds), c.drop_front()))
          next.push_back(g.add(sum, only(g.cmp(CmpIPredicate::uge, key, threshold), measure)));
        return next;
      });
    });
    Value key = s[0];
    for (Value sum : sumOfBlock(reached))
      key = g.add(key, g.select(g.cmp(CmpIPredicate::uge, sum, target), s[1], g.c32(0)));
    return Values{key, g.shrl(s[1], 2)};
  });
  Value key = state[0];
  Values above = sumOfBlock(forTokens(Values(2, g.c64(0)), [&](Value, Value logit, ValueRange c) {
    Value x = scaled(logit);
    return where(g.cmp(CmpIPredicate::ugt, orderedKey(g, x), key), c,
                 [&] { return Values{g.add(c[0], weightOf(x)), g.add(c[1], 1)}; });
  }));
  Value each = weightOf(fromKey(g, key)), left = g.sub(target, above[byWeight ? 0 : 1]);
  Value ties = byWeight ? g.divu(g.add(left, g.sub(each, 1)), g.maxu(each, g.c64(1))) : left;
  return {key, above[0], ties, each};
}

/// `kept` cut to the shortest prefix that has the share `p` of its weight.
Selection SamplingEmitter::topP(Value p, const Selection &kept, Value limited) {
  Value total = g.add(kept.above, g.mul(kept.ties, kept.weight));
  Value exact = g.mulf(g.extf(p, g.f64), g.toFloat(total, g.f64));
  Value floor = g.toInt(exact, g.i64);
  Value below = g.cmpf(arith::CmpFPredicate::OLT, g.toFloat(floor, g.f64), exact);
  Value target = g.add(floor, g.zext(below, g.i64));
  target = g.select(g.cmp(CmpIPredicate::slt, target, g.c64(1)), g.c64(1), g.minu(target, total));
  Selection s = select(true, target);
  Value sameKey = g.andi(limited, g.eq(s.key, kept.key));
  s.ties = g.select(sameKey, g.minu(s.ties, kept.ties), s.ties);
  return s;
}

//===----------------------------------------------------------------------===//
// The draw
//===----------------------------------------------------------------------===//

Value SamplingEmitter::mix(Value z) {
  z = g.mul(g.xori(z, g.shrl(z, 30)), int64_t(0xBF58476D1CE4E5B9u));
  z = g.mul(g.xori(z, g.shrl(z, 27)), int64_t(0x94D049BB133111EBu));
  return g.xori(z, g.shrl(z, 31));
}
Value SamplingEmitter::randomBits(Value params) {
  Value seed = g.load(g.i64, params), position = g.zext(g.load(g.i32, g.at(params, 8)), g.i64);
  return mix(g.add(mix(g.add(seed, kGolden)), g.mul(g.add(position, 1), kGolden)));
}

/// The segment of the range in which the running kept weight first exceeds r. Warp w sums segment w.
SamplingEmitter::Range SamplingEmitter::narrow(const Range &range, int64_t segment, const Selection &kept, Value r) {
  Value begin = g.add(range.first, g.mul(warp, segment)), end = g.minu(g.add(begin, segment), int64_t(spec.vocab));
  Values sums =
      g.forLoop(g.add(begin, lane), end, g.c64(GpuBuilder::kWarp), Values(2, g.c64(0)), [&](Value id, ValueRange c) {
        Value x = scaled(logitAt(id)), key = orderedKey(g, x);
        return where(g.cmp(CmpIPredicate::uge, key, kept.key), c, [&] {
          Value tied = g.eq(key, kept.key);
          return Values{g.add(c[0], g.select(tied, g.c64(0), weightOf(x))), g.add(c[1], g.zext(tied, g.i64))};
        });
      });
  for (Value &sum : sums)
    for (unsigned lanes = 16; lanes; lanes /= 2)
      sum = g.add(sum, g.shuffleXor(sum, lanes));
  g.ifThen(g.eq(lane, 0), [&] {
    g.store(sums[0], g.at(warpWords, g.shl(warp, 4)));
    g.store(sums[1], g.at(g.at(warpWords, g.shl(warp, 4)), 8));
  });
  g.barrier();
  Range found{range.first, range.running, range.ties};
  Value open = g.constI(g.i1, 1);
  for (int64_t w = 0; w < kWarps; ++w) {
    Value larger = g.load(g.i64, g.at(warpWords, 16 * w)), tied = g.load(g.i64, g.at(warpWords, 16 * w + 8));
    Value tiesLeft = g.sub(kept.ties, g.minu(kept.ties, found.ties));
    Value running = g.add(found.running, g.add(larger, g.mul(g.minu(tied, tiesLeft), kept.weight)));
    open = g.andi(open, g.cmp(CmpIPredicate::ule, running, r)); // the token is not in this segment
    found.first = g.select(open, g.add(found.first, segment), found.first);
    found.running = g.select(open, running, found.running);
    found.ties = g.select(open, g.add(found.ties, tied), found.ties);
  }
  g.barrier();
  return found;
}

/// One warp looks at the `size` tokens of the range, 32 at a time. -1: none.
Value SamplingEmitter::walk(const Range &range, int64_t size, const Selection &kept, Value r) {
  Value end = g.minu(g.add(range.first, size), int64_t(spec.vocab));
  Values state = g.forLoop(range.first, end, g.c64(GpuBuilder::kWarp), ValueRange{range.running, range.ties, g.c32(-1)},
                           [&](Value first, ValueRange c) {
                             Value id = g.add(first, lane), exists = g.ult(id, end);
                             Value x = scaled(logitAt(g.minu(id, int64_t(spec.vocab - 1)))), key = orderedKey(g, x);
                             Value tied = g.andi(exists, g.eq(key, kept.key));
                             std::pair<Value, Value> ranks = g.rankAmongLanes(tied);
                             Value rank = g.add(c[1], g.zext(ranks.first, g.i64));
                             Value larger = g.andi(exists, g.cmp(CmpIPredicate::ugt, key, kept.key));
                             Value in = g.ori(larger, g.andi(tied, g.ult(rank, kept.ties)));
                             Value running = only(in, weightOf(x)); // becomes the sum of this lane and the lower ones
                             for (unsigned lanes = 1; lanes < GpuBuilder::kWarp; lanes *= 2) {
                               Value lower = g.shuffleUp(running, lanes);
                               running = g.add(running, only(g.cmp(CmpIPredicate::uge, lane, g.c64(lanes)), lower));
                             }
                             running = g.add(running, c[0]);
                             Value hits = g.ballot(g.andi(in, g.cmp(CmpIPredicate::ugt, running, r)));
                             Value hit = g.andi(g.eq(c[2], -1), g.cmp(CmpIPredicate::ne, hits, g.c32(0)));
                             Value token = g.add(g.trunc(first, g.i32), g.trailingZeros(hits));
                             return Values{g.broadcastLane(running, g.c32(31)),
                                           g.add(c[1], g.zext(ranks.second, g.i64)), g.select(hit, token, c[2])};
                           });
  return state[2];
}

Value SamplingEmitter::sampleToken(Value params, Value most) {
  top = scaled(most);
  Value topK = g.zext(g.load(g.i32, g.at(params, 16)), g.i64), p = g.load(g.f32, g.at(params, 20));
  Type types[] = {g.i32, g.i64, g.i64, g.i64};
  auto pack = [](const Selection &s) { return Values{s.key, s.above, s.ties, s.weight}; };
  auto unpack = [](const Values &v) { return Selection{v[0], v[1], v[2], v[3]}; };
  Value limited = g.andi(g.cmp(CmpIPredicate::ugt, topK, g.c64(0)), g.ult(topK, int64_t(spec.vocab)));
  // Without top-k everything lies above a key that no number has.
  Selection kept = unpack(g.ifElse(
      limited, types, [&] { return pack(select(false, topK)); },
      [&] { return Values{g.c32(0), totalWeight(), g.c64(0), g.c64(0)}; }));
  kept = unpack(g.ifElse(
      g.cmpf(arith::CmpFPredicate::OLT, p, g.f(1.0f)), types, [&] { return pack(topP(p, kept, limited)); },
      [&] { return pack(kept); }));

  Value weight = g.add(kept.above, g.mul(kept.ties, kept.weight));
  Value r = g.intrinsic("llvm.nvvm.mulhi.ull", g.i64, {randomBits(params), weight});
  auto segmentOf = [](int64_t size) { return (size + kThreads - 1) / kThreads * GpuBuilder::kWarp; };
  int64_t coarse = segmentOf(spec.vocab), fine = segmentOf(coarse);
  Range range = narrow({g.c64(0), g.c64(0), g.c64(0)}, coarse, kept, r);
  range = narrow(range, fine, kept, r);
  return g.minu(walk(range, fine, kept, r), int64_t(spec.vocab - 1));
}

void SamplingEmitter::emitSample() {
  Value params = g.at(g.operand(spec.secondArg), g.mul(row, 24));
  temperature = g.load(g.f32, g.at(params, 12));
  Value most = maximum();
  // A temperature so small that logits overflow is greedy, too.
  Value warm = g.andi(g.cmpf(arith::CmpFPredicate::OGT, temperature, g.f(0.0f)),
                      g.cmpf(arith::CmpFPredicate::OLT, g.absf(g.divf(most, temperature)), g.f(kInfinity)));
  Value token = g.ifElse(
      warm, TypeRange(g.i32), [&] { return Values{sampleToken(params, most)}; },
      [&] { return Values{argmax(most)}; })[0];
  g.ifThen(g.eq(thread, 0), [&] { g.store(token, g.at(g.operand(spec.outArg), g.shl(row, 2))); });
}

void SamplingEmitter::emitLogProb() {
  Value most = maximum(), partials = g.sharedArray(4 * kRowGroup);
  int64_t vocab = spec.vocab, even = vocab / int64_t(kRowGroup * kUnroll) * int64_t(kRowGroup * kUnroll);
  // Thread t < 128 has partial t: tokens t, t + 128, ...
  g.ifThen(g.ult(thread, int64_t(kRowGroup)), [&] {
    auto exponential = [&](Value x) { return math::exp(g, g.subf(x, most)); };
    Value sum = g.f(0.0f);
    if (even)
      sum = g.forLoop(0, g.c64(even), int64_t(kRowGroup * kUnroll), sum, [&](Value first, ValueRange c) {
        Values x;
        for (int64_t i = 0; i < kUnroll; ++i)
          x.push_back(logitAt(g.add(g.add(first, thread), i * int64_t(kRowGroup))));
        Value next = c[0];
        for (Value v : x)
          next = g.addf(next, exponential(v));
        return Values{next};
      })[0];
    if (even < vocab)
      sum = g.forLoop(g.add(thread, even), g.c64(vocab), g.c64(kRowGroup), sum,
                      [&](Value id, ValueRange c) { return Values{g.addf(c[0], exponential(logitAt(id)))}; })[0];
    g.store(sum, g.at(partials, g.shl(thread, 2)));
  });
  g.barrier();
  Values strided;
  for (int64_t j = 0; j < 4; ++j)
    strided.push_back(g.load(g.f32, g.at(g.at(partials, g.shl(lane, 2)), 128 * j)));
  Value sum = sumStrided(g, strided);
  Value target = g.zext(g.load(g.i32, g.at(g.operand(spec.secondArg), g.shl(row, 2))), g.i64);
  Value result = g.subf(g.subf(logitAt(target), most), math::log(g, sum));
  g.ifThen(g.eq(thread, 0), [&] { g.store(result, g.at(g.operand(spec.outArg), g.shl(row, 2))); });
}

} // namespace

static GpuPlan planSampling(const KernelSpec &kernel, const GpuTarget &) {
  const auto &spec = kernel.as<SamplingBody>();
  return {{{"", spec.domain.count(), unsigned(kThreads), 0}}, SizeExpr(0), "rows=1"};
}

static llvm::Error emitSampling(const KernelSpec &kernel, const GpuTarget &, unsigned, GpuBuilder &g) {
  const auto &spec = kernel.as<SamplingBody>();
  g.ifThen(g.ult(g.task(), g.rows(spec.domain)), [&] {
    SamplingEmitter emitter(spec, g, g.task());
    spec.op == SamplingBody::Sample ? emitter.emitSample() : emitter.emitLogProb();
  });
  return llvm::Error::success();
}

const GpuEmitter moray::codegen::gpuSamplingEmitter{KernelClass::Sampling, planSampling, emitSampling};
