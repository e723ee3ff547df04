//===- approx.cpp - The .approx instructions -------------------------------===//
//
// Computed in double and rounded once, which stays within the bounds of the PTX manual (the hardware's own bits are not
// public); special values follow the manual's tables.
//
//===----------------------------------------------------------------------===//
#include "isa.h"

using namespace gpusim;

static double input(uint32_t bits, bool ftz) { return asF32(ftz ? flushF32(bits) : bits); }

static uint32_t output(double value, bool ftz) {
  uint32_t bits = canonicalF32(float(value));
  return ftz ? flushF32(bits) : bits;
}

uint32_t gpusim::ex2F32(uint32_t a, bool ftz) { return output(std::exp2(input(a, ftz)), ftz); }
uint32_t gpusim::lg2F32(uint32_t a, bool ftz) { return output(std::log2(input(a, ftz)), ftz); }
uint32_t gpusim::rcpApproxF32(uint32_t a, bool ftz) { return output(1.0 / input(a, ftz), ftz); }
uint32_t gpusim::rsqrtApproxF32(uint32_t a, bool ftz) { return output(1.0 / std::sqrt(input(a, ftz)), ftz); }
uint32_t gpusim::sqrtApproxF32(uint32_t a, bool ftz) { return output(std::sqrt(input(a, ftz)), ftz); }
uint32_t gpusim::sinF32(uint32_t a, bool ftz) { return output(std::sin(input(a, ftz)), ftz); }
uint32_t gpusim::cosF32(uint32_t a, bool ftz) { return output(std::cos(input(a, ftz)), ftz); }
uint32_t gpusim::tanhF32(uint32_t a) { return output(std::tanh(input(a, false)), false); }

uint32_t gpusim::divApproxF32(uint32_t a, uint32_t b, bool ftz) {
  double dividend = input(a, ftz), divisor = input(b, ftz);
  double magnitude = std::fabs(divisor);
  // The hardware multiplies by a reciprocal that has already become zero.
  if (magnitude > 0x1p126 && magnitude < 0x1p128)
    return output(dividend * std::copysign(0.0, divisor), ftz);
  return output(dividend / divisor, ftz);
}

uint32_t gpusim::divFullF32(uint32_t a, uint32_t b, bool ftz) { return output(input(a, ftz) / input(b, ftz), ftz); }

/// Subnormal operands and results become zero; the low word of a result is zero, that of a NaN's payload too.
static uint64_t approxF64(uint64_t bits, double (*function)(double)) {
  constexpr uint64_t exponent = 0x7ff0000000000000ull, sign = 0x8000000000000000ull;
  uint64_t result = bitsOf(function(asF64((bits & exponent) ? bits : bits & sign)));
  if (isNanF64(result))
    return 0x7fffffff00000000ull;
  return ((result & exponent) ? result : result & sign) & 0xffffffff00000000ull;
}

uint64_t gpusim::rcpApproxF64(uint64_t a) {
  return approxF64(a, [](double value) { return 1.0 / value; });
}
uint64_t gpusim::rsqrtApproxF64(uint64_t a) {
  return approxF64(a, [](double value) { return 1.0 / std::sqrt(value); });
}
