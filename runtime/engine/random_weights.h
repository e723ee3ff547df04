// Fills the weights of an artifact that has none, so that its speed can be measured.
#pragma once
#include "runtime/artifact/artifact.h"
#include "runtime/device/cpu/thread_pool.h"

namespace moray::rt {

// Deterministic in (seed, name, layer), whatever the number of threads. Values keep activations finite: matrices have a
// standard deviation near 1 / sqrt(K), FP8 codes are small numbers, scales and vectors lie around 1. `memory` has
// artifact.weightBytes() bytes.
void fillRandomWeights(const Artifact &artifact, uint64_t seed, ThreadPool &threads, Span<uint8_t> memory);

} // namespace moray::rt
