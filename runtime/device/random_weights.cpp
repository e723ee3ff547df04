// Counter-based random weights.
#include "runtime/device/random_weights.h"
#include <cmath>
#include <cstring>

namespace moray::rt {

using schema::DType;

namespace {

uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

uint64_t hashText(moray_string text) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (size_t i = 0; i < text.size; ++i)
    hash = (hash ^ static_cast<uint8_t>(text.data[i])) * 0x100000001B3u;
  return hash;
}

struct Distribution {
  DType type;
  float center, radius; // uniform in center +- radius
};

// What a tensor of this shape and type is likely to be.
Distribution distributionOf(const schema::Weight &weight, moray_string name) {
  const uint64_t k = weight.dims()->Get(weight.dims()->size() - 1);
  const bool scale = memmem(name.data, name.size, "scale", 5) != nullptr;
  if (weight.dims()->size() == 1 || scale)
    return {weight.dtype(), 1.0f, 0.25f};
  return {weight.dtype(), 0.0f, std::sqrt(3.0f / static_cast<float>(k))};
}

// 32 random bits to one element.
void writeElement(uint8_t *out, const Distribution &distribution, uint32_t bits) {
  if (distribution.type == DType::F8E4M3) {
    // Sign, an exponent of 1 to 4 (2^-6 to 2^-3) and any mantissa.
    *out = static_cast<uint8_t>((bits & 0x87u) | ((1u + (bits >> 8 & 3u)) << 3));
    return;
  }
  const float unit = static_cast<float>(bits >> 8) * 0x1p-23f - 1.0f;
  const float value = distribution.center + distribution.radius * unit;
  uint32_t word = 0;
  memcpy(&word, &value, sizeof(word));
  if (distribution.type == DType::BF16) {
    const auto half = static_cast<uint16_t>(word >> 16);
    memcpy(out, &half, sizeof(half));
  } else if (distribution.type == DType::F32) {
    memcpy(out, &word, sizeof(word));
  } else {
    memset(out, 0, schema::byteSize(distribution.type)); // integer tables: any index must be valid
  }
}

uint64_t tensorKey(uint64_t seed, moray_string name, uint32_t number) {
  return mix(mix(seed ^ hashText(name)) + number);
}

} // namespace

void fillRandomRange(const RandomTensor &tensor, uint64_t begin, uint64_t end, uint8_t *out) {
  const schema::Weight &weight = *tensor.weight;
  const Distribution distribution = distributionOf(weight, tensor.name);
  const uint64_t pitch = weight.row_pitch();
  const uint64_t size = schema::byteSize(weight.dtype());
  const uint64_t rowBytes = weight.dims()->Get(weight.dims()->size() - 1) * size;
  const uint64_t key = tensorKey(tensor.seed, tensor.name, tensor.number);
  for (uint64_t row = begin / pitch; row * pitch < end; ++row) {
    const uint64_t rowKey = mix(key + row);
    const uint64_t first = begin > row * pitch ? begin - row * pitch : 0;
    const uint64_t last = end - row * pitch < pitch ? end - row * pitch : pitch;
    for (uint64_t at = first; at < last && at < rowBytes; at += size)
      writeElement(out + (row * pitch + at - begin), distribution, static_cast<uint32_t>(mix(rowKey + at / size)));
  }
}

void fillRandomWeights(const Artifact &artifact, uint64_t seed, ThreadPool &threads, Span<uint8_t> memory) {
  threads.run([&](uint32_t worker) {
    if (!artifact.metadata().weights())
      return;
    for (const schema::Weight *weight : *artifact.metadata().weights()) {
      const moray_string name = artifact.text(weight->name());
      const uint64_t pitch = weight->row_pitch(), rows = weight->bytes() / pitch;
      const uint64_t begin = rows * worker / threads.size() * pitch, end = rows * (worker + 1) / threads.size() * pitch;
      for (uint32_t i = 0; i < weight->offsets()->size(); ++i)
        if (const uint64_t offset = weight->offsets()->Get(i); offset != schema::kNoOffset)
          fillRandomRange({weight, name, seed, i}, begin, end, memory.data() + offset + begin);
    }
  });
}

} // namespace moray::rt
