//===- float_test.cpp - f32 and f64 arithmetic of nvcc-made kernels --------===//
//
// IEEE results bit by bit against the host's own arithmetic under its four rounding modes; any NaN equals any NaN.
//
//===----------------------------------------------------------------------===//
#include "float_oracle.h"

#include <gtest/gtest.h>

using namespace gpu_test;

namespace {

constexpr int kCount = 512;

template <typename T> bool same(T a, T b) { return (a != a && b != b) || bits(a) == bits(b); }

template <typename T>
void expectOps(const char *kernel, const std::vector<T> &out, const std::vector<std::function<T(int)>> &expected) {
  ASSERT_EQ(out.size(), expected.size() * kCount) << kernel;
  for (size_t op = 0; op < expected.size(); ++op)
    for (int i = 0; i < kCount; ++i) {
      T want = expected[op](i), got = out[op * kCount + i];
      ASSERT_TRUE(same(got, want)) << kernel << ": operation " << op << ", element " << i << ": got " << std::hex
                                   << bits(got) << ", expected " << bits(want);
    }
}

/// The seven operations of the *_rounding kernels, each in four modes.
template <typename T> std::vector<std::function<T(int)>> roundedOperations(const FloatOperands<T> &v) {
  using Operation = T (*)(T, T, T);
  const Operation operations[] = {[](T x, T y, T) { return x + y; }, [](T x, T y, T) { return x - y; },
                                  [](T x, T y, T) { return x * y; }, [](T x, T y, T z) { return std::fma(x, y, z); },
                                  [](T x, T y, T) { return x / y; }, [](T x, T, T) { return std::sqrt(x); },
                                  [](T, T y, T) { return 1 / y; }};
  std::vector<std::function<T(int)>> expected;
  for (Operation operation : operations)
    for (int round : kHostRounds)
      expected.push_back([&v, operation, round](int i) { return rounded(round, v.a[i], v.b[i], v.c[i], operation); });
  return expected;
}

TEST(NvccFloat, F32InAllRoundings) {
  FloatOperands<float> v = floatOperands(kCount);
  Launch launch("float", "f32_rounding", 4, kCount / 4);
  launch.in(v.a).in(v.b).in(v.c).out<float>(28 * kCount).value(kCount).run();
  expectOps("f32_rounding", launch.result<float>(3), roundedOperations(v));
}

TEST(NvccFloat, F64InAllRoundings) {
  FloatOperands<double> v = doubleOperands(kCount);
  Launch launch("float", "f64_rounding", 4, kCount / 4);
  launch.in(v.a).in(v.b).in(v.c).out<double>(28 * kCount).value(kCount).run();
  expectOps("f64_rounding", launch.result<double>(3), roundedOperations(v));
}

TEST(NvccFloat, FlushAndSaturate) {
  FloatOperands<float> v = floatOperands(kCount);
  auto a = [&](int i) { return flush(v.a[i]); };
  auto b = [&](int i) { return flush(v.b[i]); };
  auto c = [&](int i) { return flush(v.c[i]); };
  std::vector<std::function<float(int)>> expected = {[&](int i) { return flush(a(i) + b(i)); },
                                                     [&](int i) { return flush(a(i) - b(i)); },
                                                     [&](int i) { return flush(a(i) * b(i)); },
                                                     [&](int i) { return flush(std::fma(a(i), b(i), c(i))); },
                                                     [&](int i) { return flush(a(i) / b(i)); },
                                                     [&](int i) { return flush(std::sqrt(a(i))); },
                                                     [&](int i) { return saturate(v.a[i] + v.b[i]); },
                                                     [&](int i) { return saturate(v.a[i] * v.b[i]); },
                                                     [&](int i) { return saturate(std::fma(v.a[i], v.b[i], v.c[i])); },
                                                     [&](int i) { return -v.a[i]; },
                                                     [&](int i) { return std::fabs(v.a[i]); },
                                                     [&](int i) { return -a(i); },
                                                     [&](int i) { return std::fabs(a(i)); },
                                                     [&](int i) { return std::copysign(v.b[i], v.a[i]); }};
  Launch launch("float", "f32_modes", 4, kCount / 4);
  launch.in(v.a).in(v.b).in(v.c).out<float>(expected.size() * kCount).value(kCount).run();
  expectOps("f32_modes", launch.result<float>(3), expected);
}

template <typename T> T smaller(T x, T y) {
  if (x != x || y != y)
    return x != x ? y : x;
  return x < y || (x == y && std::signbit(x)) ? x : y;
}
template <typename T> T larger(T x, T y) { return x != x || y != y ? smaller(x, y) : -smaller(-x, -y); }

TEST(NvccFloat, MinAndMax) {
  FloatOperands<float> v = floatOperands(kCount);
  for (int i = 0; i < kCount; i += 7)
    v.b[i] = -v.a[i];
  v.a[0] = 0.0f, v.b[0] = -0.0f, v.a[1] = -0.0f, v.b[1] = 0.0f;
  auto anyNan = [&](int i) { return v.a[i] != v.a[i] || v.b[i] != v.b[i]; };
  std::vector<std::function<float(int)>> expected = {[&](int i) { return smaller(v.a[i], v.b[i]); },
                                                     [&](int i) { return larger(v.a[i], v.b[i]); },
                                                     [&](int i) { return anyNan(i) ? NAN : smaller(v.a[i], v.b[i]); },
                                                     [&](int i) { return anyNan(i) ? NAN : larger(v.a[i], v.b[i]); },
                                                     [&](int i) { return larger(flush(v.a[i]), flush(v.b[i])); }};
  Launch launch("float", "f32_minmax", 4, kCount / 4);
  launch.in(v.a).in(v.b).out<float>(expected.size() * kCount).value(kCount).run();
  expectOps("f32_minmax", launch.result<float>(2), expected);
}

TEST(NvccFloat, Comparisons) {
  FloatOperands<float> v = floatOperands(kCount);
  for (int i = 0; i < kCount; i += 3)
    v.b[i] = v.a[i];
  Launch launch("float", "f32_compare", 4, kCount / 4);
  launch.in(v.a).in(v.b).out<uint32_t>(kCount).value(kCount).run();
  std::vector<uint32_t> out = launch.result<uint32_t>(2);
  ASSERT_EQ(out.size(), size_t(kCount));
  for (int i = 0; i < kCount; ++i) {
    float x = v.a[i], y = v.b[i];
    bool un = std::isunordered(x, y);
    const bool expected[] = {x == y,
                             !un && x != y,
                             x<y, x <= y, x>
                                 y,
                             x >= y,
                             un || x == y,
                             un || x != y,
                             un || x < y,
                             un || x <= y,
                             un || x > y,
                             un || x >= y,
                             !un,
                             un,
                             std::isfinite(x) != 0,
                             std::isinf(x) != 0,
                             !std::isnan(x),
                             std::isnan(x),
                             std::isnormal(x) || x == 0,
                             std::fpclassify(x) == FP_SUBNORMAL};
    for (int k = 0; k < 20; ++k)
      ASSERT_EQ(out[i] >> k & 1, uint32_t(expected[k])) << "comparison " << k << " of " << x << " and " << y;
  }
}

TEST(NvccFloat, F64Others) {
  FloatOperands<double> v = doubleOperands(kCount);
  std::vector<std::function<double(int)>> expected = {[&](int i) { return smaller(v.a[i], v.b[i]); },
                                                      [&](int i) { return larger(v.a[i], v.b[i]); },
                                                      [&](int i) { return std::fabs(v.a[i]); },
                                                      [&](int i) { return -v.a[i]; },
                                                      [&](int i) { return v.a[i] < v.b[i] ? v.a[i] : v.b[i]; },
                                                      [&](int i) { return v.a[i] >= v.b[i] ? 1.0 : 0.0; },
                                                      [&](int i) { return v.a[i] != v.b[i] ? 2.0 : 0.5; }};
  Launch launch("float", "f64_misc", 4, kCount / 4);
  launch.in(v.a).in(v.b).out<double>(expected.size() * kCount).value(kCount).run();
  expectOps("f64_misc", launch.result<double>(2), expected);
}

TEST(NvccFloat, LibraryFunctions) {
  std::vector<float> a;
  for (int i = 0; i < kCount; ++i)
    a.push_back(float(i - kCount / 2) / 13 + 0.01f);
  Launch launch("float", "f32_library", 4, kCount / 4);
  launch.in(a).out<float>(4 * kCount).value(kCount).run();
  std::vector<float> out = launch.result<float>(1);
  ASSERT_EQ(out.size(), size_t(4 * kCount));
  for (int i = 0; i < kCount; ++i) {
    double x = a[i];
    const double expected[] = {std::exp(x), std::log(std::fabs(x)), std::tanh(x), std::erf(x)};
    for (int op = 0; op < 4; ++op)
      ASSERT_NEAR(out[op * kCount + i], expected[op], 4e-7 * std::fabs(expected[op]) + 1e-7)
          << "operation " << op << " of " << x;
  }
}

TEST(NvccApprox, WithinTheManualsBounds) {
  FloatOperands<float> v = floatOperands(kCount);
  for (bool ftz : {false, true}) {
    auto x = [&](int i) { return ftz ? flush(v.a[i]) : v.a[i]; };
    auto y = [&](int i) { return ftz ? flush(v.b[i]) : v.b[i]; };
    struct Case {
      std::function<double(int)> exact;
      double relative, absolute;
    };
    const Case cases[] = {{[&](int i) { return std::exp2(double(x(i))); }, 0x1p-22, 0},
                          {[&](int i) { return std::log2(double(x(i))); }, 0x1p-22, 0x1p-22},
                          {[&](int i) { return 1 / double(x(i)); }, 0x1p-23, 0},
                          {[&](int i) { return 1 / std::sqrt(double(x(i))); }, 0x1p-22, 0},
                          {[&](int i) { return std::sqrt(double(x(i))); }, 0x1p-22, 0},
                          {[&](int i) {
                             bool large = std::fabs(y(i)) > 0x1p126f && std::isfinite(y(i));
                             return large ? double(x(i)) * std::copysign(0.0, y(i)) : double(x(i)) / y(i);
                           },
                           0x1p-22, 0},
                          {[&](int i) { return double(x(i)) / y(i); }, 0x1p-22, 0}};
    Launch launch("approx", ftz ? "approximations_ftz" : "approximations", 4, kCount / 4);
    launch.in(v.a).in(v.b).out<float>(7 * kCount).value(kCount).run();
    std::vector<float> out = launch.result<float>(2);
    ASSERT_EQ(out.size(), size_t(7 * kCount));
    for (int op = 0; op < 7; ++op)
      for (int i = 0; i < kCount; ++i) {
        double exact = cases[op].exact(i);
        float want = float(exact), got = out[op * kCount + i];
        if (ftz)
          want = flush(want);
        bool close =
            same(want, got) ||
            std::fabs(double(got) - exact) <= cases[op].relative * std::fabs(exact) + cases[op].absolute ||
            (std::fabs(exact) < 0x1.1p-126 && std::fabs(double(got) - exact) < 0x1p-126); // the edge of subnormals
        ASSERT_TRUE(close) << "operation " << op << (ftz ? ".ftz" : "") << " of " << v.a[i] << ", " << v.b[i]
                           << ": got " << got << ", exact " << exact;
      }
  }
}

TEST(NvccApprox, Trigonometry) {
  std::vector<float> a;
  for (int i = 0; i < kCount; ++i)
    a.push_back(float(i - kCount / 2) * float(M_PI / (kCount / 2)));
  Launch launch("approx", "approximate_trigonometry", 4, kCount / 4);
  launch.in(a).out<float>(4 * kCount).value(kCount).run();
  std::vector<float> out = launch.result<float>(1);
  ASSERT_EQ(out.size(), size_t(4 * kCount));
  for (int i = 0; i < kCount; ++i) {
    double x = a[i];
    ASSERT_NEAR(out[i], std::sin(x), 0x1p-20);
    ASSERT_NEAR(out[kCount + i], std::cos(x), 0x1p-20);
    ASSERT_NEAR(out[2 * kCount + i], std::tanh(x), 0x1p-10);
    ASSERT_NEAR(out[3 * kCount + i], std::exp(x), 2e-6 * std::exp(x));
  }
}

} // namespace
