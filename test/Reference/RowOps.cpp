// Row-wise ops of the lm dialect.
#include "test/Reference/Ops.h"

#include <cmath>

using namespace moray::reference;

static Tensor likeRows(const Tensor &source, int64_t width, Element element) {
  return Tensor(element, {source.rows(), width});
}

/// One value per element of `source`, from its index.
static Tensor mapElements(const Tensor &source, Element result, const std::function<double(int64_t)> &function) {
  Tensor out(result, source.shape);
  for (int64_t i = 0; i < out.size(); ++i)
    out.values[i] = roundTo(function(i), result);
  return out;
}

Tensor moray::reference::embed(const Tensor &tokens, const Tensor &weight, Element result) {
  Tensor out(result, {tokens.rows(), weight.width()});
  for (int64_t t = 0; t < tokens.rows(); ++t)
    for (int64_t i = 0; i < weight.width(); ++i)
      out.row(t)[i] = roundTo(weight.row(tokens.ints[t])[i], result);
  return out;
}

Tensor moray::reference::gatherRows(const Tensor &source, const Tensor &indices) {
  Tensor out(source.element, {indices.rows(), source.width()});
  for (int64_t t = 0; t < indices.rows(); ++t)
    std::copy_n(source.row(indices.ints[t]), source.width(), out.row(t));
  return out;
}

Tensor moray::reference::slice(const Tensor &source, int64_t offset, int64_t width, Element result) {
  Tensor out = likeRows(source, width, result);
  for (int64_t t = 0; t < source.rows(); ++t)
    for (int64_t i = 0; i < width; ++i)
      out.row(t)[i] = roundTo(source.row(t)[offset + i], result);
  return out;
}

Tensor moray::reference::cast(const Tensor &source, Element result) {
  return mapElements(source, result, [&](int64_t i) { return source.values[i]; });
}

Tensor moray::reference::add(const Tensor &lhs, const Tensor &rhs, Element result) {
  return mapElements(lhs, result, [&](int64_t i) { return lhs.values[i] + rhs.values[i]; });
}

Tensor moray::reference::swiglu(const Tensor &gate, const Tensor &up, Element result) {
  return mapElements(gate, result, [&](int64_t i) {
    double z = gate.values[i];
    return z / (1 + std::exp(-z)) * up.values[i];
  });
}

Tensor moray::reference::rmsNorm(const Tensor &source, const Tensor &weight, float eps, Element result) {
  Tensor out = likeRows(source, source.width(), result);
  for (int64_t t = 0; t < source.rows(); ++t) {
    const float *x = source.row(t);
    double sum = 0;
    for (int64_t i = 0; i < source.width(); ++i)
      sum += static_cast<double>(x[i]) * x[i];
    double inverse = 1 / std::sqrt(sum / source.width() + eps);
    for (int64_t i = 0; i < source.width(); ++i)
      out.row(t)[i] = roundTo(weight.values[i] * (x[i] * inverse), result);
  }
  return out;
}

RopeTable moray::reference::ropeTable(const std::vector<int32_t> &positions, const std::vector<float> &invFreq,
                                      float multiplier) {
  int64_t rows = positions.size(), pairs = invFreq.size();
  RopeTable table{Tensor(Element::F32, {rows, pairs}), Tensor(Element::F32, {rows, pairs})};
  for (int64_t t = 0; t < rows; ++t)
    for (int64_t i = 0; i < pairs; ++i) {
      float angle =
          static_cast<float>(positions[t]) * invFreq[i]; // the f32 product is the definition (spec model.md 4.4.5)
      table.cos.row(t)[i] = static_cast<float>(std::cos(static_cast<double>(angle)) * multiplier);
      table.sin.row(t)[i] = static_cast<float>(std::sin(static_cast<double>(angle)) * multiplier);
    }
  return table;
}

Tensor moray::reference::rope(const Tensor &source, const RopeTable &table, int64_t headDim, bool interleaved,
                              Element result) {
  Tensor out = cast(source, result);
  int64_t pairs = table.cos.width();
  for (int64_t t = 0; t < source.rows(); ++t)
    for (int64_t head = 0; head < source.width() / headDim; ++head) {
      int64_t start = (head + 1) * headDim - 2 * pairs;
      for (int64_t i = 0; i < pairs; ++i) {
        int64_t first = start + (interleaved ? 2 * i : i), second = interleaved ? first + 1 : first + pairs;
        double x = source.row(t)[first], y = source.row(t)[second], cos = table.cos.row(t)[i],
               sin = table.sin.row(t)[i];
        out.row(t)[first] = roundTo(x * cos - y * sin, result);
        out.row(t)[second] = roundTo(x * sin + y * cos, result);
      }
    }
  return out;
}
