// ldmatrix and mma.sync; a whole tile product with both.
#include <stdint.h>

__device__ uint32_t sharedAddress(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

// Each lane's registers after ldmatrix of 8x8 matrices of 16-bit elements; row r of matrix m is 16 bytes.
extern "C" __global__ void load_matrices(const uint4 *rows, uint32_t *out) {
  __shared__ uint4 tile[32];
  int t = threadIdx.x;
  tile[t] = rows[t];
  __syncwarp();
  uint32_t r0, r1, r2, r3, op = 0;
#define PUT(value) out[op++ * 32 + t] = (value)
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(r0) : "r"(sharedAddress(tile + (t & 7))));
  PUT(r0);
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(r0) : "r"(sharedAddress(tile + (t & 7))));
  PUT(r0);
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(r0), "=r"(r1) : "r"(sharedAddress(tile + (t & 15) * 2)));
  PUT(r0); PUT(r1);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(r0), "=r"(r1), "=r"(r2), "=r"(r3) : "r"(sharedAddress(tile + t)));
  PUT(r0); PUT(r1); PUT(r2); PUT(r3);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(r0), "=r"(r1), "=r"(r2), "=r"(r3) : "r"(sharedAddress(tile + (31 - t))));
  PUT(r0); PUT(r1); PUT(r2); PUT(r3);
}

#define MMA_16(name, types) \
  extern "C" __global__ void name(const uint32_t *a, const uint32_t *b, const float *c, float *d) { \
    int t = threadIdx.x; \
    float d0, d1, d2, d3; \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." types ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};" \
                 : "=f"(d0), "=f"(d1), "=f"(d2), "=f"(d3) \
                 : "r"(a[t]), "r"(a[32 + t]), "r"(a[64 + t]), "r"(a[96 + t]), "r"(b[t]), "r"(b[32 + t]), \
                   "f"(c[t]), "f"(c[32 + t]), "f"(c[64 + t]), "f"(c[96 + t])); \
    d[t] = d0; d[32 + t] = d1; d[64 + t] = d2; d[96 + t] = d3; \
  }
MMA_16(mma_bf16, "bf16.bf16")
MMA_16(mma_f16, "f16.f16")

extern "C" __global__ void mma_bf16_k8(const uint32_t *a, const uint32_t *b, const float *c, float *d) {
  int t = threadIdx.x;
  float d0, d1, d2, d3;
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%8,%9,%10};"
               : "=f"(d0), "=f"(d1), "=f"(d2), "=f"(d3)
               : "r"(a[t]), "r"(a[32 + t]), "r"(b[t]), "f"(c[t]), "f"(c[32 + t]), "f"(c[64 + t]), "f"(c[96 + t]));
  d[t] = d0; d[32 + t] = d1; d[64 + t] = d2; d[96 + t] = d3;
}

extern "C" __global__ void mma_f16_f16(const uint32_t *a, const uint32_t *b, const uint32_t *c, uint32_t *d) {
  int t = threadIdx.x;
  uint32_t d0, d1;
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0,%1}, {%2,%3,%4,%5}, {%6,%7}, {%8,%9};"
               : "=r"(d0), "=r"(d1)
               : "r"(a[t]), "r"(a[32 + t]), "r"(a[64 + t]), "r"(a[96 + t]), "r"(b[t]), "r"(b[32 + t]), "r"(c[t]), "r"(c[32 + t]));
  d[t] = d0; d[32 + t] = d1;
}

extern "C" __global__ void mma_tf32(const uint32_t *a, const uint32_t *b, const float *c, float *d) {
  int t = threadIdx.x;
  float d0, d1, d2, d3;
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
               : "=f"(d0), "=f"(d1), "=f"(d2), "=f"(d3)
               : "r"(a[t]), "r"(a[32 + t]), "r"(a[64 + t]), "r"(a[96 + t]), "r"(b[t]), "r"(b[32 + t]),
                 "f"(c[t]), "f"(c[32 + t]), "f"(c[64 + t]), "f"(c[96 + t]));
  d[t] = d0; d[32 + t] = d1; d[64 + t] = d2; d[96 + t] = d3;
}

#define MMA_INT(name, types, clamp) \
  extern "C" __global__ void name(const uint32_t *a, const uint32_t *b, const uint32_t *c, uint32_t *d) { \
    int t = threadIdx.x; \
    uint32_t d0, d1, d2, d3; \
    asm volatile("mma.sync.aligned.m16n8k32.row.col" clamp ".s32." types ".s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};" \
                 : "=r"(d0), "=r"(d1), "=r"(d2), "=r"(d3) \
                 : "r"(a[t]), "r"(a[32 + t]), "r"(a[64 + t]), "r"(a[96 + t]), "r"(b[t]), "r"(b[32 + t]), \
                   "r"(c[t]), "r"(c[32 + t]), "r"(c[64 + t]), "r"(c[96 + t])); \
    d[t] = d0; d[32 + t] = d1; d[64 + t] = d2; d[96 + t] = d3; \
  }
MMA_INT(mma_s8, "s8.s8", "")
MMA_INT(mma_u8_s8_clamped, "u8.s8", ".satfinite")

// 16 x 8 outputs over K: A row-major [16][K], B row-major [K][8], through shared memory and ldmatrix (B transposed).
extern "C" __global__ void tile_product(const uint16_t *a, const uint16_t *b, float *c, int K) {
  __shared__ __align__(16) uint16_t tileA[16][16], tileB[16][8];
  int t = threadIdx.x;
  float sum[4] = {0, 0, 0, 0};
  for (int k = 0; k < K; k += 16) {
    *(uint4 *)&tileA[t / 2][t % 2 * 8] = *(const uint4 *)(a + (t / 2) * K + k + t % 2 * 8);
    if (t < 16)
      *(uint4 *)&tileB[t][0] = *(const uint4 *)(b + (k + t) * 8);
    __syncwarp();
    uint32_t x[4], y[2];
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3]) : "r"(sharedAddress(&tileA[t % 16][t / 16 * 8])));
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(y[0]), "=r"(y[1]) : "r"(sharedAddress(&tileB[t % 16][0])));
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3]) : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
    __syncwarp();
  }
  int row = t / 4, column = t % 4 * 2;
  *(float2 *)(c + row * 8 + column) = make_float2(sum[0], sum[1]);
  *(float2 *)(c + (row + 8) * 8 + column) = make_float2(sum[2], sum[3]);
}
