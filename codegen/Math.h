//===- Math.h - elementary functions in plain IEEE operations --------*- C++ -*-===//
// exp, log, sin, cos and the E4M3 encoder as elementwise code without calls: the same bits on every target.

#ifndef MORAY_CODEGEN_MATH_H
#define MORAY_CODEGEN_MATH_H

#include "codegen/KernelBuilder.h"
#include <utility>

// Operands are f32 scalars or 1-D vectors; results have the same shape. Only +, *, fma, /, integer operations and
// selects are emitted, so a lane depends on nothing but the operand's lane.
namespace moray::codegen::math {

using mlir::Value;

/// e^x within about 1 ulp: 0 below -104, +inf above 88.8, NaN stays NaN; exp(0) is exactly 1.
Value exp(KernelBuilder &b, Value x);
/// ln x for positive normal x.
Value log(KernelBuilder &b, Value x);
/// (sin x, cos x) for |x| < 2^20; the argument is reduced in f64.
std::pair<Value, Value> sinCos(KernelBuilder &b, Value x);
/// 1 / (1 + e^-x).
Value sigmoid(KernelBuilder &b, Value x);
/// x / (1 + e^-x).
Value silu(KernelBuilder &b, Value x);
/// E4M3 code (i8): round to nearest even, saturating at 448, NaN to 0x7F with its sign.
Value toE4M3(KernelBuilder &b, Value x);
/// A positive normal f32 rounded up to a power of two.
Value roundUpToPowerOfTwo(KernelBuilder &b, Value x);
/// -0 becomes +0, everything else is kept.
Value canonicalZero(KernelBuilder &b, Value x);

} // namespace moray::codegen::math

#endif
