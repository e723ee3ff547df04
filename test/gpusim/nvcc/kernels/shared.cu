// Static and dynamic shared memory, barriers of all kinds, fences.
#include <stdint.h>

extern __shared__ __align__(16) char dynamicShared[];

extern "C" __global__ void block_sum(const int *a, int *out) {
  __shared__ int partial[128];
  int t = threadIdx.x;
  partial[t] = a[blockIdx.x * blockDim.x + t];
  __syncthreads();
  for (int half = blockDim.x / 2; half; half /= 2) {
    if (t < half)
      partial[t] += partial[t + half];
    __syncthreads();
  }
  if (t == 0)
    out[blockIdx.x] = partial[0];
}

extern "C" __global__ void transpose(const float *in, float *out, int width, int height) {
  __shared__ float tile[16][17];
  int x = blockIdx.x * 16 + threadIdx.x, y = blockIdx.y * 16 + threadIdx.y;
  if (x < width && y < height)
    tile[threadIdx.y][threadIdx.x] = in[y * width + x];
  __syncthreads();
  x = blockIdx.y * 16 + threadIdx.x;
  y = blockIdx.x * 16 + threadIdx.y;
  if (x < height && y < width)
    out[y * height + x] = tile[threadIdx.x][threadIdx.y];
}

extern "C" __global__ void prefix_sum(const uint32_t *a, uint32_t *out) {
  uint32_t *buffers = (uint32_t *)dynamicShared;
  int t = threadIdx.x, n = blockDim.x, from = 0;
  buffers[t] = a[t];
  __syncthreads();
  for (int step = 1; step < n; step *= 2) {
    buffers[(1 - from) * n + t] = buffers[from * n + t] + (t >= step ? buffers[from * n + t - step] : 0);
    from = 1 - from;
    __syncthreads();
  }
  out[t] = buffers[from * n + t];
}

extern "C" __global__ void mixed_shared(const uint8_t *a, uint64_t *out) {
  __shared__ __align__(8) uint8_t bytes[64];
  __shared__ uint64_t words[8];
  uint16_t *dynamicHalves = (uint16_t *)dynamicShared;
  int t = threadIdx.x;
  bytes[t] = a[t];
  dynamicHalves[t] = (uint16_t)(a[t] * 257);
  __syncthreads();
  if (t < 8)
    words[t] = *(const uint64_t *)(bytes + 8 * t) + *(const uint32_t *)(dynamicHalves + 2 * t);
  __syncthreads();
  if (t < 8)
    out[t] = words[7 - t];
}

// More than 48 KiB, which must be asked for.
extern "C" __global__ void large_shared(uint32_t *out, int words) {
  uint32_t *buffer = (uint32_t *)dynamicShared;
  for (int i = threadIdx.x; i < words; i += blockDim.x)
    buffer[i] = i * 2654435761u;
  __syncthreads();
  uint32_t sum = 0;
  for (int i = threadIdx.x; i < words; i += blockDim.x)
    sum += buffer[words - 1 - i] ^ i;
  out[threadIdx.x] = sum;
}

extern "C" __global__ void barrier_reductions(const int *a, int *out) {
  int t = threadIdx.x, x = a[blockIdx.x * blockDim.x + t];
  int count = __syncthreads_count(x > 0), all = __syncthreads_and(x > -100), any = __syncthreads_or(x == 77);
  int *to = out + 3 * (blockIdx.x * blockDim.x + t);
  to[0] = count;
  to[1] = all != 0;
  to[2] = any != 0;
}

// Warp 0 produces, warp 1 consumes, twice over, with two named barriers: full (1) and empty (2).
extern "C" __global__ void named_barriers(const int *a, int *out) {
  __shared__ int slot[32];
  int lane = threadIdx.x % 32;
  for (int round = 0; round < 4; ++round) {
    if (threadIdx.x < 32) {
      if (round > 0)
        asm volatile("bar.sync 2, 64;" ::: "memory");
      slot[lane] = a[round * 32 + lane] * (round + 1);
      asm volatile("bar.arrive 1, 64;" ::: "memory");
    } else {
      asm volatile("bar.sync 1, 64;" ::: "memory");
      out[round * 32 + lane] = slot[31 - lane];
      if (round < 3)
        asm volatile("bar.arrive 2, 64;" ::: "memory");
    }
  }
}

// Half of the block meets at a barrier of its own while the other half has returned.
extern "C" __global__ void partial_barrier(const int *a, int *out) {
  __shared__ int values[64];
  int t = threadIdx.x;
  if (t >= 64)
    return;
  values[t] = a[t];
  asm volatile("barrier.sync 3, 64;" ::: "memory");
  out[t] = values[63 - t];
  __syncthreads(); // exited threads count as arrived
}

extern "C" __global__ void warp_barriers(const int *a, int *out) {
  __shared__ int values[64];
  int t = threadIdx.x, lane = t % 32;
  values[t] = a[t];
  __syncwarp();
  int other = values[t ^ 1];
  __syncwarp();
  if (lane < 8) {
    values[t] = other * 3;
    __syncwarp(0xff);
    other = values[t ^ 7];
  } else
    other += 1;
  out[t] = other;
}

// One block passes data to itself through global memory; the fence orders the flag.
extern "C" __global__ void fenced_flag(volatile int *data, volatile int *flag, int *out) {
  if (threadIdx.x == 32) {
    *data = 99;
    __threadfence();
    *flag = 1;
  }
  if (threadIdx.x == 0) {
    while (*flag == 0)
      ;
    __threadfence();
    *out = *data;
  }
  __threadfence_block();
  __threadfence_system();
}
