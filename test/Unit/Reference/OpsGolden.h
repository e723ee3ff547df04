// Access to the operator vectors of test/data/ops.tar.xz, unpacked in the build folder.
#ifndef MORAY_TEST_UNIT_REFERENCE_OPSGOLDEN_H
#define MORAY_TEST_UNIT_REFERENCE_OPSGOLDEN_H

#include "test/Reference/Compare.h"

#include <cmath>
#include <cstring>
#include <gtest/gtest.h>

namespace moray::reference {

/// One file of golden/ops. A missing tensor fails the test and reads as an empty one.
class OpsGolden {
public:
  explicit OpsGolden(const std::string &name) {
    auto read = readTensors(MORAY_BINARY_DIR "/test/golden/ops/" + name + ".safetensors");
    EXPECT_TRUE(static_cast<bool>(read)) << (read ? "" : read.error().text());
    if (read)
      tensors = std::move(*read);
  }
  const Tensor &operator[](const std::string &name) const {
    auto found = tensors.find(name);
    EXPECT_NE(found, tensors.end()) << name;
    static const Tensor none(Element::F32, {0});
    return found == tensors.end() ? none : found->second;
  }

private:
  std::map<std::string, Tensor> tensors;
};

inline double rms(const Tensor &tensor) {
  double sum = 0;
  for (float value : tensor.values)
    sum += static_cast<double>(value) * value;
  return std::sqrt(sum / tensor.values.size());
}

/// max|a - b|; infinite for different sizes.
inline double maxDifference(const Tensor &a, const Tensor &b) {
  if (a.values.size() != b.values.size())
    return INFINITY;
  double worst = 0;
  for (size_t i = 0; i < a.values.size(); ++i)
    worst = std::max(worst, std::fabs(static_cast<double>(a.values[i]) - b.values[i]));
  return worst;
}

inline Tensor reshaped(Tensor tensor, std::vector<int64_t> shape) {
  tensor.shape = std::move(shape);
  return tensor;
}

/// Codes stored as bytes, decoded.
inline Tensor decoded(const Tensor &codes) {
  Tensor out(Element::F8E4M3FN, codes.shape);
  for (int64_t i = 0; i < out.size(); ++i)
    out.values[i] = decodeE4M3(static_cast<uint8_t>(codes.ints[i]));
  return out;
}

/// Equal bits, so that -0 and 0 differ.
inline bool sameBits(const std::vector<float> &a, const std::vector<float> &b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

} // namespace moray::reference

#endif
