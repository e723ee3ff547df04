//===- SamplingTest.cpp - drawing tokens and scoring them ---------------------===//
// Supports and frequencies of the golden settings, the documented generator, ties, log-probabilities, faults.

#include "OnLevels.h"
#include "ScalarModel.h"
#include <algorithm>
#include <cmath>
#include <fstream>
#include <llvm/Support/FormatVariadic.h>
#include <nlohmann/json.hpp>
#include <numeric>

using namespace moray::codegen;
using namespace moray::test;

static KernelSpec sampleSpec(size_t vocab) {
  return specOf(llvm::formatv(R"(cmd.kernel @k sampling over outs {
    ^bb0(%l: tensor<?x{0}xf32>, %p: tensor<?x24xui8>):
      %t = lm.sample %l, %p : tensor<?x{0}xf32>, tensor<?x24xui8> -> tensor<?xi32>
      lm.yield %t : tensor<?xi32>
    })",
                              vocab)
                    .str());
}

static std::vector<int32_t> sample(const KernelRunner &runner, const std::vector<float> &logits,
                                   const std::vector<moray_sample_params> &params, uint32_t fault = 0) {
  Buffer l = bufferOf(logits), p = bufferOf(params), out(params.size() * 4);
  EXPECT_EQ(fault, runner.run(0, {l.data(), p.data(), out.data()}, symbolsOf(params.size(), 0, params.size())));
  return valuesOf<int32_t>(out, params.size());
}

static uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

/// The definition in SamplingSpec.h by a full sort.
static int32_t modelSample(const float *logits, size_t vocab, const moray_sample_params &p) {
  auto better = [&](const std::vector<float> &x) {
    return [&x](int32_t a, int32_t b) { return x[a] > x[b] || (x[a] == x[b] && a < b); };
  };
  std::vector<int32_t> order(vocab);
  std::iota(order.begin(), order.end(), 0);
  std::vector<float> x(logits, logits + vocab);
  if (p.temperature > 0)
    for (float &v : x)
      v /= p.temperature;
  std::sort(order.begin(), order.end(), better(x));
  if (p.temperature <= 0)
    return order[0];
  if (p.top_k && p.top_k < vocab)
    order.resize(p.top_k);
  std::vector<uint64_t> weight(vocab);
  uint64_t total = 0, kept = 0;
  for (int32_t id : order)
    total += weight[id] = uint64_t(model::exp(x[id] - x[order[0]]) * 1099511627776.0f);
  uint64_t target = total;
  if (p.top_p < 1)
    target = std::max<uint64_t>(1, uint64_t(std::ceil(double(p.top_p) * double(total))));
  size_t count = 0;
  while (kept < target)
    kept += weight[order[count++]];
  order.resize(std::max<size_t>(count, 1));
  std::sort(order.begin(), order.end());
  const uint64_t golden = 0x9E3779B97F4A7C15u;
  uint64_t random = mix(mix(p.seed + golden) + (uint64_t(p.position) + 1) * golden);
  uint64_t r = uint64_t((unsigned __int128)random * kept >> 64), running = 0;
  for (int32_t id : order)
    if ((running += weight[id]) > r)
      return id;
  return -1;
}

TEST(Sampling, EqualsTheDefinition) {
  for (size_t vocab : {50, 512, 3000}) {
    Random random(vocab);
    std::vector<float> logits;
    std::vector<moray_sample_params> params;
    for (uint32_t i = 0; i < 120; ++i) {
      moray_sample_params p{random.bits(), i, 0.0f, 0, 1.0f};
      if (i % 8)
        p.temperature = 0.2f + random.uniform() * 2;
      if (i % 3 == 1)
        p.top_k = 1 + uint32_t(random.bits() % (vocab + 5));
      if (i % 4 >= 2)
        p.top_p = 0.02f + random.uniform();
      params.push_back(p);
      for (size_t v = 0; v < vocab; ++v)
        logits.push_back(i % 5 == 4 ? std::round(random.normal() * 3)
                                    : random.normal() * 3); // every fifth row has many ties
    }
    std::vector<int32_t> expected;
    for (size_t i = 0; i < params.size(); ++i)
      expected.push_back(modelSample(&logits[i * vocab], vocab, params[i]));
    onLevels({sampleSpec(vocab)},
             [&](const KernelRunner &runner) { EXPECT_EQ(expected, sample(runner, logits, params)); });
  }
}

TEST(Sampling, GoldenDistributions) {
  auto golden = readGolden("sampling");
  std::ifstream file(MORAY_BINARY_DIR "/test/golden/ops/ops.json");
  auto settings = nlohmann::json::parse(file)["sampling"]["settings"];
  const auto &logits = golden["logits"], &wanted = golden["probabilities"];
  const size_t rows = logits.shape[0], vocab = logits.shape[1], draws = 3000;
  KernelRunner runner({sampleSpec(vocab)}, hostLevels().back());
  for (size_t s = 0; s < settings.size(); ++s) {
    if (settings[s].contains("penalty"))
      continue; // the engine applies it to the logits
    for (size_t r = 0; r < rows; ++r) {
      SCOPED_TRACE("setting " + std::to_string(s) + " row " + std::to_string(r));
      std::vector<float> repeated;
      std::vector<moray_sample_params> params;
      for (uint32_t d = 0; d < draws; ++d) {
        repeated.insert(repeated.end(), &logits.f32[r * vocab], &logits.f32[r * vocab] + vocab);
        params.push_back({77 + s * rows + r, d, settings[s]["temperature"].get<float>(),
                          settings[s]["top_k"].get<uint32_t>(), settings[s]["top_p"].get<float>()});
      }
      std::vector<size_t> counts(vocab);
      for (int32_t token : sample(runner, repeated, params))
        ++counts.at(token);
      for (size_t v = 0; v < vocab; ++v) {
        double p = wanted.f32[(s * rows + r) * vocab + v];
        if (p == 0)
          EXPECT_EQ(0u, counts[v]) << "token " << v;
        else if (p * draws > 20)
          EXPECT_GT(counts[v], 0u) << "token " << v;
        EXPECT_NEAR(p, double(counts[v]) / draws, 5 * std::sqrt(p * (1 - p) / draws) + 2e-3) << "token " << v;
      }
    }
  }
}

TEST(Sampling, NaNIsAFaultAndPlacesDoNotMatter) {
  const size_t vocab = 100;
  auto logits = Random(5).normals(vocab * 3, 3);
  std::vector<moray_sample_params> params = {{1, 5, 0.9f, 0, 0.9f}, {1, 5, 0.9f, 0, 0.9f}, {1, 6, 0.9f, 0, 0.9f}};
  std::copy_n(logits.begin(), vocab, logits.begin() + vocab);
  onLevels({sampleSpec(vocab)}, [&](const KernelRunner &runner) {
    auto tokens = sample(runner, logits, params);
    EXPECT_EQ(tokens[0], tokens[1]);
    auto bad = logits;
    bad[vocab + 99] = NAN;
    for (int32_t token : sample(runner, bad, params, 1))
      EXPECT_LT(uint32_t(token), vocab);
    params[1].temperature = 0;
    sample(runner, bad, params, 1);
    params[1].temperature = 0.9f;
  });
}

TEST(LogProb, EqualsModelAndDouble) {
  for (size_t vocab : {96, 640}) {
    auto spec = specOf(llvm::formatv(R"(cmd.kernel @k sampling over outs {
      ^bb0(%l: tensor<?x{0}xf32>, %t: tensor<?xi32>):
        %p = lm.log_prob %l, %t : tensor<?x{0}xf32>, tensor<?xi32> -> tensor<?xf32>
        lm.yield %p : tensor<?xf32>
      })",
                                     vocab)
                           .str());
    const size_t rows = 20;
    Random random(vocab);
    auto logits = random.normals(rows * vocab, 4);
    std::vector<int32_t> targets;
    for (size_t r = 0; r < rows; ++r)
      targets.push_back(random.bits() % vocab);
    onLevels({spec}, [&](const KernelRunner &runner) {
      Buffer l = bufferOf(logits), t = bufferOf(targets), out(rows * 4);
      EXPECT_EQ(0u, runner.run(0, {l.data(), t.data(), out.data()}, symbolsOf(rows, 0, rows)));
      for (size_t r = 0; r < rows; ++r) {
        const float *x = &logits[r * vocab];
        float most = *std::max_element(x, x + vocab);
        std::vector<float> e;
        double sum = 0;
        for (size_t v = 0; v < vocab; ++v)
          e.push_back(model::exp(x[v] - most)), sum += std::exp(double(x[v]) - most);
        float got = out.data<float>()[r];
        EXPECT_EQ(x[targets[r]] - most - model::log(model::rowSum(e.data(), vocab)), got);
        EXPECT_NEAR(x[targets[r]] - most - std::log(sum), got, 2e-6 * std::max(1.0f, std::fabs(got)));
      }
    });
  }
}
