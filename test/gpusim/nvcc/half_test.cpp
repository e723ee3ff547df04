//===- half_test.cpp - f16, bf16 and fp8 of nvcc-made kernels --------------===//
//
// Results bit by bit, NaN included where the PTX manual names its bits; the expected ones are rounded by search over
// the format.
//
//===----------------------------------------------------------------------===//
#include "float_oracle.h"

#include <gtest/gtest.h>

using namespace gpu_test;

namespace {

constexpr int kCount = 512;

/// Compares 16-bit elements: `halves` of them in each output. Any NaN equals any NaN.
template <typename T>
void expectOps(const char *kernel, const NarrowFormat &format, const std::vector<T> &out,
               const std::vector<std::function<uint32_t(int)>> &expected) {
  ASSERT_EQ(out.size(), expected.size() * kCount) << kernel;
  for (size_t op = 0; op < expected.size(); ++op)
    for (int i = 0; i < kCount; ++i)
      for (size_t half = 0; half < sizeof(T) / 2; ++half) {
        uint32_t got = out[op * kCount + i] >> (16 * half) & 0xffff, want = expected[op](i) >> (16 * half) & 0xffff;
        ASSERT_TRUE(got == want || (format.isNan(got) && format.isNan(want)))
            << kernel << ": operation " << op << ", element " << i << std::hex << ": got " << got << ", expected "
            << want;
      }
}

/// product + c, in double, with the rest of an inexact sum kept in the last bit.
double sumWithSticky(double product, double c) {
  double sum = product + c;
  if (!std::isfinite(sum))
    return sum;
  double rest = std::fabs(product) > std::fabs(c) ? c - (sum - product) : product - (sum - c);
  if (rest == 0)
    return sum;
  // One of the two doubles around the exact sum has an odd last bit: it lies on no tie of a narrow format.
  double other = std::nextafter(sum, rest > 0 ? INFINITY : -INFINITY);
  return bits(sum) & 1 ? sum : other;
}

/// Operations on the codes of a 16-bit format.
struct HalfOracle {
  const NarrowFormat &format;
  uint32_t add(uint32_t x, uint32_t y) const {
    return format.encode(sumWithSticky(format.decode(x), format.decode(y)));
  }
  uint32_t mul(uint32_t x, uint32_t y) const { return format.encode(format.decode(x) * format.decode(y)); }
  uint32_t fma(uint32_t x, uint32_t y, uint32_t z) const {
    return format.encode(sumWithSticky(format.decode(x) * format.decode(y), format.decode(z)));
  }
  uint32_t relu(uint32_t x) const { return !format.isNan(x) && x >> 15 ? 0 : x; }
  uint32_t sat(uint32_t x) const {
    double value = format.decode(x);
    return value > 0 ? format.encode(std::min(value, 1.0)) : 0;
  }
  uint32_t flushed(uint32_t x) const { return (x & 0x7fffu) >> format.mantissaBits ? x : x & 0x8000u; }
  uint32_t min(uint32_t x, uint32_t y, bool nan = false) const {
    if (format.isNan(x) || format.isNan(y))
      return nan || (format.isNan(x) && format.isNan(y)) ? 0x7fff : format.isNan(x) ? y : x;
    double p = format.decode(x), q = format.decode(y);
    return p < q || (p == q && x >> 15) ? x : y;
  }
  uint32_t max(uint32_t x, uint32_t y, bool nan = false) const {
    uint32_t result = min(x ^ 0x8000, y ^ 0x8000, nan);
    return format.isNan(result) ? 0x7fff : result ^ 0x8000;
  }
};

struct HalfOperands {
  std::vector<uint16_t> a, b, c;
  explicit HalfOperands(const NarrowFormat &format)
      : a(randomHalves(format, kCount, 1)), b(randomHalves(format, kCount, 2)), c(randomHalves(format, kCount, 3)) {}
};

TEST(NvccHalf, F16Scalar) {
  HalfOracle o{kF16};
  HalfOperands v(kF16);
  auto fma = [&](int i) { return o.fma(v.a[i], v.b[i], v.c[i]); };
  std::vector<std::function<uint32_t(int)>> expected = {
      [&](int i) { return o.add(v.a[i], v.b[i]); },
      [&](int i) { return o.add(v.a[i], v.b[i] ^ 0x8000); },
      [&](int i) { return o.mul(v.a[i], v.b[i]); },
      fma,
      [&](int i) { return o.relu(fma(i)); },
      [&](int i) { return o.sat(fma(i)); },
      [&](int i) { return o.sat(o.add(v.a[i], v.b[i])); },
      [&](int i) { return o.flushed(o.add(o.flushed(v.a[i]), o.flushed(v.b[i]))); },
      [&](int i) { return o.min(v.a[i], v.b[i]); },
      [&](int i) { return o.max(v.a[i], v.b[i]); },
      [&](int i) { return o.min(v.a[i], v.b[i], true); },
      [&](int i) { return o.max(v.a[i], v.b[i], true); },
      [&](int i) { return v.a[i] ^ 0x8000; },
      [&](int i) { return v.a[i] & 0x7fff; }};
  Launch launch("half", "f16_scalar", 4, kCount / 4);
  launch.in(v.a).in(v.b).in(v.c).out<uint16_t>(expected.size() * kCount).value(kCount).run();
  expectOps("f16_scalar", kF16, launch.result<uint16_t>(3), expected);
}

TEST(NvccHalf, BF16Scalar) {
  HalfOracle o{kBF16};
  HalfOperands v(kBF16);
  auto fma = [&](int i) { return o.fma(v.a[i], v.b[i], v.c[i]); };
  std::vector<std::function<uint32_t(int)>> expected = {fma,
                                                        [&](int i) { return o.relu(fma(i)); },
                                                        [&](int i) { return o.min(v.a[i], v.b[i]); },
                                                        [&](int i) { return o.max(v.a[i], v.b[i]); },
                                                        [&](int i) { return o.min(v.a[i], v.b[i], true); },
                                                        [&](int i) { return o.max(v.a[i], v.b[i], true); },
                                                        [&](int i) { return v.a[i] ^ 0x8000; },
                                                        [&](int i) { return v.a[i] & 0x7fff; }};
  Launch launch("half", "bf16_scalar", 4, kCount / 4);
  launch.in(v.a).in(v.b).in(v.c).out<uint16_t>(expected.size() * kCount).value(kCount).run();
  expectOps("bf16_scalar", kBF16, launch.result<uint16_t>(3), expected);
}

/// An operation on both halves of 32-bit words.
template <typename Operation> uint32_t both(Operation operation, uint32_t x, uint32_t y = 0, uint32_t z = 0) {
  return operation(x & 0xffff, y & 0xffff, z & 0xffff) | operation(x >> 16, y >> 16, z >> 16) << 16;
}

TEST(NvccHalf, Packed) {
  std::vector<uint32_t> a = randomIntegers<uint32_t>(kCount, 4), b = randomIntegers<uint32_t>(kCount, 5),
                        c = randomIntegers<uint32_t>(kCount, 6);
  HalfOracle f{kF16}, g{kBF16};
  using U = uint32_t;
  std::vector<std::function<U(int)>> expectedF16 = {
      [&](int i) { return both([&](U x, U y, U) { return f.add(x, y); }, a[i], b[i]); },
      [&](int i) { return both([&](U x, U y, U) { return f.add(x, y ^ 0x8000); }, a[i], b[i]); },
      [&](int i) { return both([&](U x, U y, U) { return f.mul(x, y); }, a[i], b[i]); },
      [&](int i) { return both([&](U x, U y, U z) { return f.fma(x, y, z); }, a[i], b[i], c[i]); },
      [&](int i) { return both([&](U x, U y, U) { return f.max(x, y); }, a[i], b[i]); },
      [&](int i) { return a[i] ^ 0x80008000; }};
  std::vector<std::function<U(int)>> expectedBF16 = {
      [&](int i) { return both([&](U x, U y, U z) { return g.fma(x, y, z); }, a[i], b[i], c[i]); },
      [&](int i) { return both([&](U x, U y, U) { return g.min(x, y); }, a[i], b[i]); },
      [&](int i) { return a[i] & 0x7fff7fff; }};
  Launch launch("half", "half_packed", 4, kCount / 4);
  launch.in(a).in(b).in(c).out<U>(9 * kCount).value(kCount).run();
  std::vector<U> out = launch.result<U>(3);
  ASSERT_EQ(out.size(), size_t(9 * kCount));
  expectOps("half_packed, f16", kF16, std::vector<U>(out.begin(), out.begin() + 6 * kCount), expectedF16);
  expectOps("half_packed, bf16", kBF16, std::vector<U>(out.begin() + 6 * kCount, out.end()), expectedBF16);
}

TEST(NvccHalf, Operators) {
  std::vector<uint32_t> a = randomIntegers<uint32_t>(kCount, 7), b = randomIntegers<uint32_t>(kCount, 8);
  HalfOracle o{kF16};
  Launch launch("half", "half_operators", 4, kCount / 4);
  launch.in(a).in(b).out<uint32_t>(kCount).value(kCount).run();
  expectOps("half_operators", kF16, launch.result<uint32_t>(2), {[&](int i) {
              return both([&](uint32_t x, uint32_t y, uint32_t) { return o.fma(x, y, o.add(x, y)); }, a[i], b[i]);
            }});
}

TEST(NvccHalf, AxpyInBF16) {
  std::vector<uint16_t> x = randomHalves(kBF16, kCount, 9), y = randomHalves(kBF16, kCount, 10);
  Launch launch("half", "bf16_axpy", 4, kCount / 4);
  launch.in(x).in(y).value(1.7f).value(kCount).run();
  expectOps("bf16_axpy", kBF16, launch.result<uint16_t>(1), {[&](int i) {
              float product = 1.7f * float(kBF16.decode(x[i]));
              float sum = product + float(kBF16.decode(y[i]));
              return kBF16.encode(sum);
            }});
}

TEST(NvccHalf, Comparisons) {
  std::vector<uint16_t> a = randomHalves(kF16, kCount, 11), b = randomHalves(kF16, kCount, 12);
  for (int i = 0; i < kCount; i += 3)
    b[i] = a[i];
  Launch launch("half", "half_compare", 4, kCount / 4);
  launch.in(a).in(b).out<uint32_t>(kCount).value(kCount).run();
  std::vector<uint32_t> out = launch.result<uint32_t>(2);
  ASSERT_EQ(out.size(), size_t(kCount));
  for (int i = 0; i < kCount; ++i) {
    double x = kF16.decode(a[i]), y = kF16.decode(b[i]);
    bool unordered = std::isunordered(x, y);
    uint32_t expected = (x < y) | (x <= y) << 1 | (x == y) << 2 | (!unordered && x != y) << 3 |
                        (unordered || x > y) << 4 | (x != x) << 5 | (x < y) << 6 | (y < x) << 7;
    ASSERT_EQ(out[i], expected) << x << " and " << y;
  }
}

//===----------------------------------------------------------------------===//
// fp8 (sm_89)
//===----------------------------------------------------------------------===//

std::vector<float> fp8Inputs(uint32_t seed) {
  std::vector<float> values = randomFloats(kCount, seed);
  for (int i = 0; i < 256; ++i) { // every code and every tie
    float value = float(kE4M3.decode(uint32_t(i)));
    float next = float(kE4M3.decode(uint32_t(i & 0x80) | uint32_t(std::min(i & 0x7f, 0x7d) + 1)));
    values[64 + i] = i % 2 ? value : (value + next) / 2;
  }
  return values;
}

TEST(NvccFp8, Encode) {
  std::vector<float> a = fp8Inputs(1), b = fp8Inputs(2);
  std::reverse(b.begin(), b.end());
  auto pack = [](const NarrowFormat &format, float high, float low) {
    return format.encode(high, kNearest, true) << 8 | format.encode(low, kNearest, true);
  };
  auto relu = [](float value) { return value != value ? value : std::max(value, 0.0f) + 0.0f; };
  std::vector<std::function<uint32_t(int)>> expected = {
      [&](int i) { return pack(kE4M3, a[i], b[i]); }, [&](int i) { return pack(kE5M2, a[i], b[i]); },
      [&](int i) { return pack(kE4M3, relu(a[i]), relu(b[i])); }, [&](int i) { return kE4M3.encode(a[i]); }};
  Launch launch("fp8_sm89", "fp8_encode", 4, kCount / 4);
  launch.in(a).in(b).out<uint16_t>(4 * kCount).value(kCount).run();
  std::vector<uint16_t> out = launch.result<uint16_t>(2);
  ASSERT_EQ(out.size(), size_t(4 * kCount));
  for (size_t op = 0; op < expected.size(); ++op)
    for (int i = 0; i < kCount; ++i)
      ASSERT_EQ(out[op * kCount + i], expected[op](i)) << "operation " << op << " of " << a[i] << " and " << b[i];
}

TEST(NvccFp8, FromHalf) {
  std::vector<uint32_t> a = randomIntegers<uint32_t>(kCount, 13);
  Launch launch("fp8_sm89", "fp8_from_half", 4, kCount / 4);
  launch.in(a).out<uint16_t>(2 * kCount).value(kCount).run();
  std::vector<uint16_t> out = launch.result<uint16_t>(1);
  ASSERT_EQ(out.size(), size_t(2 * kCount));
  for (int op = 0; op < 2; ++op)
    for (int i = 0; i < kCount; ++i) {
      const NarrowFormat &format = op ? kE5M2 : kE4M3;
      uint32_t high = format.encode(kF16.decode(a[i] >> 16), kNearest, true);
      uint32_t low = format.encode(kF16.decode(a[i] & 0xffff), kNearest, true);
      ASSERT_EQ(out[op * kCount + i], high << 8 | low) << std::hex << a[i];
    }
}

TEST(NvccFp8, DecodeAllCodes) {
  std::vector<uint16_t> a;
  for (int i = 0; i < kCount; ++i)
    a.push_back(uint16_t((i & 0xff) << 8 | (i * 7 & 0xff)));
  auto widen = [](const NarrowFormat &format, uint32_t code, bool relu) {
    double value = format.decode(code);
    return relu && std::signbit(value) && value == value ? 0u : kF16.encode(value);
  };
  auto pair = [&](const NarrowFormat &format, int i, bool relu) {
    return widen(format, a[i] >> 8, relu) << 16 | widen(format, a[i] & 0xff, relu);
  };
  Launch launch("fp8_sm89", "fp8_decode", 4, kCount / 4);
  launch.in(a).out<uint32_t>(3 * kCount).value(kCount).run();
  expectOps("fp8_decode", kF16, launch.result<uint32_t>(1),
            {[&](int i) { return pair(kE4M3, i, false); }, [&](int i) { return pair(kE5M2, i, false); },
             [&](int i) { return pair(kE4M3, i, true); }});
}

TEST(NvccFp8, QuantizeGroups) {
  constexpr int groups = 4;
  std::vector<float> x;
  for (int j = 0; j < 128; ++j)
    x.push_back(float(j - 64) / 16);
  x.resize(256, 0.0f); // a group of zeros
  std::vector<float> random = randomFloats(512, 14);
  for (size_t i = 0; x.size() < groups * 128; ++i)
    x.push_back(std::isfinite(random[i]) && std::fabs(random[i]) < 1e6f ? random[i] : 1.0f);
  Launch launch("fp8_sm89", "fp8_quantize", groups, 32);
  launch.in(x).out<uint32_t>(groups * 32).out<float>(groups).run();
  std::vector<uint32_t> codes = launch.result<uint32_t>(1);
  std::vector<float> scales = launch.result<float>(2);
  ASSERT_EQ(scales.size(), size_t(groups));
  EXPECT_EQ(bits(scales[0]), 0x3c124925u); // published: amax 4
  EXPECT_EQ(codes[0] & 0xffffff, 0xfefefeu);
  for (int group = 0; group < groups; ++group) {
    float amax = 1e-4f;
    for (int j = 0; j < 128; ++j)
      amax = std::max(amax, std::fabs(x[group * 128 + j]));
    ASSERT_EQ(scales[group], amax / 448);
    for (int j = 0; j < 128; ++j)
      ASSERT_EQ(codes[group * 32 + j / 4] >> (8 * (j % 4)) & 0xff, kE4M3.encode(x[group * 128 + j] / scales[group]))
          << group << " " << j;
  }
}

} // namespace
