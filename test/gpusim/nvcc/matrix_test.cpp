//===- matrix_test.cpp - ldmatrix and mma.sync -----------------------------===//
//
// Fragments are filled and read by the PTX manual's tables, written out here. mma is held to a bound around the exact
// sum, as the order of additions is the hardware's own; integers and data movement are exact.
//
//===----------------------------------------------------------------------===//
#include "float_oracle.h"

#include <gtest/gtest.h>

using namespace gpu_test;

namespace {

TEST(NvccMatrix, LoadMatrices) {
  std::vector<uint16_t> rows = randomIntegers<uint16_t>(256, 1); // 32 rows of 8 elements
  Launch launch("matrix", "load_matrices", 1, 32);
  launch.in(rows).out<uint32_t>(12 * 32).run();
  std::vector<uint32_t> out = launch.result<uint32_t>(1);
  ASSERT_EQ(out.size(), size_t(12 * 32));
  auto row = [](int m, int r) { return 8 * m + r; };
  auto everySecond = [](int m, int r) { return 2 * (8 * m + r); };
  auto backwards = [](int m, int r) { return 31 - (8 * m + r); };
  struct Load {
    int matrices;
    bool transposed;
    std::function<int(int, int)> rowOf;
  };
  const Load loads[] = {
      {1, false, row}, {1, true, row}, {2, false, everySecond}, {4, false, row}, {4, true, backwards}};
  int op = 0;
  for (const Load &load : loads)
    for (int m = 0; m < load.matrices; ++m, ++op)
      for (int t = 0; t < 32; ++t) {
        // Lane t holds elements 2(t mod 4) and the next of row t/4; of column t/4 when transposed.
        auto element = [&](int major, int minor) {
          return load.transposed ? rows[size_t(load.rowOf(m, minor) * 8 + major)]
                                 : rows[size_t(load.rowOf(m, major) * 8 + minor)];
        };
        uint32_t low = element(t / 4, t % 4 * 2), high = element(t / 4, t % 4 * 2 + 1);
        ASSERT_EQ(out[size_t(op * 32 + t)], low | high << 16) << "register " << op << " lane " << t;
      }
}

/// How many elements of A and B share a register, and what an element is worth.
struct Operand {
  int perRegister;
  std::function<double(uint32_t)> value; // of the element's bits
};

struct MmaTest {
  const char *file, *kernel;
  int k;
  Operand a, b;
};

double decodeTf32(uint32_t word) { return number(word & 0xffffe000u); }
double decodeS8(uint32_t code) { return int8_t(code); }
double decodeU8(uint32_t code) { return uint8_t(code); }
Operand narrow(const NarrowFormat &format) {
  return {32 / format.width(), [&format](uint32_t code) { return format.decode(code); }};
}

/// Row or column `group` and depth k of a fragment: A has two registers per depth block (rows 0-7 and 8-15), B has one.
double elementAt(const Operand &operand, const std::vector<uint32_t> &words, int group, int k, bool isA) {
  int block = k / (4 * operand.perRegister), inBlock = k % (4 * operand.perRegister);
  int reg = isA ? 2 * block + group / 8 : block;
  int lane = group % 8 * 4 + inBlock / operand.perRegister;
  int width = 32 / operand.perRegister;
  uint64_t word = words[size_t(reg * 32 + lane)];
  return operand.value(uint32_t(word >> (width * (k % operand.perRegister)) & ((1ull << width) - 1)));
}

/// Exact sum and sum of magnitudes for one element of the product.
std::pair<double, double> dot(const MmaTest &test, const std::vector<uint32_t> &a, const std::vector<uint32_t> &b,
                              int row, int column) {
  double sum = 0, magnitude = 0;
  for (int k = 0; k < test.k; ++k) {
    double product = elementAt(test.a, a, row, k, true) * elementAt(test.b, b, column, k, false);
    sum += product;
    magnitude += std::fabs(product);
  }
  return {sum, magnitude};
}

/// Words whose elements are finite and of moderate size.
std::vector<uint32_t> operandWords(const Operand &operand, int registers, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint32_t> words;
  int width = 32 / operand.perRegister;
  for (int i = 0; i < registers * 32; ++i) {
    uint32_t word = 0;
    for (int e = 0; e < operand.perRegister; ++e) {
      uint32_t code;
      double value;
      do {
        code = uint32_t(random()) >> (32 - width);
        value = operand.value(code);
      } while (!std::isfinite(value) || (width > 8 && (std::fabs(value) > 8 || std::fabs(value) < 1.0 / 64)));
      word |= width == 32 ? code : code << (width * e);
    }
    words.push_back(word);
  }
  return words;
}

template <typename C>
std::vector<C> runMma(const MmaTest &test, const std::vector<uint32_t> &a, const std::vector<uint32_t> &b,
                      const std::vector<C> &c) {
  Launch launch(test.file, test.kernel, 1, 32);
  launch.in(a).in(b).in(c).template out<C>(c.size()).run();
  std::vector<C> d = launch.result<C>(3);
  EXPECT_EQ(d.size(), c.size()) << test.kernel;
  d.resize(c.size());
  return d;
}

int registersOfB(const MmaTest &test) { return test.k / (4 * test.b.perRegister); }

/// Where element (row, column) of a 32-bit accumulator lies: [register][lane].
size_t accumulatorIndex(int row, int column) {
  return size_t((row / 8 * 2 + column % 2) * 32 + row % 8 * 4 + column / 2);
}

TEST(NvccMma, FloatsWithinTheBoundOfTheirMagnitudes) {
  Operand tf32 = {1, decodeTf32};
  const MmaTest tests[] = {{"matrix", "mma_bf16", 16, narrow(kBF16), narrow(kBF16)},
                           {"matrix", "mma_f16", 16, narrow(kF16), narrow(kF16)},
                           {"matrix", "mma_bf16_k8", 8, narrow(kBF16), narrow(kBF16)},
                           {"matrix", "mma_tf32", 8, tf32, tf32},
                           {"matrix_sm89", "mma_e4m3", 32, narrow(kE4M3), narrow(kE4M3)},
                           {"matrix_sm89", "mma_e5m2_e4m3", 32, narrow(kE5M2), narrow(kE4M3)}};
  // The hardware aligns products before adding and may truncate; fp8 keeps about 14 bits.
  for (const MmaTest &test : tests) {
    std::vector<uint32_t> a = operandWords(test.a, 2 * registersOfB(test), 2),
                          b = operandWords(test.b, registersOfB(test), 3);
    std::vector<float> c;
    for (int i = 0; i < 128; ++i)
      c.push_back(float(i % 17) - 8);
    std::vector<float> d = runMma(test, a, b, c);
    double relative = test.a.perRegister == 4 ? 0x1p-11 : 0x1p-20;
    for (int row = 0; row < 16; ++row)
      for (int column = 0; column < 8; ++column) {
        auto [sum, magnitude] = dot(test, a, b, row, column);
        size_t at = accumulatorIndex(row, column);
        ASSERT_NEAR(d[at], sum + c[at], relative * (magnitude + std::fabs(c[at])))
            << test.kernel << " " << row << " " << column;
      }
  }
}

TEST(NvccMma, SmallIntegersAreExactInEveryFormat) {
  // One-hot rows of A pick rows of B: any wrong place in a fragment shows.
  const MmaTest tests[] = {{"matrix", "mma_bf16", 16, narrow(kBF16), narrow(kBF16)},
                           {"matrix", "mma_f16", 16, narrow(kF16), narrow(kF16)},
                           {"matrix_sm89", "mma_e4m3", 32, narrow(kE4M3), narrow(kE4M3)}};
  const NarrowFormat *formats[] = {&kBF16, &kF16, &kE4M3};
  for (int f = 0; f < 3; ++f) {
    const MmaTest &test = tests[f];
    const NarrowFormat &format = *formats[f];
    int registers = registersOfB(test), width = format.width(), per = test.a.perRegister;
    std::vector<uint32_t> a(size_t(2 * registers * 32)), b(size_t(registers * 32));
    auto place = [&](std::vector<uint32_t> &words, int group, int k, bool isA, int value) {
      int block = k / (4 * per), reg = isA ? 2 * block + group / 8 : block, lane = group % 8 * 4 + k % (4 * per) / per;
      words[size_t(reg * 32 + lane)] |= format.encode(value) << (width * (k % per));
    };
    for (int row = 0; row < 16; ++row)
      place(a, row, (row * 5 + 3) % test.k, true, 1);
    for (int k = 0; k < test.k; ++k)
      for (int column = 0; column < 8; ++column)
        place(b, column, k, false, (k * 3 + column) % 15 - 7);
    std::vector<float> d = runMma(test, a, b, std::vector<float>(128, 100.0f));
    for (int row = 0; row < 16; ++row)
      for (int column = 0; column < 8; ++column)
        ASSERT_EQ(d[accumulatorIndex(row, column)], 100 + ((row * 5 + 3) % test.k * 3 + column) % 15 - 7)
            << test.kernel;
  }
}

TEST(NvccMma, F16Accumulator) {
  MmaTest test = {"matrix", "mma_f16_f16", 16, narrow(kF16), narrow(kF16)};
  std::vector<uint32_t> a = operandWords(test.a, 4, 4), b = operandWords(test.b, 2, 5), c = operandWords(test.a, 2, 6);
  std::vector<uint32_t> d = runMma(test, a, b, c);
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 8; ++column) {
      auto [sum, magnitude] = dot(test, a, b, row, column);
      size_t at = size_t(row / 8 * 32 + row % 8 * 4 + column / 2);
      double start = kF16.decode(c[at] >> (16 * (column % 2)) & 0xffff),
             got = kF16.decode(d[at] >> (16 * (column % 2)) & 0xffff);
      ASSERT_NEAR(got, sum + start, 0x1p-10 * (magnitude + std::fabs(start))) << row << " " << column;
    }
}

TEST(NvccMma, IntegersAreExact) {
  Operand s8 = {4, decodeS8}, u8 = {4, decodeU8};
  const MmaTest tests[] = {{"matrix", "mma_s8", 32, s8, s8}, {"matrix", "mma_u8_s8_clamped", 32, u8, s8}};
  for (const MmaTest &test : tests) {
    std::vector<uint32_t> a = operandWords(test.a, 4, 7), b = operandWords(test.b, 2, 8),
                          c = randomIntegers<uint32_t>(128, 9);
    std::vector<uint32_t> d = runMma(test, a, b, c);
    for (int row = 0; row < 16; ++row)
      for (int column = 0; column < 8; ++column) {
        size_t at = accumulatorIndex(row, column);
        int64_t sum = int64_t(dot(test, a, b, row, column).first) + int32_t(c[at]);
        if (&test != tests)
          sum = std::clamp<int64_t>(sum, INT32_MIN, INT32_MAX);
        ASSERT_EQ(d[at], uint32_t(sum)) << test.kernel << " " << row << " " << column;
      }
  }
}

TEST(NvccMma, TileProductThroughSharedMemory) {
  constexpr int K = 80;
  std::vector<uint16_t> a, b;
  for (int i = 0; i < 16 * K; ++i)
    a.push_back(uint16_t(kBF16.encode(i * 7 % 33 - 16)));
  for (int i = 0; i < K * 8; ++i)
    b.push_back(uint16_t(kBF16.encode(i * 5 % 31 - 15)));
  Launch launch("matrix", "tile_product", 1, 32);
  launch.in(a).in(b).out<float>(128).value(K).run();
  std::vector<float> c = launch.result<float>(2);
  ASSERT_EQ(c.size(), size_t(128));
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 8; ++column) {
      double sum = 0;
      for (int k = 0; k < K; ++k)
        sum += kBF16.decode(a[size_t(row * K + k)]) * kBF16.decode(b[size_t(k * 8 + column)]);
      ASSERT_EQ(c[size_t(row * 8 + column)], sum) << row << " " << column; // integers: exact
    }
}

} // namespace
