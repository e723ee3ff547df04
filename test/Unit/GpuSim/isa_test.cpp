//===- isa_test.cpp - The simulator's value functions ----------------------===//
//
// Checks arithmetic, conversions, approximations and mma of the PTX simulator against exact integers, the host's own
// rounding modes, exhaustive round trips and the published fp8 vectors.
//
//===----------------------------------------------------------------------===//
#include "test/gpusim/isa/isa.h"

#include <gtest/gtest.h>

#include <cfenv>
#include <random>
#include <vector>

using namespace gpusim;

namespace {

constexpr Round kRounds[] = {Round::Rn, Round::Rz, Round::Rm, Round::Rp};
constexpr int kHostRounds[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};

FpMode mode(Round round, bool ftz = false, bool sat = false) {
  FpMode result;
  result.round = round;
  result.ftz = ftz;
  result.sat = sat;
  return result;
}

CvtMode cvt(Round round) {
  CvtMode result;
  result.round = round;
  return result;
}

/// Bit patterns of floats: edges first, then random ones, half of them with close exponents.
std::vector<uint32_t> floats(int count, uint32_t seed) {
  std::vector<uint32_t> values = {0,          0x80000000, 1,          0x80000001, 0x007fffff, 0x00800000, 0x80800000,
                                  0x3f800000, 0xbf800000, 0x3f7fffff, 0x3f800001, 0x7f7fffff, 0xff7fffff, 0x7f800000,
                                  0xff800000, 0x7fc00000, 0x7f800001, 0xffc12345, 0x4b800000, 0x34000000, 0x33800000};
  std::mt19937 random(seed);
  while (int(values.size()) < count) {
    uint32_t bits = random();
    values.push_back(values.size() % 2 ? bits : (bits & 0x80ffffffu) | (0x3e + (bits >> 24 & 3)) << 24);
  }
  return values;
}

template <typename Operation> float underRounding(int hostRound, float a, float b, float c, Operation operation) {
  volatile float x = a, y = b, z = c;
  fesetround(hostRound);
  volatile float result = operation(x, y, z);
  fesetround(FE_TONEAREST);
  return result;
}

TEST(IsaF32, RoundingModesAgreeWithTheHost) {
  std::vector<uint32_t> a = floats(3000, 1), b = floats(3000, 2), c = floats(3000, 3);
  std::shuffle(b.begin(), b.end(), std::mt19937(4));
  std::shuffle(c.begin(), c.end(), std::mt19937(5));
  for (int r = 0; r < 4; ++r)
    for (size_t i = 0; i < a.size(); ++i) {
      float x = asF32(a[i]), y = asF32(b[i]), z = asF32(c[i]);
      int host = kHostRounds[r];
      FpMode m = mode(kRounds[r]);
      auto expect = [&](float value) { return canonicalF32(value); };
      ASSERT_EQ(addF32Slow(a[i], b[i], m),
                expect(underRounding(host, x, y, z, [](float p, float q, float) { return p + q; })));
      ASSERT_EQ(subF32(a[i], b[i], m),
                expect(underRounding(host, x, y, z, [](float p, float q, float) { return p - q; })));
      ASSERT_EQ(mulF32Slow(a[i], b[i], m),
                expect(underRounding(host, x, y, z, [](float p, float q, float) { return p * q; })));
      ASSERT_EQ(divF32(a[i], b[i], m),
                expect(underRounding(host, x, y, z, [](float p, float q, float) { return p / q; })));
      ASSERT_EQ(sqrtF32(a[i], m),
                expect(underRounding(host, x, y, z, [](float p, float, float) { return std::sqrt(p); })));
      ASSERT_EQ(fmaF32Slow(a[i], b[i], c[i], m),
                expect(underRounding(host, x, y, z, [](float p, float q, float s) { return std::fma(p, q, s); })))
          << std::hex << a[i] << " " << b[i] << " " << c[i] << " round " << r;
    }
}

TEST(IsaF32, EqualOperandsCancelToTheZeroOfTheMode) {
  for (Round round : kRounds) {
    uint32_t zero = round == Round::Rm ? 0x80000000u : 0;
    EXPECT_EQ(subF32(0x40490fdb, 0x40490fdb, mode(round)), zero);
    EXPECT_EQ(fmaF32(0x40000000, 0x40000000, 0xc0800000, mode(round)), zero);
    EXPECT_EQ(addF32(0x80000000, 0x80000000, mode(round)), 0x80000000u);
  }
}

TEST(IsaF32, FlushesAndSaturates) {
  EXPECT_EQ(addF32(1, 0x80000000, mode(Round::Rn, true)), 0u);
  EXPECT_EQ(addF32(0x80000001, 0x80000000, mode(Round::Rn, true)), 0x80000000u);
  EXPECT_EQ(mulF32(0x00800000, 0x3f000000, mode(Round::Rn, true)), 0u);
  EXPECT_EQ(mulF32(0x00800000, 0x3f000000), 0x00400000u);
  EXPECT_EQ(fmaF32(0x3f800000, 0x3f800000, 0x3f800000, mode(Round::Rn, false, true)), 0x3f800000u);
  EXPECT_EQ(addF32(0xbf800000, 0, mode(Round::Rn, false, true)), 0u);
  EXPECT_EQ(addF32(0x7fc00000, 0, mode(Round::Rn, false, true)), 0u);
  EXPECT_EQ(addF32(0xffc00001, 0), kNanF32);
  EXPECT_EQ(rcpF32(0x80000000), 0xff800000u);
  EXPECT_EQ(sqrtF32(0x80000000), 0x80000000u);
  EXPECT_EQ(sqrtF32(0xbf800000), kNanF32);
}

TEST(IsaF32, MinAndMax) {
  MinMaxMode nan, xorsign;
  nan.nan = true;
  xorsign.xorsignAbs = true;
  EXPECT_EQ(minF32(0, 0x80000000), 0x80000000u);
  EXPECT_EQ(maxF32(0x80000000, 0), 0u);
  EXPECT_EQ(minF32(0x7fc00001, 0x40000000), 0x40000000u);
  EXPECT_EQ(maxF32(0x40000000, 0xffc00000), 0x40000000u);
  EXPECT_EQ(maxF32(0x7fc00001, 0xffc00000), kNanF32);
  EXPECT_EQ(maxF32(0x40000000, 0x7fc00001, nan), kNanF32);
  EXPECT_EQ(minF32(0xff800000, 0x40000000), 0xff800000u);
  EXPECT_EQ(minF32(0xc0000000, 0xc0400000), 0xc0400000u);
  EXPECT_EQ(maxF32(0xc0000000, 0x40400000, xorsign), 0xc0400000u);
  EXPECT_EQ(minF64(bitsOf(-0.0), bitsOf(0.0)), bitsOf(-0.0));
  EXPECT_EQ(maxF64(0x7ff8000000000000, bitsOf(1.0)), bitsOf(1.0));
}

TEST(IsaF64, DirectedRoundingBracketsTheExactValue) {
  uint64_t third[4];
  for (int r = 0; r < 4; ++r)
    third[r] = divF64(bitsOf(1.0), bitsOf(3.0), kRounds[r]);
  EXPECT_EQ(third[1], third[2]);
  EXPECT_EQ(third[3], third[1] + 1);
  EXPECT_EQ(addF64(bitsOf(1.0), bitsOf(0x1p-60), Round::Rp), bitsOf(1.0) + 1);
  EXPECT_EQ(addF64(bitsOf(1.0), bitsOf(0x1p-60), Round::Rn), bitsOf(1.0));
  EXPECT_EQ(subF64(bitsOf(1.0), bitsOf(0x1p-60), Round::Rz), bitsOf(1.0) - 1);
  EXPECT_EQ(mulF64(bitsOf(0x1p1023), bitsOf(2.0), Round::Rz), 0x7fefffffffffffffull);
  EXPECT_EQ(fmaF64(bitsOf(1 + 0x1p-52), bitsOf(1 - 0x1p-52), bitsOf(-1.0), Round::Rn), bitsOf(-0x1p-104));
  EXPECT_EQ(sqrtF64(bitsOf(2.0), Round::Rp), sqrtF64(bitsOf(2.0), Round::Rm) + 1);
  EXPECT_EQ(fegetround(), FE_TONEAREST);
}

//===----------------------------------------------------------------------===//
// f16, bf16, fp8
//===----------------------------------------------------------------------===//

TEST(IsaHalf, AllCodesRoundTrip) {
  for (HalfType type : {HalfType::F16, HalfType::BF16}) {
    NumType num = type == HalfType::F16 ? NumType::F16 : NumType::BF16;
    for (uint32_t code = 0; code < 65536; ++code) {
      uint16_t bits = uint16_t(code);
      uint16_t expected = isNanHalf(type, bits) ? kNanHalf : bits;
      float value = halfToFloat(type, bits);
      ASSERT_EQ(floatToHalf(type, value), expected);
      for (Round round : kRounds)
        ASSERT_EQ(convert(num, NumType::F32, bitsOf(value), cvt(round)), expected);
      if (!isNanHalf(type, bits)) {
        ASSERT_EQ(convert(NumType::F32, num, bits), bitsOf(value));
        ASSERT_EQ(convert(NumType::F64, num, bits), bitsOf(double(value)));
      }
    }
  }
}

/// Between each pair of neighbours, below, at and above the middle, in every rounding mode.
TEST(IsaHalf, AllTiesAndNeighbours) {
  for (HalfType type : {HalfType::F16, HalfType::BF16}) {
    NumType num = type == HalfType::F16 ? NumType::F16 : NumType::BF16;
    uint32_t inf = type == HalfType::F16 ? 0x7c00 : 0x7f80;
    for (uint32_t code = 0; code + 1 < inf; ++code) {
      double low = halfToFloat(type, uint16_t(code)), high = halfToFloat(type, uint16_t(code + 1));
      double middle = (low + high) / 2;
      auto to = [&](double value, Round round) { return convert(num, NumType::F64, bitsOf(value), cvt(round)); };
      ASSERT_EQ(to(middle, Round::Rn), code + (code & 1));
      ASSERT_EQ(to(std::nextafter(middle, 0), Round::Rn), code);
      ASSERT_EQ(to(std::nextafter(middle, INFINITY), Round::Rn), code + 1);
      ASSERT_EQ(to(middle, Round::Rz), code);
      ASSERT_EQ(to(-middle, Round::Rz), code | 0x8000);
      ASSERT_EQ(to(std::nextafter(low, INFINITY), Round::Rp), code + 1);
      ASSERT_EQ(to(-middle, Round::Rp), code | 0x8000);
      ASSERT_EQ(to(std::nextafter(high, 0), Round::Rm), code);
      ASSERT_EQ(to(-middle, Round::Rm), (code + 1) | 0x8000);
    }
  }
  EXPECT_EQ(floatToHalf(HalfType::F16, 65519.996f), 0x7bff);
  EXPECT_EQ(floatToHalf(HalfType::F16, 65520.0f), 0x7c00);
  EXPECT_EQ(convert(NumType::F16, NumType::F32, bitsOf(1e30f), cvt(Round::Rz)), 0x7bffu);
  EXPECT_EQ(convert(NumType::BF16, NumType::F32, 0x7f7fffff), 0x7f80u);
  EXPECT_EQ(convert(NumType::F16, NumType::F64, bitsOf(1e300)), 0x7c00u);
}

/// halfOp has a quick way for fma of bf16; relu takes the general one and changes nothing but the sign.
TEST(IsaHalf, QuickFmaEqualsTheGeneralOne) {
  std::mt19937 random(5);
  FpMode general;
  general.relu = true;
  for (int i = 0; i < 2000000; ++i) {
    uint16_t a = uint16_t(random()), b = uint16_t(random()), c = uint16_t(random());
    if (i % 2) // a sum that cancels or ties
      c = uint16_t(floatToHalf(HalfType::BF16, halfToFloat(HalfType::BF16, a) * halfToFloat(HalfType::BF16, b)) +
                   i % 7 * 64 - 192);
    uint16_t quick = halfOp(HalfOp::Fma, HalfType::BF16, a, b, c);
    bool negative = quick >> 15 && !isNanHalf(HalfType::BF16, quick);
    if (negative) // -(a * b + c) is positive
      quick = halfOp(HalfOp::Fma, HalfType::BF16, a ^ 0x8000, b, c ^ 0x8000);
    ASSERT_EQ(quick,
              halfOp(HalfOp::Fma, HalfType::BF16, negative ? a ^ 0x8000 : a, b, negative ? c ^ 0x8000 : c, general))
        << std::hex << a << " " << b << " " << c;
  }
}

/// The half nearest to numerator * 2^-48, found by bisection over the codes.
uint16_t nearestHalf(HalfType type, __int128 numerator) {
  bool negative = numerator < 0;
  __int128 magnitude = negative ? -numerator : numerator;
  auto valueOf = [&](uint32_t code) { return __int128(std::ldexp(double(halfToFloat(type, uint16_t(code))), 48)); };
  uint32_t low = 0, high = type == HalfType::F16 ? 0x7c00 : 0x5000;
  while (high - low > 1) {
    uint32_t middle = (low + high) / 2;
    double exponent = halfToFloat(type, uint16_t(middle));
    (exponent < 0x1p70 && valueOf(middle) <= magnitude ? low : high) = middle;
  }
  __int128 below = magnitude - valueOf(low);
  __int128 above = (type == HalfType::F16 && high == 0x7c00 ? __int128(1) << 64 : valueOf(high)) - magnitude;
  bool up = above < below || (above == below && (low & 1));
  return uint16_t((up ? high : low) | (negative ? 0x8000 : 0));
}

TEST(IsaHalf, ArithmeticRoundsTheExactResult) {
  std::mt19937 random(7);
  for (HalfType type : {HalfType::F16, HalfType::BF16})
    for (int i = 0; i < 100000; ++i) {
      uint16_t v[3];
      for (uint16_t &x : v) // f16: any finite value; bf16: magnitudes of 2^-16 to 2^15, multiples of 2^-23
        x = type == HalfType::F16 ? uint16_t((random() & 0x8000) | random() % 0x7c00)
                                  : uint16_t((random() & 0x807f) | (111 + random() % 32) << 7);
      double a = halfToFloat(type, v[0]), b = halfToFloat(type, v[1]), c = halfToFloat(type, v[2]);
      __int128 exactA = __int128(std::ldexp(a, 48)), exactB = __int128(std::ldexp(b, 48)),
               exactC = __int128(std::ldexp(c, 48));
      __int128 product = __int128(std::ldexp(a * b, 48));
      auto same = [&](uint16_t got, __int128 exact) {
        return exact == 0 ? (got & 0x7fff) == 0 : got == nearestHalf(type, exact);
      };
      ASSERT_TRUE(same(halfOp(HalfOp::Add, type, v[0], v[1], 0), exactA + exactB));
      ASSERT_TRUE(same(halfOp(HalfOp::Sub, type, v[0], v[1], 0), exactA - exactB));
      ASSERT_TRUE(same(halfOp(HalfOp::Mul, type, v[0], v[1], 0), product));
      ASSERT_TRUE(same(halfOp(HalfOp::Fma, type, v[0], v[1], v[2]), product + exactC));
      FpMode relu;
      relu.relu = true;
      ASSERT_TRUE(same(halfOp(HalfOp::Fma, type, v[0], v[1], v[2], relu), std::max<__int128>(product + exactC, 0)));
    }
}

TEST(IsaHalf, SpecialValues) {
  EXPECT_EQ(halfOp(HalfOp::Min, HalfType::F16, 0, 0x8000, 0), 0x8000);
  EXPECT_EQ(halfOp(HalfOp::Max, HalfType::F16, 0x7e01, 0x3c00, 0), 0x3c00);
  EXPECT_EQ(halfOp(HalfOp::MaxNan, HalfType::BF16, 0x7fc1, 0x3f80, 0), kNanHalf);
  EXPECT_EQ(halfOp(HalfOp::Add, HalfType::F16, 0x7c00, 0xfc00, 0), kNanHalf);
  EXPECT_EQ(halfOp2(HalfOp::Neg, HalfType::F16, 0x00013c00, 0, 0), 0x8001bc00u);
  EXPECT_EQ(halfOp2(HalfOp::Abs, HalfType::BF16, 0xbf8080ff, 0, 0), 0x3f8000ffu);
  EXPECT_EQ(halfOp(HalfOp::Ex2, HalfType::F16, 0x4200, 0, 0), 0x4800); // 2^3
  EXPECT_EQ(halfOp(HalfOp::Tanh, HalfType::F16, 0x7c00, 0, 0), 0x3c00);
  EXPECT_EQ(halfOp(HalfOp::Add, HalfType::F16, 0x3c00, 0x3c00, 0, mode(Round::Rn, false, true)), 0x3c00);
  EXPECT_EQ(halfOp(HalfOp::Add, HalfType::F16, 1, 0, 0, mode(Round::Rn, true)), 0);
}

TEST(IsaFp8, PublishedVectors) {
  EXPECT_EQ(fp8ToFloat(Fp8Type::E4M3, 0x7e), 448.0f);
  EXPECT_EQ(fp8ToFloat(Fp8Type::E4M3, 0x01), 0x1p-9f);
  EXPECT_EQ(fp8ToFloat(Fp8Type::E4M3, 0x08), 0x1p-6f);
  EXPECT_EQ(fp8ToFloat(Fp8Type::E5M2, 0x7b), 57344.0f);
  const std::pair<double, int> vectors[] = {
      {0, 0x00},       {-0.0, 0x80},        {0x1p-10, 0x00},  {1.5 * 0x1p-10, 0x01},
      {0x1p-9, 0x01},  {3 * 0x1p-10, 0x02}, {0.1, 0x1d},      {0.2, 0x25},
      {1.0 / 3, 0x2b}, {1.0625, 0x38},      {1.1875, 0x3a},   {-1.0625, 0xb8},
      {M_PI, 0x45},    {17, 0x58},          {18, 0x59},       {19, 0x5a},
      {240, 0x77},     {447, 0x7e},         {448, 0x7e},      {449, 0x7e},
      {463.9, 0x7e},   {464, 0x7e},         {480, 0x7e},      {1e9, 0x7e},
      {-1e9, 0xfe},    {INFINITY, 0x7e},    {-INFINITY, 0xfe}};
  for (auto [value, code] : vectors)
    EXPECT_EQ(floatToFp8(Fp8Type::E4M3, float(value)), code) << value;
  EXPECT_EQ(floatToFp8(Fp8Type::E4M3, NAN), kNanFp8);
  EXPECT_EQ(floatToFp8(Fp8Type::E5M2, INFINITY), 0x7b);
}

TEST(IsaFp8, AllCodesAndAllTies) {
  for (Fp8Type type : {Fp8Type::E4M3, Fp8Type::E5M2}) {
    int largest = type == Fp8Type::E4M3 ? 0x7e : 0x7b;
    for (int code = 0; code <= largest; ++code) {
      float value = fp8ToFloat(type, uint8_t(code));
      ASSERT_EQ(floatToFp8(type, value), code);
      ASSERT_EQ(floatToFp8(type, -value), code | 0x80);
      ASSERT_EQ(packFp8FromHalf(type, unpackFp8(type, uint16_t(code << 8 | 0x80 | code))), code << 8 | 0x80 | code);
      if (code == largest)
        break;
      float middle = (value + fp8ToFloat(type, uint8_t(code + 1))) / 2;
      ASSERT_EQ(floatToFp8(type, middle), code + (code & 1));
      ASSERT_EQ(floatToFp8(type, std::nextafter(middle, 0.0f)), code);
      ASSERT_EQ(floatToFp8(type, std::nextafter(middle, INFINITY)), code + 1);
    }
  }
  EXPECT_EQ(fp8ToFloat(Fp8Type::E4M3, 0x38), 1.0f);
  EXPECT_EQ(fp8ToFloat(Fp8Type::E5M2, 0x3c), 1.0f);
  EXPECT_EQ(packFp8(Fp8Type::E4M3, bitsOf(1.0f), bitsOf(-2.0f)), 0x38c0); // the first operand is the high byte
  EXPECT_EQ(packFp8(Fp8Type::E4M3, bitsOf(1.0f), bitsOf(-2.0f), true), 0x3800);
  EXPECT_EQ(unpackFp8(Fp8Type::E4M3, 0x387f), 0x3c007fffu);
  EXPECT_EQ(packHalf(HalfType::BF16, bitsOf(1.0f), bitsOf(2.0f)), 0x3f804000u);
}

//===----------------------------------------------------------------------===//
// cvt
//===----------------------------------------------------------------------===//

TEST(IsaConvert, Integers) {
  CvtMode sat;
  sat.sat = true;
  EXPECT_EQ(convert(NumType::S8, NumType::S32, 200), uint64_t(int64_t(-56)));
  EXPECT_EQ(convert(NumType::U8, NumType::S32, 0xffffffff), 255u);
  EXPECT_EQ(convert(NumType::S8, NumType::S32, 200, sat), 127u);
  EXPECT_EQ(convert(NumType::S8, NumType::S32, uint32_t(-300), sat), uint64_t(int64_t(-128)));
  EXPECT_EQ(convert(NumType::U8, NumType::S32, uint32_t(-3), sat), 0u);
  EXPECT_EQ(convert(NumType::U16, NumType::U64, 1ull << 40, sat), 65535u);
  EXPECT_EQ(convert(NumType::S64, NumType::U64, ~0ull, sat), uint64_t(INT64_MAX));
  EXPECT_EQ(convert(NumType::U32, NumType::S64, uint64_t(-1), sat), 0u);
  EXPECT_EQ(convert(NumType::S64, NumType::S16, 0x8000), uint64_t(int64_t(-32768)));
  EXPECT_EQ(convert(NumType::U64, NumType::U32, 0xffffffff80000000ull), 0x80000000u);
}

TEST(IsaConvert, FloatsToIntegers) {
  auto toS32 = [](float value, Round round) {
    return int32_t(convert(NumType::S32, NumType::F32, bitsOf(value), cvt(round)));
  };
  EXPECT_EQ(toS32(2.5f, Round::Rn), 2);
  EXPECT_EQ(toS32(-2.5f, Round::Rz), -2);
  EXPECT_EQ(toS32(-2.5f, Round::Rm), -3);
  EXPECT_EQ(toS32(2.25f, Round::Rp), 3);
  EXPECT_EQ(toS32(3e9f, Round::Rz), INT32_MAX);
  EXPECT_EQ(toS32(-INFINITY, Round::Rz), INT32_MIN);
  EXPECT_EQ(toS32(NAN, Round::Rz), 0);
  EXPECT_EQ(convert(NumType::U32, NumType::F32, bitsOf(-1.5f)), 0u);
  EXPECT_EQ(convert(NumType::U32, NumType::F32, bitsOf(5e9f)), 0xffffffffu);
  EXPECT_EQ(convert(NumType::U64, NumType::F32, bitsOf(0x1p63f)), 1ull << 63);
  EXPECT_EQ(convert(NumType::S64, NumType::F32, kNanF32), 1ull << 63);
  EXPECT_EQ(convert(NumType::U32, NumType::F64, 0x7ff8000000000000), 1u << 31);
  EXPECT_EQ(convert(NumType::S8, NumType::F32, bitsOf(-1000.0f)), uint64_t(int64_t(-128)));
  EXPECT_EQ(convert(NumType::U16, NumType::F16, 0x7c00), 65535u);
  EXPECT_EQ(convert(NumType::S64, NumType::F64, bitsOf(-0x1p63)), 1ull << 63);
}

TEST(IsaConvert, IntegersToFloatsInEveryMode) {
  std::mt19937_64 random(11);
  for (int i = 0; i < 20000; ++i) {
    int64_t value = int64_t(random()) >> random() % 63;
    for (int r = 0; r < 4; ++r) {
      volatile int64_t hidden = value;
      fesetround(kHostRounds[r]);
      volatile float single = float(hidden);
      volatile double twice = double(hidden);
      fesetround(FE_TONEAREST);
      ASSERT_EQ(convert(NumType::F32, NumType::S64, uint64_t(value), cvt(kRounds[r])), bitsOf(float(single))) << value;
      ASSERT_EQ(convert(NumType::F64, NumType::S64, uint64_t(value), cvt(kRounds[r])), bitsOf(double(twice))) << value;
    }
  }
  EXPECT_EQ(convert(NumType::F32, NumType::U64, ~0ull), bitsOf(0x1p64f));
  EXPECT_EQ(convert(NumType::F16, NumType::U32, 70000), 0x7c00u);
  EXPECT_EQ(convert(NumType::F16, NumType::S32, uint32_t(-3)), 0xc200u);
}

TEST(IsaConvert, FloatsToFloats) {
  CvtMode integral, sat, relu;
  integral.integral = sat.sat = relu.relu = true;
  EXPECT_EQ(convert(NumType::F32, NumType::F32, bitsOf(-0.5f), integral), 0x80000000u);
  EXPECT_EQ(convert(NumType::F32, NumType::F32, bitsOf(3.5f), integral), bitsOf(4.0f));
  EXPECT_EQ(convert(NumType::F32, NumType::F32, bitsOf(3.5f), sat), bitsOf(1.0f));
  EXPECT_EQ(convert(NumType::F32, NumType::F32, 0xffc00000, sat), 0u);
  EXPECT_EQ(convert(NumType::BF16, NumType::F32, bitsOf(-3.5f), relu), 0u);
  EXPECT_EQ(convert(NumType::BF16, NumType::F32, 0x7fc00000, relu), kNanHalf);
  EXPECT_EQ(convert(NumType::F32, NumType::F64, bitsOf(0x1p-150)), 0u);
  EXPECT_EQ(convert(NumType::F32, NumType::F64, bitsOf(0x1p-150), cvt(Round::Rp)), 1u);
  EXPECT_EQ(convert(NumType::F32, NumType::F64, bitsOf(1e300), cvt(Round::Rz)), 0x7f7fffffu);
  EXPECT_EQ(convert(NumType::TF32, NumType::F32, 0x3f801000, cvt(Round::Rna)), 0x3f802000u);
  EXPECT_EQ(convert(NumType::TF32, NumType::F32, 0x3f800fff, cvt(Round::Rna)), 0x3f800000u);
  EXPECT_EQ(convert(NumType::TF32, NumType::F32, 0xbf801000, cvt(Round::Rna)), 0xbf802000u);
  EXPECT_EQ(convert(NumType::TF32, NumType::F32, 0xffc00000, cvt(Round::Rna)), kNanF32);
}

//===----------------------------------------------------------------------===//
// Approximations
//===----------------------------------------------------------------------===//

TEST(IsaApprox, SpecialValues) {
  constexpr uint32_t inf = 0x7f800000, minusInf = 0xff800000, minusZero = 0x80000000, one = 0x3f800000;
  EXPECT_EQ(ex2F32(minusInf, false), 0u);
  EXPECT_EQ(ex2F32(minusZero, false), one);
  EXPECT_EQ(ex2F32(bitsOf(-130.0f), false), 0x00080000u);
  EXPECT_EQ(ex2F32(bitsOf(-130.0f), true), 0u);
  EXPECT_EQ(lg2F32(0, false), minusInf);
  EXPECT_EQ(lg2F32(1, true), minusInf);
  EXPECT_EQ(lg2F32(bitsOf(-1.0f), false), kNanF32);
  EXPECT_EQ(rcpApproxF32(minusZero, false), minusInf);
  EXPECT_EQ(rcpApproxF32(minusInf, false), minusZero);
  EXPECT_EQ(rsqrtApproxF32(minusZero, false), minusInf);
  EXPECT_EQ(rsqrtApproxF32(inf, false), 0u);
  EXPECT_EQ(rsqrtApproxF32(bitsOf(-1.0f), false), kNanF32);
  EXPECT_EQ(sqrtApproxF32(minusZero, false), minusZero);
  EXPECT_EQ(sinF32(inf, false), kNanF32);
  EXPECT_EQ(cosF32(0, false), one);
  EXPECT_EQ(tanhF32(minusInf), bitsOf(-1.0f));
  EXPECT_EQ(divApproxF32(one, bitsOf(0x1.8p126f), false), 0u);
  EXPECT_EQ(divApproxF32(inf, bitsOf(0x1.8p126f), false), kNanF32);
  EXPECT_EQ(divFullF32(bitsOf(0x1p127f), bitsOf(0x1.8p126f), false), bitsOf(float(4.0 / 3)));
  EXPECT_EQ(rcpApproxF64(bitsOf(4.0)), bitsOf(0.25));
  EXPECT_EQ(rsqrtApproxF64(bitsOf(-1.0)), 0x7fffffff00000000ull);
}

//===----------------------------------------------------------------------===//
// mma
//===----------------------------------------------------------------------===//

struct MmaCase {
  MmaKind kind;
  int elements; // of A or B in a register
};

MmaCase mmaCase(MmaOperand a, MmaOperand b, MmaAccumulator accumulator, int k, int elements) {
  MmaCase result;
  result.kind.a = a;
  result.kind.b = b;
  result.kind.accumulator = accumulator;
  result.kind.k = uint8_t(k);
  result.elements = elements;
  return result;
}

double element(MmaOperand type, uint32_t word, int index) {
  switch (type) {
  case MmaOperand::F16:
    return halfToFloat(HalfType::F16, uint16_t(word >> (16 * index)));
  case MmaOperand::BF16:
    return halfToFloat(HalfType::BF16, uint16_t(word >> (16 * index)));
  case MmaOperand::TF32:
    return asF32(word & 0xffffe000u);
  case MmaOperand::E4M3:
  case MmaOperand::E5M2:
    return fp8ToFloat(type == MmaOperand::E4M3 ? Fp8Type::E4M3 : Fp8Type::E5M2, uint8_t(word >> (8 * index)));
  case MmaOperand::S8:
    return int8_t(word >> (8 * index));
  default:
    return uint8_t(word >> (8 * index));
  }
}

uint32_t randomWord(MmaOperand type, std::mt19937 &random) {
  std::uniform_real_distribution<float> uniform(-2, 2);
  switch (type) {
  case MmaOperand::F16:
    return packHalf(HalfType::F16, bitsOf(uniform(random)), bitsOf(uniform(random)));
  case MmaOperand::BF16:
    return packHalf(HalfType::BF16, bitsOf(uniform(random)), bitsOf(uniform(random)));
  case MmaOperand::TF32:
    return bitsOf(uniform(random));
  case MmaOperand::E4M3:
  case MmaOperand::E5M2: {
    Fp8Type fp8 = type == MmaOperand::E4M3 ? Fp8Type::E4M3 : Fp8Type::E5M2;
    uint32_t low = packFp8(fp8, bitsOf(uniform(random)), bitsOf(uniform(random)));
    return low | uint32_t(packFp8(fp8, bitsOf(uniform(random)), bitsOf(uniform(random)))) << 16;
  }
  default:
    return uint32_t(random());
  }
}

/// The manual's tables, spelled out per element: where A[row][k] and B[k][column] live.
double elementOfA(const MmaCase &test, const uint32_t (*a)[32], int row, int k) {
  int quad = 4 * test.elements;
  int reg = row / 8 + 2 * (k / quad), lane = row % 8 * 4 + k % quad / test.elements;
  return element(test.kind.a, a[reg][lane], k % test.elements);
}
double elementOfB(const MmaCase &test, const uint32_t (*b)[32], int k, int column) {
  int quad = 4 * test.elements;
  return element(test.kind.b, b[k / quad][column * 4 + k % quad / test.elements], k % test.elements);
}

TEST(IsaMma, AgreesWithScalarSumsInAscendingOrder) {
  using O = MmaOperand;
  using A = MmaAccumulator;
  const MmaCase cases[] = {mmaCase(O::F16, O::F16, A::F32, 8, 2),    mmaCase(O::F16, O::F16, A::F32, 16, 2),
                           mmaCase(O::F16, O::F16, A::F16, 8, 2),    mmaCase(O::F16, O::F16, A::F16, 16, 2),
                           mmaCase(O::BF16, O::BF16, A::F32, 8, 2),  mmaCase(O::BF16, O::BF16, A::F32, 16, 2),
                           mmaCase(O::TF32, O::TF32, A::F32, 4, 1),  mmaCase(O::TF32, O::TF32, A::F32, 8, 1),
                           mmaCase(O::E4M3, O::E4M3, A::F32, 32, 4), mmaCase(O::E4M3, O::E5M2, A::F32, 32, 4),
                           mmaCase(O::E5M2, O::E4M3, A::F32, 16, 4), mmaCase(O::S8, O::S8, A::S32, 32, 4),
                           mmaCase(O::U8, O::S8, A::S32, 16, 4),     mmaCase(O::E4M3, O::E4M3, A::F16, 32, 4)};
  std::mt19937 random(3);
  for (const MmaCase &test : cases) {
    MmaRegisters registers = mmaRegisters(test.kind);
    ASSERT_TRUE(registers.valid);
    uint32_t a[4][32], b[2][32], c[4][32], d[4][32];
    for (int lane = 0; lane < 32; ++lane) {
      for (auto &reg : a)
        reg[lane] = randomWord(test.kind.a, random);
      for (auto &reg : b)
        reg[lane] = randomWord(test.kind.b, random);
      for (auto &reg : c)
        reg[lane] = randomWord(test.kind.accumulator == A::F16 ? O::F16 : O::TF32, random);
    }
    mma(test.kind, a, b, c, d);
    for (int row = 0; row < 16; ++row)
      for (int column = 0; column < 8; ++column) {
        int lane = row % 8 * 4 + column / 2, reg = row / 8 * 2 + column % 2;
        bool half = test.kind.accumulator == A::F16, integer = test.kind.accumulator == A::S32;
        uint32_t start = half ? c[row / 8][lane] >> 16 * (column % 2) & 0xffff : c[reg][lane];
        float single = half ? halfToFloat(HalfType::F16, uint16_t(start)) : asF32(start);
        double exact = integer ? double(int32_t(start)) : double(single);
        for (int k = 0; k < test.kind.k; ++k) {
          double product = elementOfA(test, a, row, k) * elementOfB(test, b, k, column);
          exact += product;
          single = float(single + float(product));
        }
        if (integer) {
          ASSERT_EQ(d[reg][lane], uint32_t(int64_t(exact)));
        } else if (half) {
          ASSERT_EQ(d[row / 8][lane] >> 16 * (column % 2) & 0xffff, floatToHalf(HalfType::F16, single));
        } else {
          ASSERT_EQ(d[reg][lane], bitsOf(single));
          ASSERT_NEAR(single, exact, 1e-4);
        }
      }
  }
}

TEST(IsaMma, OrderOfKShowsInTheSum) {
  // 2^24 + 1 + 1 is 2^24 in ascending order and 2^24 + 2 when the ones come first.
  MmaKind kind;
  uint32_t a[4][32] = {}, b[2][32] = {}, c[4][32] = {}, d[4][32];
  for (int lane = 0; lane < 32; ++lane)
    b[0][lane] = b[1][lane] = 0x3f803f80;
  a[0][0] = 0x3f804b80; // row 0: 2^24, 1
  a[0][1] = 0x3f80;     // then 1
  a[0][4] = 0x3f803f80; // row 1: 1, 1
  a[0][5] = 0x4b80;     // then 2^24
  mma(kind, a, b, c, d);
  EXPECT_EQ(asF32(d[0][0]), 0x1p24f);
  EXPECT_EQ(asF32(d[0][4]), 0x1p24f + 2);
}

TEST(IsaMma, RefusesKindsThatDoNotExist) {
  using O = MmaOperand;
  EXPECT_FALSE(mmaRegisters(mmaCase(O::BF16, O::F16, MmaAccumulator::F32, 16, 2).kind).valid);
  EXPECT_FALSE(mmaRegisters(mmaCase(O::BF16, O::BF16, MmaAccumulator::F16, 16, 2).kind).valid);
  EXPECT_FALSE(mmaRegisters(mmaCase(O::BF16, O::BF16, MmaAccumulator::F32, 32, 2).kind).valid);
  EXPECT_FALSE(mmaRegisters(mmaCase(O::S8, O::S8, MmaAccumulator::F32, 32, 4).kind).valid);
  MmaKind clamp = mmaCase(O::U8, O::U8, MmaAccumulator::S32, 32, 4).kind;
  clamp.satfinite = true;
  uint32_t a[4][32], b[2][32], c[4][32], d[4][32];
  std::memset(a, 0x7f, sizeof(a));
  std::memset(b, 0x7f, sizeof(b));
  std::memset(c, 0x7f, sizeof(c));
  mma(clamp, a, b, c, d);
  EXPECT_EQ(d[0][0],
            uint32_t(INT32_MAX) < 0x7f7f7f7fu + 32 * 127 * 127 ? uint32_t(INT32_MAX) : 0x7f7f7f7fu + 32 * 127 * 127);
}

} // namespace
