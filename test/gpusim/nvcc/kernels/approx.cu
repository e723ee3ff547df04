// The approximations.
#include <stdint.h>

#define INDEX int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return
#define PUT(value) out[op++ * n + i] = (value)
#define ASM1(text, x) ({ float r; asm(text " %0, %1;" : "=f"(r) : "f"(x)); r; })
#define ASM2(text, x, y) ({ float r; asm(text " %0, %1, %2;" : "=f"(r) : "f"(x), "f"(y)); r; })

extern "C" __global__ void approximations(const float *a, const float *b, float *out, int n) {
  INDEX;
  int op = 0;
  float x = a[i], y = b[i];
  PUT(ASM1("ex2.approx.f32", x));
  PUT(ASM1("lg2.approx.f32", x));
  PUT(ASM1("rcp.approx.f32", x));
  PUT(ASM1("rsqrt.approx.f32", x));
  PUT(ASM1("sqrt.approx.f32", x));
  PUT(ASM2("div.approx.f32", x, y));
  PUT(ASM2("div.full.f32", x, y));
}

extern "C" __global__ void approximations_ftz(const float *a, const float *b, float *out, int n) {
  INDEX;
  int op = 0;
  float x = a[i], y = b[i];
  PUT(ASM1("ex2.approx.ftz.f32", x));
  PUT(ASM1("lg2.approx.ftz.f32", x));
  PUT(ASM1("rcp.approx.ftz.f32", x));
  PUT(ASM1("rsqrt.approx.ftz.f32", x));
  PUT(ASM1("sqrt.approx.ftz.f32", x));
  PUT(ASM2("div.approx.ftz.f32", x, y));
  PUT(ASM2("div.full.ftz.f32", x, y));
}

extern "C" __global__ void approximate_trigonometry(const float *a, float *out, int n) {
  INDEX;
  int op = 0;
  float x = a[i];
  PUT(__sinf(x));
  PUT(__cosf(x));
  PUT(ASM1("tanh.approx.f32", x));
  PUT(__expf(x));
}
