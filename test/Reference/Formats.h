// Number formats of the reference interpreter: bf16, E4M3FN and E8M0 roundings written from their definitions (spec
// fp8.md 1).
#ifndef MORAY_TEST_REFERENCE_FORMATS_H
#define MORAY_TEST_REFERENCE_FORMATS_H

#include <cstdint>

namespace moray::reference {

/// Nearest bf16, ties to even; NaN stays NaN.
float roundToBf16(float value);
/// The bf16 with these bits.
float bf16FromBits(uint16_t bits);

/// Value of an E4M3FN code; NaN for 0x7F and 0xFF.
float decodeE4M3(uint8_t code);
/// Nearest E4M3FN code, ties to even, magnitudes above 448 saturate; NaN gives 0x7F with the sign.
uint8_t encodeE4M3(float value);

/// Smallest power of two >= a positive normal number.
float roundUpToPowerOfTwo(float value);

} // namespace moray::reference

#endif
