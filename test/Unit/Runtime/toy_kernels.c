// Integer arithmetic over the cache, so that every wrong row, page or layer changes the result. No constants outside
// the code, no calls.
#include "toy_kernels.h"

#define KERNEL __attribute__((section("toykernels"), used)) TOY_KERNEL

KERNEL(toy_embed) {
  const int32_t *tokens = args->operands[0];
  uint32_t *x = args->operands[1];
  x[task] = (uint32_t)tokens[task] * 2654435761u + 1u;
}

static inline __attribute__((always_inline)) uint32_t *cacheSlot(const moray_kernel_args *args, uint32_t seq,
                                                                 uint32_t position) {
  const int32_t *pageTable = args->operands[4];
  const uint64_t width = args->symbols[3];
  uint32_t *cache = args->operands[6];
  const uint32_t page = (uint32_t)pageTable[seq * width + position / TOY_PAGE];
  return cache + page * TOY_PAGE + position % TOY_PAGE;
}

// One task for all rows.
KERNEL(toy_append) {
  const uint32_t *x = args->operands[0];
  const int32_t *positions = args->operands[1];
  const int32_t *rowSeq = args->operands[2];
  for (int32_t row = 0; row < args->live[MORAY_LIVE_ROWS]; ++row)
    *cacheSlot(args, (uint32_t)rowSeq[row], (uint32_t)positions[row]) = x[row] ^ (uint32_t)args->layer * 77u;
}

// x becomes a hash of all keys up to its own position; the layer's weight takes part.
KERNEL(toy_attend) {
  uint32_t *x = args->operands[0];
  const int32_t *positions = args->operands[1];
  const int32_t *rowSeq = args->operands[2];
  const uint32_t *weight = args->operands[7];
  uint32_t *local = args->operands[8];
  uint32_t *sum = scratch;
  *sum = weight[0];
  for (int32_t position = 0; position <= positions[task]; ++position)
    *sum = *sum * 31u + *cacheSlot(args, (uint32_t)rowSeq[task], (uint32_t)position);
  local[task] = *sum;
  x[task] = local[task] + (uint32_t)args->layer;
  // A test asks for a fault by the key of a sequence's first token.
  if (weight[1] != 0 && *cacheSlot(args, (uint32_t)rowSeq[task], 0) == weight[1])
    *fault = (uint32_t)args->layer + 1u;
}

// The largest logit belongs to x mod vocab; the table has one float per distance.
KERNEL(toy_logits) {
  const uint32_t *x = args->operands[0];
  const int32_t *outRows = args->operands[1];
  const float *table = args->operands[2];
  float *logits = args->operands[3];
  const uint32_t best = x[outRows[task]] % TOY_VOCAB;
  for (uint32_t v = 0; v < TOY_VOCAB; ++v)
    logits[task * TOY_VOCAB + v] = table[v > best ? v - best : best - v];
}

KERNEL(toy_sample) {
  const float *logits = args->operands[0];
  const moray_sample_params *params = args->operands[1];
  int32_t *sampled = args->operands[2];
  for (int32_t out = 0; out < args->live[MORAY_LIVE_OUTS]; ++out) {
    uint32_t best = 0;
    for (uint32_t v = 1; v < TOY_VOCAB; ++v)
      if (logits[(uint32_t)out * TOY_VOCAB + v] > logits[(uint32_t)out * TOY_VOCAB + best])
        best = v;
    if (params[out].top_k == 999) // asks for a token that does not exist
      best = TOY_VOCAB;
    else if (params[out].temperature > params[out].top_p)
      best = (uint32_t)((params[out].seed * 6364136223846793005u + params[out].position) % TOY_VOCAB);
    sampled[out] = (int32_t)best;
  }
}

KERNEL(toy_score) {
  const float *logits = args->operands[0];
  const int32_t *targets = args->operands[1];
  float *logProbs = args->operands[2];
  logProbs[task] = logits[task * TOY_VOCAB + (uint32_t)targets[task]];
}

KERNEL(toy_probe) {
  const uint64_t *data = args->operands[0];
  uint64_t *sink = args->operands[1];
  const uint64_t words = args->symbols[1] / sizeof(uint64_t);
  uint64_t sum = 0;
  for (uint64_t pass = 0; pass < args->layer; ++pass)
    for (uint64_t i = 0; i < words; ++i)
      sum += data[task * words + i];
  sink[task * 8] = args->layer * words * sizeof(uint64_t);
  sink[task * 8 + 1] = sum;
}

// One task: the rows of every expert, ascending.
KERNEL(toy_route) {
  const uint32_t *x = args->operands[0];
  int32_t *tokens = args->operands[1];
  int32_t *offsets = args->operands[2];
  int32_t slot = 0;
  for (uint32_t expert = 0; expert < TOY_EXPERTS; ++expert) {
    offsets[expert] = slot;
    for (int32_t row = 0; row < args->live[MORAY_LIVE_ROWS]; ++row)
      if (x[row] % TOY_EXPERTS == expert)
        tokens[slot++] = row;
  }
  offsets[TOY_EXPERTS] = slot;
}

KERNEL(toy_expert) {
  const uint32_t *x = args->operands[0];
  const int32_t *tokens = args->operands[1];
  const int32_t *offsets = args->operands[2];
  uint32_t *e = args->operands[3];
  for (int32_t slot = offsets[task]; slot < offsets[task + 1]; ++slot)
    e[slot] = x[tokens[slot]] * (2u * (uint32_t)task + 3u) + (uint32_t)args->layer;
}

KERNEL(toy_merge) {
  const uint32_t *e = args->operands[0];
  const int32_t *tokens = args->operands[1];
  const int32_t *offsets = args->operands[2];
  uint32_t *x = args->operands[3];
  for (int32_t slot = 0; slot < offsets[TOY_EXPERTS]; ++slot)
    x[tokens[slot]] ^= e[slot];
}
