// cvt between all types; bf16 and f16 packs.
#include <stdint.h>

#define INDEX int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return
#define PUT(value) out[op++ * n + i] = (value)
#define CVT(text, type, to, x, from) ({ type r; asm("cvt." text " %0, %1;" : "=" to(r) : from(x)); r; })

extern "C" __global__ void cvt_integers(const uint64_t *a, uint64_t *out, int n) {
  INDEX;
  int op = 0;
  uint64_t x = a[i];
  uint32_t w = (uint32_t)x;
  uint16_t h = (uint16_t)x;
  PUT((uint64_t)(int64_t)(int8_t)x);
  PUT((uint64_t)(uint8_t)x);
  PUT((uint64_t)(int64_t)(int16_t)x);
  PUT((uint64_t)(int64_t)(int32_t)x);
  PUT(CVT("u64.u32", uint64_t, "l", w, "r"));
  PUT(CVT("s64.s32", uint64_t, "l", w, "r"));
  PUT(CVT("s32.s8", uint32_t, "r", w, "r"));
  PUT(CVT("s32.s16", uint32_t, "r", h, "h"));
  PUT(CVT("sat.s8.s32", uint32_t, "r", w, "r"));
  PUT(CVT("sat.u8.s32", uint32_t, "r", w, "r"));
  PUT(CVT("sat.u8.u32", uint32_t, "r", w, "r"));
  PUT(CVT("sat.s16.s64", uint16_t, "h", x, "l"));
  PUT(CVT("sat.u16.s32", uint16_t, "h", w, "r"));
  PUT(CVT("sat.s32.s64", uint32_t, "r", x, "l"));
  PUT(CVT("sat.s32.u32", uint32_t, "r", w, "r"));
  PUT(CVT("sat.u32.s32", uint32_t, "r", w, "r"));
  PUT(CVT("sat.s64.u64", uint64_t, "l", x, "l"));
}

extern "C" __global__ void cvt_f32_to_integers(const float *a, uint64_t *out, int n) {
  INDEX;
  int op = 0;
  float x = a[i];
  PUT((uint32_t)__float2int_rn(x)); PUT((uint32_t)__float2int_rz(x)); PUT((uint32_t)__float2int_rd(x)); PUT((uint32_t)__float2int_ru(x));
  PUT(__float2uint_rn(x)); PUT(__float2uint_rz(x));
  PUT(__float2ll_rn(x)); PUT(__float2ll_rd(x)); PUT(__float2ull_rz(x)); PUT(__float2ull_ru(x));
  PUT(CVT("rni.s16.f32", uint16_t, "h", x, "f"));
  PUT(CVT("rzi.u16.f32", uint16_t, "h", x, "f"));
  PUT(CVT("rni.sat.s8.f32", uint32_t, "r", x, "f") & 255);
  PUT(CVT("rzi.sat.u8.f32", uint32_t, "r", x, "f") & 255);
  PUT(CVT("rni.ftz.s32.f32", uint32_t, "r", x, "f"));
}

extern "C" __global__ void cvt_f64_to_integers(const double *a, uint64_t *out, int n) {
  INDEX;
  int op = 0;
  double x = a[i];
  PUT((uint32_t)__double2int_rn(x)); PUT((uint32_t)__double2int_rz(x)); PUT(__double2uint_ru(x));
  PUT(__double2ll_rn(x)); PUT(__double2ll_rz(x)); PUT(__double2ull_rd(x));
}

extern "C" __global__ void cvt_integers_to_floats(const uint64_t *a, uint64_t *out, int n) {
  INDEX;
  int op = 0;
  uint64_t x = a[i];
  int w = (int)x;
#define F(value) PUT(__float_as_uint(value))
#define D(value) PUT(__double_as_longlong(value))
  F(__int2float_rn(w)); F(__int2float_rz(w)); F(__int2float_rd(w)); F(__int2float_ru(w));
  F(__uint2float_rn(w)); F(__uint2float_ru(w));
  F(__ll2float_rn((long long)x)); F(__ll2float_rz((long long)x)); F(__ull2float_rn(x)); F(__ull2float_rd(x));
  D(__int2double_rn(w)); D(__ll2double_rn((long long)x)); D(__ull2double_ru(x)); D(__ll2double_rd((long long)x));
  PUT(CVT("rn.f16.s32", uint16_t, "h", w, "r"));
  PUT(CVT("rn.f16.u64", uint16_t, "h", x, "l"));
  PUT(__float_as_uint(CVT("rn.f32.s8", float, "f", w, "r")));
  PUT(__float_as_uint(CVT("rn.f32.u16", float, "f", (uint16_t)w, "h")));
}

extern "C" __global__ void cvt_floats(const float *a, const double *b, uint64_t *out, int n) {
  INDEX;
  int op = 0;
  float x = a[i];
  double y = b[i];
  D((double)x);
  F(__double2float_rn(y)); F(__double2float_rz(y)); F(__double2float_rd(y)); F(__double2float_ru(y));
  F(rintf(x)); F(truncf(x)); F(floorf(x)); F(ceilf(x));
  D(rint(y)); D(floor(y));
  F(CVT("sat.f32.f32", float, "f", x, "f"));
  F(CVT("rn.ftz.f32.f64", float, "f", y, "d"));
  PUT(CVT("rn.f16.f32", uint16_t, "h", x, "f"));
  PUT(CVT("rz.f16.f32", uint16_t, "h", x, "f"));
  PUT(CVT("rn.f16.f64", uint16_t, "h", y, "d"));
  PUT(CVT("rn.bf16.f32", uint16_t, "h", x, "f"));
  PUT(CVT("rz.bf16.f32", uint16_t, "h", x, "f"));
  PUT(CVT("rn.relu.bf16.f32", uint16_t, "h", x, "f"));
  PUT(CVT("rn.relu.f16.f32", uint16_t, "h", x, "f"));
  PUT(CVT("rna.tf32.f32", uint32_t, "r", x, "f"));
}

extern "C" __global__ void cvt_halves(const uint16_t *a, uint64_t *out, int n) {
  INDEX;
  int op = 0;
  uint16_t x = a[i];
  F(CVT("f32.f16", float, "f", x, "h"));
  D(CVT("f64.f16", double, "d", x, "h"));
  PUT((uint32_t)CVT("rni.s32.f16", uint32_t, "r", x, "h"));
  PUT(CVT("rmi.u16.f16", uint16_t, "h", x, "h"));
  PUT(CVT("rpi.f16.f16", uint16_t, "h", x, "h"));
  PUT(CVT("rzi.s64.f16", uint64_t, "l", x, "h"));
}

extern "C" __global__ void cvt_packs(const float *a, const float *b, uint32_t *out, int n) {
  INDEX;
  int op = 0;
  float x = a[i], y = b[i];
#define PACK(text) ({ uint32_t r; asm("cvt." text " %0, %1, %2;" : "=r"(r) : "f"(x), "f"(y)); r; })
  PUT(PACK("rn.bf16x2.f32"));
  PUT(PACK("rz.bf16x2.f32"));
  PUT(PACK("rn.relu.bf16x2.f32"));
  PUT(PACK("rn.f16x2.f32"));
  PUT(PACK("rz.f16x2.f32"));
  PUT(PACK("rn.relu.f16x2.f32"));
}
