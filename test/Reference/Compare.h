// Golden files: their tensors, and the numbers by which a run is compared with them (spec model.md 9).
#ifndef MORAY_TEST_REFERENCE_COMPARE_H
#define MORAY_TEST_REFERENCE_COMPARE_H

#include "frontend/Safetensors.h"
#include "test/Reference/Session.h"

namespace moray::reference {

/// The tensors of a safetensors file by name: F32, BF16, I32, and U8 (as UI8). Others are left out.
frontend::Expected<std::map<std::string, Tensor>> readTensors(const std::string &path);

/// Largest over the rows of max|a - b| / max|b|; infinite where shapes differ or a number is not finite.
double maxRelativeError(const Tensor &actual, const Tensor &reference);
/// 1 - 2<a, b> / (|a|^2 + |b|^2) of all rows together, and of each row.
struct Simdiff {
  double total = 0;
  std::vector<double> rows;
};
Simdiff simdiff(const Tensor &actual, const Tensor &reference);

/// A golden run: prompts one after the other, and what they give.
class Golden {
public:
  /// Errors: those of readTensors; E2040 when `input_ids` or `cu_seqlens` is missing.
  static frontend::Expected<Golden> read(const std::string &path);

  /// Null when the file has no such tensor.
  const Tensor *find(const std::string &name) const;
  std::vector<std::vector<int32_t>> prompts() const;
  /// `router.{l}.ids` of all layers.
  RoutingTable routing() const;

private:
  std::map<std::string, Tensor> tensors;
};

struct Comparison {
  double logits = 0;                                  // maxRelativeError
  double hidden = 0, hiddenMax = 0, hiddenMedian = 0; // simdiff of the final hidden states: all together, over tokens
  int64_t routed = 0, routedEqual = 0;                // (token, layer) pairs, and those with the same ids in order
  int64_t greedy = 0, greedyEqual = 0;                // prompts with a continuation, and those equal in every token
};
Comparison compare(const SessionResult &result, const Golden &golden);

} // namespace moray::reference

#endif
