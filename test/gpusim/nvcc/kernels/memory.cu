// State spaces and addressing: constants, globals, vectors, read-only loads, grids of several dimensions, special registers.
#include <stdint.h>

#define THREAD int i = blockIdx.x * blockDim.x + threadIdx.x

__constant__ float coefficients[5] = {1.0f, -0.5f, 0.25f, 3.0f, 0.125f};
__constant__ uint16_t table[16] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3};
__device__ uint32_t counters[8];
__device__ int64_t seeded[3] = {-7, 0x123456789abcdefLL, 42};
__device__ const float *pointer;
__device__ float target[2] = {2.5f, -1.5f};
__device__ float *initialised = target + 1;

extern "C" __global__ void constants(const float *x, float *out, int n) {
  THREAD;
  if (i >= n)
    return;
  float r = 0;
  for (int k = 4; k >= 0; --k)
    r = r * x[i] + coefficients[k];
  out[i] = r + table[i & 15] + coefficients[i % 5];
}

extern "C" __global__ void globals_write(int add) {
  counters[threadIdx.x & 7] = threadIdx.x * 3 + add;
  if (threadIdx.x == 0)
    seeded[2] += add;
}

extern "C" __global__ void globals_read(int64_t *out) {
  int i = threadIdx.x;
  out[i] = i < 8 ? counters[i] : i < 11 ? seeded[i - 8] : i == 11 ? (int64_t)(*initialised * 2) : (int64_t)target[0];
}

extern "C" __global__ void vector_accesses(const char *in, char *out) {
  int i = threadIdx.x;
  uchar4 a = ((const uchar4 *)in)[i];
  ((uchar4 *)out)[i] = make_uchar4(a.w, a.z, a.y, a.x);
  ushort4 b = ((const ushort4 *)(in + 128))[i];
  ((ushort4 *)(out + 128))[i] = make_ushort4(b.y, b.x, b.w, b.z);
  uint2 c = ((const uint2 *)(in + 384))[i];
  ((uint2 *)(out + 384))[i] = make_uint2(c.y, c.x);
  uint4 d = ((const uint4 *)(in + 640))[i];
  ((uint4 *)(out + 640))[i] = make_uint4(d.w, d.x, d.y, d.z);
  ulonglong2 e = ((const ulonglong2 *)(in + 1152))[i];
  ((ulonglong2 *)(out + 1152))[i] = make_ulonglong2(e.y, e.x);
}

extern "C" __global__ void narrow_accesses(const int8_t *a, const uint16_t *b, int32_t *out, int16_t *narrow) {
  int i = threadIdx.x;
  out[i] = a[i] * 3 + b[i];
  narrow[i] = (int16_t)(a[i] - b[i]);
}

extern "C" __global__ void read_only(const float4 *__restrict__ a, const int *__restrict__ order, float *__restrict__ out) {
  int i = threadIdx.x;
  float4 v = __ldg(a + order[i]);
  out[i] = v.x + 2 * v.y + 3 * v.z + 4 * v.w + __ldg(order + i);
}

extern "C" __global__ void cache_hints(const uint32_t *a, uint32_t *out) {
  int i = threadIdx.x;
  uint32_t r = __ldcg(a + i) + __ldcs(a + i + 32) + __ldcv(a + i + 64);
  asm volatile("ld.global.L1::no_allocate.b32 %0, [%1];" : "=r"(r) : "l"(a + i));
  uint32_t v, w;
  asm volatile("ld.volatile.global.u32 %0, [%1+4];" : "=r"(v) : "l"(a + i));
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1+8];" : "=r"(w) : "l"(a + i));
  asm volatile("prefetch.global.L2 [%0];" ::"l"(a + i));
  __stwt(out + i, r + v * 3 + w * 5);
}

extern "C" __global__ void generic_addresses(const int *a, int *out, int n) {
  __shared__ int staged[64];
  int local[4];
  int i = threadIdx.x;
  staged[i] = a[i] * 2;
  for (int k = 0; k < 4; ++k)
    local[k] = a[(i + k) % n] + k;
  __syncthreads();
  const int *p = a[i] % 3 == 0 ? staged + (63 - i) : a[i] % 3 == 1 ? a + i : local + (i & 3);
  out[i] = *p + (__isShared(p) ? 1000 : 0) + (__isGlobal(p) ? 2000 : 0) + (__isLocal(p) ? 4000 : 0);
}

extern "C" __global__ void grid_stride(const float *a, float *out, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    out[i] = a[i] * 2 + 1;
}

extern "C" __global__ void three_dimensions(uint32_t *out) {
  uint32_t x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y,
           z = blockIdx.z * blockDim.z + threadIdx.z;
  uint32_t width = gridDim.x * blockDim.x, height = gridDim.y * blockDim.y;
  out[(z * height + y) * width + x] = x | y << 8 | z << 16 | gridDim.z << 24;
}

// warpid is where the thread is in its block for blocks in one dimension; lanemasks; nctaid and ntid.
extern "C" __global__ void special_registers(uint32_t *out) {
  uint32_t lane, lt, le, eq, ge, gt;
  asm("mov.u32 %0, %%laneid;" : "=r"(lane));
  asm("mov.u32 %0, %%lanemask_lt;" : "=r"(lt));
  asm("mov.u32 %0, %%lanemask_le;" : "=r"(le));
  asm("mov.u32 %0, %%lanemask_eq;" : "=r"(eq));
  asm("mov.u32 %0, %%lanemask_ge;" : "=r"(ge));
  asm("mov.u32 %0, %%lanemask_gt;" : "=r"(gt));
  uint32_t *to = out + 8 * (blockIdx.x * blockDim.x + threadIdx.x);
  to[0] = lane; to[1] = lt; to[2] = le; to[3] = eq; to[4] = ge; to[5] = gt;
  to[6] = warpSize; to[7] = gridDim.x * 1000 + blockDim.x;
}

// st and ld of b128 pieces through packed moves.
extern "C" __global__ void packed_moves(const uint64_t *a, uint64_t *out) {
  int i = threadIdx.x;
  uint64_t r;
  asm("{ .reg .b32 l, h; mov.b64 {l, h}, %1; mov.b64 %0, {h, l}; }" : "=l"(r) : "l"(a[i]));
  uint64_t s;
  asm("{ .reg .b16 p, q, u, v; mov.b64 {p, q, u, v}, %1; mov.b64 %0, {v, p, u, q}; }" : "=l"(s) : "l"(a[i]));
  uint32_t t;
  asm("{ .reg .b16 p, q; .reg .b32 l; cvt.u32.u64 l, %1; mov.b32 {p, q}, l; mov.b32 %0, {q, p}; }" : "=r"(t) : "l"(a[i]));
  out[3 * i] = r;
  out[3 * i + 1] = s;
  out[3 * i + 2] = t;
}
