//===- convert_test.cpp - cvt in nvcc-made kernels -------------------------===//
//
// Every conversion bit by bit; NaN and out-of-range results as the CUDA documentation of the intrinsics gives them.
//
//===----------------------------------------------------------------------===//
#include "float_oracle.h"

#include <gtest/gtest.h>

using namespace gpu_test;

namespace {

constexpr int kCount = 512;
using Words = std::vector<std::function<uint64_t(int)>>;

/// A NaN result of 32 or 64 bits; its payload is not compared.
constexpr uint64_t kAnyNan = 0x7fc0dead00000001ull;
bool isNan32(uint64_t x) { return (x & 0x7fffffff) > 0x7f800000 && x >> 32 == 0; }
bool isNan64(uint64_t x) { return (x << 1) > 0xffe0000000000000ull; }
uint64_t f32(float value) { return value != value ? kAnyNan : bits(value); }
uint64_t f64(double value) { return value != value ? kAnyNan : bits(value); }

template <typename T> void expectOps(const char *kernel, const std::vector<T> &out, const Words &expected) {
  ASSERT_EQ(out.size(), expected.size() * kCount) << kernel;
  for (size_t op = 0; op < expected.size(); ++op)
    for (int i = 0; i < kCount; ++i) {
      uint64_t got = out[op * kCount + i], want = expected[op](i);
      if (want == kAnyNan)
        ASSERT_TRUE(isNan32(got) || isNan64(got)) << kernel << ": operation " << op << ", element " << i;
      else
        ASSERT_EQ(got, want) << kernel << ": operation " << op << ", element " << i << std::hex << ": got " << got;
    }
}

template <typename T> uint64_t clampTo(__int128 value) {
  return uint64_t(T(std::clamp<__int128>(value, std::numeric_limits<T>::min(), std::numeric_limits<T>::max())));
}

TEST(NvccConvert, Integers) {
  std::vector<uint64_t> a = randomIntegers<uint64_t>(kCount, 1);
  for (int i = 0; i < kCount; i += 2)
    a[i] = uint64_t(int64_t(int32_t(a[i])) >> (i % 24)); // signed values near the narrow limits
  auto word = [&](int i) { return uint32_t(a[i]); };
  auto sword = [&](int i) { return int32_t(a[i]); };
  Words expected = {[&](int i) { return uint64_t(int64_t(int8_t(a[i]))); },
                    [&](int i) { return a[i] & 0xff; },
                    [&](int i) { return uint64_t(int64_t(int16_t(a[i]))); },
                    [&](int i) { return uint64_t(int64_t(sword(i))); },
                    [&](int i) { return word(i); },
                    [&](int i) { return uint64_t(int64_t(sword(i))); },
                    [&](int i) { return uint32_t(int8_t(a[i])); },
                    [&](int i) { return uint32_t(int16_t(a[i])); },
                    [&](int i) { return uint32_t(clampTo<int8_t>(sword(i))); },
                    [&](int i) { return clampTo<uint8_t>(sword(i)); },
                    [&](int i) { return clampTo<uint8_t>(word(i)); },
                    [&](int i) { return uint16_t(clampTo<int16_t>(int64_t(a[i]))); },
                    [&](int i) { return clampTo<uint16_t>(sword(i)); },
                    [&](int i) { return uint32_t(clampTo<int32_t>(int64_t(a[i]))); },
                    [&](int i) { return clampTo<int32_t>(word(i)); },
                    [&](int i) { return clampTo<uint32_t>(sword(i)); },
                    [&](int i) { return clampTo<int64_t>(a[i]); }};
  Launch launch("convert", "cvt_integers", 4, kCount / 4);
  launch.in(a).out<uint64_t>(expected.size() * kCount).value(kCount).run();
  expectOps("cvt_integers", launch.result<uint64_t>(1), expected);
}

/// A float as an integer of type T: `nan` for NaN, else rounded and clamped.
template <typename T> T toInteger(double value, int round, T nan) {
  if (value != value)
    return nan;
  value = integral(round, value);
  if (value >= 0x1p64)
    return std::numeric_limits<T>::max();
  if (value < -0x1p63)
    return std::numeric_limits<T>::min();
  return T(clampTo<T>(__int128(value)));
}

TEST(NvccConvert, F32ToIntegers) {
  std::vector<float> a = randomFloats(kCount, 1);
  for (int i = 64; i < kCount; i += 2)
    a[i] = std::ldexp(a[i], i % 70);
  auto s32 = [&](int round) {
    return [&, round](int i) -> uint64_t { return uint32_t(toInteger<int32_t>(a[i], round, 0)); };
  };
  auto u32 = [&](int round) { return [&, round](int i) -> uint64_t { return toInteger<uint32_t>(a[i], round, 0); }; };
  auto s64 = [&](int round) {
    return [&, round](int i) { return uint64_t(toInteger<int64_t>(a[i], round, INT64_MIN)); };
  };
  auto u64 = [&](int round) { return [&, round](int i) { return toInteger<uint64_t>(a[i], round, 1ull << 63); }; };
  Words expected = {s32(kNearest),
                    s32(kZero),
                    s32(kDown),
                    s32(kUp),
                    u32(kNearest),
                    u32(kZero),
                    s64(kNearest),
                    s64(kDown),
                    u64(kZero),
                    u64(kUp),
                    [&](int i) { return uint16_t(toInteger<int16_t>(a[i], kNearest, 0)); },
                    [&](int i) { return toInteger<uint16_t>(a[i], kZero, 0); },
                    [&](int i) { return uint8_t(toInteger<int8_t>(a[i], kNearest, 0)); },
                    [&](int i) { return toInteger<uint8_t>(a[i], kZero, 0); },
                    s32(kNearest)};
  Launch launch("convert", "cvt_f32_to_integers", 4, kCount / 4);
  launch.in(a).out<uint64_t>(expected.size() * kCount).value(kCount).run();
  expectOps("cvt_f32_to_integers", launch.result<uint64_t>(1), expected);
}

TEST(NvccConvert, F64ToIntegers) {
  std::vector<double> a = randomDoubles(kCount, 1);
  for (int i = 64; i < kCount; i += 2)
    a[i] = std::ldexp(a[i], i % 70);
  Words expected = {[&](int i) { return uint32_t(toInteger<int32_t>(a[i], kNearest, INT32_MIN)); },
                    [&](int i) { return uint32_t(toInteger<int32_t>(a[i], kZero, INT32_MIN)); },
                    [&](int i) { return toInteger<uint32_t>(a[i], kUp, 1u << 31); },
                    [&](int i) { return uint64_t(toInteger<int64_t>(a[i], kNearest, INT64_MIN)); },
                    [&](int i) { return uint64_t(toInteger<int64_t>(a[i], kZero, INT64_MIN)); },
                    [&](int i) { return toInteger<uint64_t>(a[i], kDown, 1ull << 63); }};
  Launch launch("convert", "cvt_f64_to_integers", 4, kCount / 4);
  launch.in(a).out<uint64_t>(expected.size() * kCount).value(kCount).run();
  expectOps("cvt_f64_to_integers", launch.result<uint64_t>(1), expected);
}

/// An integer as a float under a rounding mode of the host.
template <typename F, typename I> F toFloat(I value, int round) {
  volatile I hidden = value;
  std::fesetround(round);
  volatile F result = F(hidden);
  std::fesetround(FE_TONEAREST);
  return result;
}

TEST(NvccConvert, IntegersToFloats) {
  std::vector<uint64_t> a = randomIntegers<uint64_t>(kCount, 2);
  auto w = [&](int i) { return int32_t(a[i]); };
  auto u = [&](int i) { return uint32_t(a[i]); };
  auto l = [&](int i) { return int64_t(a[i]); };
  Words expected;
  for (int round : kHostRounds)
    expected.push_back([&, round](int i) { return f32(toFloat<float>(w(i), round)); });
  const Words others = {[&](int i) { return f32(toFloat<float>(u(i), kNearest)); },
                        [&](int i) { return f32(toFloat<float>(u(i), kUp)); },
                        [&](int i) { return f32(toFloat<float>(l(i), kNearest)); },
                        [&](int i) { return f32(toFloat<float>(l(i), kZero)); },
                        [&](int i) { return f32(toFloat<float>((long double)(a[i]), kNearest)); },
                        [&](int i) { return f32(toFloat<float>((long double)(a[i]), kDown)); },
                        [&](int i) { return f64(w(i)); },
                        [&](int i) { return f64(toFloat<double>(l(i), kNearest)); },
                        [&](int i) { return f64(toFloat<double>((long double)(a[i]), kUp)); },
                        [&](int i) { return f64(toFloat<double>(l(i), kDown)); },
                        [&](int i) { return kF16.encode(w(i)); },
                        [&](int i) { return kF16.encode(double(a[i] | (a[i] >> 20 != 0))); },
                        [&](int i) { return f32(int8_t(a[i])); },
                        [&](int i) { return f32(uint16_t(a[i])); }};
  expected.insert(expected.end(), others.begin(), others.end());
  Launch launch("convert", "cvt_integers_to_floats", 4, kCount / 4);
  launch.in(a).out<uint64_t>(expected.size() * kCount).value(kCount).run();
  expectOps("cvt_integers_to_floats", launch.result<uint64_t>(1), expected);
}

/// Half away from zero at 10 stored bits.
uint32_t toTf32(float value) {
  if (!std::isfinite(value))
    return value == value ? bits(value) : 0x7fffffff;
  return (bits(value) + 0x1000) & ~0x1fffu;
}

TEST(NvccConvert, FloatsToFloats) {
  std::vector<float> a = randomFloats(kCount, 3);
  std::vector<double> b = randomDoubles(kCount, 4);
  for (int i = 32; i < kCount; i += 4)
    b[i] = double(a[i]) * (1 + 0x1p-24); // ties of f32
  auto narrow = [&](int round) {
    return [&, round](int i) {
      return f32(rounded(round, b[i], 0.0, 0.0, [](double x, double, double) -> double { return float(x); }));
    };
  };
  auto whole = [&](int round) { return [&, round](int i) { return f32(float(integral(round, a[i]))); }; };
  auto relu = [](const NarrowFormat &format, float value) {
    return std::signbit(value) && value == value ? 0 : format.encode(value);
  };
  Words expected = {[&](int i) { return f64(a[i]); },
                    narrow(kNearest),
                    narrow(kZero),
                    narrow(kDown),
                    narrow(kUp),
                    whole(kNearest),
                    whole(kZero),
                    whole(kDown),
                    whole(kUp),
                    [&](int i) { return f64(integral(kNearest, b[i])); },
                    [&](int i) { return f64(integral(kDown, b[i])); },
                    [&](int i) { return f32(saturate(a[i])); },
                    [&](int i) { return f32(flush(float(b[i]))); },
                    [&](int i) { return kF16.encode(a[i]); },
                    [&](int i) { return kF16.encode(a[i], kZero); },
                    [&](int i) { return kF16.encode(b[i]); },
                    [&](int i) { return kBF16.encode(a[i]); },
                    [&](int i) { return kBF16.encode(a[i], kZero); },
                    [&](int i) { return relu(kBF16, a[i]); },
                    [&](int i) { return relu(kF16, a[i]); },
                    [&](int i) { return toTf32(a[i]); }};
  Launch launch("convert", "cvt_floats", 4, kCount / 4);
  launch.in(a).in(b).out<uint64_t>(expected.size() * kCount).value(kCount).run();
  expectOps("cvt_floats", launch.result<uint64_t>(2), expected);
}

TEST(NvccConvert, Halves) {
  std::vector<uint16_t> a = randomHalves(kF16, kCount, 5);
  auto value = [&](int i) { return kF16.decode(a[i]); };
  Words expected = {[&](int i) { return f32(float(value(i))); },
                    [&](int i) { return f64(value(i)); },
                    [&](int i) { return uint32_t(toInteger<int32_t>(value(i), kNearest, 0)); },
                    [&](int i) { return toInteger<uint16_t>(value(i), kDown, 0); },
                    [&](int i) { return kF16.encode(integral(kUp, value(i))); },
                    [&](int i) { return uint64_t(toInteger<int64_t>(value(i), kZero, INT64_MIN)); }};
  Launch launch("convert", "cvt_halves", 4, kCount / 4);
  launch.in(a).out<uint64_t>(expected.size() * kCount).value(kCount).run();
  expectOps("cvt_halves", launch.result<uint64_t>(1), expected);
}

TEST(NvccConvert, PacksPutTheFirstOperandHigh) {
  std::vector<float> a = randomFloats(kCount, 6), b = randomFloats(kCount, 7);
  auto pack = [&](const NarrowFormat &format, int round, bool relu) {
    auto one = [&format, round, relu](float value) {
      return relu && std::signbit(value) && value == value ? 0 : format.encode(value, round);
    };
    return [&, one](int i) -> uint64_t { return one(a[i]) << 16 | one(b[i]); };
  };
  Words expected = {pack(kBF16, kNearest, false), pack(kBF16, kZero, false), pack(kBF16, kNearest, true),
                    pack(kF16, kNearest, false),  pack(kF16, kZero, false),  pack(kF16, kNearest, true)};
  Launch launch("convert", "cvt_packs", 4, kCount / 4);
  launch.in(a).in(b).out<uint32_t>(expected.size() * kCount).value(kCount).run();
  expectOps("cvt_packs", launch.result<uint32_t>(2), expected);
}

} // namespace
