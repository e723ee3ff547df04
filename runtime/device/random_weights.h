// Fills the weights of an artifact that has none, so that its speed can be measured.
#pragma once
#include "runtime/artifact/artifact.h"
#include "runtime/device/cpu/thread_pool.h"

namespace moray::rt {

struct RandomTensor {
  const schema::Weight *weight;
  moray_string name;
  uint64_t seed;
  uint32_t number; // of the tensor among those of the weight
};

// Writes bytes [begin, end) of a tensor to `out`; both are multiples of 64. Padding of rows is not written.
void fillRandomRange(const RandomTensor &tensor, uint64_t begin, uint64_t end, uint8_t *out);

// Deterministic in (seed, name, layer), whatever the number of threads. Values keep activations finite: matrices have a
// standard deviation near 1 / sqrt(K), FP8 codes are small numbers, scales and vectors lie around 1. `memory` has
// artifact.weightBytes() bytes.
void fillRandomWeights(const Artifact &artifact, uint64_t seed, ThreadPool &threads, Span<uint8_t> memory);

} // namespace moray::rt
