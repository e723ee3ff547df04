// mma.sync on fp8 operands.
#include <stdint.h>

#define MMA_FP8(name, types) \
  extern "C" __global__ void name(const uint32_t *a, const uint32_t *b, const float *c, float *d) { \
    int t = threadIdx.x; \
    float d0, d1, d2, d3; \
    asm volatile("mma.sync.aligned.m16n8k32.row.col.f32." types ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};" \
                 : "=f"(d0), "=f"(d1), "=f"(d2), "=f"(d3) \
                 : "r"(a[t]), "r"(a[32 + t]), "r"(a[64 + t]), "r"(a[96 + t]), "r"(b[t]), "r"(b[32 + t]), \
                   "f"(c[t]), "f"(c[32 + t]), "f"(c[64 + t]), "f"(c[96 + t])); \
    d[t] = d0; d[32 + t] = d1; d[64 + t] = d2; d[96 + t] = d3; \
  }
MMA_FP8(mma_e4m3, "e4m3.e4m3")
MMA_FP8(mma_e5m2_e4m3, "e5m2.e4m3")
