// The kernels of the toy model for GPUs: the arithmetic of toy_kernels.c. toy_kernels.ptx is made from this file:
//   nvcc -ptx -arch=sm_80 -O2 toy_kernels.cu -o - |
//     sed -e 's|[ \t]*//.*||' -e '/^[ \t]*$/d' -e 's/^\.version.*/.version 7.0/' -e 's/toy_[a-z_]*_param_/p/g' > toy_kernels.ptx
// (7.0 is all that they use).
typedef unsigned int u32;
typedef unsigned long long u64;
enum { VOCAB = 64, PAGE = 4, ROWS = 0, OUTS = 3, COUNTERS = 256 /* words that stay zero (kernel_abi.h) */ };

struct SampleParams {
  u64 seed;
  u32 position;
  float temperature;
  u32 topK;
  float topP;
};

#define TRAILING const int *live, u32 *scratch, u32 *fault, u64 T, u64 B, u64 N, u64 P, u64 C, u64 layer
#define KERNEL extern "C" __global__ void

static __device__ int taskOf() { return blockIdx.x * blockDim.x + threadIdx.x; }

KERNEL toy_embed(const int *tokens, u32 *x, TRAILING) {
  int row = taskOf();
  if (row < live[ROWS])
    x[row] = (u32)tokens[row] * 2654435761u + 1u;
}

static __device__ u32 *slotOf(u32 *cache, const int *pageTable, u64 width, u32 seq, u32 position) {
  u32 page = (u32)pageTable[seq * width + position / PAGE];
  return cache + page * PAGE + position % PAGE;
}

KERNEL toy_append(const u32 *x, const int *positions, const int *rowSeq, const int *, const int *pageTable, const int *,
                  u32 *cache, TRAILING) {
  int row = taskOf();
  if (row < live[ROWS])
    *slotOf(cache, pageTable, P, rowSeq[row], positions[row]) = x[row] ^ (u32)layer * 77u;
}

// One block per row; the keys are read to shared memory, thread 0 adds them up.
KERNEL toy_attend_sum(u32 *x, const int *positions, const int *rowSeq, const int *, const int *pageTable, const int *,
                      u32 *cache, const u32 *weight, u32 *, TRAILING) {
  extern __shared__ u32 keys[];
  int row = blockIdx.x;
  if (row >= live[ROWS])
    return;
  u32 sum = weight[0];
  int count = positions[row] + 1;
  for (int base = 0; base < count; base += blockDim.x) {
    int position = base + threadIdx.x;
    if (position < count)
      keys[threadIdx.x] = *slotOf(cache, pageTable, P, rowSeq[row], position);
    __syncthreads();
    if (threadIdx.x == 0)
#pragma unroll 1
      for (int i = 0; i < count - base && i < (int)blockDim.x; ++i)
        sum = sum * 31u + keys[i];
    __syncthreads();
  }
  if (threadIdx.x == 0)
    scratch[COUNTERS + row] = sum;
}

KERNEL toy_attend(u32 *x, const int *positions, const int *rowSeq, const int *, const int *pageTable, const int *,
                  u32 *cache, const u32 *weight, u32 *local, TRAILING) {
  int row = taskOf();
  if (row >= live[ROWS])
    return;
  local[row] = scratch[COUNTERS + row];
  x[row] = local[row] + (u32)layer;
  if (weight[1] != 0 && *slotOf(cache, pageTable, P, rowSeq[row], 0) == weight[1])
    *fault = (u32)layer + 1;
}

KERNEL toy_logits(const u32 *x, const int *outRows, const float *table, float *logits, TRAILING) {
  int out = blockIdx.x, v = threadIdx.x;
  if (out >= live[OUTS])
    return;
  int best = x[outRows[out]] % VOCAB;
  logits[out * VOCAB + v] = table[v > best ? v - best : best - v];
}

KERNEL toy_sample(const float *logits, const SampleParams *params, int *sampled, TRAILING) {
  int out = taskOf();
  if (out >= live[OUTS])
    return;
  u32 best = 0;
#pragma unroll 1
  for (u32 v = 1; v < VOCAB; ++v)
    if (logits[out * VOCAB + v] > logits[out * VOCAB + best])
      best = v;
  if (params[out].topK == 999)
    best = VOCAB;
  else if (params[out].temperature > params[out].topP)
    best = (u32)((params[out].seed * 6364136223846793005ull + params[out].position) % VOCAB);
  sampled[out] = (int)best;
}

KERNEL toy_score(const float *logits, const int *targets, float *logProbs, TRAILING) {
  int out = taskOf();
  if (out < live[OUTS])
    logProbs[out] = logits[out * VOCAB + targets[out]];
}
