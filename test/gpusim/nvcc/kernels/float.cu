// f32 and f64 arithmetic: rounding modes, ftz, sat, fma, min and max, comparisons, classification.
#include <stdint.h>

#define INDEX int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return
#define PUT(value) out[op++ * n + i] = (value)
#define ASM1(text, x) ({ float r; asm(text " %0, %1;" : "=f"(r) : "f"(x)); r; })
#define ASM2(text, x, y) ({ float r; asm(text " %0, %1, %2;" : "=f"(r) : "f"(x), "f"(y)); r; })
#define ASM3(text, x, y, z) ({ float r; asm(text " %0, %1, %2, %3;" : "=f"(r) : "f"(x), "f"(y), "f"(z)); r; })

extern "C" __global__ void f32_rounding(const float *a, const float *b, const float *c, float *out, int n) {
  INDEX;
  int op = 0;
  float x = a[i], y = b[i], z = c[i];
  PUT(__fadd_rn(x, y)); PUT(__fadd_rz(x, y)); PUT(__fadd_rd(x, y)); PUT(__fadd_ru(x, y));
  PUT(__fsub_rn(x, y)); PUT(__fsub_rz(x, y)); PUT(__fsub_rd(x, y)); PUT(__fsub_ru(x, y));
  PUT(__fmul_rn(x, y)); PUT(__fmul_rz(x, y)); PUT(__fmul_rd(x, y)); PUT(__fmul_ru(x, y));
  PUT(__fmaf_rn(x, y, z)); PUT(__fmaf_rz(x, y, z)); PUT(__fmaf_rd(x, y, z)); PUT(__fmaf_ru(x, y, z));
  PUT(__fdiv_rn(x, y)); PUT(__fdiv_rz(x, y)); PUT(__fdiv_rd(x, y)); PUT(__fdiv_ru(x, y));
  PUT(__fsqrt_rn(x)); PUT(__fsqrt_rz(x)); PUT(__fsqrt_rd(x)); PUT(__fsqrt_ru(x));
  PUT(__frcp_rn(y)); PUT(__frcp_rz(y)); PUT(__frcp_rd(y)); PUT(__frcp_ru(y));
}

extern "C" __global__ void f32_modes(const float *a, const float *b, const float *c, float *out, int n) {
  INDEX;
  int op = 0;
  float x = a[i], y = b[i], z = c[i];
  PUT(ASM2("add.rn.ftz.f32", x, y));
  PUT(ASM2("sub.rn.ftz.f32", x, y));
  PUT(ASM2("mul.rn.ftz.f32", x, y));
  PUT(ASM3("fma.rn.ftz.f32", x, y, z));
  PUT(ASM2("div.rn.ftz.f32", x, y));
  PUT(ASM1("sqrt.rn.ftz.f32", x));
  PUT(ASM2("add.rn.sat.f32", x, y));
  PUT(ASM2("mul.rn.sat.f32", x, y));
  PUT(ASM3("fma.rn.sat.f32", x, y, z));
  PUT(ASM1("neg.f32", x));
  PUT(ASM1("abs.f32", x));
  PUT(ASM1("neg.ftz.f32", x));
  PUT(ASM1("abs.ftz.f32", x));
  PUT(ASM2("copysign.f32", x, y));
}

extern "C" __global__ void f32_minmax(const float *a, const float *b, float *out, int n) {
  INDEX;
  int op = 0;
  float x = a[i], y = b[i];
  PUT(fminf(x, y));
  PUT(fmaxf(x, y));
  PUT(ASM2("min.NaN.f32", x, y));
  PUT(ASM2("max.NaN.f32", x, y));
  PUT(ASM2("max.ftz.f32", x, y));
}

extern "C" __global__ void f32_compare(const float *a, const float *b, uint32_t *out, int n) {
  INDEX;
  float x = a[i], y = b[i];
  uint32_t mask = 0;
  int bit = 0;
#define COMPARE(op) { uint32_t r; asm("{ .reg .pred p; setp." #op ".f32 p, %1, %2; selp.u32 %0, 1, 0, p; }" : "=r"(r) : "f"(x), "f"(y)); mask |= r << bit++; }
  COMPARE(eq) COMPARE(ne) COMPARE(lt) COMPARE(le) COMPARE(gt) COMPARE(ge)
  COMPARE(equ) COMPARE(neu) COMPARE(ltu) COMPARE(leu) COMPARE(gtu) COMPARE(geu)
  COMPARE(num) COMPARE(nan)
#define CLASS(op) { uint32_t r; asm("{ .reg .pred p; testp." #op ".f32 p, %1; selp.u32 %0, 1, 0, p; }" : "=r"(r) : "f"(x)); mask |= r << bit++; }
  CLASS(finite) CLASS(infinite) CLASS(number) CLASS(notanumber) CLASS(normal) CLASS(subnormal)
  out[i] = mask;
}

extern "C" __global__ void f64_rounding(const double *a, const double *b, const double *c, double *out, int n) {
  INDEX;
  int op = 0;
  double x = a[i], y = b[i], z = c[i];
  PUT(__dadd_rn(x, y)); PUT(__dadd_rz(x, y)); PUT(__dadd_rd(x, y)); PUT(__dadd_ru(x, y));
  PUT(__dsub_rn(x, y)); PUT(__dsub_rz(x, y)); PUT(__dsub_rd(x, y)); PUT(__dsub_ru(x, y));
  PUT(__dmul_rn(x, y)); PUT(__dmul_rz(x, y)); PUT(__dmul_rd(x, y)); PUT(__dmul_ru(x, y));
  PUT(__fma_rn(x, y, z)); PUT(__fma_rz(x, y, z)); PUT(__fma_rd(x, y, z)); PUT(__fma_ru(x, y, z));
  PUT(__ddiv_rn(x, y)); PUT(__ddiv_rz(x, y)); PUT(__ddiv_rd(x, y)); PUT(__ddiv_ru(x, y));
  PUT(__dsqrt_rn(x)); PUT(__dsqrt_rz(x)); PUT(__dsqrt_rd(x)); PUT(__dsqrt_ru(x));
  PUT(__drcp_rn(y)); PUT(__drcp_rz(y)); PUT(__drcp_rd(y)); PUT(__drcp_ru(y));
}

extern "C" __global__ void f64_misc(const double *a, const double *b, double *out, int n) {
  INDEX;
  int op = 0;
  double x = a[i], y = b[i];
  PUT(fmin(x, y));
  PUT(fmax(x, y));
  PUT(fabs(x));
  PUT(-x);
  PUT(x < y ? x : y);
  PUT(x >= y ? 1.0 : 0.0);
  PUT(x != y ? 2.0 : 0.5);
}

// A library function made of many instructions: Horner's rule, scaling, branches.
extern "C" __global__ void f32_library(const float *a, float *out, int n) {
  INDEX;
  int op = 0;
  float x = a[i];
  PUT(expf(x));
  PUT(logf(fabsf(x)));
  PUT(tanhf(x));
  PUT(erff(x));
}
