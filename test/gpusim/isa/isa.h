//===- isa.h - Value functions of the PTX instruction set -----------------===//
//
// What single PTX instructions compute, as pure functions of bit patterns: no registers, no lanes, no state.
// Conventions:
//  - Every value is a bit pattern in an unsigned integer; f16 and bf16 in uint16_t, packed pairs in uint32_t (element 0
//  low).
//  - NaN results are canonical as on the hardware: f32 0x7fffffff, f16 and bf16 0x7fff, e4m3 and e5m2 0x7f. Results in
//  f64
//    keep the payload of the first NaN operand.
//  - All functions are thread safe and depend on their arguments alone.
//
//===----------------------------------------------------------------------===//
#ifndef MORAY_TEST_GPUSIM_ISA_ISA_H
#define MORAY_TEST_GPUSIM_ISA_ISA_H

#include <cmath>
#include <cstdint>
#include <cstring>

namespace gpusim {

//===----------------------------------------------------------------------===//
// Modes
//===----------------------------------------------------------------------===//

/// .rn .rz .rm .rp and their integer forms .rni .rzi .rmi .rpi; Rna is .rna (ties away from zero, tf32 only).
enum class Round : uint8_t { Rn, Rz, Rm, Rp, Rna };

/// Modifiers of a floating-point instruction. `sat` clamps to [0, 1] (NaN to +0), `relu` clamps negatives to +0 (NaN
/// stays).
struct FpMode {
  Round round = Round::Rn;
  bool ftz = false;
  bool sat = false;
  bool relu = false;
};

/// Modifiers of min and max: `nan` is .NaN (a NaN operand wins), `xorsignAbs` is .xorsign.abs.
struct MinMaxMode {
  bool ftz = false;
  bool nan = false;
  bool xorsignAbs = false;
};

enum class HalfType : uint8_t { F16, BF16 };
enum class Fp8Type : uint8_t { E4M3, E5M2 };

inline float asF32(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}
inline uint32_t bitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}
inline double asF64(uint64_t bits) {
  double value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}
inline uint64_t bitsOf(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

constexpr uint32_t kNanF32 = 0x7fffffffu;
constexpr uint16_t kNanHalf = 0x7fffu;
constexpr uint8_t kNanFp8 = 0x7fu;

inline bool isNanF32(uint32_t bits) { return (bits & 0x7fffffffu) > 0x7f800000u; }
inline bool isNanF64(uint64_t bits) { return (bits & 0x7fffffffffffffffull) > 0x7ff0000000000000ull; }
inline bool isNanHalf(HalfType type, uint16_t bits) {
  return (bits & 0x7fffu) > (type == HalfType::F16 ? 0x7c00u : 0x7f80u);
}
/// The f32 value with a subnormal replaced by a zero of its sign.
inline uint32_t flushF32(uint32_t bits) { return (bits & 0x7f800000u) ? bits : bits & 0x80000000u; }

//===----------------------------------------------------------------------===//
// f32 and f64 arithmetic (rounding.cpp)
//===----------------------------------------------------------------------===//

/// The general forms: any rounding, ftz, sat. Exact: one rounding of the infinitely precise result.
uint32_t addF32Slow(uint32_t a, uint32_t b, FpMode mode);
uint32_t mulF32Slow(uint32_t a, uint32_t b, FpMode mode);
uint32_t fmaF32Slow(uint32_t a, uint32_t b, uint32_t c, FpMode mode);

inline bool isPlain(FpMode mode) { return mode.round == Round::Rn && !mode.ftz && !mode.sat; }
inline uint32_t canonicalF32(float value) { return value != value ? kNanF32 : bitsOf(value); }
/// ftz and sat of a result.
inline uint32_t finishF32(uint32_t bits, FpMode mode) {
  if (mode.ftz)
    bits = flushF32(bits);
  if (mode.sat)
    bits = (bits >> 31) || isNanF32(bits) ? 0 : bits > 0x3f800000u ? 0x3f800000u : bits;
  return bits;
}
inline float inputF32(uint32_t bits, FpMode mode) { return asF32(mode.ftz ? flushF32(bits) : bits); }

inline uint32_t addF32(uint32_t a, uint32_t b, FpMode mode = {}) {
  return mode.round == Round::Rn ? finishF32(canonicalF32(inputF32(a, mode) + inputF32(b, mode)), mode)
                                 : addF32Slow(a, b, mode);
}
inline uint32_t subF32(uint32_t a, uint32_t b, FpMode mode = {}) { return addF32(a, b ^ 0x80000000u, mode); }
inline uint32_t mulF32(uint32_t a, uint32_t b, FpMode mode = {}) {
  return mode.round == Round::Rn ? finishF32(canonicalF32(inputF32(a, mode) * inputF32(b, mode)), mode)
                                 : mulF32Slow(a, b, mode);
}
inline uint32_t fmaF32(uint32_t a, uint32_t b, uint32_t c, FpMode mode = {}) {
  if (mode.round != Round::Rn)
    return fmaF32Slow(a, b, c, mode);
  return finishF32(canonicalF32(std::fma(inputF32(a, mode), inputF32(b, mode), inputF32(c, mode))), mode);
}
uint32_t divF32(uint32_t a, uint32_t b, FpMode mode = {});
uint32_t rcpF32(uint32_t a, FpMode mode = {});
uint32_t sqrtF32(uint32_t a, FpMode mode = {});

uint64_t addF64(uint64_t a, uint64_t b, Round round = Round::Rn);
uint64_t subF64(uint64_t a, uint64_t b, Round round = Round::Rn);
uint64_t mulF64(uint64_t a, uint64_t b, Round round = Round::Rn);
uint64_t fmaF64(uint64_t a, uint64_t b, uint64_t c, Round round = Round::Rn);
uint64_t divF64(uint64_t a, uint64_t b, Round round = Round::Rn);
uint64_t rcpF64(uint64_t a, Round round = Round::Rn);
uint64_t sqrtF64(uint64_t a, Round round = Round::Rn);

/// min and max order -0 below +0; of a number and a NaN they return the number unless mode.nan.
uint32_t minF32(uint32_t a, uint32_t b, MinMaxMode mode = {});
uint32_t maxF32(uint32_t a, uint32_t b, MinMaxMode mode = {});
uint64_t minF64(uint64_t a, uint64_t b);
uint64_t maxF64(uint64_t a, uint64_t b);
inline uint32_t absF32(uint32_t a, bool ftz = false) { return (ftz ? flushF32(a) : a) & 0x7fffffffu; }
inline uint32_t negF32(uint32_t a, bool ftz = false) { return (ftz ? flushF32(a) : a) ^ 0x80000000u; }

//===----------------------------------------------------------------------===//
// f16 and bf16 arithmetic (rounding.cpp)
//===----------------------------------------------------------------------===//

/// Two- and three-operand operations on f16 and bf16; the operands not used are ignored.
/// Ex2 and Tanh are the .approx forms.
enum class HalfOp : uint8_t { Add, Sub, Mul, Fma, Min, Max, MinNan, MaxNan, Neg, Abs, Ex2, Tanh };

/// One element. mode.round is ignored except that it must be Rn: halves know no other.
uint16_t halfOp(HalfOp op, HalfType type, uint16_t a, uint16_t b, uint16_t c, FpMode mode = {});
/// The packed form: both elements of f16x2 or bf16x2.
uint32_t halfOp2(HalfOp op, HalfType type, uint32_t a, uint32_t b, uint32_t c, FpMode mode = {});

//===----------------------------------------------------------------------===//
// Conversions (convert.cpp)
//===----------------------------------------------------------------------===//

/// Element types of cvt. TF32 is a destination only, held as f32 bits with the low 13 bits clear.
enum class NumType : uint8_t { U8, U16, U32, U64, S8, S16, S32, S64, F16, BF16, TF32, F32, F64 };

inline bool isFloat(NumType type) { return type >= NumType::F16; }
inline bool isSigned(NumType type) { return type >= NumType::S8 && type <= NumType::S64; }
/// Width of a value of `type` in bits.
int bitWidth(NumType type);

/// Modifiers of cvt. `round` is .rn .rz .rm .rp .rna or, with `integral` or an integer destination, .rni .rzi .rmi
/// .rpi.
struct CvtMode {
  Round round = Round::Rn;
  bool ftz = false;
  bool sat = false;       // integers clamp to the destination's range; floats clamp to [0, 1]
  bool relu = false;      // negative results become +0
  bool integral = false;  // .rni and so on between floats of one type: round to an integral value
  bool satfinite = false; // overflow gives the largest finite value
};

/// cvt. Reads the low bits of `value` that `from` has. An integer result is sign- or zero-extended to 64 bits as its
/// type says, a float result zero-extended. Floats always clamp when they become integers; a NaN becomes 0, or 1 <<
/// (width - 1) if the source is f64 or the destination has 64 bits.
uint64_t convert(NumType to, NumType from, uint64_t value, CvtMode mode = {});

/// The exact value of a narrow float.
float halfToFloat(HalfType type, uint16_t bits);
float fp8ToFloat(Fp8Type type, uint8_t bits);
/// Rounds to the nearest narrow float (ties to even) with canonical NaN; fp8 saturates to the largest finite value.
uint16_t floatToHalf(HalfType type, float value);
uint8_t floatToFp8(Fp8Type type, float value);

/// cvt.{rn,rz}{.relu}.{f16x2,bf16x2}.f32 d, high, low: the FIRST operand goes to the high half.
uint32_t packHalf(HalfType type, uint32_t high, uint32_t low, CvtMode mode = {});
/// cvt.rn.satfinite{.relu}.{e4m3x2,e5m2x2}.f32 d, high, low: the FIRST operand goes to the high byte.
uint16_t packFp8(Fp8Type type, uint32_t high, uint32_t low, bool relu = false);
/// cvt.rn.satfinite{.relu}.{e4m3x2,e5m2x2}.f16x2.
uint16_t packFp8FromHalf(Fp8Type type, uint32_t f16x2, bool relu = false);
/// cvt.rn{.relu}.f16x2.{e4m3x2,e5m2x2}.
uint32_t unpackFp8(Fp8Type type, uint16_t pair, bool relu = false);

//===----------------------------------------------------------------------===//
// Approximations (approx.cpp): results are within one ulp of the exact value, subject to ftz
//===----------------------------------------------------------------------===//

uint32_t ex2F32(uint32_t a, bool ftz);
uint32_t lg2F32(uint32_t a, bool ftz);
uint32_t rcpApproxF32(uint32_t a, bool ftz);
uint32_t rsqrtApproxF32(uint32_t a, bool ftz);
uint32_t sqrtApproxF32(uint32_t a, bool ftz);
uint32_t sinF32(uint32_t a, bool ftz);
uint32_t cosF32(uint32_t a, bool ftz);
uint32_t tanhF32(uint32_t a);
/// div.approx: 0 for finite a and 2^126 < |b| < 2^128, NaN there for infinite a, as the manual says.
uint32_t divApproxF32(uint32_t a, uint32_t b, bool ftz);
uint32_t divFullF32(uint32_t a, uint32_t b, bool ftz);
/// {rcp,rsqrt}.approx.ftz.f64: the upper 32 bits of the result, as on the hardware.
uint64_t rcpApproxF64(uint64_t a);
uint64_t rsqrtApproxF64(uint64_t a);

//===----------------------------------------------------------------------===//
// mma.sync (matrix.cpp)
//===----------------------------------------------------------------------===//

enum class MmaOperand : uint8_t { F16, BF16, TF32, E4M3, E5M2, S8, U8 };
enum class MmaAccumulator : uint8_t { F16, F32, S32 };

/// An mma.sync.aligned.m16n8k{k}.row.col. A and B of the 8-bit kinds may differ in type (e4m3 by e5m2, s8 by u8).
struct MmaKind {
  MmaOperand a = MmaOperand::BF16;
  MmaOperand b = MmaOperand::BF16;
  MmaAccumulator accumulator = MmaAccumulator::F32;
  uint8_t k = 16;
  bool satfinite = false; // s32: clamp instead of wrap
};

/// Registers per lane of each operand, and whether the kind exists (f16: k 8, 16; bf16: k 8, 16; tf32: k 4, 8; 8 bits:
/// k 16, 32; an f16 accumulator with f16, e4m3 and e5m2; an s32 one with s8 and u8).
struct MmaRegisters {
  bool valid = false;
  int a = 0, b = 0, c = 0;
};
MmaRegisters mmaRegisters(MmaKind kind);

/// D = A * B + C of one warp; operands are [register][lane], laid out as the PTX manual's fragment tables say.
/// `d` may be `c`. Floats: products are exact in fp32 (but for overflow and underflow of bf16), and each element is
/// c + a[0]b[0] + a[1]b[1] + ... in ascending k with one fp32 rounding per addition: it depends on its own row of A,
/// its own column of B and on k alone. An f16 accumulator is widened, summed so and rounded once at the end.
void mma(MmaKind kind, const uint32_t (*a)[32], const uint32_t (*b)[32], const uint32_t (*c)[32], uint32_t (*d)[32]);

} // namespace gpusim

#endif
