//===- AttentionTest.cpp - expanded and absorbed attention --------------------===//
// Both forms against the golden contexts; equal bits for every chunking and level; FP8 weights; faults.

#include "AttentionCase.h"
#include "OnLevels.h"
#include "ScalarModel.h"
#include <cmath>

using namespace moray::codegen;
using namespace moray::test;

namespace {
template <typename T>
Buffer runExpanded(const KernelRunner &runner, Batch<T> &batch, void *q, std::vector<void *> weights, size_t outBytes,
                   uint64_t decodeRows = 0, uint32_t fault = 0) {
  Buffer c = bufferOf(batch.cache), p = bufferOf(batch.positions), s = bufferOf(batch.sequences),
         f = bufferOf(batch.firstRows), t = bufferOf(batch.pages), l = bufferOf(batch.lengths), out(outBytes);
  std::vector<void *> operands = {q, c.data(), p.data(), s.data(), f.data(), t.data(), l.data()};
  operands.insert(operands.end(), weights.begin(), weights.end());
  operands.push_back(out.data());
  EXPECT_EQ(fault, runner.run(0, operands, batch.symbols(decodeRows)));
  return out;
}

/// The three absorbed steps one after the other.
template <typename T>
Buffer runAbsorbed(const KernelRunner &runner, Batch<T> &batch, void *q, std::vector<void *> weights,
                   size_t elementBytes) {
  size_t rows = batch.positions.size();
  Buffer c = bufferOf(batch.cache), p = bufferOf(batch.positions), s = bufferOf(batch.sequences),
         f = bufferOf(batch.firstRows), t = bufferOf(batch.pages), l = bufferOf(batch.lengths);
  Buffer absorbed(rows * batch.g.heads * batch.g.latent * elementBytes), u(absorbed.size()),
      out(rows * batch.g.heads * batch.g.value * elementBytes);
  auto with = [&](std::vector<void *> first, std::vector<void *> last) {
    first.insert(first.end(), weights.begin(), weights.end());
    first.insert(first.end(), last.begin(), last.end());
    return first;
  };
  auto symbols = batch.symbols(rows);
  EXPECT_EQ(0u, runner.run(0, with({q}, {absorbed.data()}), symbols));
  EXPECT_EQ(0u,
            runner.run(1, {absorbed.data(), q, c.data(), p.data(), s.data(), f.data(), t.data(), l.data(), u.data()},
                       symbols));
  EXPECT_EQ(0u, runner.run(2, with({u.data()}, {out.data(), out.data()}), symbols));
  return out;
}

void expectNear(const std::vector<float> &want, const std::vector<float> &got, double tolerance) {
  ASSERT_EQ(want.size(), got.size());
  double square = 0, worst = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    square += double(want[i]) * want[i];
    ASSERT_TRUE(std::isfinite(got[i])) << i;
    worst = std::max(worst, std::fabs(double(want[i]) - got[i]));
  }
  EXPECT_LE(worst, tolerance * std::sqrt(square / want.size()));
}
} // namespace

static Geometry geometryOf(const std::string &name, float scale) {
  return name == "small" ? Geometry{4, 32, 16, 48, 96, scale} : Geometry{2, 128, 64, 128, 512, scale};
}

TEST(Attention, BothFormsEqualGolden) {
  auto golden = readGolden("attention");
  for (std::string name : {"small", "full"}) {
    SCOPED_TRACE(name);
    auto tensor = [&](const char *what) -> Golden & { return golden["mla." + name + "." + what]; };
    Geometry g = geometryOf(name, tensor("sigma").f32[0]);
    Batch<float> batch(g, 3);
    auto &cuKeys = tensor("cu_keys").i32, &cuQueries = tensor("cu_queries").i32;
    for (size_t s = 0; s < 3; ++s) {
      for (int32_t k = cuKeys[s]; k < cuKeys[s + 1]; ++k) {
        float *slot = batch.slot(s, k - cuKeys[s]);
        std::copy_n(&tensor("latent").f32[k * g.latent], g.latent, slot);
        std::copy_n(&tensor("rope").f32[k * g.rope], g.rope, slot + g.latent);
      }
      for (int32_t q = cuQueries[s]; q < cuQueries[s + 1]; ++q)
        batch.addRow(s, tensor("query_position").i32[q]);
    }
    auto specs = absorbedSpecs(g, {});
    Buffer q = bufferOf(tensor("q").f32), w = bufferOf(padRows(tensor("kv_b").f32, g.latent));
    std::vector<std::vector<float>> expanded, absorbed;
    onLevels({expandedSpec(g, {})}, [&](const KernelRunner &runner) {
      size_t count = tensor("context").f32.size();
      expanded.push_back(valuesOf<float>(runExpanded(runner, batch, q.data(), {w.data()}, count * 4), count));
      expectNear(tensor("context").f32, expanded.back(), 2e-5);
    });
    onLevels(specs, [&](const KernelRunner &runner) {
      size_t count = tensor("context").f32.size();
      absorbed.push_back(valuesOf<float>(runAbsorbed(runner, batch, q.data(), {w.data()}, 4), count));
      expectNear(tensor("context").f32, absorbed.back(), 2e-5);
    });
    EXPECT_EQ(expanded.front(), expanded.back());
    EXPECT_EQ(absorbed.front(), absorbed.back());
  }
}

/// One sequence of `keys` random tokens in bf16, all of them query rows.
static Batch<uint16_t> randomBatch(const Geometry &g, size_t keys, std::vector<uint16_t> &q) {
  Random random(keys);
  Batch<uint16_t> batch(g, 1);
  for (size_t k = 0; k < keys; ++k)
    for (size_t i = 0; i < g.latent + g.rope; ++i)
      batch.slot(0, k)[i] = model::toBf16(random.normal());
  q = model::toBf16(random.normals(keys * g.heads * g.width()));
  return batch;
}

TEST(Attention, ChunkingChangesNoBit) {
  Geometry g{3, 24, 10, 20, 40, 0.2f}; // nothing is a multiple of a vector
  Types types{"bf16", "bf16", "f8E4M3FN", "bf16"};
  std::vector<uint16_t> q;
  const size_t keys = 150, width = g.heads * g.value;
  Batch<uint16_t> batch = randomBatch(g, keys, q);
  Random random(3);
  std::vector<uint8_t> codes;
  for (size_t i = 0; i < g.heads * (g.nope + g.value) * g.latent; ++i)
    codes.push_back(model::toE4M3(random.normal() * 100));
  std::vector<float> scales = {0.001f, 0.0013f};
  Buffer w = bufferOf(padRows(codes, g.latent)), s = bufferOf(padRows(scales, 1));
  std::vector<std::vector<uint16_t>> perLevel;
  onLevels({expandedSpec(g, types)}, [&](const KernelRunner &runner) {
    std::vector<uint16_t> whole;
    for (size_t chunk : {150, 1, 7, 64}) {
      std::vector<uint16_t> result;
      for (size_t start = 0; start < keys; start += chunk) {
        Batch<uint16_t> part = batch;
        size_t end = std::min(keys, start + chunk);
        for (size_t k = start; k < end; ++k)
          part.addRow(0, k);
        Buffer rows =
            bufferOf(std::vector<uint16_t>(&q[start * g.heads * g.width()], &q[0] + end * g.heads * g.width()));
        Buffer out = runExpanded(runner, part, rows.data(), {w.data(), s.data()}, (end - start) * width * 2);
        result.insert(result.end(), out.data<uint16_t>(), out.data<uint16_t>() + (end - start) * width);
        if (chunk == 1 && start == 20)
          break; // enough of the slow one
      }
      if (whole.empty())
        whole = result;
      EXPECT_EQ(std::vector<uint16_t>(whole.begin(), whole.begin() + result.size()), result) << "chunk " << chunk;
    }
    perLevel.push_back(whole);
  });
  EXPECT_EQ(perLevel.front(), perLevel.back());
}

TEST(Attention, Fp8WeightsAreCodeTimesScale) {
  Geometry g{2, 96, 16, 80, 144, 0.1f}; // heads straddle scale rows, two scale columns
  std::vector<uint16_t> q;
  const size_t keys = 70, rows = g.heads * (g.nope + g.value), blocks = 2;
  Batch<uint16_t> batch = randomBatch(g, keys, q);
  for (size_t k = 60; k < keys; ++k)
    batch.addRow(0, k);
  q.resize(10 * g.heads * g.width());
  Random random(4);
  std::vector<uint8_t> codes;
  std::vector<float> scales, wide;
  for (size_t i = 0; i < (rows + 127) / 128 * blocks; ++i)
    scales.push_back(0.001f + 0.002f * random.uniform());
  for (size_t o = 0; o < rows; ++o)
    for (size_t i = 0; i < g.latent; ++i) {
      codes.push_back(model::toE4M3(random.normal() * 100));
      wide.push_back(model::fromE4M3(codes.back()) * scales[o / 128 * blocks + i / 128]);
    }
  Buffer rowsQ = bufferOf(q), w8 = bufferOf(padRows(codes, g.latent)), s = bufferOf(padRows(scales, blocks)),
         w32 = bufferOf(padRows(wide, g.latent));
  Types f8{"bf16", "bf16", "f8E4M3FN", "bf16"}, plain{"bf16", "bf16", "f32", "bf16"};
  auto absorbed8 = absorbedSpecs(g, f8), absorbed32 = absorbedSpecs(g, plain);
  std::vector<KernelSpec> specs = {expandedSpec(g, f8), expandedSpec(g, plain)};
  const size_t count = 10 * g.heads * g.value;
  for (CpuLevel level : hostLevels()) {
    KernelRunner e8({specs[0]}, level), e32({specs[1]}, level), a8(absorbed8, level), a32(absorbed32, level);
    auto expanded = valuesOf<uint16_t>(runExpanded(e8, batch, rowsQ.data(), {w8.data(), s.data()}, count * 2), count);
    EXPECT_EQ(valuesOf<uint16_t>(runExpanded(e32, batch, rowsQ.data(), {w32.data()}, count * 2), count), expanded);
    auto absorbed = valuesOf<uint16_t>(runAbsorbed(a8, batch, rowsQ.data(), {w8.data(), s.data()}, 2), count);
    EXPECT_EQ(valuesOf<uint16_t>(runAbsorbed(a32, batch, rowsQ.data(), {w32.data()}, 2), count), absorbed);
    expectNear(model::fromBf16(expanded), model::fromBf16(absorbed), 0.05);
  }
}

TEST(Attention, QuantisedLatentsEqualTheirDequantisedValues) {
  Geometry g{2, 32, 16, 32, 160, 0.1f};
  std::vector<uint16_t> q;
  Batch<uint16_t> batch = randomBatch(g, 5, q);
  // Values that survive quantisation with power-of-two scales: small integers beside a 448 in every group.
  for (size_t k = 0; k < 5; ++k) {
    batch.addRow(0, k);
    for (size_t i = 0; i < g.latent; ++i)
      batch.slot(0, k)[i] = model::toBf16(i % 128 == 0 ? 448.0f : float((k * 5 + i * 3) % 17) - 8);
  }
  auto w = Random(9).normals(g.heads * (g.nope + g.value) * g.latent, 0.01f);
  Buffer rows = bufferOf(q), weights = bufferOf(padRows(w, g.latent));
  const size_t count = 5 * g.heads * g.value;
  Types plain{"bf16", "bf16", "f32", "bf16"}, quantised{"bf16", "bf16", "f32", "f8E4M3FN", "ue8m0"};
  for (CpuLevel level : hostLevels()) {
    KernelRunner a({expandedSpec(g, plain)}, level), b({expandedSpec(g, quantised)}, level);
    EXPECT_EQ(valuesOf<uint16_t>(runExpanded(a, batch, rows.data(), {weights.data()}, count * 2), count),
              valuesOf<uint16_t>(runExpanded(b, batch, rows.data(), {weights.data()}, count * 2), count));
  }
}

TEST(Attention, PrefillRangeLeavesDecodeRowsAndNaNIsAFault) {
  Geometry g{2, 32, 16, 32, 64, 0.1f};
  std::vector<uint16_t> q;
  Batch<uint16_t> batch = randomBatch(g, 4, q);
  Batch<uint16_t> two(g, 2);
  two.pages = {0, 1, 2, 3, 0, 1, 2, 3}; // both sequences see the same keys
  two.cache = batch.cache;
  two.pages[0] = two.pages[4] = batch.pages[0];
  two.addRow(0, 3), two.addRow(1, 2), two.addRow(1, 3);
  auto w = Random(9).normals(g.heads * (g.nope + g.value) * g.latent, 0.1f);
  Buffer rows = bufferOf(q), weights = bufferOf(padRows(w, g.latent));
  Types types{"bf16", "bf16", "f32", "bf16", "f32", "prefill"};
  size_t width = g.heads * g.value;
  onLevels({expandedSpec(g, types)}, [&](const KernelRunner &runner) {
    Buffer out = runExpanded(runner, two, rows.data(), {weights.data()}, 3 * width * 2, 1);
    EXPECT_EQ(std::vector<uint16_t>(width), valuesOf<uint16_t>(out, width));
    EXPECT_NE(0, out.data<uint16_t>()[width]);
    Buffer bad = bufferOf(q);
    bad.data<uint16_t>()[g.heads * g.width() * 2] = 0x7FC0;
    runExpanded(runner, two, bad.data(), {weights.data()}, 3 * width * 2, 1, 1);
  });
}
