// Atomic operations of every kind and width on global and shared memory, with scopes, and reductions without a result.
#include <stdint.h>

extern "C" __global__ void atomic_u32(uint32_t *cells, const uint32_t *a, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n)
    return;
  uint32_t x = a[i];
  atomicAdd(cells + 0, x);
  atomicSub(cells + 1, x);
  atomicMin(cells + 2, x);
  atomicMax(cells + 3, x);
  atomicMin((int *)cells + 4, (int)x);
  atomicMax((int *)cells + 5, (int)x);
  atomicAnd(cells + 6, x | 0xff00ff00);
  atomicOr(cells + 7, x & 0x00ff00ff);
  atomicXor(cells + 8, x);
  atomicInc(cells + 9, 17);
  atomicDec(cells + 10, 17);
  atomicExch(cells + 11 + (x & 3), x | 3); // several writers: the last wins
}

// With a result: the old values are a permutation of what a counter passed through.
extern "C" __global__ void atomic_results(uint32_t *counter, uint32_t *old, uint32_t *wrapped) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  old[i] = atomicAdd(counter, 3u);
  wrapped[i] = atomicInc(counter + 1, 9u);
}

extern "C" __global__ void atomic_u64(unsigned long long *cells, const unsigned long long *a) {
  unsigned long long x = a[blockIdx.x * blockDim.x + threadIdx.x];
  atomicAdd(cells + 0, x);
  atomicMin(cells + 1, x);
  atomicMax(cells + 2, x);
  atomicMin((long long *)cells + 3, (long long)x);
  atomicMax((long long *)cells + 4, (long long)x);
  atomicAnd(cells + 5, x | 0xff00ff00ff00ff00);
  atomicOr(cells + 6, x & 0x00ff00ff00ff00ff);
  atomicXor(cells + 7, x);
}

extern "C" __global__ void atomic_floats(float *f32, double *f64, uint32_t *f16x2, uint16_t *f16) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd(f32, 0.5f * (i & 7));
  atomicAdd(f64, 0.25 * i);
  asm volatile("red.global.add.noftz.f16x2 [%0], %1;" ::"l"(f16x2), "r"(0x3c004000u) : "memory");  // 2, 1
  asm volatile("{ .reg .f16 o; atom.global.add.noftz.f16 o, [%0], %1; }" ::"l"(f16), "h"((uint16_t)0x3800) : "memory"); // 0.5
}

extern "C" __global__ void shared_histogram(const uint8_t *a, uint32_t *out, int n) {
  __shared__ uint32_t bins[64];
  for (int b = threadIdx.x; b < 64; b += blockDim.x)
    bins[b] = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += blockDim.x)
    atomicAdd(bins + (a[i] & 63), 1u);
  __syncthreads();
  for (int b = threadIdx.x; b < 64; b += blockDim.x)
    out[b] = bins[b];
}

extern "C" __global__ void shared_atomics(const uint32_t *a, uint64_t *out) {
  __shared__ uint32_t cells[6];
  __shared__ unsigned long long wide[2];
  __shared__ float real;
  int t = threadIdx.x;
  if (t == 0) {
    cells[0] = 0; cells[1] = ~0u; cells[2] = 0; cells[3] = 0; cells[4] = ~0u; cells[5] = 5;
    wide[0] = 0; wide[1] = 1;
    real = 0;
  }
  __syncthreads();
  uint32_t x = a[t];
  atomicAdd(cells + 0, x);
  atomicMin(cells + 1, x);
  atomicMax((int *)cells + 2, (int)x);
  atomicOr(cells + 3, x);
  atomicAnd(cells + 4, x);
  atomicCAS(cells + 5, 5u, 1000u);
  atomicAdd(wide + 0, (unsigned long long)x << 8);
  atomicXor(wide + 1, (unsigned long long)x << 20);
  atomicAdd(&real, (float)(t & 3));
  __syncthreads();
  if (t < 6)
    out[t] = cells[t];
  if (t < 2)
    out[6 + t] = wide[t];
  if (t == 0)
    out[8] = (uint64_t)real;
}

// A product by compare-and-swap, 32 and 64 bits wide; every lane must get its turn.
extern "C" __global__ void cas_loops(uint32_t *product, unsigned long long *maximum, const uint32_t *a) {
  uint32_t x = a[blockIdx.x * blockDim.x + threadIdx.x] | 1;
  uint32_t seen = *(volatile uint32_t *)product, assumed;
  do {
    assumed = seen;
    seen = atomicCAS(product, assumed, assumed * x);
  } while (seen != assumed);
  unsigned long long mine = (unsigned long long)x * x, best = *(volatile unsigned long long *)maximum;
  while (mine > best) {
    unsigned long long old = atomicCAS(maximum, best, mine);
    if (old == best)
      break;
    best = old;
  }
}

extern "C" __global__ void cas_narrow(unsigned short *cell, int rounds) {
  for (int k = 0; k < rounds; ++k) {
    unsigned short seen = *(volatile unsigned short *)cell, assumed;
    do {
      assumed = seen;
      seen = atomicCAS(cell, assumed, (unsigned short)(assumed + 1));
    } while (seen != assumed);
  }
}

extern "C" __global__ void scopes_and_orders(uint32_t *cells, uint32_t *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd_block(cells + 1 + blockIdx.x, 1u);
  atomicAdd_system(cells, 2u);
  uint32_t r;
  asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], 1;" : "=r"(r) : "l"(cells + 8) : "memory");
  asm volatile("atom.relaxed.cta.global.or.b32 %0, [%1], %2;" : "=r"(r) : "l"(cells + 9), "r"(1u << (i & 31)) : "memory");
  asm volatile("red.relaxed.gpu.global.max.u32 [%0], %1;" ::"l"(cells + 10), "r"(i) : "memory");
  asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(cells + 11), "r"(i) : "memory");
  asm volatile("fence.acq_rel.gpu;" ::: "memory");
  asm volatile("fence.sc.cta;" ::: "memory");
  asm volatile("membar.gl;" ::: "memory");
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(r) : "l"(cells + 12) : "memory");
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(out + i), "r"(r + i) : "memory");
}

// The last block to arrive sums up what all blocks have written.
extern "C" __global__ void last_block(const uint32_t *a, uint32_t *partial, uint32_t *tickets, uint32_t *total) {
  __shared__ bool last;
  uint32_t sum = __reduce_add_sync(~0u, a[blockIdx.x * 32 + threadIdx.x]);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = sum;
    __threadfence();
    last = atomicAdd(tickets, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    uint32_t all = 0;
    for (uint32_t b = 0; b < gridDim.x; ++b)
      all += ((volatile uint32_t *)partial)[b];
    *total = all;
  }
}
