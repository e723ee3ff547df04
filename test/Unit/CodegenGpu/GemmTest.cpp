//===- GemmTest.cpp - dense and grouped matrix products on GPUs ---------------------===//
// Kernels on random data against sums in double and against the CPU kernels; bit equality of row counts, places in a
// tile, and of grouped and dense products; counts on the device below those of the host.

#include "../Codegen/GemmCase.h"
#include "GpuRunner.h"
#include <gtest/gtest.h>

using namespace moray::codegen;
using namespace moray::test;

static const GpuTarget &sm80() { return *findGpuTarget("cuda:sm_80"); }
static const GpuTarget &sm89() { return *findGpuTarget("cuda:sm_89"); }

static GemmShape shape(DType x, DType w, DType out, uint64_t O, uint64_t K) {
  GemmShape s;
  s.x = x, s.w = w, s.out = out, s.O = O, s.K = K;
  return s;
}

static uint32_t run(GpuRunner &runner, const GemmData &data, const SymbolValues &symbols,
                    const std::array<int32_t, 4> &live, uint64_t layer = 0) {
  std::vector<Memory> operands;
  for (const Buffer *buffer : data.operands())
    operands.emplace_back(*buffer);
  return runner.run(0, operands, symbols, live, layer);
}
static uint32_t run(GpuRunner &runner, const GemmData &data, uint64_t rows, uint64_t layer = 0) {
  return run(runner, data, symbolsOf(rows), {int32_t(rows), 0, 0, 0}, layer);
}

/// Before rounding, sums differ from exact ones by some units in the last place of their largest part.
static double tolerance(const GemmShape &s) { return s.out == DType::BF16 ? 1.0 / 128 : 1e-5; }

/// Results of `rows` rows, checked against the sums in double and the CPU kernel.
static std::vector<float> resultOf(GpuRunner &runner, const GemmShape &s, uint64_t rows) {
  GemmData data(s, rows, /*seed=*/7), onCpu(s, rows, /*seed=*/7);
  EXPECT_EQ(0u, run(runner, data, rows));
  EXPECT_LT(data.worstError(), tolerance(s)) << "rows " << rows;
  std::vector<float> got = data.result();
  KernelRunner cpu({s.spec()}, hostLevels().front());
  EXPECT_EQ(0u, onCpu.run(cpu));
  std::vector<float> expected = onCpu.result();
  for (uint64_t row = 0; row < rows; ++row) {
    float largest = 0, error = 0;
    for (uint64_t o = 0; o < s.width(); ++o) {
      largest = std::max(largest, std::abs(expected[row * s.width() + o]));
      error = std::max(error, std::abs(expected[row * s.width() + o] - got[row * s.width() + o]));
    }
    EXPECT_LE(error, largest * tolerance(s)) << "rows " << rows << " row " << row;
  }
  return got;
}

/// Runs `s` for several row counts: close to the expected values, the same bits for the same row.
static void check(const GemmShape &s, const std::vector<uint64_t> &rowCounts, const GpuTarget &target = sm80()) {
  GpuRunner runner({s.spec()}, target);
  std::vector<float> longest;
  for (uint64_t rows : rowCounts) {
    std::vector<float> got = resultOf(runner, s, rows);
    for (size_t i = 0; i < std::min(longest.size(), got.size()); ++i)
      ASSERT_EQ(bits(longest[i]), bits(got[i])) << "rows " << rows << " element " << i;
    if (got.size() > longest.size())
      longest = got;
  }
}

// Streamed, small and large tiles, full and ragged.
static const std::vector<uint64_t> manyRows = {1, 15, 16, 17, 64, 65, 130};

TEST(GpuGemm, WeightOnlyF8) { check(shape(DType::BF16, DType::F8E4M3, DType::BF16, 200, 384), manyRows); }
TEST(GpuGemm, WeightOnlyF8ToF32) { check(shape(DType::BF16, DType::F8E4M3, DType::F32, 131, 200), manyRows); }
TEST(GpuGemm, Bf16) { check(shape(DType::BF16, DType::BF16, DType::BF16, 100, 256), manyRows); }
TEST(GpuGemm, Bf16ToLogits) { check(shape(DType::BF16, DType::BF16, DType::F32, 257, 320), manyRows); }
TEST(GpuGemm, F8TimesF8Widened) { check(shape(DType::F8E4M3, DType::F8E4M3, DType::F32, 150, 328), manyRows); }
TEST(GpuGemm, F8TimesF8) { check(shape(DType::F8E4M3, DType::F8E4M3, DType::F32, 150, 328), manyRows, sm89()); }
TEST(GpuGemm, F8TimesF8ToBf16) { check(shape(DType::F8E4M3, DType::F8E4M3, DType::BF16, 64, 256), {1, 70}, sm89()); }

TEST(GpuGemm, LongK) {
  check(shape(DType::BF16, DType::F8E4M3, DType::F32, 24, 3000), {1, 17});
  check(shape(DType::BF16, DType::BF16, DType::F32, 24, 3000), {1, 17});
  check(shape(DType::F8E4M3, DType::F8E4M3, DType::F32, 24, 3000), {1, 17}, sm89());
}

TEST(GpuGemm, TinyDimensions) {
  for (DType w : {DType::F8E4M3, DType::BF16})
    for (uint64_t K : {1, 5, 16, 31, 40, 64, 127, 145})
      check(shape(DType::BF16, w, DType::F32, K % 7 + 1, K), {1, 20});
}

TEST(GpuGemm, BiasAndSlicedRows) {
  GemmShape s = shape(DType::BF16, DType::BF16, DType::BF16, 70, 96);
  s.bias = true, s.xPitch = 200, s.xOffset = 64;
  check(s, {1, 20, 70});
  s.xOffset = 3, s.xPitch = 101; // no row begins at a 4-byte address
  check(s, {1, 20, 70});
}

TEST(GpuGemm, Swiglu) {
  for (uint64_t width : {24, 100}) {
    GemmShape s = shape(DType::BF16, DType::F8E4M3, DType::BF16, 0, 256);
    s.swiglu = width, s.roundParts = true;
    check(s, {1, 17, 66});
    s.roundParts = false, s.out = DType::F32;
    check(s, {1, 17, 66});
  }
}
