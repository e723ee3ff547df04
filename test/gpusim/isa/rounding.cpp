//===- rounding.cpp - Arithmetic with PTX's rounding modes -----------------===//
//
// add, sub, mul, div, sqrt, rcp, fma, min and max of f32, f64, f16 and bf16. Narrow types go through double rounded to
// odd; f64 with a directed rounding sets the host's rounding mode around one operation.
//
//===----------------------------------------------------------------------===//
#include "softfloat.h"

#include <cfenv>

using namespace gpusim;

//===----------------------------------------------------------------------===//
// Rounding
//===----------------------------------------------------------------------===//

uint64_t gpusim::encode(bool negative, uint64_t significand, int exponent, const Format &format, Round round,
                        bool saturate) {
  uint64_t sign = uint64_t(negative) << (format.exponentBits + format.mantissaBits);
  if (significand == 0)
    return sign;
  int smallest = 2 - (1 << (format.exponentBits - 1)); // exponent of the smallest normal number
  int top = exponent + 63 - __builtin_clzll(significand);
  bool toInfinity =
      !saturate && (round == Round::Rn || round == Round::Rna || round == (negative ? Round::Rm : Round::Rp));
  uint64_t beyond = sign | (toInfinity ? format.inf : format.largest);
  if (top > (1 << (format.exponentBits - 1)))
    return beyond;
  int leading = top > smallest ? top : smallest;
  int shift = leading - format.mantissaBits - exponent;
  uint64_t kept, rest, half;
  if (shift <= 0) {
    kept = significand << -shift;
    rest = 0;
    half = 1;
  } else if (shift > 63) {
    kept = 0;
    half = shift == 64 ? uint64_t(1) << 63 : 2;
    rest = shift == 64 ? significand : 1;
  } else {
    kept = significand >> shift;
    rest = significand & ((uint64_t(1) << shift) - 1);
    half = uint64_t(1) << (shift - 1);
  }
  bool up = false;
  switch (round) {
  case Round::Rn:
    up = rest > half || (rest == half && (kept & 1));
    break;
  case Round::Rna:
    up = rest >= half;
    break;
  case Round::Rz:
    break;
  case Round::Rm:
    up = negative && rest;
    break;
  case Round::Rp:
    up = !negative && rest;
    break;
  }
  // The hidden bit of a normal number adds one to the exponent field.
  uint64_t code = kept + up + (uint64_t(leading - smallest) << format.mantissaBits);
  return code < format.inf ? sign | code : beyond;
}

uint64_t gpusim::encode(double value, const Format &format, Round round, bool saturate) {
  uint64_t bits = bitsOf(value);
  bool negative = bits >> 63;
  int field = int(bits >> 52) & 0x7ff;
  uint64_t mantissa = bits & ((uint64_t(1) << 52) - 1);
  if (field == 0x7ff)
    return uint64_t(negative) << (format.exponentBits + format.mantissaBits) | (saturate ? format.largest : format.inf);
  if (field)
    mantissa |= uint64_t(1) << 52;
  return encode(negative, mantissa, (field ? field : 1) - 1075, format, round, saturate);
}

/// The neighbour of `value` in the direction of `error` if that makes it odd: the rounded-to-odd form of value + error.
static double makeOdd(double value, double error) {
  uint64_t bits = bitsOf(value);
  if (error == 0 || (bits & 1))
    return value;
  return asF64((value > 0) == (error > 0) ? bits + 1 : bits - 1);
}

double gpusim::addOdd(double a, double b, Round round) {
  double sum = a + b;
  if (sum == 0 && std::signbit(a) != std::signbit(b))
    return round == Round::Rm ? -0.0 : 0.0;
  if (!std::isfinite(sum) || sum == 0)
    return sum;
  double bPart = sum - a;
  double error = (a - (sum - bPart)) + (b - bPart);
  return makeOdd(sum, error);
}

double gpusim::divOdd(double a, double b) {
  double quotient = a / b;
  if (quotient == 0 || !std::isfinite(quotient) || !std::isfinite(b))
    return quotient;
  double rest = std::fma(-quotient, b, a);
  return makeOdd(quotient, b > 0 ? rest : -rest);
}

double gpusim::sqrtOdd(double a) {
  double root = std::sqrt(a);
  if (!(root > 0) || !std::isfinite(root))
    return root;
  return makeOdd(root, std::fma(-root, root, a));
}

//===----------------------------------------------------------------------===//
// f32
//===----------------------------------------------------------------------===//

/// One rounding of a round-to-odd result, then ftz and sat.
static uint32_t roundF32(double value, FpMode mode) {
  return finishF32(value != value ? kNanF32 : uint32_t(encode(value, kF32, mode.round)), mode);
}

uint32_t gpusim::addF32Slow(uint32_t a, uint32_t b, FpMode mode) {
  return roundF32(addOdd(inputF32(a, mode), inputF32(b, mode), mode.round), mode);
}

uint32_t gpusim::mulF32Slow(uint32_t a, uint32_t b, FpMode mode) {
  return roundF32(double(inputF32(a, mode)) * inputF32(b, mode), mode);
}

uint32_t gpusim::fmaF32Slow(uint32_t a, uint32_t b, uint32_t c, FpMode mode) {
  return roundF32(addOdd(double(inputF32(a, mode)) * inputF32(b, mode), inputF32(c, mode), mode.round), mode);
}

uint32_t gpusim::divF32(uint32_t a, uint32_t b, FpMode mode) {
  float x = inputF32(a, mode), y = inputF32(b, mode);
  return mode.round == Round::Rn ? finishF32(canonicalF32(x / y), mode) : roundF32(divOdd(x, y), mode);
}

uint32_t gpusim::rcpF32(uint32_t a, FpMode mode) { return divF32(0x3f800000u, a, mode); }

uint32_t gpusim::sqrtF32(uint32_t a, FpMode mode) {
  float x = inputF32(a, mode);
  return mode.round == Round::Rn ? finishF32(canonicalF32(std::sqrt(x)), mode) : roundF32(sqrtOdd(x), mode);
}

/// The smaller of two values that are no NaN, -0 below +0; `T` is the bit pattern's type.
template <typename T> static bool lessBits(T a, T b) {
  constexpr T sign = T(1) << (sizeof(T) * 8 - 1);
  T keyA = (a & sign) ? T(~a) : T(a | sign);
  T keyB = (b & sign) ? T(~b) : T(b | sign);
  return keyA < keyB;
}

static uint32_t minMaxF32(uint32_t a, uint32_t b, MinMaxMode mode, bool wantMax) {
  if (mode.ftz) {
    a = flushF32(a);
    b = flushF32(b);
  }
  uint32_t sign = (a ^ b) & 0x80000000u;
  bool nanA = isNanF32(a), nanB = isNanF32(b);
  if ((nanA && nanB) || (mode.nan && (nanA || nanB)))
    return kNanF32;
  if (mode.xorsignAbs) {
    a &= 0x7fffffffu;
    b &= 0x7fffffffu;
  }
  uint32_t result = nanA ? b : nanB ? a : lessBits(a, b) != wantMax ? a : b;
  return mode.xorsignAbs ? result | sign : result;
}

uint32_t gpusim::minF32(uint32_t a, uint32_t b, MinMaxMode mode) { return minMaxF32(a, b, mode, false); }
uint32_t gpusim::maxF32(uint32_t a, uint32_t b, MinMaxMode mode) { return minMaxF32(a, b, mode, true); }

//===----------------------------------------------------------------------===//
// f64
//===----------------------------------------------------------------------===//

static int hostRounding(Round round) {
  switch (round) {
  case Round::Rz:
    return FE_TOWARDZERO;
  case Round::Rm:
    return FE_DOWNWARD;
  case Round::Rp:
    return FE_UPWARD;
  default:
    return FE_TONEAREST;
  }
}

/// Runs `operation` with volatile copies of the operands, so that the compiler can neither fold nor move it.
template <typename Operation>
static uint64_t roundedF64(Round round, uint64_t a, uint64_t b, uint64_t c, Operation operation) {
  volatile double x = asF64(a), y = asF64(b), z = asF64(c);
  if (round == Round::Rn)
    return bitsOf(double(operation(x, y, z)));
  int saved = fegetround();
  fesetround(hostRounding(round));
  volatile double result = operation(x, y, z);
  fesetround(saved);
  return bitsOf(double(result));
}

uint64_t gpusim::addF64(uint64_t a, uint64_t b, Round round) {
  return roundedF64(round, a, b, 0, [](double x, double y, double) { return x + y; });
}
uint64_t gpusim::subF64(uint64_t a, uint64_t b, Round round) {
  return roundedF64(round, a, b, 0, [](double x, double y, double) { return x - y; });
}
uint64_t gpusim::mulF64(uint64_t a, uint64_t b, Round round) {
  return roundedF64(round, a, b, 0, [](double x, double y, double) { return x * y; });
}
uint64_t gpusim::fmaF64(uint64_t a, uint64_t b, uint64_t c, Round round) {
  return roundedF64(round, a, b, c, [](double x, double y, double z) { return std::fma(x, y, z); });
}
uint64_t gpusim::divF64(uint64_t a, uint64_t b, Round round) {
  return roundedF64(round, a, b, 0, [](double x, double y, double) { return x / y; });
}
uint64_t gpusim::rcpF64(uint64_t a, Round round) { return divF64(bitsOf(1.0), a, round); }
uint64_t gpusim::sqrtF64(uint64_t a, Round round) {
  return roundedF64(round, a, 0, 0, [](double x, double, double) { return std::sqrt(x); });
}

static uint64_t minMaxF64(uint64_t a, uint64_t b, bool wantMax) {
  if (isNanF64(a))
    return b;
  if (isNanF64(b))
    return a;
  return lessBits(a, b) != wantMax ? a : b;
}

uint64_t gpusim::minF64(uint64_t a, uint64_t b) { return minMaxF64(a, b, false); }
uint64_t gpusim::maxF64(uint64_t a, uint64_t b) { return minMaxF64(a, b, true); }

//===----------------------------------------------------------------------===//
// f16 and bf16
//===----------------------------------------------------------------------===//

static uint16_t flushHalf(HalfType type, uint16_t bits) { return (bits & formatOf(type).inf) ? bits : bits & 0x8000u; }

static uint16_t minMaxHalf(HalfOp op, HalfType type, uint16_t a, uint16_t b) {
  bool nanA = isNanHalf(type, a), nanB = isNanHalf(type, b);
  bool propagate = op == HalfOp::MinNan || op == HalfOp::MaxNan;
  if ((nanA && nanB) || (propagate && (nanA || nanB)))
    return kNanHalf;
  if (nanA || nanB)
    return nanA ? b : a;
  return lessBits(a, b) != (op == HalfOp::Max || op == HalfOp::MaxNan) ? a : b;
}

/// The result of an arithmetic operation, in double with more bits than any half needs.
static double halfValue(HalfOp op, double a, double b, double c) {
  switch (op) {
  case HalfOp::Add:
    return addOdd(a, b, Round::Rn);
  case HalfOp::Sub:
    return addOdd(a, -b, Round::Rn);
  case HalfOp::Mul:
    return a * b;
  case HalfOp::Fma:
    return addOdd(a * b, c, Round::Rn);
  case HalfOp::Ex2:
    return std::exp2(a);
  default:
    return std::tanh(a);
  }
}

/// fma of bf16 where nothing overflows; kernels widen FP8 with it. The sum is rounded to odd in double and then in
/// float, which leaves enough bits for the last rounding, to nearest, to be the only one.
static bool fmaFiniteBf16(uint16_t a, uint16_t b, uint16_t c, uint16_t &result) {
  double product = double(asF32(uint32_t(a) << 16)) * asF32(uint32_t(b) << 16), addend = asF32(uint32_t(c) << 16);
  double sum = product + addend, part = sum - product;
  double error = (product - (sum - part)) + (addend - part);
  if (!(std::fabs(sum) < 0x1p126)) // also infinities and NaNs
    return false;
  uint64_t wide = bitsOf(sum);
  if (error != 0 && !(wide & 1))
    wide += (error > 0) == (sum > 0) ? 1 : -1;
  double odd = asF64(wide);
  float single = float(odd);
  uint32_t bits = bitsOf(single);
  if (double(single) != odd && !(bits & 1))
    bits += std::fabs(double(single)) < std::fabs(odd) ? 1 : -1;
  result = uint16_t((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
  return true;
}

uint16_t gpusim::halfOp(HalfOp op, HalfType type, uint16_t a, uint16_t b, uint16_t c, FpMode mode) {
  uint16_t quick;
  if (op == HalfOp::Fma && type == HalfType::BF16 && isPlain(mode) && !mode.relu && fmaFiniteBf16(a, b, c, quick))
    return quick;
  if (mode.ftz) {
    a = flushHalf(type, a);
    b = flushHalf(type, b);
    c = flushHalf(type, c);
  }
  if (op == HalfOp::Neg)
    return a ^ 0x8000u;
  if (op == HalfOp::Abs)
    return a & 0x7fffu;
  uint16_t bits;
  if (op >= HalfOp::Min && op <= HalfOp::MaxNan) {
    bits = minMaxHalf(op, type, a, b);
  } else {
    double value = halfValue(op, halfToFloat(type, a), halfToFloat(type, b), halfToFloat(type, c));
    bits = value != value ? kNanHalf : uint16_t(encode(value, formatOf(type), Round::Rn));
  }
  if (mode.ftz)
    bits = flushHalf(type, bits);
  if (mode.sat) {
    uint16_t one = type == HalfType::F16 ? 0x3c00u : 0x3f80u;
    bits = (bits >> 15) || isNanHalf(type, bits) ? 0 : bits > one ? one : bits;
  }
  if (mode.relu && (bits >> 15) && !isNanHalf(type, bits))
    bits = 0;
  return bits;
}

uint32_t gpusim::halfOp2(HalfOp op, HalfType type, uint32_t a, uint32_t b, uint32_t c, FpMode mode) {
  uint32_t low = halfOp(op, type, uint16_t(a), uint16_t(b), uint16_t(c), mode);
  uint32_t high = halfOp(op, type, uint16_t(a >> 16), uint16_t(b >> 16), uint16_t(c >> 16), mode);
  return low | high << 16;
}
