// Kernels of real libraries and of real shape: CUB's block primitives, cooperative groups, a staged tensor-core product.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cub/cub.cuh>
#include <cuda_bf16.h>
#include <cuda_pipeline.h>
#include <stdint.h>

namespace cg = cooperative_groups;

// Keys and values of a block, sorted; 4 items a thread.
extern "C" __global__ void block_sort(const uint32_t *keys, const uint32_t *values, uint32_t *sortedKeys, uint32_t *sortedValues) {
  using Sort = cub::BlockRadixSort<uint32_t, 64, 4, uint32_t>;
  __shared__ typename Sort::TempStorage storage;
  uint32_t k[4], v[4];
  for (int i = 0; i < 4; ++i) {
    k[i] = keys[threadIdx.x * 4 + i];
    v[i] = values[threadIdx.x * 4 + i];
  }
  Sort(storage).Sort(k, v, 20);
  for (int i = 0; i < 4; ++i) {
    sortedKeys[threadIdx.x * 4 + i] = k[i];
    sortedValues[threadIdx.x * 4 + i] = v[i];
  }
}

extern "C" __global__ void block_scan(const int *a, int *sums, int *total) {
  using Scan = cub::BlockScan<int, 96>;
  __shared__ typename Scan::TempStorage storage;
  int x[2] = {a[threadIdx.x * 2], a[threadIdx.x * 2 + 1]}, all;
  Scan(storage).ExclusiveSum(x, x, all);
  sums[threadIdx.x * 2] = x[0];
  sums[threadIdx.x * 2 + 1] = x[1];
  if (threadIdx.x == 0)
    *total = all;
}

extern "C" __global__ void block_reduce(const float *a, float *out, int valid) {
  using Reduce = cub::BlockReduce<float, 160>;
  __shared__ typename Reduce::TempStorage storage;
  float x = (int)threadIdx.x < valid ? a[threadIdx.x] : 0;
  float largest = Reduce(storage).Reduce(x, cuda::maximum<>{}, valid);
  if (threadIdx.x == 0)
    *out = largest;
}

// Tiles of 8 lanes: reductions, scans by hand, ballots; then groups of lanes that chose the same branch.
extern "C" __global__ void tiles(const int *a, int *out) {
  auto block = cg::this_thread_block();
  auto tile = cg::tiled_partition<8>(block);
  int x = a[block.thread_rank()];
  int sum = cg::reduce(tile, x, cg::plus<int>());
  int above = tile.shfl_up(x, 1);
  unsigned odd = tile.ballot(x & 1);
  int group = 0;
  if (x % 3 == 0) {
    auto together = cg::coalesced_threads();
    group = 1000 + (int)together.size();
  }
  out[block.thread_rank() * 4] = sum;
  out[block.thread_rank() * 4 + 1] = tile.thread_rank() ? above : -1;
  out[block.thread_rank() * 4 + 2] = (int)odd;
  out[block.thread_rank() * 4 + 3] = group;
}

__device__ uint32_t sharedAddress(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

// Stages 64 rows of 32 columns, 16 bytes a copy, swizzled so that ldmatrix meets no bank twice; rows beyond `rows` are zeros.
__device__ __noinline__ void stage(uint16_t (*tile)[32], const uint16_t *matrix, int row0, int rows, int K, int k) {
#pragma unroll 1
  for (int piece = threadIdx.x; piece < 256; piece += 128) {
    int row = piece / 4, column = piece % 4;
    bool inside = row0 + row < rows;
    const uint16_t *from = matrix + (inside ? (size_t)(row0 + row) * K + k + column * 8 : 0);
    __pipeline_memcpy_async(&tile[row][(column ^ (row / 2 % 4)) * 8], from, 16, inside ? 0 : 16);
  }
}

// C[M][N] = A[M][K] B[N][K]^T in bf16 with fp32 sums: tiles of 64 x 64, four warps, three stages of cp.async, any M.
extern "C" __global__ void __launch_bounds__(128) product(const uint16_t *A, const uint16_t *B, float *C, int M, int N, int K) {
  __shared__ __align__(16) uint16_t tileA[3][64][32], tileB[3][64][32];
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, row0 = blockIdx.y * 64, column0 = blockIdx.x * 64, tiles = K / 32;
  float sum[8][4] = {};
#pragma unroll 1
  for (int s = 0; s < 2; ++s) {
    if (s < tiles) {
      stage(tileA[s], A, row0, M, K, s * 32);
      stage(tileB[s], B, column0, N, K, s * 32);
    }
    __pipeline_commit();
  }
#pragma unroll 1
  for (int t = 0; t < tiles; ++t) {
    __pipeline_wait_prior(1);
    __syncthreads();
    if (t + 2 < tiles) {
      stage(tileA[(t + 2) % 3], A, row0, M, K, (t + 2) * 32);
      stage(tileB[(t + 2) % 3], B, column0, N, K, (t + 2) * 32);
    }
    __pipeline_commit();
#pragma unroll 1
    for (int half = 0; half < 2; ++half) {
      uint32_t a[4];
      int row = warp * 16 + lane % 16, column = half * 2 + lane / 16;
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                   : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3]) : "r"(sharedAddress(&tileA[t % 3][row][(column ^ (row / 2 % 4)) * 8])));
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        uint32_t b[2];
        int bRow = n * 8 + lane % 8, bColumn = half * 2 + lane / 8 % 2;
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                     : "=r"(b[0]), "=r"(b[1]) : "r"(sharedAddress(&tileB[t % 3][bRow][(bColumn ^ (bRow / 2 % 4)) * 8])));
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(sum[n][0]), "+f"(sum[n][1]), "+f"(sum[n][2]), "+f"(sum[n][3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
      }
    }
  }
  for (int n = 0; n < 8; ++n)
    for (int i = 0; i < 2; ++i) {
      int row = row0 + warp * 16 + lane / 4 + i * 8, column = column0 + n * 8 + lane % 4 * 2;
      if (row < M && column < N)
        *(float2 *)(C + (size_t)row * N + column) = make_float2(sum[n][2 * i], sum[n][2 * i + 1]);
    }
}

// Softmax of rows: online maximum and sum by a block, exponentials by ex2, row in dynamic shared memory.
extern "C" __global__ void softmax(const float *in, float *out, int columns) {
  extern __shared__ float row[];
  __shared__ float partial[2][8];
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  float largest = -INFINITY, sum = 0;
  for (int i = threadIdx.x; i < columns; i += blockDim.x) {
    float x = row[i] = in[(size_t)blockIdx.x * columns + i];
    float next = fmaxf(largest, x);
    sum = sum * exp2f((largest - next) * 1.4426950408889634f) + exp2f((x - next) * 1.4426950408889634f);
    largest = next;
  }
  auto combine = [&](float otherLargest, float otherSum) {
    float next = fmaxf(largest, otherLargest);
    float mine = largest == next ? sum : sum * exp2f((largest - next) * 1.4426950408889634f);
    float other = otherLargest == next ? otherSum : otherSum * exp2f((otherLargest - next) * 1.4426950408889634f);
    largest = next;
    sum = mine + other;
  };
  for (int distance = 16; distance; distance /= 2) {
    float otherLargest = __shfl_xor_sync(~0u, largest, distance), otherSum = __shfl_xor_sync(~0u, sum, distance);
    combine(otherLargest, otherSum);
  }
  if (lane == 0) {
    partial[0][warp] = largest;
    partial[1][warp] = sum;
  }
  __syncthreads();
  if (warp == 0) {
    largest = lane < warps ? partial[0][lane] : -INFINITY;
    sum = lane < warps ? partial[1][lane] : 0;
    for (int distance = 4; distance; distance /= 2) {
      float otherLargest = __shfl_xor_sync(~0u, largest, distance), otherSum = __shfl_xor_sync(~0u, sum, distance);
      combine(otherLargest, otherSum);
    }
    if (lane == 0) {
      partial[0][0] = largest;
      partial[1][0] = sum;
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < columns; i += blockDim.x)
    out[(size_t)blockIdx.x * columns + i] = exp2f((row[i] - partial[0][0]) * 1.4426950408889634f) / partial[1][0];
}
