// f16 and bf16, scalar and packed.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

#define INDEX int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return
#define PUT(value) out[op++ * n + i] = (value)
#define H1(text, x) ({ uint16_t r; asm(text " %0, %1;" : "=h"(r) : "h"(x)); r; })
#define H2(text, x, y) ({ uint16_t r; asm(text " %0, %1, %2;" : "=h"(r) : "h"(x), "h"(y)); r; })
#define H3(text, x, y, z) ({ uint16_t r; asm(text " %0, %1, %2, %3;" : "=h"(r) : "h"(x), "h"(y), "h"(z)); r; })
#define P1(text, x) ({ uint32_t r; asm(text " %0, %1;" : "=r"(r) : "r"(x)); r; })
#define P2(text, x, y) ({ uint32_t r; asm(text " %0, %1, %2;" : "=r"(r) : "r"(x), "r"(y)); r; })
#define P3(text, x, y, z) ({ uint32_t r; asm(text " %0, %1, %2, %3;" : "=r"(r) : "r"(x), "r"(y), "r"(z)); r; })

extern "C" __global__ void f16_scalar(const uint16_t *a, const uint16_t *b, const uint16_t *c, uint16_t *out, int n) {
  INDEX;
  int op = 0;
  uint16_t x = a[i], y = b[i], z = c[i];
  PUT(H2("add.f16", x, y));
  PUT(H2("sub.f16", x, y));
  PUT(H2("mul.f16", x, y));
  PUT(H3("fma.rn.f16", x, y, z));
  PUT(H3("fma.rn.relu.f16", x, y, z));
  PUT(H3("fma.rn.sat.f16", x, y, z));
  PUT(H2("add.sat.f16", x, y));
  PUT(H2("add.ftz.f16", x, y));
  PUT(H2("min.f16", x, y));
  PUT(H2("max.f16", x, y));
  PUT(H2("min.NaN.f16", x, y));
  PUT(H2("max.NaN.f16", x, y));
  PUT(H1("neg.f16", x));
  PUT(H1("abs.f16", x));
}

extern "C" __global__ void bf16_scalar(const uint16_t *a, const uint16_t *b, const uint16_t *c, uint16_t *out, int n) {
  INDEX;
  int op = 0;
  uint16_t x = a[i], y = b[i], z = c[i];
  PUT(H3("fma.rn.bf16", x, y, z));
  PUT(H3("fma.rn.relu.bf16", x, y, z));
  PUT(H2("min.bf16", x, y));
  PUT(H2("max.bf16", x, y));
  PUT(H2("min.NaN.bf16", x, y));
  PUT(H2("max.NaN.bf16", x, y));
  PUT(H1("neg.bf16", x));
  PUT(H1("abs.bf16", x));
}

extern "C" __global__ void half_packed(const uint32_t *a, const uint32_t *b, const uint32_t *c, uint32_t *out, int n) {
  INDEX;
  int op = 0;
  uint32_t x = a[i], y = b[i], z = c[i];
  PUT(P2("add.f16x2", x, y));
  PUT(P2("sub.f16x2", x, y));
  PUT(P2("mul.f16x2", x, y));
  PUT(P3("fma.rn.f16x2", x, y, z));
  PUT(P2("max.f16x2", x, y));
  PUT(P1("neg.f16x2", x));
  PUT(P3("fma.rn.bf16x2", x, y, z));
  PUT(P2("min.bf16x2", x, y));
  PUT(P1("abs.bf16x2", x));
}

// The C++ operators, as kernels use them.
extern "C" __global__ void half_operators(const __half2 *a, const __half2 *b, __half2 *out, int n) {
  INDEX;
  out[i] = __hfma2(a[i], b[i], __hadd2(a[i], b[i]));
}

extern "C" __global__ void bf16_axpy(const __nv_bfloat16 *x, __nv_bfloat16 *y, float factor, int n) {
  INDEX;
  y[i] = __float2bfloat16_rn(factor * __bfloat162float(x[i]) + __bfloat162float(y[i]));
}

extern "C" __global__ void half_compare(const __half *a, const __half *b, uint32_t *out, int n) {
  INDEX;
  __half x = a[i], y = b[i];
  uint32_t mask = __hlt(x, y) | __hle(x, y) << 1 | __heq(x, y) << 2 | __hne(x, y) << 3 | __hgtu(x, y) << 4;
  mask |= (uint32_t)__hisnan(x) << 5;
  __half2 pair = __hlt2(__halves2half2(x, y), __halves2half2(y, x));
  mask |= (__low2float(pair) == 1.0f) << 6 | (__high2float(pair) == 1.0f) << 7;
  out[i] = mask;
}
