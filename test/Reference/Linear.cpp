// Block-scaled FP8 (spec fp8.md 4-7) and matrix products.
#include "test/Reference/Ops.h"

#include <algorithm>
#include <cmath>

using namespace moray::reference;

/// Scale of a block with this largest magnitude.
static float scaleOf(float amax, bool ue8m0) {
  float scale = std::max(amax, 1e-4f) / 448.0f;
  return ue8m0 ? roundUpToPowerOfTwo(scale) : scale;
}

Quantized moray::reference::quantizeRows(const Tensor &source, bool ue8m0) {
  int64_t width = source.width();
  Quantized out{Tensor(Element::F8E4M3FN, source.shape), Tensor(Element::F32, {source.rows(), blocksOf(width)})};
  for (int64_t t = 0; t < source.rows(); ++t)
    for (int64_t block = 0; block < blocksOf(width); ++block) {
      int64_t begin = block * kBlock, end = std::min(begin + kBlock, width);
      float amax = 0;
      for (int64_t k = begin; k < end; ++k)
        amax = std::max(amax, std::fabs(source.row(t)[k]));
      float scale = out.scales.row(t)[block] = scaleOf(amax, ue8m0);
      for (int64_t k = begin; k < end; ++k)
        out.codes.row(t)[k] = decodeE4M3(encodeE4M3(source.row(t)[k] / scale));
    }
  return out;
}

namespace {
/// A weight [.., O, K] seen as matrices, and the shape of its scales.
struct WeightShape {
  explicit WeightShape(const Tensor &weight)
      : depth(weight.shape.back()), rows(weight.shape[weight.shape.size() - 2]),
        matrices(weight.size() / (rows * depth)), scales(weight.shape) {
    scales.back() = blocksOf(depth);
    scales[scales.size() - 2] = blocksOf(rows);
  }
  int64_t depth, rows, matrices;
  std::vector<int64_t> scales;
};
} // namespace

Quantized moray::reference::quantizeWeight(const Tensor &weight, bool ue8m0) {
  WeightShape shape(weight);
  Quantized out{Tensor(Element::F8E4M3FN, weight.shape), Tensor(Element::F32, shape.scales)};
  int64_t next = 0;
  for (int64_t m = 0; m < shape.matrices; ++m)
    for (int64_t o = 0; o < shape.rows; o += kBlock)
      for (int64_t k = 0; k < shape.depth; k += kBlock) {
        auto forBlock = [&](const std::function<void(int64_t)> &function) {
          for (int64_t row = o; row < std::min(o + kBlock, shape.rows); ++row)
            for (int64_t column = k; column < std::min(k + kBlock, shape.depth); ++column)
              function((m * shape.rows + row) * shape.depth + column);
        };
        float amax = 0;
        forBlock([&](int64_t i) { amax = std::max(amax, std::fabs(weight.values[i])); });
        float scale = out.scales.values[next++] = scaleOf(amax, ue8m0);
        forBlock([&](int64_t i) { out.codes.values[i] = decodeE4M3(encodeE4M3(weight.values[i] / scale)); });
      }
  return out;
}

Tensor moray::reference::dequantizeWeight(const Tensor &codes, const Tensor &scales, Element result) {
  WeightShape shape(codes);
  Tensor out(result, codes.shape);
  int64_t blockRows = blocksOf(shape.rows), blockColumns = blocksOf(shape.depth);
  for (int64_t i = 0; i < codes.size(); ++i) {
    int64_t column = i % shape.depth, row = i / shape.depth % shape.rows, matrix = i / (shape.depth * shape.rows);
    float scale = scales.values[(matrix * blockRows + row / kBlock) * blockColumns + column / kBlock];
    out.values[i] = roundTo(codes.values[i] * scale, result); // the f32 product, spec fp8.md 6
  }
  return out;
}

Matrix Matrix::of(const Tensor &weight, const Tensor *scales) {
  return {weight.values.data(), scales ? scales->values.data() : nullptr, weight.shape[0], weight.shape[1]};
}

Matrix Matrix::of(const Tensor &weight, const Tensor *scales, int64_t index) {
  return {weight.row(index), scales ? scales->row(index) : nullptr, weight.shape[1], weight.shape[2]};
}

double Matrix::at(int64_t row, int64_t column) const {
  double value = values[row * depth + column];
  return scales ? value * scales[row / kBlock * blocksOf(depth) + column / kBlock] : value;
}

void moray::reference::multiplyRow(const float *x, const float *xScales, const Matrix &weight, double *out) {
  int64_t blocks = blocksOf(weight.depth);
  for (int64_t o = 0; o < weight.rows; ++o) {
    const float *w = weight.values + o * weight.depth;
    double sum = 0;
    for (int64_t block = 0; block < blocks; ++block) {
      double partial = 0;
      for (int64_t k = block * kBlock; k < std::min((block + 1) * kBlock, weight.depth); ++k)
        partial += static_cast<double>(x[k]) * w[k];
      double scale = weight.scales ? weight.scales[o / kBlock * blocks + block] : 1;
      sum += partial * scale * (xScales ? xScales[block] : 1);
    }
    out[o] = sum;
  }
}

Tensor moray::reference::linear(const Tensor &source, const Tensor *sourceScales, const Matrix &weight,
                                const Tensor *bias, Element result) {
  Tensor out(result, {source.rows(), weight.rows});
  std::vector<double> sums(weight.rows);
  for (int64_t t = 0; t < source.rows(); ++t) {
    multiplyRow(source.row(t), sourceScales ? sourceScales->row(t) : nullptr, weight, sums.data());
    for (int64_t o = 0; o < weight.rows; ++o)
      out.row(t)[o] = roundTo(sums[o] + (bias ? bias->values[o] : 0), result);
  }
  return out;
}
