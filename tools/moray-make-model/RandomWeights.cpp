// Counter-based random numbers and the block quantiser of the checkpoint writer.
#include "moray-make-model/RandomWeights.h"

#include "dialects/LM/FP8.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace moray::makemodel {

namespace fp8 = moray::lm::fp8;

RandomStream::RandomStream(uint64_t seed, const std::string &tensor)
    : key(XXH3_64bits_withSeed(tensor.data(), tensor.size(), seed)) {}

// SplitMix64: one 64-bit number per pair of elements.
static uint64_t mix(uint64_t value) {
  value += 0x9E3779B97F4A7C15;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
  return value ^ (value >> 31);
}

// The sum of four bytes is close enough to a normal variable for weights: mean 510, variance 4 * (256^2 - 1) / 12.
static float normalOf(uint32_t bytes) {
  int sum = int(bytes & 255) + int((bytes >> 8) & 255) + int((bytes >> 16) & 255) + int(bytes >> 24);
  return float(sum - 510) * 0.0067659f;
}

void RandomStream::fill(uint64_t first, uint64_t count, float *out) const {
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t element = first + i, pair = mix(key + (element >> 1));
    out[i] = normalOf(uint32_t(element & 1 ? pair >> 32 : pair));
  }
}

Distribution distributionOf(const frontend::TensorSlot &slot) {
  using frontend::TensorRole;
  bool vector = slot.shape.size() == 1;
  if (slot.role == TensorRole::RouterBias || slot.role == TensorRole::Bias)
    return {0.0f, 0.05f};
  if (vector) // norms
    return {1.0f, 0.1f};
  if (slot.id == "embed" || slot.id == "mtp_embed")
    return {0.0f, 1.0f};
  return {0.0f, 1.0f / std::sqrt(static_cast<float>(slot.shape.back()))};
}

uint16_t roundToBf16(float value) {
  uint32_t bits = fp8::bitsOf(value);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

std::vector<float> randomRows(const RandomStream &stream, Distribution distribution, uint64_t first, uint64_t rows,
                              uint64_t columns) {
  std::vector<float> values(rows * columns);
  stream.fill(first * columns, values.size(), values.data());
  for (float &value : values)
    value = distribution.mean + distribution.deviation * value;
  return values;
}

void quantizeBand(const std::vector<float> &band, uint64_t columns, bool powerOfTwo, uint8_t *codes, float *scales) {
  const uint64_t rows = band.size() / columns;
  for (uint64_t column = 0; column < columns; column += 128) {
    const uint64_t width = std::min<uint64_t>(128, columns - column);
    float amax = 0;
    for (uint64_t row = 0; row < rows; ++row)
      for (uint64_t k = 0; k < width; ++k)
        amax = std::max(amax, std::fabs(band[row * columns + column + k]));
    const float scale = fp8::scaleOf(amax, powerOfTwo);
    scales[column / 128] = scale;
    for (uint64_t row = 0; row < rows; ++row)
      for (uint64_t k = 0; k < width; ++k)
        codes[row * columns + column + k] = fp8::encode(band[row * columns + column + k] / scale);
  }
}

} // namespace moray::makemodel
