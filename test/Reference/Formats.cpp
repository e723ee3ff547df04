// bf16, E4M3FN and E8M0 from their definitions.
#include "test/Reference/Formats.h"

#include <cmath>
#include <cstring>

using namespace moray;

static uint32_t bitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

static float fromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

float reference::bf16FromBits(uint16_t bits) { return fromBits(static_cast<uint32_t>(bits) << 16); }

float reference::roundToBf16(float value) {
  if (std::isnan(value))
    return value;
  uint32_t bits = bitsOf(value);
  uint32_t lastKept = (bits >> 16) & 1;
  return fromBits((bits + 0x7FFF + lastKept) & 0xFFFF0000);
}

float reference::decodeE4M3(uint8_t code) {
  int exponent = (code >> 3) & 15, mantissa = code & 7;
  double magnitude = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  if (exponent == 15 && mantissa == 7)
    magnitude = NAN;
  return static_cast<float>(code & 0x80 ? -magnitude : magnitude);
}

uint8_t reference::encodeE4M3(float value) {
  uint8_t sign = std::signbit(value) ? 0x80 : 0;
  if (std::isnan(value))
    return sign | 0x7F;
  double magnitude = std::fabs(value);
  if (magnitude >= 448)
    return sign | 0x7E;
  // Spacing of the codes around the value: 2^-9 below the smallest normal, else 2^(exponent - 3).
  int exponent = magnitude < std::ldexp(1, -6) ? -6 : std::ilogb(magnitude);
  double steps = std::nearbyint(std::ldexp(magnitude, 3 - exponent)); // ties to even: the default rounding mode
  // `steps` is 8..16 for normal numbers, 0..8 below; a carry to 16 (or to 8) runs into the exponent field by itself.
  int code = (exponent + 6) * 8 + static_cast<int>(steps);
  return sign | static_cast<uint8_t>(code);
}

float reference::roundUpToPowerOfTwo(float value) {
  uint32_t bits = bitsOf(value);
  if (bits & 0x007FFFFF)
    bits += 0x00800000;
  return fromBits(bits & 0xFF800000);
}
