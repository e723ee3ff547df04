//===- convert.cpp - cvt and the narrow floating-point formats -------------===//
//
// Conversions between all types of cvt with their roundings and saturations, and the packed forms of f16, bf16 and fp8.
//
//===----------------------------------------------------------------------===//
#include "softfloat.h"

using namespace gpusim;

int gpusim::bitWidth(NumType type) {
  switch (type) {
  case NumType::U8:
  case NumType::S8:
    return 8;
  case NumType::U16:
  case NumType::S16:
  case NumType::F16:
  case NumType::BF16:
    return 16;
  case NumType::U32:
  case NumType::S32:
  case NumType::TF32:
  case NumType::F32:
    return 32;
  default:
    return 64;
  }
}

//===----------------------------------------------------------------------===//
// Narrow floats
//===----------------------------------------------------------------------===//

float gpusim::halfToFloat(HalfType type, uint16_t bits) {
  if (type == HalfType::BF16)
    return asF32(uint32_t(bits) << 16);
  uint32_t sign = uint32_t(bits & 0x8000u) << 16, magnitude = bits & 0x7fffu;
  if (magnitude >= 0x7c00u)
    return asF32(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  if (magnitude >= 0x400u)
    return asF32(sign | ((magnitude << 13) + (112u << 23)));
  float value = float(magnitude) * 0x1p-24f;
  return sign ? -value : value;
}

float gpusim::fp8ToFloat(Fp8Type type, uint8_t bits) {
  if (type == Fp8Type::E5M2)
    return halfToFloat(HalfType::F16, uint16_t(bits << 8));
  uint32_t sign = uint32_t(bits & 0x80u) << 24, magnitude = bits & 0x7fu;
  if (magnitude == 0x7fu)
    return asF32(kNanF32);
  if (magnitude >= 8)
    return asF32(sign | ((magnitude << 20) + (120u << 23)));
  float value = float(magnitude) * 0x1p-9f;
  return sign ? -value : value;
}

/// Round to nearest even on the bits alone: the conversions that kernels do most.
static uint16_t nearestBF16(uint32_t bits) {
  return isNanF32(bits) ? kNanHalf : uint16_t((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static uint16_t nearestF16(uint32_t bits) {
  uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u)
    return kNanHalf;
  if (magnitude >= 0x47800000u) // 65536 and beyond
    return uint16_t(sign | 0x7c00u);
  if (magnitude < 0x38800000u) // below 2^-14: next to 0.5, the last bit of a float is that of a subnormal half
    return uint16_t(sign | (bitsOf(asF32(magnitude) + 0.5f) - 0x3f000000u));
  return uint16_t(sign | (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1)) >> 13);
}

uint16_t gpusim::floatToHalf(HalfType type, float value) {
  return type == HalfType::BF16 ? nearestBF16(bitsOf(value)) : nearestF16(bitsOf(value));
}

uint8_t gpusim::floatToFp8(Fp8Type type, float value) {
  return value != value ? kNanFp8 : uint8_t(encode(double(value), formatOf(type), Round::Rn, /*saturate=*/true));
}

uint32_t gpusim::packHalf(HalfType type, uint32_t high, uint32_t low, CvtMode mode) {
  NumType to = type == HalfType::F16 ? NumType::F16 : NumType::BF16;
  return uint32_t(convert(to, NumType::F32, high, mode) << 16 | convert(to, NumType::F32, low, mode));
}

static uint8_t fp8FromFloat(Fp8Type type, float value, bool relu) {
  return floatToFp8(type, relu && std::signbit(value) && value == value ? 0.0f : value);
}

uint16_t gpusim::packFp8(Fp8Type type, uint32_t high, uint32_t low, bool relu) {
  return uint16_t(fp8FromFloat(type, asF32(high), relu) << 8 | fp8FromFloat(type, asF32(low), relu));
}

uint16_t gpusim::packFp8FromHalf(Fp8Type type, uint32_t f16x2, bool relu) {
  return packFp8(type, bitsOf(halfToFloat(HalfType::F16, uint16_t(f16x2 >> 16))),
                 bitsOf(halfToFloat(HalfType::F16, uint16_t(f16x2))), relu);
}

uint32_t gpusim::unpackFp8(Fp8Type type, uint16_t pair, bool relu) {
  CvtMode mode;
  mode.relu = relu;
  return packHalf(HalfType::F16, bitsOf(fp8ToFloat(type, uint8_t(pair >> 8))), bitsOf(fp8ToFloat(type, uint8_t(pair))),
                  mode);
}

//===----------------------------------------------------------------------===//
// cvt
//===----------------------------------------------------------------------===//

/// The low bits of `value` that an integer type has, extended as the type says.
static uint64_t extend(NumType type, uint64_t value) {
  int unused = 64 - bitWidth(type);
  return isSigned(type) ? uint64_t(int64_t(value << unused) >> unused) : value << unused >> unused;
}

static uint64_t largestInteger(NumType type) { return ~uint64_t(0) >> (64 - bitWidth(type) + isSigned(type)); }

static uint64_t integerToInteger(NumType to, NumType from, uint64_t value, bool sat) {
  value = extend(from, value);
  if (!sat)
    return extend(to, value);
  uint64_t largest = largestInteger(to);
  if (isSigned(from) && int64_t(value) < 0) {
    int64_t smallest = isSigned(to) ? -int64_t(largest) - 1 : 0;
    return uint64_t(int64_t(value) < smallest ? smallest : int64_t(value));
  }
  return value > largest ? largest : value;
}

static double roundToIntegral(double value, Round round) {
  switch (round) {
  case Round::Rz:
    return std::trunc(value);
  case Round::Rm:
    return std::floor(value);
  case Round::Rp:
    return std::ceil(value);
  default:
    return std::nearbyint(value);
  }
}

static uint64_t floatToInteger(NumType to, NumType from, double value, Round round) {
  if (value != value)
    return bitWidth(from) == 64 || bitWidth(to) == 64 ? extend(to, uint64_t(1) << (bitWidth(to) - 1)) : 0;
  value = roundToIntegral(value, round);
  uint64_t largest = largestInteger(to);
  double limit = std::ldexp(1.0, bitWidth(to) - isSigned(to)); // the first value beyond
  if (value >= limit)
    return largest;
  if (isSigned(to))
    return uint64_t(value < -limit ? -int64_t(largest) - 1 : int64_t(value));
  return value <= 0 ? 0 : uint64_t(value);
}

static const Format &formatOf(NumType type) {
  switch (type) {
  case NumType::F16:
    return kF16;
  case NumType::BF16:
    return kBF16;
  case NumType::TF32:
    return kTF32;
  case NumType::F32:
    return kF32;
  default:
    return kF64;
  }
}

static uint64_t nanOf(NumType type) {
  return type == NumType::F64 ? 0x7fffffffffffffffull : bitWidth(type) == 32 ? kNanF32 : kNanHalf;
}

/// sat and relu on a float result that is no NaN.
static uint64_t clampFloat(NumType to, uint64_t bits, CvtMode mode) {
  if (!mode.sat && !mode.relu)
    return bits;
  uint64_t sign = uint64_t(1) << (bitWidth(to) - 1);
  const Format &format = formatOf(to);
  uint64_t one = ((uint64_t(1) << (format.exponentBits - 1)) - 1) << (bitWidth(to) - 1 - format.exponentBits);
  if (bits & sign)
    return 0;
  return mode.sat && bits > one ? one : bits;
}

static uint64_t finishFloat(NumType to, uint64_t code, CvtMode mode) {
  uint64_t bits = to == NumType::TF32 ? code << 13 : code;
  if (mode.ftz && to == NumType::F32)
    bits = flushF32(uint32_t(bits));
  return clampFloat(to, bits, mode);
}

static uint64_t integerToFloat(NumType to, NumType from, uint64_t value, CvtMode mode) {
  value = extend(from, value);
  bool negative = isSigned(from) && int64_t(value) < 0;
  return finishFloat(to, encode(negative, negative ? -value : value, 0, formatOf(to), mode.round, mode.satfinite),
                     mode);
}

static double valueOfFloat(NumType type, uint64_t bits, bool ftz) {
  switch (type) {
  case NumType::F16:
    return halfToFloat(HalfType::F16, uint16_t(bits));
  case NumType::BF16:
    return halfToFloat(HalfType::BF16, uint16_t(bits));
  case NumType::F64:
    return asF64(bits);
  default:
    return asF32(ftz ? flushF32(uint32_t(bits)) : uint32_t(bits));
  }
}

static uint64_t floatToFloat(NumType to, NumType from, uint64_t bits, CvtMode mode) {
  double value = valueOfFloat(from, bits, mode.ftz);
  if (value != value) {
    if (mode.sat)
      return 0;
    // Widening keeps the payload of a NaN only where it is a shift of bits.
    return to == NumType::F32 && from == NumType::BF16 ? bits << 16 & 0xffffffffu : nanOf(to);
  }
  if (mode.integral) {
    double integral = roundToIntegral(value, mode.round);
    value = std::copysign(integral, value);
  }
  return finishFloat(to, encode(value, formatOf(to), mode.round, mode.satfinite), mode);
}

/// The frequent conversions without modifiers, done by the host or on bits; false if it is another one.
static bool convertPlainly(NumType to, NumType from, uint64_t value, uint64_t &result) {
  if (from == NumType::F32 && (to == NumType::BF16 || to == NumType::F16)) {
    result = to == NumType::BF16 ? nearestBF16(uint32_t(value)) : nearestF16(uint32_t(value));
  } else if (to == NumType::F32 && from == NumType::BF16) {
    result = value << 16 & 0xffffffffu;
  } else if (to == NumType::F32 && from == NumType::F16) {
    result = canonicalF32(halfToFloat(HalfType::F16, uint16_t(value)));
  } else if (to == NumType::F32 && (from == NumType::S32 || from == NumType::U32)) {
    result = bitsOf(from == NumType::S32 ? float(int32_t(value)) : float(uint32_t(value)));
  } else {
    return false;
  }
  return true;
}

uint64_t gpusim::convert(NumType to, NumType from, uint64_t value, CvtMode mode) {
  bool plain = mode.round == Round::Rn && !mode.ftz && !mode.sat && !mode.relu && !mode.integral && !mode.satfinite;
  uint64_t result;
  if (plain && convertPlainly(to, from, value, result))
    return result;
  if (!isFloat(from))
    return isFloat(to) ? integerToFloat(to, from, value, mode) : integerToInteger(to, from, value, mode.sat);
  if (isFloat(to))
    return floatToFloat(to, from, value, mode);
  return floatToInteger(to, from, valueOfFloat(from, value, mode.ftz), mode.round);
}
