//===- GemmCase.h - random matrix products with an oracle -----------*- C++ -*-===//
// Shapes, random operands in the stored formats, and the result in double.

#ifndef MORAY_TEST_UNIT_CODEGEN_GEMMCASE_H
#define MORAY_TEST_UNIT_CODEGEN_GEMMCASE_H

#include "KernelRunner.h"
#include <cstring>

namespace moray::test {

inline uint32_t bits(float value) {
  uint32_t u;
  std::memcpy(&u, &value, 4);
  return u;
}
float fromBf16(uint16_t code);
uint16_t toBf16(float value);
float fromF8(uint8_t code);

struct GemmShape {
  codegen::DType x = codegen::DType::BF16, w = codegen::DType::F8E4M3, out = codegen::DType::BF16;
  uint64_t O = 0, K = 0;
  uint64_t xPitch = 0, xOffset = 0; // 0: K
  uint64_t swiglu = 0;              // width; gate rows from 0, up rows from the next multiple of 128
  uint64_t experts = 0;
  bool roundParts = false, bias = false, checkFinite = false;
  codegen::RowDomain::Kind domain = codegen::RowDomain::Rows;

  uint64_t width() const { return swiglu ? swiglu : O; }
  uint64_t upBegin() const { return (swiglu + 127) / 128 * 128; }
  uint64_t rows() const { return swiglu ? upBegin() + swiglu : O; }
  uint64_t pitch() const { return xPitch ? xPitch : K; }
  uint64_t wPitch() const { return (K * codegen::byteWidth(w) + 63) / 64 * 64; }
  uint64_t blocks() const { return (K + 127) / 128; }
  uint64_t scalePitch() const { return w == codegen::DType::F8E4M3 ? (blocks() * 4 + 63) / 64 * 64 : 0; }
  uint64_t scaleRows() const { return (rows() + 127) / 128; }
  /// Relative to the largest magnitude of a row.
  double tolerance() const;
  codegen::KernelSpec spec() const;
};

/// Operands of one call, deterministic in (shape, seed): equal rows for equal row numbers whatever the row count.
class GemmData {
public:
  GemmData(const GemmShape &shape, uint64_t rows, uint64_t seed);
  uint32_t run(const KernelRunner &runner) { return run(runner, symbolsOf(rows)); }
  uint32_t run(const KernelRunner &runner, const SymbolValues &symbols,
               const KernelRunner::Options &options = KernelRunner::Options());
  /// The operands in the order of the spec; the last one is the result.
  std::vector<const Buffer *> operands() const { return {&x, &xScales, &w, &wScales, &bias, &offsets, &gather, &out}; }
  std::vector<float> result() const;
  double rowError(uint64_t row) const;
  double worstError() const;
  void fillResult(float value);
  void poisonRow(uint64_t row);
  /// Slots of the experts, gathered from the first `tokens` rows of x.
  void setGroups(const std::vector<int32_t> &counts, uint64_t tokens);
  /// The dense product of one slot with the weights of expert `e`.
  GemmData denseRow(const GemmShape &dense, uint64_t slot, uint64_t e) const;

private:
  double activation(uint64_t row, uint64_t k) const;
  double dot(uint64_t row, uint64_t expert, uint64_t o) const;
  std::vector<double> expectedRow(uint64_t row) const;

  GemmShape shape;
  uint64_t rows;
  Buffer x, xScales, w, wScales, bias, offsets, gather, out;
};

} // namespace moray::test

#endif
