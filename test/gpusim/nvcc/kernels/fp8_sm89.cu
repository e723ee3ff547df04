// Conversions of e4m3 and e5m2 on the devices that have them.
#include <cuda_fp8.h>
#include <stdint.h>

#define INDEX int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return
#define PUT(value) out[op++ * n + i] = (value)

extern "C" __global__ void fp8_encode(const float *a, const float *b, uint16_t *out, int n) {
  INDEX;
  int op = 0;
  float x = a[i], y = b[i];
#define PACK(text) ({ uint16_t r; asm("cvt." text " %0, %1, %2;" : "=h"(r) : "f"(x), "f"(y)); r; })
  PUT(PACK("rn.satfinite.e4m3x2.f32"));
  PUT(PACK("rn.satfinite.e5m2x2.f32"));
  PUT(PACK("rn.satfinite.relu.e4m3x2.f32"));
  PUT((uint16_t)__nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3));
}

extern "C" __global__ void fp8_from_half(const uint32_t *a, uint16_t *out, int n) {
  INDEX;
  int op = 0;
  uint32_t x = a[i];
  uint16_t r;
  asm("cvt.rn.satfinite.e4m3x2.f16x2 %0, %1;" : "=h"(r) : "r"(x));
  PUT(r);
  asm("cvt.rn.satfinite.e5m2x2.f16x2 %0, %1;" : "=h"(r) : "r"(x));
  PUT(r);
}

extern "C" __global__ void fp8_decode(const uint16_t *a, uint32_t *out, int n) {
  INDEX;
  int op = 0;
  uint16_t x = a[i];
  uint32_t r;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(r) : "h"(x));
  PUT(r);
  asm("cvt.rn.f16x2.e5m2x2 %0, %1;" : "=r"(r) : "h"(x));
  PUT(r);
  asm("cvt.rn.relu.f16x2.e4m3x2 %0, %1;" : "=r"(r) : "h"(x));
  PUT(r);
}

// One activation group of 128 by one warp: amax by shuffles, scale, four codes a lane.
extern "C" __global__ void fp8_quantize(const float *x, uint32_t *codes, float *scales) {
  float4 v = reinterpret_cast<const float4 *>(x)[blockIdx.x * 32 + threadIdx.x];
  float amax = fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
  for (int distance = 16; distance; distance /= 2)
    amax = fmaxf(amax, __shfl_xor_sync(~0u, amax, distance));
  float scale = fmaxf(amax, 1e-4f) / 448.0f;
  __nv_fp8x2_storage_t low = __nv_cvt_float2_to_fp8x2(make_float2(v.x / scale, v.y / scale), __NV_SATFINITE, __NV_E4M3);
  __nv_fp8x2_storage_t high = __nv_cvt_float2_to_fp8x2(make_float2(v.z / scale, v.w / scale), __NV_SATFINITE, __NV_E4M3);
  codes[blockIdx.x * 32 + threadIdx.x] = low | (uint32_t)high << 16;
  if (threadIdx.x == 0)
    scales[blockIdx.x] = scale;
}
