//===- AttentionSpec.h - what attention kernels compute ---------------*- C++ -*-===//
// The spec of the four kernels around the latent cache: expanded attention and the three steps of the absorbed form.

#ifndef MORAY_CODEGEN_ATTENTIONSPEC_H
#define MORAY_CODEGEN_ATTENTIONSPEC_H

#include "codegen/KernelSpec.h"

namespace moray::codegen {

/// One op of the mla dialect. kv_b is [heads (nope + value), latent], head-major, key rows first. Orders of the matrix
/// products, the same on every CPU level and for every number of rows:
///   Expanded     k, v: c ascending, one fma chain per element; logits: n then r ascending; context: keys ascending;
///   softmax online over
///                key blocks of `page` positions, sums by the tree +page/2 .. +1
///   AbsorbQuery  n ascending, one fma chain per element
///   Latent       logits: 16 partials (element mod 16) over c then r, tree +8 .. +1; sums: even and odd keys; u: keys
///   ascending AbsorbValue  16 partials over c, tree +8 .. +1
/// FP8 weights enter as f32(code * scale).
struct AttentionBody : KernelBody {
  enum Op : uint8_t { Expanded, AbsorbQuery, Latent, AbsorbValue } op = Expanded;
  enum Activation : uint8_t {
    Plain,
    Rounded,
    Quantised,
    QuantisedPow2
  } activation = Plain; // Expanded: the latent that enters kv_b
  DType q = DType::BF16, cache = DType::BF16, w = DType::F8E4M3, out = DType::BF16;
  uint64_t heads = 0, nope = 0, rope = 0, value = 0, latent = 0, page = 64;
  float scale = 1;
  bool prefillOnly = false; // Expanded: decode rows are left alone
  bool round = false;       // probabilities, expanded keys and values are rounded to bf16
  // Indices into moray_kernel_args.operands; rowsArg is the first of the five pointers of !lm.rows. sourceArg is q, q~
  // (Latent) or u (AbsorbValue); queryArg is the rotated query of Latent.
  int sourceArg = -1, queryArg = -1, cacheArg = -1, rowsArg = -1, wArg = -1, scalesArg = -1, outArg = -1;
  std::string key() const override;

  uint64_t cacheWidth() const { return latent + rope; }
  /// Rows of kv_b that belong to one head.
  uint64_t headRows() const { return nope + value; }
};

} // namespace moray::codegen

#endif
