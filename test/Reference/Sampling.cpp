// Sampling as lm.sample defines it: a sort, fixed-point weights and a counter-based generator; and log-probabilities.
#include "test/Reference/Ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

using namespace moray::reference;

SampleParams moray::reference::sampleParams(const int32_t *bytes) {
  uint8_t raw[24];
  std::copy_n(bytes, sizeof(raw), raw);
  SampleParams params;
  std::memcpy(&params.seed, raw, 8);
  std::memcpy(&params.position, raw + 8, 4);
  std::memcpy(&params.temperature, raw + 12, 4);
  std::memcpy(&params.topK, raw + 16, 4);
  std::memcpy(&params.topP, raw + 20, 4);
  return params;
}

int32_t moray::reference::argmax(const float *logits, int64_t count) {
  return static_cast<int32_t>(std::max_element(logits, logits + count) - logits); // the first of equal ones
}

/// The finaliser of SplitMix64.
static uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

static uint64_t randomBits(uint64_t seed, uint32_t position) {
  constexpr uint64_t kGolden = 0x9E3779B97F4A7C15u;
  return mix(mix(seed + kGolden) + (static_cast<uint64_t>(position) + 1) * kGolden);
}

std::vector<uint64_t> moray::reference::sampleWeights(const float *logits, int64_t count, const SampleParams &params) {
  std::vector<float> x(count);
  for (int64_t i = 0; i < count; ++i)
    x[i] = logits[i] / params.temperature;
  std::vector<int32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return x[a] != x[b] ? x[a] > x[b] : a < b; });
  if (params.topK > 0 && params.topK < order.size())
    order.resize(params.topK);
  std::vector<uint64_t> weights(count);
  uint64_t total = 0;
  for (int32_t id : order) {
    float difference = x[id] - x[order.front()];
    total += weights[id] = static_cast<uint64_t>(std::ldexp(std::exp(static_cast<double>(difference)), 40));
  }
  // The shortest prefix that holds topP of the mass, one id at least.
  if (params.topP < 1) {
    auto needed = static_cast<uint64_t>(std::ceil(static_cast<double>(params.topP) * static_cast<double>(total)));
    uint64_t sum = 0;
    for (size_t i = 0; i < order.size(); ++i) {
      if (i > 0 && sum >= needed)
        weights[order[i]] = 0;
      sum += weights[order[i]];
    }
  }
  return weights;
}

int32_t moray::reference::sample(const float *logits, int64_t count, const SampleParams &params) {
  int32_t best = argmax(logits, count);
  if (params.temperature <= 0 || std::isinf(logits[best] / params.temperature))
    return best;
  std::vector<uint64_t> weights = sampleWeights(logits, count, params);
  uint64_t total = std::accumulate(weights.begin(), weights.end(), uint64_t{0});
  auto limit =
      static_cast<uint64_t>(static_cast<unsigned __int128>(randomBits(params.seed, params.position)) * total >> 64);
  uint64_t sum = 0;
  for (int64_t id = 0; id < count; ++id)
    if ((sum += weights[id]) > limit)
      return static_cast<int32_t>(id);
  return best; // not reached: limit < total
}

double moray::reference::logProb(const float *logits, int64_t count, int32_t target) {
  double max = *std::max_element(logits, logits + count), sum = 0;
  for (int64_t i = 0; i < count; ++i)
    sum += std::exp(logits[i] - max);
  return logits[target] - max - std::log(sum);
}
