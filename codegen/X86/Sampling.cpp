//===- Sampling.cpp - drawing tokens and scoring them ------------------------===//
// Emits lm.sample and lm.log_prob: a task is one row of logits.
//
// Greedy reads the row twice. Sampling keeps an ordered key (u32) and exp (f32) per token in scratch; top-k and top-p
// are radix selections of at most four passes over the keys with 256 bins of (count, weight), never a sort.

#include "codegen/Emitter.h"
#include "codegen/SamplingSpec.h"
#include "codegen/Math.h"
#include "codegen/X86/RowVectors.h"
#include <limits>

using namespace mlir;
using namespace moray::codegen;
using arith::CmpIPredicate;
using Values = VectorBuilder::Values;

namespace {

constexpr unsigned kLanes = 32;
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
  SamplingEmitter(const SamplingBody &spec, VectorBuilder &b, Value row)
      : spec(spec), b(b), row(row), logits(b.at(b.operand(spec.logitsArg), b.mul(row, int64_t(spec.vocab * 4)))),
        keys(b.scratch()), exps(b.at(keys, paddedBytes(spec))), bins(b.at(exps, paddedBytes(spec))) {}
  static int64_t paddedBytes(const SamplingBody &spec) { return int64_t(spec.vocab * 4 + 63) / 64 * 64; }
  static uint64_t scratchBytes(const SamplingBody &spec) {
    return spec.op == SamplingBody::Sample ? 2 * paddedBytes(spec) + 256 * 16 : 0;
  }
  void emitSample();
  void emitLogProb();

private:
  const SamplingBody &spec;
  VectorBuilder &b;
  Value row, logits, keys, exps, bins; // bins: 256 x {count i64, weight i64}

  void forPieces(llvm::function_ref<Value(Value logits, Value element, unsigned count, Value carried)> body,
                 Value &carried);
  Value maximum();
  Value argmax(Value most);
  void fillScratch(Value most, Value temperature);
  Value weightAt(Value index) {
    return b.toInt(b.mulf(b.load(b.f32, b.at(exps, b.shl(index, 2))), b.f(kWeightUnit)), b.i64);
  }
  Value keyAt(Value index) { return b.load(b.i32, b.at(keys, b.shl(index, 2))); }
  Value totalWeight();
  Selection select(bool byWeight, Value target);
  Value draw(Value seed, Value position, const Selection &kept);
  Value sampleToken(Value params, Value most, Value temperature);
  Value mix(Value z);
};

/// All logits in vectors of 32; lanes beyond the vocabulary are -inf.
void SamplingEmitter::forPieces(llvm::function_ref<Value(Value, Value, unsigned, Value)> body, Value &carried) {
  auto step = [&](Value element, unsigned count, Value c) {
    Value x = loadPiece(b, DType::F32, b.at(logits, b.shl(element, 2)), kLanes, count);
    if (count < kLanes) {
      SmallVector<int64_t> order;
      for (unsigned l = 0; l < kLanes; ++l)
        order.push_back(l < count ? l : kLanes + l);
      x = b.shuffle(x, b.f(-kInfinity, kLanes), order);
    }
    return body(x, element, count, c);
  };
  uint64_t full = spec.vocab / kLanes * kLanes;
  if (full)
    carried = b.forLoop(0, b.c64(full), kLanes, carried,
                        [&](Value i, ValueRange c) { return Values{step(i, kLanes, c[0])}; })[0];
  if (full < spec.vocab)
    carried = step(b.c64(full), spec.vocab - full, carried);
}

/// The largest logit; faults on NaN and where no logit is finite.
Value SamplingEmitter::maximum() {
  Value most = b.f(-kInfinity, kLanes);
  forPieces(
      [&](Value x, Value, unsigned, Value m) {
        // A NaN in x stays: m is kept only where it is larger or equal, or a NaN itself.
        Value keep = b.ori(b.cmpf(arith::CmpFPredicate::OGE, m, x), b.cmpf(arith::CmpFPredicate::UNO, m, m));
        return b.select(keep, m, x);
      },
      most);
  Value bad = b.anyLane(b.cmpf(arith::CmpFPredicate::UNO, most, most));
  for (int64_t lanes = kLanes; lanes > 1; lanes /= 2) {
    SmallVector<int64_t> low, high;
    for (int64_t i = 0; i < lanes / 2; ++i)
      low.push_back(i), high.push_back(i + lanes / 2);
    most = b.maxf(b.shuffle(most, most, low), b.shuffle(most, most, high));
  }
  most = b.extract(most, 0);
  b.faultIf(b.ori(bad, b.isNotFinite(most)));
  return most;
}

/// The smallest id whose logit equals `most`; the last id if there is none.
Value SamplingEmitter::argmax(Value most) {
  SmallVector<int32_t> iota;
  for (int32_t l = 0; l < int32_t(kLanes); ++l)
    iota.push_back(l);
  auto type = VectorBuilder::vec(kLanes, b.i32);
  Value lane = arith::ConstantOp::create(b.b, b.loc, DenseElementsAttr::get(type, ArrayRef<int32_t>(iota)));
  Value least = b.constI(type, int64_t(spec.vocab - 1)), wanted = b.splat(most, kLanes);
  forPieces(
      [&](Value x, Value element, unsigned, Value found) {
        Value id = b.add(b.splat(b.trunc(element, b.i32), kLanes), lane);
        return b.minu(found, b.select(b.cmpf(arith::CmpFPredicate::OEQ, x, wanted), id, found));
      },
      least);
  for (int64_t lanes = kLanes; lanes > 1; lanes /= 2) {
    SmallVector<int64_t> low, high;
    for (int64_t i = 0; i < lanes / 2; ++i)
      low.push_back(i), high.push_back(i + lanes / 2);
    least = b.minu(b.shuffle(least, least, low), b.shuffle(least, least, high));
  }
  return b.extract(least, 0);
}

/// Keys whose unsigned order is the order of x, and exp(x - max x).
void SamplingEmitter::fillScratch(Value most, Value temperature) {
  Value divisor = b.splat(temperature, kLanes);
  Value top = math::canonicalZero(b, b.divf(b.splat(most, kLanes), divisor));
  Value none = b.constI(b.i32, 0);
  forPieces(
      [&](Value logit, Value element, unsigned count, Value unused) {
        Value x = math::canonicalZero(b, b.divf(logit, divisor));
        Value bits = b.bitcast(x, b.i32);
        Value flip = b.ori(b.shra(bits, 31), b.constI(bits.getType(), int32_t(0x80000000)));
        storePiece(b, DType::I32, b.xori(bits, flip), b.at(keys, b.shl(element, 2)), count);
        storePiece(b, DType::F32, math::exp(b, b.subf(x, top)), b.at(exps, b.shl(element, 2)), count);
        return unused;
      },
      none);
}

Value SamplingEmitter::totalWeight() {
  return b.forLoop(0, b.c64(spec.vocab), 1, b.c64(0),
                   [&](Value i, ValueRange sum) { return Values{b.add(sum[0], weightAt(i))}; })[0];
}

/// The shortest prefix in descending order whose count (or weight) reaches `target` >= 1; the target must be reachable.
Selection SamplingEmitter::select(bool byWeight, Value target) {
  Value prefix = b.c64(0), left = target, above = b.c64(0), count, weight;
  for (int shift = 24; shift >= 0; shift -= 8) {
    b.forLoop(0, b.c64(512), 1, [&](Value i) { b.store(b.c64(0), b.at(bins, b.shl(i, 3))); });
    b.forLoop(0, b.c64(spec.vocab), 1, [&](Value i) {
      Value key = b.zext(keyAt(i), b.i64);
      b.ifThen(b.eq(b.shrl(key, shift + 8), prefix), [&] {
        Value bin = b.at(bins, b.shl(b.andi(b.shrl(key, shift), 255), 4)), mass = b.at(bin, 8);
        b.store(b.add(b.load(b.i64, bin), 1), bin);
        b.store(b.add(b.load(b.i64, mass), weightAt(i)), mass);
      });
    });
    // From the largest bin down; once the target lies in a bin, nothing changes any more.
    Values state =
        b.forLoop(0, b.c64(256), 1, ValueRange{left, above, b.c64(-1), b.c64(0), b.c64(0)}, [&](Value i, ValueRange c) {
          Value bin = b.sub(b.c64(255), i), at = b.at(bins, b.shl(bin, 4));
          Value n = b.load(b.i64, at), w = b.load(b.i64, b.at(at, 8));
          Value measure = byWeight ? w : n;
          Value open = b.cmp(CmpIPredicate::slt, c[2], b.c64(0)),
                inside = b.andi(open, b.cmp(CmpIPredicate::ule, c[0], measure));
          Value pass = b.andi(open, b.cmp(CmpIPredicate::ugt, c[0], measure));
          return Values{b.select(pass, b.sub(c[0], measure), c[0]), b.select(pass, b.add(c[1], w), c[1]),
                        b.select(inside, bin, c[2]), b.select(inside, n, c[3]), b.select(inside, w, c[4])};
        });
    left = state[0], above = state[1], count = state[3], weight = state[4];
    prefix = b.ori(b.shl(prefix, 8), b.andi(state[2], 255));
  }
  // The last bin holds equal keys, which have equal weights.
  Value each = b.divu(weight, b.maxu(count, b.c64(1)));
  Value ties = byWeight ? b.divu(b.add(left, b.sub(each, 1)), b.maxu(each, b.c64(1))) : left;
  return {b.trunc(prefix, b.i32), above, ties, each};
}

Value SamplingEmitter::mix(Value z) {
  z = b.mul(b.xori(z, b.shrl(z, 30)), int64_t(0xBF58476D1CE4E5B9u));
  z = b.mul(b.xori(z, b.shrl(z, 27)), int64_t(0x94D049BB133111EBu));
  return b.xori(z, b.shrl(z, 31));
}

Value SamplingEmitter::draw(Value seed, Value position, const Selection &kept) {
  Value random = mix(b.add(mix(b.add(seed, kGolden)), b.mul(b.add(position, 1), kGolden)));
  Value weight = b.add(kept.above, b.mul(kept.ties, kept.weight));
  Type wide = b.b.getIntegerType(128);
  Value r = b.trunc(b.shrl(b.mul(b.zext(random, wide), b.zext(weight, wide)), 64), b.i64);
  // Running weight, ties seen, token (-1: not yet).
  Values end =
      b.forLoop(0, b.c64(spec.vocab), 1, ValueRange{b.c64(0), b.c64(0), b.c64(-1)}, [&](Value i, ValueRange c) {
        Value key = keyAt(i), tied = b.eq(key, kept.key);
        Value in = b.ori(b.cmp(CmpIPredicate::ugt, key, kept.key), b.andi(tied, b.ult(c[1], kept.ties)));
        Value running = b.select(in, b.add(c[0], weightAt(i)), c[0]);
        Value hit =
            b.andi(b.cmp(CmpIPredicate::slt, c[2], b.c64(0)), b.andi(in, b.cmp(CmpIPredicate::ugt, running, r)));
        return Values{running, b.add(c[1], b.zext(tied, b.i64)), b.select(hit, i, c[2])};
      });
  return b.trunc(b.minu(end[2], int64_t(spec.vocab - 1)), b.i32);
}

Value SamplingEmitter::sampleToken(Value params, Value most, Value temperature) {
  fillScratch(most, temperature);
  Value seed = b.load(b.i64, params), position = b.zext(b.load(b.i32, b.at(params, 8)), b.i64);
  Value topK = b.zext(b.load(b.i32, b.at(params, 16)), b.i64), topP = b.load(b.f32, b.at(params, 20));
  Type types[] = {b.i32, b.i64, b.i64, b.i64};
  auto pack = [&](const Selection &s) { return Values{s.key, s.above, s.ties, s.weight}; };
  auto unpack = [](const Values &v) { return Selection{v[0], v[1], v[2], v[3]}; };

  Value limited = b.andi(b.cmp(CmpIPredicate::ugt, topK, b.c64(0)), b.ult(topK, int64_t(spec.vocab)));
  // Without top-k everything lies above a key that no number has.
  Selection kept = unpack(b.ifElse(
      limited, types, [&] { return pack(select(false, topK)); },
      [&] { return Values{b.constI(b.i32, 0), totalWeight(), b.c64(0), b.c64(0)}; }));
  Value filtered = b.cmpf(arith::CmpFPredicate::OLT, topP, b.f(1.0f));
  kept = unpack(b.ifElse(
      filtered, types,
      [&] {
        Value total = b.add(kept.above, b.mul(kept.ties, kept.weight));
        Value exact = b.mulf(b.extf(topP, b.f64), b.toFloat(total, b.f64));
        Value floor = b.toInt(exact, b.i64);
        Value below = b.cmpf(arith::CmpFPredicate::OLT, b.toFloat(floor, b.f64), exact);
        Value target = b.add(floor, b.zext(below, b.i64));
        target = b.select(b.cmp(CmpIPredicate::slt, target, b.c64(1)), b.c64(1), b.minu(target, total));
        Selection s = select(true, target);
        Value sameKey = b.andi(limited, b.eq(s.key, kept.key));
        s.ties = b.select(sameKey, b.minu(s.ties, kept.ties), s.ties);
        return pack(s);
      },
      [&] { return pack(kept); }));
  return draw(seed, position, kept);
}

void SamplingEmitter::emitSample() {
  Value params = b.at(b.operand(spec.secondArg), b.mul(row, 24));
  Value temperature = b.load(b.f32, b.at(params, 12));
  Value most = maximum();
  // A temperature so small that logits overflow is greedy, too.
  Value warm = b.andi(b.cmpf(arith::CmpFPredicate::OGT, temperature, b.f(0.0f)),
                      b.cmpf(arith::CmpFPredicate::OLT, b.absf(b.divf(most, temperature)), b.f(kInfinity)));
  Value token = b.ifElse(
      warm, b.i32, [&] { return Values{sampleToken(params, most, temperature)}; },
      [&] { return Values{argmax(most)}; })[0];
  b.store(token, b.at(b.operand(spec.outArg), b.shl(row, 2)));
}

void SamplingEmitter::emitLogProb() {
  Value most = maximum(), top = b.splat(most, kLanes);
  unsigned pieces = kRowPartials / kLanes;
  Values sums =
      forBlocks(b, spec.vocab, zeroPartials(b, kLanes), [&](Value base, unsigned blockCount, ValueRange carried) {
        Values next(carried.begin(), carried.end());
        for (unsigned p = 0; p < pieces && p * kLanes < blockCount; ++p) {
          unsigned count = std::min(kLanes, blockCount - p * kLanes);
          Value x = loadPiece(b, DType::F32, b.at(logits, b.shl(b.add(base, int64_t(p * kLanes)), 2)), kLanes, count);
          Value e = math::exp(b, b.subf(x, top));
          if (count < kLanes) {
            SmallVector<int64_t> order;
            for (unsigned l = 0; l < kLanes; ++l)
              order.push_back(l < count ? l : kLanes + l);
            e = b.shuffle(e, b.f(0.0f, kLanes), order);
          }
          next[p] = b.addf(next[p], e);
        }
        return next;
      });
  Value target = b.zext(b.load(b.i32, b.at(b.operand(spec.secondArg), b.shl(row, 2))), b.i64);
  Value x = b.load(b.f32, b.at(logits, b.shl(target, 2)));
  Value result = b.subf(b.subf(x, most), math::log(b, sumPartials(b, sums)));
  b.store(result, b.at(b.operand(spec.outArg), b.shl(row, 2)));
}

} // namespace

static LaunchPlan planSampling(const KernelSpec &kernel, const Target &) {
  const auto &spec = kernel.as<SamplingBody>();
  return {spec.domain.count(), SizeExpr(SamplingEmitter::scratchBytes(spec)), "rows=1"};
}

static llvm::Error emitSampling(const KernelSpec &kernel, const Target &, VectorBuilder &b) {
  const auto &spec = kernel.as<SamplingBody>();
  b.ifThen(b.ult(b.task(), b.rows(spec.domain)), [&] {
    SamplingEmitter emitter(spec, b, b.task());
    spec.op == SamplingBody::Sample ? emitter.emitSample() : emitter.emitLogProb();
  });
  return llvm::Error::success();
}

const Emitter moray::codegen::samplingEmitter{KernelClass::Sampling, planSampling, emitSampling};
