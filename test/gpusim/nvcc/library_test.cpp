//===- library_test.cpp - Kernels of real libraries and of real shape ------===//
//
// CUB's block primitives, cooperative groups, a staged bf16 product and a softmax, which use instructions as real code
// mixes them.
//
//===----------------------------------------------------------------------===//
#include "float_oracle.h"

#include <gtest/gtest.h>

#include <numeric>

using namespace gpu_test;

namespace {

TEST(NvccLibrary, BlockSort) {
  std::vector<uint32_t> keys, values(256);
  std::mt19937 random(1);
  for (int i = 0; i < 256; ++i)
    keys.push_back((random() & 0xfff00000) | random() % 4 << 20 | i); // bits below 20 are not sorted by
  std::iota(values.begin(), values.end(), 0u);
  Launch launch("library", "block_sort", 1, 64);
  launch.in(keys).in(values).out<uint32_t>(256).out<uint32_t>(256).run();
  std::vector<uint32_t> expected = values;
  std::sort(expected.begin(), expected.end(),
            [&](uint32_t x, uint32_t y) { return std::pair(keys[x] >> 20, x) < std::pair(keys[y] >> 20, y); });
  EXPECT_EQ(launch.result<uint32_t>(3), expected);
  std::vector<uint32_t> sorted;
  for (uint32_t i : expected)
    sorted.push_back(keys[i]);
  EXPECT_EQ(launch.result<uint32_t>(2), sorted);
}

TEST(NvccLibrary, BlockScanAndReduce) {
  std::vector<int> a(192);
  for (int i = 0; i < 192; ++i)
    a[size_t(i)] = i * 37 % 101 - 50;
  Launch scan("library", "block_scan", 1, 96);
  scan.in(a).out<int>(192).out<int>(1).run();
  std::vector<int> sums(193);
  std::partial_sum(a.begin(), a.end(), sums.begin() + 1);
  EXPECT_EQ(scan.result<int>(2), std::vector<int>(1, sums.back()));
  sums.pop_back();
  EXPECT_EQ(scan.result<int>(1), sums);

  for (int valid : {1, 31, 33, 160}) {
    std::vector<float> x;
    for (int i = 0; i < 160; ++i)
      x.push_back(-5.0f - float(i * 53 % 97));
    Launch reduce("library", "block_reduce", 1, 160);
    reduce.in(x).out<float>(1).value(valid).run();
    EXPECT_EQ(reduce.result<float>(1), std::vector<float>(1, *std::max_element(x.begin(), x.begin() + valid)));
  }
}

TEST(NvccLibrary, CooperativeTiles) {
  std::vector<int> a(64);
  for (int i = 0; i < 64; ++i)
    a[size_t(i)] = i * 29 % 71;
  Launch launch("library", "tiles", 1, 64);
  launch.in(a).out<int>(256).run();
  std::vector<int> out = launch.result<int>(1);
  ASSERT_EQ(out.size(), size_t(256));
  for (int t = 0; t < 64; ++t) {
    auto tile = a.begin() + t / 8 * 8;
    int odd = 0;
    for (int k = 0; k < 8; ++k)
      odd |= (tile[k] & 1) << k;
    EXPECT_EQ(out[size_t(4 * t)], std::accumulate(tile, tile + 8, 0));
    EXPECT_EQ(out[size_t(4 * t + 1)], t % 8 ? a[size_t(t - 1)] : -1);
    EXPECT_EQ(out[size_t(4 * t + 2)], odd);
    // How many lanes are together is the hardware's choice, but for itself.
    bool inBranch = a[size_t(t)] % 3 == 0;
    EXPECT_TRUE(inBranch ? out[size_t(4 * t + 3)] > 1000 && out[size_t(4 * t + 3)] <= 1032
                         : out[size_t(4 * t + 3)] == 0);
  }
}

TEST(NvccLibrary, StagedProduct) {
  constexpr int N = 128, K = 160;
  for (int M : {1, 64, 70}) {
    std::vector<uint16_t> a, b;
    for (int i = 0; i < M * K; ++i)
      a.push_back(uint16_t(kBF16.encode(i * 7 % 33 - 16)));
    for (int i = 0; i < N * K; ++i)
      b.push_back(uint16_t(kBF16.encode((i * 5 % 31 - 15) / 4.0)));
    Launch launch("library", "product", Shape(N / 64, unsigned(M + 63) / 64), 128);
    launch.in(a).in(b).out<float>(size_t(M * N)).value(M).value(N).value(K).run();
    std::vector<float> c = launch.result<float>(2);
    ASSERT_EQ(c.size(), size_t(M * N));
    for (int row = 0; row < M; ++row)
      for (int column = 0; column < N; ++column) {
        double sum = 0; // multiples of 1/4 below 2^22: exact in any order
        for (int k = 0; k < K; ++k)
          sum += kBF16.decode(a[size_t(row * K + k)]) * kBF16.decode(b[size_t(column * K + k)]);
        ASSERT_EQ(c[size_t(row * N + column)], sum) << M << ": " << row << " " << column;
      }
  }
}

TEST(NvccLibrary, Softmax) {
  for (int columns : {1, 100, 1000}) {
    constexpr int rows = 3;
    std::vector<float> in;
    for (int i = 0; i < rows * columns; ++i)
      in.push_back(float(i * 31 % 211) / 9 - 10);
    Launch launch("library", "softmax", rows, 256, unsigned(columns) * 4);
    launch.in(in).out<float>(in.size()).value(columns).run();
    std::vector<float> out = launch.result<float>(1);
    ASSERT_EQ(out.size(), in.size());
    for (int row = 0; row < rows; ++row) {
      auto begin = in.begin() + row * columns;
      double largest = *std::max_element(begin, begin + columns), sum = 0;
      for (int i = 0; i < columns; ++i)
        sum += std::exp(begin[i] - largest);
      for (int i = 0; i < columns; ++i) {
        double exact = std::exp(begin[i] - largest) / sum;
        ASSERT_NEAR(out[size_t(row * columns + i)], exact, 4e-6 * exact) << columns << ": " << row << " " << i;
      }
    }
  }
}

} // namespace
