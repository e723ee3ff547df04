// What a launch of a kernel cannot avoid to move and to compute, estimated from its operands; for benchmarks.
#pragma once
#include "runtime/exec/program.h"

namespace moray::rt {

struct Work {
  uint64_t bytes, flops;
};

// For the live counts in plan.symbols. Buffers count as if the step had exactly its live rows; of the weights of
// experts, those that the rows can reach, at most `expertsHeld` of a layer; of the cache, `cachedTokens` for attention
// and the live rows for others.
Work modelWork(const Artifact &artifact, const ExecPlan &plan, const std::vector<Operand> &operands, uint32_t kernel,
               uint64_t cachedTokens, uint64_t expertsHeld = UINT64_MAX);

} // namespace moray::rt
