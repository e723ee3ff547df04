// Sampling distributions against test/golden/ops/sampling, and the law of the draw.
#include "OpsGolden.h"

#include <numeric>

using namespace moray::reference;

namespace {
/// Settings of ops.json in order; the two with a repetition penalty come last and are the engine's business.
const SampleParams kSettings[] = {{0, 0, 1, 0, 1},     {0, 0, 0.6f, 0, 0.95f}, {0, 0, 0.3f, 0, 0.5f},
                                  {0, 0, 1.7f, 10, 1}, {0, 0, 0.8f, 5, 0.9f},  {0, 0, 1, 1, 1},
                                  {0, 0, 0, 0, 1},     {0, 0, 1, 0, 0.01f},    {0, 0, 2, 200, 0.999f}};
} // namespace

TEST(Sample, DistributionsAreGolden) {
  OpsGolden golden("sampling");
  const Tensor &logits = golden["logits"], &probabilities = golden["probabilities"];
  for (size_t setting = 0; setting < std::size(kSettings); ++setting)
    for (int64_t row = 0; row < logits.rows(); ++row) {
      const SampleParams &params = kSettings[setting];
      std::vector<double> actual(logits.width());
      if (params.temperature <= 0) {
        actual[sample(logits.row(row), logits.width(), params)] = 1;
      } else {
        std::vector<uint64_t> weights = sampleWeights(logits.row(row), logits.width(), params);
        double total = std::accumulate(weights.begin(), weights.end(), 0.0);
        for (size_t i = 0; i < actual.size(); ++i)
          actual[i] = weights[i] / total;
      }
      const float *expected = probabilities.row(setting) + row * logits.width();
      // Weights count in units of 2^-40 of the largest: what is less likely is never drawn.
      float leastLikely = std::ldexp(*std::max_element(expected, expected + logits.width()), -40);
      for (size_t i = 0; i < actual.size(); ++i) {
        EXPECT_NEAR(actual[i], expected[i], 2e-6) << "setting " << setting << " row " << row << " id " << i;
        EXPECT_EQ(actual[i] > 0, expected[i] > leastLikely) << "setting " << setting << " row " << row << " id " << i;
      }
    }
}

TEST(Sample, DrawsFollowTheDistribution) {
  const float logits[] = {0, 1, -1, 0.5f, 2};
  constexpr int kDraws = 20000;
  SampleParams params{42, 0, 1.5f, 4, 1};
  std::vector<uint64_t> weights = sampleWeights(logits, 5, params);
  double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<int> counts(5);
  for (int i = 0; i < kDraws; ++i) {
    params.position = i;
    ++counts[sample(logits, 5, params)];
  }
  for (int i = 0; i < 5; ++i) {
    double p = weights[i] / total;
    EXPECT_NEAR(counts[i], kDraws * p, 5 * std::sqrt(kDraws * p * (1 - p)) + 1e-9) << i;
  }
}

TEST(Sample, TheGeneratorIsSplitMix64) {
  // 2^16 equal logits: the token shows the upper 16 bits of the random number. The first number of SplitMix64 from
  // state 0 is E220A8397B1DCDAF (published test vector); from that state it gives A706DD2F4D197E6F, B382A305F4414F5E,
  // 631A9154FBABF717.
  std::vector<float> logits(1 << 16);
  SampleParams params{0, 0, 1, 0, 1};
  for (int32_t expected : {0xA706, 0xB382, 0x631A}) {
    EXPECT_EQ(sample(logits.data(), logits.size(), params), expected);
    ++params.position;
  }
}

TEST(Sample, ReadsParamsAsStored) {
  struct {
    uint64_t seed = 0x0123456789ABCDEF;
    uint32_t position = 7;
    float temperature = 0.5f;
    uint32_t topK = 3;
    float topP = 0.25f;
  } raw;
  static_assert(sizeof(raw) == 24);
  int32_t bytes[24];
  for (int i = 0; i < 24; ++i)
    bytes[i] = reinterpret_cast<const uint8_t *>(&raw)[i];
  SampleParams params = sampleParams(bytes);
  EXPECT_EQ(params.seed, raw.seed);
  EXPECT_EQ(params.position, raw.position);
  EXPECT_EQ(params.temperature, raw.temperature);
  EXPECT_EQ(params.topK, raw.topK);
  EXPECT_EQ(params.topP, raw.topP);
}

TEST(LogProb, SumsToOne) {
  OpsGolden golden("sampling");
  const Tensor &logits = golden["logits"];
  double sum = 0;
  for (int32_t id = 0; id < logits.width(); ++id)
    sum += std::exp(logProb(logits.row(2), logits.width(), id));
  EXPECT_NEAR(sum, 1, 1e-12);
}
