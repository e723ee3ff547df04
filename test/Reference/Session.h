// Runs whole sequences through the step program: chunked prefill, mixed batches, greedy continuation.
#ifndef MORAY_TEST_REFERENCE_SESSION_H
#define MORAY_TEST_REFERENCE_SESSION_H

#include "test/Reference/Interpreter.h"

namespace moray::reference {

struct SessionOptions {
  /// Prompt tokens per sequence and step; 0: the whole prompt at once.
  int64_t chunk = 0;
  /// Tokens to append greedily to every prompt (end-of-text tokens do not stop).
  int64_t greedy = 0;
  /// Present prompt rows as decode rows, too, so that attention takes its absorbed form everywhere.
  bool decodeForm = false;
  /// See Interpreter; tokens are numbered through all prompts, one after the other.
  const RoutingTable *forced = nullptr;
};

struct SessionResult {
  Tensor logits;                            // of all prompt tokens, prompts one after the other [T, V]
  Tensor hidden;                            // what enters the last matrix product [T, H]
  std::vector<std::vector<int32_t>> greedy; // per prompt
  RoutingTable routing;                     // of all prompt tokens
};

/// Prompts must not be empty. Sequences advance together: short ones generate while long ones still read their prompt,
/// so steps mix decode and prefill rows. Pages of the sequences are interleaved in the cache.
mlir::FailureOr<SessionResult> runSession(Interpreter &interpreter, const std::vector<std::vector<int32_t>> &prompts,
                                          const SessionOptions &options);

} // namespace moray::reference

#endif
