//===- float_oracle.h - Expected floating-point results --------------------===//
//
// Values with edges, the host's arithmetic under its rounding modes, and narrow formats rounded by search over their
// codes.
//
//===----------------------------------------------------------------------===//
#ifndef MORAY_TEST_GPUSIM_NVCC_FLOAT_ORACLE_H
#define MORAY_TEST_GPUSIM_NVCC_FLOAT_ORACLE_H

#include "gpu.h"

#include <cfenv>
#include <cmath>
#include <functional>
#include <limits>

namespace gpu_test {

constexpr int kNearest = FE_TONEAREST, kZero = FE_TOWARDZERO, kDown = FE_DOWNWARD, kUp = FE_UPWARD;
constexpr int kHostRounds[] = {kNearest, kZero, kDown, kUp}; // .rn .rz .rm .rp

/// One operation under a rounding mode of the host; volatile, so that it happens there and then.
template <typename T, typename Operation> T rounded(int round, T a, T b, T c, Operation operation) {
  volatile T x = a, y = b, z = c;
  std::fesetround(round);
  volatile T result = operation(x, y, z);
  std::fesetround(FE_TONEAREST);
  return result;
}

inline float flush(float value) { return std::fabs(value) < 0x1p-126f ? std::copysign(0.0f, value) : value; }
inline double flush(double value) { return value; }
template <typename T> T saturate(T value) { return value > 0 ? std::min(value, T(1)) : T(0); }
/// nearbyint and its relatives by a rounding mode of the host.
inline double integral(int round, double value) {
  return rounded(round, value, 0.0, 0.0, [](double x, double, double) { return std::nearbyint(x); });
}

/// f32 bit patterns: edges, any bits, and values of similar size.
inline std::vector<float> randomFloats(size_t count, uint32_t seed) {
  const uint32_t edges[] = {0,          0x80000000, 1,          0x80000001, 0x007fffff, 0x00800000,
                            0x80800000, 0x3f800000, 0xbf800000, 0x3f7fffff, 0x3f800001, 0x7f7fffff,
                            0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc12345, 0x4b800000,
                            0x34000000, 0x3f000000, 0xbfc00000, 0x40200000, 0x4f000000, 0xcf000000,
                            0x477fe000, 0x477ff000, 0x33000000, 0x38800000, 0x7f000000, 0x7ec00000};
  std::vector<float> values;
  std::mt19937 random(seed);
  for (uint32_t edge : edges)
    values.push_back(number(edge));
  std::shuffle(values.begin(), values.end(), random);
  while (values.size() < count) {
    uint32_t pattern = random();
    if (values.size() % 4)
      pattern = (pattern & 0x80ffffffu) | (0x3e + (pattern >> 24 & 3)) << 24;
    values.push_back(number(pattern));
  }
  values.resize(count);
  return values;
}

inline std::vector<double> randomDoubles(size_t count, uint32_t seed) {
  std::vector<double> values = {0.0,      -0.0,      1.0,    -1.0,    0x1p-1074, 0x1p-1022, 0x1.fffffffffffffp1023,
                                INFINITY, -INFINITY, NAN,    0.5,     1.5,       2.5,       -2.5,
                                0x1p31,   -0x1p31,   0x1p63, -0x1p63, 0x1p64,    0x1p-150,  0x1p-149,
                                0x1p128,  65520,     65519,  3e9,     -3e9};
  std::mt19937_64 random(seed);
  std::shuffle(values.begin(), values.end(), random);
  while (values.size() < count) {
    uint64_t pattern = random();
    int range = values.size() % 4 ? 6 : 400;
    uint64_t exponent = 1023 - range / 2 + (pattern >> 52) % range;
    values.push_back(number(uint64_t((pattern & 0x800fffffffffffffull) | exponent << 52)));
  }
  values.resize(count);
  return values;
}

/// A narrow binary format without code tables: values from the definition, rounding by bisection.
struct NarrowFormat {
  int exponentBits, mantissaBits;
  bool hasInfinity;
  int width() const { return 1 + exponentBits + mantissaBits; }
  /// The largest code of a finite value.
  uint32_t largest() const {
    return hasInfinity ? (((1u << exponentBits) - 1) << mantissaBits) - 1 : (1u << (width() - 1)) - 2;
  }
  bool isNan(uint32_t code) const { return (code & ((1u << (width() - 1)) - 1)) > largest() + hasInfinity; }

  double decode(uint32_t code) const {
    uint32_t magnitude = code & ((1u << (width() - 1)) - 1);
    double sign = code >> (width() - 1) ? -1 : 1;
    if (magnitude > largest())
      return magnitude == largest() + 1 && hasInfinity ? sign * INFINITY : NAN;
    int bias = (1 << (exponentBits - 1)) - 1, field = int(magnitude >> mantissaBits);
    double fraction = double(magnitude & ((1u << mantissaBits) - 1)) / (1 << mantissaBits);
    return sign * (field ? std::ldexp(1 + fraction, field - bias) : std::ldexp(fraction, 1 - bias));
  }

  /// Canonical NaN; `round` is kNearest or kZero; overflow saturates where there is no infinity or `saturating` says
  /// so.
  uint32_t encode(double value, int round = kNearest, bool saturating = false) const {
    if (value != value)
      return (1u << (width() - 1)) - 1;
    uint32_t sign = std::signbit(value) ? 1u << (width() - 1) : 0;
    double magnitude = std::fabs(value), top = decode(largest());
    double beyond = top + (top - decode(largest() - 1)); // where infinity would be
    if (magnitude > top) {
      bool finite =
          saturating || !hasInfinity || (round == kZero && std::isfinite(value)) || magnitude < (top + beyond) / 2;
      return sign | (finite ? largest() : largest() + 1);
    }
    uint32_t low = 0, high = largest() + 1;
    while (high - low > 1) {
      uint32_t middle = (low + high) / 2;
      (decode(middle) <= magnitude ? low : high) = middle;
    }
    if (round == kZero || low == largest())
      return sign | low;
    double below = magnitude - decode(low), above = decode(high) - magnitude;
    return sign | (above < below || (above == below && (low & 1)) ? high : low);
  }
};
constexpr NarrowFormat kF16 = {5, 10, true}, kBF16 = {8, 7, true}, kE4M3 = {4, 3, false}, kE5M2 = {5, 2, true};

/// Random codes of a 16-bit format: all kinds, half of them of similar size.
inline std::vector<uint16_t> randomHalves(const NarrowFormat &format, size_t count, uint32_t seed) {
  uint32_t inf = format.largest() + 1, one = format.encode(1.0);
  std::vector<uint16_t> values = {0,
                                  0x8000,
                                  1,
                                  0x8001,
                                  uint16_t(inf),
                                  uint16_t(inf | 0x8000),
                                  uint16_t(inf - 1),
                                  uint16_t(inf | 0x81),
                                  uint16_t(one),
                                  uint16_t(one | 0x8000),
                                  uint16_t(1 << format.mantissaBits),
                                  uint16_t((1 << format.mantissaBits) - 1)};
  std::mt19937 random(seed);
  std::shuffle(values.begin(), values.end(), random);
  while (values.size() < count) {
    uint32_t pattern = random();
    bool similar = values.size() % 2;
    values.push_back(uint16_t(similar ? (pattern & 0x8000) |
                                            (one - (4 << format.mantissaBits) + pattern % (8u << format.mantissaBits))
                                      : pattern));
  }
  values.resize(count);
  return values;
}

template <typename T> struct FloatOperands {
  std::vector<T> a, b, c;
};
inline FloatOperands<float> floatOperands(size_t count) {
  return {randomFloats(count, 1), randomFloats(count, 2), randomFloats(count, 3)};
}
inline FloatOperands<double> doubleOperands(size_t count) {
  return {randomDoubles(count, 1), randomDoubles(count, 2), randomDoubles(count, 3)};
}

} // namespace gpu_test

#endif
