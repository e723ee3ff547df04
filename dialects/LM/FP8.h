// E4M3 codes and block scales as plain arithmetic (spec fp8.md 1, 7): what recipes mean, for the packager and for
// writers of checkpoints.
#ifndef MORAY_DIALECTS_LM_FP8_H
#define MORAY_DIALECTS_LM_FP8_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace moray::lm::fp8 {

/// Largest finite E4M3 value and smallest magnitude that a scale is derived from.
constexpr float kMax = 448.0f, kFloor = 1e-4f;

inline uint32_t bitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float floatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// Value of a code; NaN for 0x7F and 0xFF.
inline float decode(uint8_t code) {
  int exponent = (code >> 3) & 15, mantissa = code & 7;
  float magnitude = exponent == 0 ? std::ldexp(float(mantissa), -9) : std::ldexp(float(8 + mantissa), exponent - 10);
  if ((code & 0x7F) == 0x7F)
    magnitude = std::nanf("");
  return code & 0x80 ? -magnitude : magnitude;
}

/// Nearest code, ties to even, saturating at 448; NaN becomes 0x7F with its sign.
inline uint8_t encode(float value) {
  uint32_t bits = bitsOf(value);
  uint8_t sign = uint8_t(bits >> 24) & 0x80;
  float magnitude = floatOf(bits & 0x7FFFFFFF);
  if (!(magnitude <= kMax))
    return sign | (magnitude > kMax ? 0x7E : 0x7F);
  if (magnitude < 0.015625f) // below 2^-6 the spacing is 2^-9; 8 steps reach the smallest normal, whose code is 8
    return sign | uint8_t(std::nearbyint(magnitude * 512.0f));
  uint32_t rounded = (bits & 0x7FFFFFFF) + 0x7FFFF + ((bits >> 20) & 1); // keep three mantissa bits
  return sign | uint8_t((rounded >> 20) - ((127 - 7) << 3));
}

/// A positive normal scale rounded up to a power of two, on its bits.
inline float roundUpToPowerOfTwo(float scale) { return floatOf((bitsOf(scale) + 0x7FFFFF) & 0xFF800000); }

/// Scale of a block whose largest magnitude is `amax`.
inline float scaleOf(float amax, bool powerOfTwo) {
  float scale = std::max(amax, kFloor) / kMax;
  return powerOfTwo ? roundUpToPowerOfTwo(scale) : scale;
}

} // namespace moray::lm::fp8

#endif
