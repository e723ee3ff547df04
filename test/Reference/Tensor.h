// The tensors of the reference interpreter: every number as f32, with the element type it was rounded to.
#ifndef MORAY_TEST_REFERENCE_TENSOR_H
#define MORAY_TEST_REFERENCE_TENSOR_H

#include "test/Reference/Formats.h"

#include <cstdint>
#include <vector>

namespace moray::reference {

enum class Element { F32, BF16, F8E4M3FN, I32, UI8 };

inline bool isInteger(Element element) { return element == Element::I32 || element == Element::UI8; }

/// Row-major tensor without padding. Floats hold the exact value of their element type (FP8 codes are kept decoded).
struct Tensor {
  Element element = Element::F32;
  std::vector<int64_t> shape;
  std::vector<float> values; // F32, BF16, F8E4M3FN
  std::vector<int32_t> ints; // I32, UI8

  Tensor() = default;
  /// Zeros of this shape.
  Tensor(Element element, std::vector<int64_t> shape) : element(element), shape(std::move(shape)) {
    if (isInteger(element))
      ints.resize(size());
    else
      values.resize(size());
  }
  static Tensor vector(std::vector<int32_t> ints) {
    Tensor result;
    result.element = Element::I32;
    result.shape = {static_cast<int64_t>(ints.size())};
    result.ints = std::move(ints);
    return result;
  }

  int64_t size() const {
    int64_t product = 1;
    for (int64_t dim : shape)
      product *= dim;
    return product;
  }
  int64_t rows() const { return shape.front(); }
  /// Elements of one row (of one index of the leading dimension).
  int64_t width() const { return rows() ? size() / rows() : shape.back(); }
  float *row(int64_t index) { return values.data() + index * width(); }
  const float *row(int64_t index) const { return values.data() + index * width(); }
  int32_t *intRow(int64_t index) { return ints.data() + index * width(); }
  const int32_t *intRow(int64_t index) const { return ints.data() + index * width(); }
};

/// One rounding to f32, then (for bf16) one to bf16.
inline float roundTo(double value, Element element) {
  float single = static_cast<float>(value);
  return element == Element::BF16 ? roundToBf16(single) : single;
}

} // namespace moray::reference

#endif
