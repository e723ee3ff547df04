//===- GemmTest.cpp - dense and grouped matrix products on GPUs ---------------------===//
// Kernels on random data against sums in double and against the CPU kernels; bit equality of row counts, places in a
// tile, and of grouped and dense products; counts on the device below those of the host.

#include "../Codegen/GemmCase.h"
#include "GpuRunner.h"
#include <cmath>
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

static void expectClose(const GemmShape &s, const std::vector<float> &expected, const std::vector<float> &got) {
  for (uint64_t row = 0; row * s.width() < expected.size(); ++row) {
    float largest = 0, error = 0;
    for (uint64_t i = row * s.width(); i < (row + 1) * s.width(); ++i) {
      largest = std::max(largest, std::abs(expected[i]));
      error = std::isnan(got[i]) ? INFINITY : std::max(error, std::abs(expected[i] - got[i]));
    }
    EXPECT_LE(error, largest * tolerance(s)) << "row " << row;
  }
}

/// Results of `rows` rows, checked against the sums in double and the CPU kernel.
static std::vector<float> resultOf(GpuRunner &runner, const GemmShape &s, uint64_t rows) {
  GemmData data(s, rows, /*seed=*/7), onCpu(s, rows, /*seed=*/7);
  EXPECT_EQ(0u, run(runner, data, rows));
  EXPECT_LT(data.worstError(), tolerance(s)) << "rows " << rows;
  std::vector<float> got = data.result();
  KernelRunner cpu({s.spec()}, hostLevels().front());
  EXPECT_EQ(0u, onCpu.run(cpu));
  expectClose(s, onCpu.result(), got);
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
    for (uint64_t K : {1, 16, 31, 64, 145})
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

/// Runs `spec` on both devices over the same data and compares row by row.
static void compareWithCpu(
    const KernelSpec &spec, const GemmShape &s, uint64_t rows, const SymbolValues &symbols,
    llvm::function_ref<void(GemmData &)> prepare = [](GemmData &) {}) {
  GemmData data(s, rows, /*seed=*/7), onCpu(s, rows, /*seed=*/7);
  prepare(data), prepare(onCpu);
  GpuRunner gpu({spec}, sm80());
  KernelRunner cpu({spec}, hostLevels().front());
  EXPECT_EQ(0u, run(gpu, data, symbols, {int32_t(symbols[5]), int32_t(symbols[6]), 0, int32_t(symbols[8])}));
  EXPECT_EQ(0u, onCpu.run(cpu, symbols));
  expectClose(s, onCpu.result(), data.result());
}

/// A copy of the spec of `s` after `edit`.
static KernelSpec edited(const GemmShape &s, llvm::function_ref<void(GemmBody &)> edit) {
  KernelSpec spec = s.spec();
  auto body = std::make_shared<GemmBody>(spec.as<GemmBody>());
  edit(*body);
  spec.body = body;
  return spec;
}

TEST(GpuGemm, GateAndUpInsideOneRowOfScales) {
  GemmShape s = shape(DType::BF16, DType::F8E4M3, DType::F32, 0, 256);
  s.swiglu = 150;
  KernelSpec spec = edited(s, [](GemmBody &body) { body.epilogue.gateBegin = 3, body.epilogue.upBegin = 155; });
  for (uint64_t rows : {2, 20, 66})
    compareWithCpu(spec, s, rows, symbolsOf(rows));
}

TEST(GpuGemm, GatheredOutputRows) {
  GemmShape s = shape(DType::BF16, DType::BF16, DType::F32, 72, 96);
  KernelSpec spec = edited(s, [](GemmBody &body) { body.gatherArg = 6, body.domain.kind = RowDomain::Outs; });
  for (uint64_t rows : {3, 20, 66})
    compareWithCpu(spec, s, rows, symbolsOf(rows, 0, rows),
                   [&](GemmData &data) { data.setGroups({}, /*tokens=*/rows); });
}

TEST(GpuGemm, WidthsOfV3) {
  for (uint64_t rows : {2, 40}) {
    GemmShape s = shape(DType::BF16, DType::F8E4M3, DType::F32, 2112, 1024);
    compareWithCpu(s.spec(), s, rows, symbolsOf(rows));
  }
  GemmShape s = shape(DType::BF16, DType::F8E4M3, DType::BF16, 0, 1024);
  s.swiglu = 2048, s.roundParts = true, s.experts = 16;
  std::vector<int32_t> counts(16);
  counts[1] = 2, counts[7] = 18, counts[15] = 1;
  compareWithCpu(s.spec(), s, 21, symbolsOf(21), [&](GemmData &data) { data.setGroups(counts, /*tokens=*/21); });
}

TEST(GpuGemm, DecodeAndPrefillDomains) {
  for (auto [decode, rows] : {std::pair(7, 20), std::pair(30, 60), std::pair(0, 9), std::pair(9, 9)})
    for (RowDomain::Kind kind : {RowDomain::Decode, RowDomain::Prefill}) {
      GemmShape s = shape(DType::BF16, DType::BF16, DType::F32, 48, 64);
      s.domain = kind;
      GpuRunner runner({s.spec()}, sm80());
      GemmData data(s, rows, 3);
      data.fillResult(-1);
      EXPECT_EQ(0u, run(runner, data, symbolsOf(rows, decode), {rows, decode, 0, 0}));
      for (int row = 0; row < rows; ++row) {
        bool computed = (row < decode) == (kind == RowDomain::Decode);
        EXPECT_EQ(computed, data.result()[row * 48] != -1.0f) << row;
        if (computed)
          EXPECT_LT(data.rowError(row), tolerance(s));
      }
    }
}

TEST(GpuGemm, RowsBeyondTheLiveOnesDoNotExist) {
  GemmShape s = shape(DType::BF16, DType::F8E4M3, DType::F32, 48, 160);
  s.checkFinite = true;
  GpuRunner runner({s.spec()}, sm80());
  for (int live : {0, 1, 9, 17, 64, 70}) {
    GemmData data(s, 150, 7), alone(s, std::max(live, 1), 7);
    for (int row = live; row < 150; ++row)
      data.poisonRow(row);
    data.fillResult(-1);
    EXPECT_EQ(0u, run(runner, data, symbolsOf(150), {live, 0, 0, 0}));
    EXPECT_EQ(0u, run(runner, alone, std::max(live, 1)));
    std::vector<float> got = data.result(), expected = alone.result();
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_EQ(bits(int(i) < live * 48 ? expected[i] : -1.0f), bits(got[i])) << "live " << live << " element " << i;
  }
}

TEST(GpuGemm, ARowDoesNotDependOnItsPlace) {
  for (DType w : {DType::F8E4M3, DType::BF16}) {
    GemmShape s = shape(DType::BF16, w, DType::F32, 80, 300);
    GpuRunner runner({s.spec()}, sm80());
    GemmData one(s, 1, 7), many(s, 130, 7);
    run(runner, one, 1);
    for (int row : {3, 63, 64, 127, 129})
      std::memcpy(static_cast<char *>(many.operands()[0]->data()) + row * 600, one.operands()[0]->data(), 600);
    run(runner, many, 130);
    for (int row : {0, 3, 63, 64, 127, 129})
      for (int o = 0; o < 80; ++o)
        ASSERT_EQ(bits(one.result()[o]), bits(many.result()[row * 80 + o])) << row;
  }
}

TEST(GpuGemm, NonFiniteLogitsAreAFault) {
  GemmShape s = shape(DType::BF16, DType::BF16, DType::F32, 51, 64);
  s.checkFinite = true;
  GpuRunner runner({s.spec()}, sm80());
  for (uint64_t rows : {6, 40, 70}) {
    GemmData good(s, rows, 3), bad(s, rows, 3);
    EXPECT_EQ(0u, run(runner, good, rows, /*layer=*/4));
    bad.poisonRow(rows - 1);
    EXPECT_EQ(5u, run(runner, bad, rows, /*layer=*/4));
  }
}

TEST(GpuGemm, NaNsStayNaNs) {
  GemmShape s = shape(DType::BF16, DType::BF16, DType::BF16, 51, 64);
  GpuRunner runner({s.spec()}, sm80());
  for (uint64_t rows : {6, 70}) {
    GemmData data(s, rows, 3);
    data.poisonRow(2);
    EXPECT_EQ(0u, run(runner, data, rows));
    EXPECT_TRUE(std::isnan(data.result()[2 * 51 + 7]));
  }
}

TEST(GpuGemm, F32NeedsACpu) {
  GemmShape s = shape(DType::F32, DType::BF16, DType::F32, 8, 64);
  auto compiled = compileGpuKernels({s.spec()}, sm80(), CompileOptions());
  ASSERT_FALSE(bool(compiled));
  EXPECT_NE(std::string::npos, llvm::toString(compiled.takeError()).find("E3109: f32 operands"));
}

/// Experts with `counts` slots: close to the sums in double, the bits of the dense product, nothing beyond the last
/// slot. Without rows of its own the rank has slots of others only.
static void checkGroups(GemmShape s, const std::vector<int32_t> &counts, const GpuTarget &target, uint64_t surplus = 0,
                        bool ownRows = true) {
  s.experts = counts.size();
  s.domain = RowDomain::Slots;
  uint64_t slots = 0;
  for (int32_t count : counts)
    slots += count;
  GpuRunner grouped({s.spec()}, target);
  GemmData data(s, slots + surplus, 11);
  data.setGroups(counts, /*tokens=*/std::min<uint64_t>(30, slots + surplus));
  data.fillResult(-1);
  uint64_t rows = ownRows ? slots : 0;
  auto symbols = symbolsOf(rows + surplus);
  symbols[size_t(Symbol::ReceivedRows)] = slots + surplus;
  EXPECT_EQ(0u, run(grouped, data, symbols, {int32_t(rows), 0, 0, 0}));
  std::vector<float> got = data.result();
  for (uint64_t i = slots * s.width(); i < got.size(); ++i)
    ASSERT_EQ(-1.0f, got[i]);
  GemmShape dense = s;
  dense.experts = 0;
  dense.domain = RowDomain::Rows;
  GpuRunner single({dense.spec()}, target);
  uint64_t slot = 0;
  for (size_t e = 0; e < counts.size(); ++e)
    for (int i = 0; i < counts[e]; ++i, ++slot) {
      if (i > 1 && i + 2 < counts[e])
        continue; // the first and last two rows of an expert
      EXPECT_LT(data.rowError(slot), tolerance(s)) << "slot " << slot;
      GemmData one = data.denseRow(dense, slot, e);
      run(single, one, 1);
      std::vector<float> expected = one.result();
      for (uint64_t o = 0; o < s.width(); ++o)
        ASSERT_EQ(bits(expected[o]), bits(got[slot * s.width() + o])) << "expert " << e << " row " << i;
    }
}

TEST(GpuGroupedGemm, EqualsTheDenseProductOfEachExpert) {
  GemmShape s = shape(DType::BF16, DType::F8E4M3, DType::F32, 72, 200);
  checkGroups(s, {3, 0, 70, 1, 9}, sm80());
  checkGroups(s, {0, 0, 33, 0}, sm80(), /*surplus=*/50);
  checkGroups(s, {16, 17, 64, 65, 0, 0, 1}, sm80());
  s.w = DType::BF16;
  checkGroups(s, {3, 0, 18, 1, 9}, sm80());
  s.x = s.w = DType::F8E4M3;
  checkGroups(s, {3, 0, 18, 1, 9}, sm80());
  checkGroups(s, {3, 0, 18, 1, 9}, sm89());
}

TEST(GpuGroupedGemm, SlotsFollowTheOffsetsAlone) {
  GemmShape s = shape(DType::BF16, DType::F8E4M3, DType::F32, 72, 200);
  checkGroups(s, {3, 0, 70, 1, 9}, sm80(), /*surplus=*/0, /*ownRows=*/false);
}

TEST(GpuGroupedGemm, SwigluOfEachExpert) {
  GemmShape s = shape(DType::BF16, DType::F8E4M3, DType::BF16, 0, 136);
  s.swiglu = 40, s.roundParts = true;
  checkGroups(s, {3, 0, 70, 1, 9}, sm80());
}

TEST(GpuGroupedGemm, ManyExpertsOfWhichFewHaveRows) {
  std::vector<int32_t> counts(300);
  counts[0] = 1, counts[127] = 2, counts[128] = 1, counts[255] = 20, counts[299] = 3;
  checkGroups(shape(DType::BF16, DType::F8E4M3, DType::BF16, 40, 64), counts, sm80());
  checkGroups(shape(DType::BF16, DType::F8E4M3, DType::BF16, 40, 64), std::vector<int32_t>(5), sm80(), 4);
}
