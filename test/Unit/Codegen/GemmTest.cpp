//===- GemmTest.cpp - dense and grouped matrix products -----------------------===//
// Kernels on random data against sums in double; bit equality of levels, batch sizes, task orders and threads.

#include "GemmCase.h"
#include <gtest/gtest.h>

using namespace moray::codegen;
using namespace moray::test;

static GemmShape shape(DType x, DType w, DType out, uint64_t O, uint64_t K) {
  GemmShape s;
  s.x = x, s.w = w, s.out = out, s.O = O, s.K = K;
  return s;
}

/// Runs `shape` for several row counts at every level: close to the double result, the same bits everywhere.
static void check(const GemmShape &s, std::vector<uint64_t> rowCounts) {
  std::vector<float> alone; // first rows as computed in the first configuration
  for (CpuLevel level : hostLevels()) {
    KernelRunner runner({s.spec()}, level);
    for (uint64_t rows : rowCounts) {
      GemmData data(s, rows, /*seed=*/7);
      EXPECT_EQ(0u, data.run(runner));
      EXPECT_LT(data.worstError(), s.tolerance()) << "rows " << rows << " level " << unsigned(level);
      std::vector<float> got = data.result();
      size_t common = std::min(alone.size(), got.size());
      for (size_t i = 0; i < common; ++i)
        ASSERT_EQ(bits(alone[i]), bits(got[i])) << "rows " << rows << " level " << unsigned(level) << " element " << i;
      if (got.size() > alone.size())
        alone = got;
    }
  }
}

static const std::vector<uint64_t> manyRows = {1, 2, 3, 4, 5, 7, 8, 16, 63, 64, 65, 70, 130};

TEST(Gemm, WeightOnlyF8) { check(shape(DType::BF16, DType::F8E4M3, DType::BF16, 200, 384), manyRows); }
TEST(Gemm, WeightOnlyF8ToF32) { check(shape(DType::BF16, DType::F8E4M3, DType::F32, 131, 200), manyRows); }
TEST(Gemm, ReferenceF8) { check(shape(DType::F32, DType::F8E4M3, DType::F32, 96, 1500), manyRows); }
TEST(Gemm, F8TimesF8) { check(shape(DType::F8E4M3, DType::F8E4M3, DType::BF16, 150, 328), manyRows); }
TEST(Gemm, Bf16) { check(shape(DType::BF16, DType::BF16, DType::BF16, 100, 256), manyRows); }
TEST(Gemm, Bf16ToLogits) { check(shape(DType::BF16, DType::BF16, DType::F32, 513, 320), manyRows); }
TEST(Gemm, ReferenceBf16) { check(shape(DType::F32, DType::BF16, DType::F32, 40, 130), manyRows); }
TEST(Gemm, ReferenceF32) { check(shape(DType::F32, DType::F32, DType::F32, 33, 100), manyRows); }
TEST(Gemm, TinyDimensions) {
  for (DType w : {DType::F8E4M3, DType::BF16})
    for (uint64_t K : {1, 5, 15, 16, 17, 31, 127, 128, 129, 145})
      check(shape(DType::BF16, w, DType::F32, K % 7 + 1, K), {1, 6});
}
TEST(Gemm, SeveralChunksOfK) { check(shape(DType::BF16, DType::F8E4M3, DType::F32, 60, 3000), {1, 4, 9, 70}); }

TEST(Gemm, BiasAndSlicedRows) {
  GemmShape s = shape(DType::BF16, DType::BF16, DType::BF16, 70, 96);
  s.bias = true, s.xPitch = 200, s.xOffset = 64;
  check(s, {1, 3, 9});
}

TEST(Gemm, Swiglu) {
  for (uint64_t width : {16, 24, 100, 176}) {
    GemmShape s = shape(DType::BF16, DType::F8E4M3, DType::BF16, 0, 256);
    s.swiglu = width, s.roundParts = true;
    check(s, manyRows);
    s.x = DType::F32, s.out = DType::F32, s.roundParts = false;
    check(s, {1, 5});
  }
}

TEST(Gemm, WideSwiglu) {
  GemmShape s = shape(DType::BF16, DType::F8E4M3, DType::BF16, 0, 72);
  s.swiglu = 1600, s.roundParts = true; // tiles of 48 + 48 rows
  check(s, {1, 2, 5});
}

TEST(Gemm, DecodeAndPrefillDomains) {
  GemmShape s = shape(DType::BF16, DType::BF16, DType::F32, 48, 64);
  for (CpuLevel level : hostLevels())
    for (RowDomain::Kind kind : {RowDomain::Decode, RowDomain::Prefill}) {
      s.domain = kind;
      KernelRunner runner({s.spec()}, level);
      GemmData data(s, 20, 3);
      data.fillResult(-1);
      data.run(runner, symbolsOf(20, 7));
      for (uint64_t row = 0; row < 20; ++row) {
        bool computed = (row < 7) == (kind == RowDomain::Decode);
        EXPECT_EQ(computed, data.result()[row * 48] != -1.0f) << row;
        if (computed)
          EXPECT_LT(data.rowError(row), s.tolerance());
      }
    }
}

TEST(Gemm, NonFiniteLogitsAreAFault) {
  GemmShape s = shape(DType::BF16, DType::BF16, DType::F32, 50, 64);
  s.checkFinite = true;
  for (CpuLevel level : hostLevels()) {
    KernelRunner runner({s.spec()}, level);
    KernelRunner::Options options;
    options.layer = 4;
    GemmData good(s, 6, 3);
    EXPECT_EQ(0u, good.run(runner, symbolsOf(6), options));
    GemmData bad(s, 6, 3);
    bad.poisonRow(5);
    EXPECT_EQ(5u, bad.run(runner, symbolsOf(6), options));
  }
}

TEST(Gemm, TaskOrderAndThreadsChangeNothing) {
  GemmShape s = shape(DType::BF16, DType::F8E4M3, DType::BF16, 300, 512);
  for (CpuLevel level : hostLevels()) {
    KernelRunner runner({s.spec()}, level);
    GemmData a(s, 90, 5), b(s, 90, 5);
    a.run(runner);
    KernelRunner::Options options;
    options.threads = 3, options.reverse = true;
    b.run(runner, symbolsOf(90), options);
    EXPECT_EQ(a.result(), b.result());
  }
}

TEST(GroupedGemm, EqualsTheDenseProductOfEachExpert) {
  for (bool swiglu : {false, true}) {
    GemmShape s = shape(DType::BF16, DType::F8E4M3, DType::BF16, swiglu ? 0 : 72, 200);
    s.swiglu = swiglu ? 40 : 0, s.roundParts = swiglu;
    s.experts = 5;
    const std::vector<int32_t> counts = {3, 0, 70, 1, 9}; // slots of each expert
    for (CpuLevel level : hostLevels()) {
      KernelRunner grouped({s.spec()}, level);
      GemmData data(s, 83, 11);
      data.setGroups(counts, /*tokens=*/30);
      EXPECT_EQ(0u, data.run(grouped, symbolsOf(0))); // all slots may be of other ranks: the offsets count
      EXPECT_LT(data.worstError(), s.tolerance());
      GemmShape dense = s;
      dense.experts = 0;
      KernelRunner single({dense.spec()}, level);
      uint64_t slot = 0;
      for (size_t e = 0; e < counts.size(); ++e) {
        for (int i = 0; i < counts[e]; ++i, ++slot) {
          GemmData one = data.denseRow(dense, slot, e);
          one.run(single);
          std::vector<float> expected = one.result();
          for (uint64_t o = 0; o < s.width(); ++o)
            ASSERT_EQ(bits(expected[o]), bits(data.result()[slot * s.width() + o]));
        }
      }
    }
  }
}
