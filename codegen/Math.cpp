//===- Math.cpp - elementary functions in plain IEEE operations ---------------===//
// Polynomials with explicit fma and bit-level conversions; see Math.h.

#include "codegen/Math.h"
#include <initializer_list>

using namespace mlir;
using arith::CmpFPredicate;
namespace moray::codegen::math {

namespace {
/// Short spellings for one operand shape.
struct Ops {
  KernelBuilder &b;
  Type f, i; // f32 and i32 of the operand's shape
  Ops(KernelBuilder &b, Value like) : b(b), f(shaped(like, b.f32)), i(shaped(like, b.i32)) {}
  static Type shaped(Value like, Type element) {
    auto v = dyn_cast<VectorType>(like.getType());
    return v ? Type(VectorType::get(v.getShape(), element)) : element;
  }
  Value num(double v) { return b.constF(f, v); }
  Value bits(uint32_t v) { return b.constI(i, int32_t(v)); }
  Value asInt(Value x) { return b.bitcast(x, b.i32); }
  Value asFloat(Value x) { return b.bitcast(x, b.f32); }
  /// Horner's rule, highest coefficient first.
  Value polynomial(Value x, std::initializer_list<double> c) {
    auto it = c.begin();
    Value r = num(*it);
    for (++it; it != c.end(); ++it)
      r = b.fma(r, x, num(*it));
    return r;
  }
  /// 2^n for n in [-126, 127].
  Value powerOfTwo(Value n) { return asFloat(b.shl(b.add(n, bits(127)), 23)); }
};
constexpr double kRoundF32 = 12582912.0;         // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
constexpr double kRoundF64 = 6755399441055744.0; // 1.5 * 2^52
} // namespace

Value exp(KernelBuilder &b, Value x) {
  Ops o(b, x);
  // Comparisons with NaN are false: NaN passes through both clamps.
  x = b.select(b.cmpf(CmpFPredicate::OLT, x, o.num(-105.0)), o.num(-105.0), x);
  x = b.select(b.cmpf(CmpFPredicate::OGT, x, o.num(90.0)), o.num(90.0), x);
  Value t = b.fma(x, o.num(1.44269504088896341), o.num(kRoundF32));
  Value n = b.sub(o.asInt(t), o.asInt(o.num(kRoundF32)));
  Value nf = b.subf(t, o.num(kRoundF32));
  Value r = b.fma(nf, o.num(-0.693359375), x);
  r = b.fma(nf, o.num(2.12194440e-4), r);
  Value p = o.polynomial(
      r, {1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1});
  p = b.addf(b.fma(b.mulf(r, r), p, r), o.num(1.0));
  // Two factors, so that results below the smallest normal round once and large ones overflow to infinity.
  Value half = b.shra(n, 1);
  return b.mulf(b.mulf(p, o.powerOfTwo(half)), o.powerOfTwo(b.sub(n, half)));
}

Value log(KernelBuilder &b, Value x) {
  Ops o(b, x);
  // x = m * 2^e with m in [sqrt(1/2), sqrt(2)).
  Value bits = o.asInt(x);
  Value e = b.shra(b.sub(bits, o.bits(0x3F3504F3)), 23);
  Value m = o.asFloat(b.sub(bits, b.shl(e, 23)));
  Value ef = b.toFloat(e, b.f32);
  Value r = b.subf(m, o.num(1.0)), z = b.mulf(r, r);
  Value p = o.polynomial(r, {7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
                             -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1});
  p = b.mulf(b.mulf(p, r), z);
  p = b.fma(ef, o.num(-2.12194440e-4), p);
  p = b.fma(z, o.num(-0.5), p);
  return b.fma(ef, o.num(0.693359375), b.addf(r, p));
}

std::pair<Value, Value> sinCos(KernelBuilder &b, Value x) {
  Ops o(b, x);
  auto wide = [&](double v) { return b.constF(Ops::shaped(x, b.f64), v); };
  Value a = b.extf(x, b.f64);
  Value t = b.fma(a, wide(0.63661977236758134308), wide(kRoundF64));
  Value k = b.subf(t, wide(kRoundF64));
  Value q = b.trunc(b.bitcast(t, b.i64), b.i32);
  Value reduced = b.fma(k, wide(-1.57079632679489655800), a);
  reduced = b.fma(k, wide(-6.12323399573676603587e-17), reduced);
  Value r = b.truncf(reduced, b.f32);
  Value z = b.mulf(r, r);
  Value s = o.polynomial(z, {-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1});
  s = b.fma(b.mulf(s, z), r, r);
  Value c = o.polynomial(z, {2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2});
  c = b.fma(b.mulf(c, z), z, b.fma(z, o.num(-0.5), o.num(1.0)));
  // Odd quadrants swap the two; bit 1 of q (of q + 1) flips the sign of sin (of cos).
  Value odd = b.cmp(arith::CmpIPredicate::ne, b.andi(q, o.bits(1)), o.bits(0));
  auto flip = [&](Value v, Value quadrant) {
    return o.asFloat(b.xori(o.asInt(v), b.shl(b.andi(quadrant, o.bits(2)), 30)));
  };
  return {flip(b.select(odd, c, s), q), flip(b.select(odd, s, c), b.add(q, o.bits(1)))};
}

static Value onePlusExpNeg(KernelBuilder &b, Value x) { return b.addf(Ops(b, x).num(1.0), exp(b, b.negf(x))); }

Value sigmoid(KernelBuilder &b, Value x) { return b.divf(Ops(b, x).num(1.0), onePlusExpNeg(b, x)); }
Value silu(KernelBuilder &b, Value x) { return b.divf(x, onePlusExpNeg(b, x)); }

Value toE4M3(KernelBuilder &b, Value x) {
  Ops o(b, x);
  Value bits = o.asInt(x), sign = b.andi(b.shrl(bits, 24), o.bits(0x80));
  Value a = b.absf(x);
  a = b.select(b.cmpf(CmpFPredicate::OGT, a, o.num(448.0)), o.num(448.0), a);
  // Normal: round the mantissa to 3 bits and rebias by 120. Below 2^-6: units of 2^-9, which are the ulp of 2^14.
  Value ab = o.asInt(a), odd = b.andi(b.shrl(ab, 20), o.bits(1));
  Value normal = b.sub(b.shrl(b.add(ab, b.add(odd, o.bits(0x7FFFF))), 20), o.bits(120 << 3));
  Value units = b.sub(o.asInt(b.addf(a, o.num(16384.0))), o.asInt(o.num(16384.0)));
  Value code = b.select(b.cmpf(CmpFPredicate::OLT, a, o.num(0.015625)), units, normal);
  code = b.select(b.cmpf(CmpFPredicate::UNO, x, x), o.bits(0x7F), code);
  return b.trunc(b.ori(code, sign), b.i8);
}

Value roundUpToPowerOfTwo(KernelBuilder &b, Value x) {
  Ops o(b, x);
  return o.asFloat(b.andi(b.add(o.asInt(x), o.bits(0x7FFFFF)), o.bits(0x7F800000)));
}

Value canonicalZero(KernelBuilder &b, Value x) { return b.addf(x, Ops(b, x).num(0.0)); }

} // namespace moray::codegen::math
