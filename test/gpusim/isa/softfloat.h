//===- softfloat.h - Exact rounding into small formats ---------------------===//
//
// The shared core of the value functions: round-to-odd results in double and one rounding into any IEEE-like format. A
// result in double that is rounded to odd and has at least two bits more than the target rounds as the exact one does.
//
//===----------------------------------------------------------------------===//
#ifndef MORAY_TEST_GPUSIM_ISA_SOFTFLOAT_H
#define MORAY_TEST_GPUSIM_ISA_SOFTFLOAT_H

#include "isa.h"

namespace gpusim {

/// A binary format: exponent and stored mantissa bits. `inf` is the code of infinity, `largest` that of the largest
/// finite.
struct Format {
  int exponentBits;
  int mantissaBits;
  uint64_t inf;
  uint64_t largest;
};
constexpr Format kF16 = {5, 10, 0x7c00, 0x7bff};
constexpr Format kBF16 = {8, 7, 0x7f80, 0x7f7f};
constexpr Format kTF32 = {8, 10, 0x3fc00, 0x3fbff};
constexpr Format kF32 = {8, 23, 0x7f800000, 0x7f7fffff};
constexpr Format kF64 = {11, 52, 0x7ff0000000000000, 0x7fefffffffffffff};
constexpr Format kE4M3 = {4, 3, 0x7f, 0x7e}; // no infinity: 0x7f is the first code beyond
constexpr Format kE5M2 = {5, 2, 0x7c, 0x7b};

constexpr Format formatOf(HalfType type) { return type == HalfType::F16 ? kF16 : kBF16; }
constexpr Format formatOf(Fp8Type type) { return type == Fp8Type::E4M3 ? kE4M3 : kE5M2; }

/// significand * 2^exponent with the sign, rounded into `format`; the sign is the format's top bit. `saturate` replaces
/// infinity by the largest finite value. A zero significand gives a signed zero.
uint64_t encode(bool negative, uint64_t significand, int exponent, const Format &format, Round round,
                bool saturate = false);
/// The same for a double, infinities included; NaN is the caller's.
uint64_t encode(double value, const Format &format, Round round, bool saturate = false);

/// a + b, a / b and sqrt(a) rounded to odd. a and b are floats or exact products of two floats, so nothing over- or
/// underflows; zeros get the sign that `round` gives them.
double addOdd(double a, double b, Round round);
double divOdd(double a, double b);
double sqrtOdd(double a);

} // namespace gpusim

#endif
