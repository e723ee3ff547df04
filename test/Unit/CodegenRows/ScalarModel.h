//===- ScalarModel.h - row arithmetic, one element at a time ----------*- C++ -*-===//
// Plain scalar models of the row kernels: what compiled code must equal to the bit.

#ifndef MORAY_TEST_UNIT_CODEGENROWS_SCALARMODEL_H
#define MORAY_TEST_UNIT_CODEGENROWS_SCALARMODEL_H

#include <cstdint>
#include <vector>

namespace moray::test::model {

uint16_t toBf16(float x);
float fromBf16(uint16_t bits);
inline float round(float x, bool bf16) { return bf16 ? fromBf16(toBf16(x)) : x; }
uint8_t toE4M3(float x);
float fromE4M3(uint8_t code);

float exp(float x);
float log(float x);
void sinCos(float x, float &sin, float &cos);
float silu(float x);
float sigmoid(float x);

/// sum x_i y_i in 128 partials and the tree +64 .. +1.
float rowDot(const float *x, const float *y, size_t count);
/// The tree sum over 128 partials of x_i.
float rowSum(const float *x, size_t count);
std::vector<float> rmsNorm(const float *x, const float *weight, size_t count, float eps, bool bf16);
/// Codes and scales of groups of 128.
void quantize(const float *x, size_t count, bool powerOfTwo, std::vector<uint8_t> &codes, std::vector<float> &scales);

std::vector<uint16_t> toBf16(const std::vector<float> &x);
std::vector<float> fromBf16(const std::vector<uint16_t> &x);

} // namespace moray::test::model

#endif
