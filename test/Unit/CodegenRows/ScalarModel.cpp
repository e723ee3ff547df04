//===- ScalarModel.cpp - row arithmetic, one element at a time ----------------===//
// See ScalarModel.h. Compiled without contraction.

#include "ScalarModel.h"
#include <algorithm>
#include <cmath>
#include <cstring>

namespace moray::test::model {

static uint32_t bitsOf(float x) {
  uint32_t b;
  std::memcpy(&b, &x, 4);
  return b;
}
static float floatOf(uint32_t b) {
  float x;
  std::memcpy(&x, &b, 4);
  return x;
}

uint16_t toBf16(float x) {
  uint32_t b = bitsOf(x);
  return uint16_t((b + 0x7FFF + ((b >> 16) & 1)) >> 16);
}
float fromBf16(uint16_t bits) { return floatOf(uint32_t(bits) << 16); }

float fromE4M3(uint8_t code) {
  int e = code >> 3 & 15, m = code & 7;
  float v = e ? std::ldexp(1.0f + m / 8.0f, e - 7) : std::ldexp(float(m), -9);
  return code & 0x80 ? -v : v;
}
uint8_t toE4M3(float x) {
  uint8_t sign = std::signbit(x) ? 0x80 : 0;
  if (std::isnan(x))
    return sign | 0x7F;
  float a = std::min(std::fabs(x), 448.0f);
  // The nearest of all codes; the even code where two are equally near.
  int best = 0;
  for (int c = 1; c <= 0x7E; ++c) {
    double d = std::fabs(double(fromE4M3(c)) - a), o = std::fabs(double(fromE4M3(best)) - a);
    if (d < o || (d == o && c % 2 == 0))
      best = c;
  }
  return sign | best;
}

static float polynomial(float x, std::initializer_list<double> coefficients) {
  auto it = coefficients.begin();
  float r = float(*it);
  for (++it; it != coefficients.end(); ++it)
    r = std::fma(r, x, float(*it));
  return r;
}

float exp(float x) {
  x = x < -105.0f ? -105.0f : x;
  x = x > 90.0f ? 90.0f : x;
  float t = std::fma(x, float(1.44269504088896341), 12582912.0f);
  int32_t n = int32_t(bitsOf(t) - bitsOf(12582912.0f));
  float nf = t - 12582912.0f;
  float r = std::fma(nf, -0.693359375f, x);
  r = std::fma(nf, 2.12194440e-4f, r);
  float p = polynomial(
      r, {1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1});
  p = std::fma(r * r, p, r) + 1.0f;
  int32_t half = n >> 1;
  return p * floatOf(uint32_t(half + 127) << 23) * floatOf(uint32_t(n - half + 127) << 23);
}

float log(float x) {
  int32_t e = int32_t(bitsOf(x) - 0x3F3504F3u) >> 23;
  float m = floatOf(bitsOf(x) - (uint32_t(e) << 23)), ef = float(e);
  float r = m - 1.0f, z = r * r;
  float p = polynomial(r, {7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
                           -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1});
  p = p * r * z;
  p = std::fma(ef, -2.12194440e-4f, p);
  p = std::fma(z, -0.5f, p);
  return std::fma(ef, 0.693359375f, r + p);
}

void sinCos(float x, float &sin, float &cos) {
  double t = std::fma(double(x), 0.63661977236758134308, 6755399441055744.0), k = t - 6755399441055744.0;
  uint64_t q;
  std::memcpy(&q, &t, 8);
  double reduced = std::fma(k, -6.12323399573676603587e-17, std::fma(k, -1.57079632679489655800, double(x)));
  float r = float(reduced), z = r * r;
  float s = polynomial(z, {-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1});
  s = std::fma(s * z, r, r);
  float c = polynomial(z, {2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2});
  c = std::fma(c * z, z, std::fma(z, -0.5f, 1.0f));
  sin = q & 1 ? c : s, cos = q & 1 ? s : c;
  sin = q & 2 ? -sin : sin, cos = (q + 1) & 2 ? -cos : cos;
}

float silu(float x) { return x / (1.0f + exp(-x)); }
float sigmoid(float x) { return 1.0f / (1.0f + exp(-x)); }

static float tree(float *partials) {
  for (int half = 64; half; half /= 2)
    for (int i = 0; i < half; ++i)
      partials[i] += partials[i + half];
  return partials[0];
}
float rowDot(const float *x, const float *y, size_t count) {
  float partials[128] = {};
  for (size_t i = 0; i < count; ++i)
    partials[i % 128] = std::fma(x[i], y[i], partials[i % 128]);
  return tree(partials);
}
float rowSum(const float *x, size_t count) {
  float partials[128] = {};
  for (size_t i = 0; i < count; ++i)
    partials[i % 128] += x[i];
  return tree(partials);
}

std::vector<float> rmsNorm(const float *x, const float *weight, size_t count, float eps, bool bf16) {
  float inverse = 1.0f / std::sqrt(rowDot(x, x, count) / float(count) + eps);
  std::vector<float> y(count);
  for (size_t i = 0; i < count; ++i)
    y[i] = round(x[i] * inverse * weight[i], bf16);
  return y;
}

void quantize(const float *x, size_t count, bool powerOfTwo, std::vector<uint8_t> &codes, std::vector<float> &scales) {
  for (size_t start = 0; start < count; start += 128) {
    float amax = 1e-4f;
    size_t end = std::min(count, start + 128);
    for (size_t i = start; i < end; ++i)
      amax = std::max(amax, std::fabs(x[i]));
    float scale = amax / 448.0f;
    if (powerOfTwo)
      scale = floatOf((bitsOf(scale) + 0x7FFFFF) & 0x7F800000);
    scales.push_back(scale);
    for (size_t i = start; i < end; ++i)
      codes.push_back(toE4M3(x[i] / scale));
  }
}

std::vector<uint16_t> toBf16(const std::vector<float> &x) {
  std::vector<uint16_t> y;
  for (float v : x)
    y.push_back(toBf16(v));
  return y;
}
std::vector<float> fromBf16(const std::vector<uint16_t> &x) {
  std::vector<float> y;
  for (uint16_t v : x)
    y.push_back(fromBf16(v));
  return y;
}

} // namespace moray::test::model
