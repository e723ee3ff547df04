// cp.async: widths, zero fill, groups, several stages.
#include <cuda_pipeline.h>
#include <stdint.h>

__device__ uint32_t sharedAddress(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

extern "C" __global__ void copy_widths(const char *in, uint32_t *out) {
  __shared__ __align__(16) char buffer[32 * 32];
  int t = threadIdx.x;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(sharedAddress(buffer + 4 * t)), "l"(in + 4 * t) : "memory");
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"(sharedAddress(buffer + 128 + 8 * t)), "l"(in + 128 + 8 * t) : "memory");
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(sharedAddress(buffer + 512 + 16 * t)), "l"(in + 512 + 16 * t) : "memory");
  asm volatile("cp.async.wait_all;" ::: "memory");
  __syncthreads();
  for (int i = t; i < 256; i += 32) // words 96 to 127 were never written
    out[i] = ((uint32_t *)buffer)[i < 96 || i >= 128 ? i : i - 32] * 3;
}

// A row with a ragged end: the last copies fetch fewer bytes and fill up with zeros.
extern "C" __global__ void copy_zero_fill(const char *in, uint32_t *out, int bytes) {
  __shared__ __align__(16) char buffer[512];
  int t = threadIdx.x, left = bytes - 16 * t, size = left < 0 ? 0 : left > 16 ? 16 : left;
  const char *from = size ? in + 16 * t : in;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(sharedAddress(buffer + 16 * t)), "l"(from), "r"(size) : "memory");
  asm volatile("cp.async.commit_group;" ::: "memory");
  asm volatile("cp.async.wait_group 0;" ::: "memory");
  __syncthreads();
  for (int i = t; i < 128; i += 32)
    out[i] = ((uint32_t *)buffer)[127 - i];
}

// Three stages in flight; each lane waits for its own copies, the barrier for those of others.
extern "C" __global__ void copy_stages(const float *in, float *out, int tiles) {
  __shared__ float stages[3][64];
  int t = threadIdx.x;
  for (int s = 0; s < 2; ++s) {
    if (s < tiles)
      __pipeline_memcpy_async(&stages[s][t], in + s * 64 + t, 4);
    __pipeline_commit();
  }
  float sum = 0;
  for (int s = 0; s < tiles; ++s) {
    __pipeline_wait_prior(1);
    __syncthreads();
    if (s + 2 < tiles)
      __pipeline_memcpy_async(&stages[(s + 2) % 3][t], in + (s + 2) * 64 + t, 4);
    __pipeline_commit();
    sum = sum * 0.5f + stages[s % 3][63 - t];
  }
  __pipeline_wait_prior(0);
  out[t] = sum;
}

// One's own copy needs the wait alone.
extern "C" __global__ void copy_own(const uint4 *in, uint4 *out) {
  __shared__ uint4 buffer[2][32];
  int t = threadIdx.x;
  __pipeline_memcpy_async(&buffer[0][t], in + t, 16);
  __pipeline_commit();
  __pipeline_memcpy_async(&buffer[1][t], in + 32 + t, 16, 4); // the last word becomes zero
  __pipeline_commit();
  __pipeline_wait_prior(1);
  uint4 first = buffer[0][t];
  __pipeline_wait_prior(0);
  uint4 second = buffer[1][t];
  out[t] = make_uint4(first.x + second.x, first.y + second.y, first.z + second.z, first.w + second.w);
}
