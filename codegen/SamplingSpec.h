//===- SamplingSpec.h - what sampling kernels compute -----------------*- C++ -*-===//
// Spec of lm.sample and lm.log_prob, with the definition of the random numbers.

#ifndef MORAY_CODEGEN_SAMPLINGSPEC_H
#define MORAY_CODEGEN_SAMPLINGSPEC_H

#include "codegen/KernelSpec.h"

namespace moray::codegen {

constexpr float kWeightUnit = 1099511627776.0f;           // 2^40: the weight of the best token
constexpr int64_t kGolden = int64_t(0x9E3779B97F4A7C15u); // G below

/// Sample: logits [outs, vocab] f32 and moray_sample_params [outs] give token ids [outs] i32. Per row:
///   temperature <= 0 (or so small that max / temperature overflows): the largest logit, the smallest id of equals.
///   x = logit / temperature; weight = floor(exp(x - max x) * 2^40) as an integer, so that sums do not depend on their
///   order; top_k > 0: the k largest x, smaller ids first among equals; top_p < 1: of these the shortest prefix
///   (descending x, then ascending id) whose weight is >= top_p * their weight; draw: r = floor(random * kept weight /
///   2^64); the token is the first in ascending id order with running kept weight > r. random = mix(mix(seed + G) +
///   (position + 1) G), G = 0x9E3779B97F4A7C15, mix = the finaliser of SplitMix64, all mod 2^64.
/// LogProb: logits and target ids [outs] give x_target - max - log(sum exp(x - max)) in f32, the sum in 128 partials.
/// A row with a NaN or without a finite maximum is a fault.
struct SamplingBody : KernelBody {
  enum Op : uint8_t { Sample, LogProb } op = Sample;
  uint64_t vocab = 0;
  RowDomain domain;
  int logitsArg = -1, secondArg = -1, outArg = -1; // secondArg: params or targets
  std::string key() const override;
};

} // namespace moray::codegen

#endif
