// Shuffles, votes, match, redux, active masks.
#include <stdint.h>

extern "C" __global__ void shuffles(const uint32_t *a, uint32_t *out) {
  int t = threadIdx.x, op = 0;
  uint32_t x = a[t];
#define PUT(value) out[op++ * 32 + t] = (value)
  PUT(__shfl_sync(~0u, x, 5));
  PUT(__shfl_sync(~0u, x, x & 31));
  PUT(__shfl_sync(~0u, x, x & 7, 8));
  PUT(__shfl_up_sync(~0u, x, 3));
  PUT(__shfl_up_sync(~0u, x, 1, 4));
  PUT(__shfl_down_sync(~0u, x, 7));
  PUT(__shfl_down_sync(~0u, x, 2, 16));
  PUT(__shfl_xor_sync(~0u, x, 21));
  PUT(__shfl_xor_sync(~0u, x, 3, 8));
  PUT((uint32_t)(__shfl_xor_sync(~0u, (uint64_t)x * 0x100000001ull, 1) >> 32));
  PUT(__float_as_uint(__shfl_down_sync(~0u, __uint_as_float(x), 1)));
}

// The second result of shfl: whether the source lane was in range.
extern "C" __global__ void shuffle_predicates(const uint32_t *a, uint32_t *out) {
  int t = threadIdx.x, op = 0;
  uint32_t x = a[t], r, p;
#define SHUFFLE(kind, b, c) \
  asm volatile("{ .reg .pred q; shfl.sync." kind ".b32 %0|q, %2, %3, %4, 0xffffffff; selp.u32 %1, 1, 0, q; }" \
               : "=r"(r), "=r"(p) : "r"(x), "r"(b), "r"(c)); \
  PUT(r); PUT(p)
  SHUFFLE("up", 4u, 0u);
  SHUFFLE("down", 4u, 31u);
  SHUFFLE("bfly", 9u, 31u);
  SHUFFLE("idx", 40u, 31u);
  SHUFFLE("idx", (uint32_t)t + 3, 0x181fu);
  SHUFFLE("down", 3u, 0x101fu);
}

extern "C" __global__ void shuffle_subsets(const uint32_t *a, uint32_t *out) {
  int t = threadIdx.x;
  uint32_t x = a[t];
  if (t & 1)
    out[t] = __shfl_xor_sync(0xaaaaaaaau, x, 2);
  else if (t < 16)
    out[t] = __shfl_sync(0x5555u, x, 14);
  else
    out[t] = x + 1;
}

extern "C" __global__ void votes(const uint32_t *a, uint32_t *out) {
  int t = threadIdx.x, op = 0;
  uint32_t x = a[t];
  PUT(__ballot_sync(~0u, x & 1));
  PUT(__all_sync(~0u, x > 0));
  PUT(__any_sync(~0u, x == 1000));
  uint32_t r;
  asm volatile("{ .reg .pred p, q; setp.lt.u32 p, %1, 500; vote.sync.uni.pred q, p, 0xffffffff; selp.u32 %0, 1, 0, q; }" : "=r"(r) : "r"(x));
  PUT(r);
  if (t >= 8 && t < 24) {
    PUT(__ballot_sync(0x00ffff00u, x & 2));
    PUT(__any_sync(0x00ffff00u, x & 4));
  } else {
    PUT(7);
    PUT(8);
  }
  asm volatile("{ .reg .pred p; setp.gt.u32 p, %1, 100; vote.sync.ballot.b32 %0, !p, 0xffffffff; }" : "=r"(r) : "r"(x));
  PUT(r);
}

extern "C" __global__ void matches(const uint32_t *a, const uint64_t *b, uint32_t *out) {
  int t = threadIdx.x, op = 0, predicate;
  PUT(__match_any_sync(~0u, a[t] % 5));
  PUT(__match_any_sync(~0u, b[t] % 3 << 40));
  PUT(__match_all_sync(~0u, a[t] % 5, &predicate));
  PUT(predicate);
  PUT(__match_all_sync(~0u, b[0], &predicate));
  PUT(predicate);
  if (t < 20)
    PUT(__match_any_sync(0xfffffu, a[t] & 3));
  else
    PUT(t);
}

extern "C" __global__ void reductions(const uint32_t *a, uint32_t *out) {
  int t = threadIdx.x, op = 0;
  uint32_t x = a[t];
  PUT(__reduce_add_sync(~0u, x));
  PUT(__reduce_min_sync(~0u, x));
  PUT(__reduce_max_sync(~0u, x));
  PUT((uint32_t)__reduce_min_sync(~0u, (int)x));
  PUT((uint32_t)__reduce_max_sync(~0u, (int)x));
  PUT(__reduce_and_sync(~0u, x | 0xf0f0f0f0));
  PUT(__reduce_or_sync(~0u, x & 0x0f0f0f0f));
  PUT(__reduce_xor_sync(~0u, x));
  uint32_t mask = t < 12 ? 0xfffu : ~0xfffu; // two groups at once
  PUT(__reduce_add_sync(mask, x));
}

// Which lanes are together inside a branch: the hardware promises only that the own lane is among those that could be.
extern "C" __global__ void active_masks(uint32_t *out) {
  int t = threadIdx.x;
  uint32_t whole = __activemask(), part = 0;
  if (t % 3 == 1)
    part = __activemask();
  out[2 * t] = whole;
  out[2 * t + 1] = part;
}

// Warp sums with an unrolled tree, then a broadcast, for several warps and a ragged last one.
extern "C" __global__ void warp_sums(const float *a, float *out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  float sum = i < n ? a[i] : 0.0f;
  for (int distance = 16; distance; distance /= 2)
    sum += __shfl_down_sync(~0u, sum, distance);
  sum = __shfl_sync(~0u, sum, 0);
  if (i < n)
    out[i] = sum;
}
