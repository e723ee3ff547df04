//===- TestKernels.h - kernels from IR text and golden tensors -------*- C++ -*-===//
// Parses a cmd.kernel, classifies it and runs it on every level of the host; reads golden safetensors.

#ifndef MORAY_TEST_UNIT_CODEGENROWS_TESTKERNELS_H
#define MORAY_TEST_UNIT_CODEGENROWS_TESTKERNELS_H

#include "../Codegen/KernelRunner.h"
#include <cstring>
#include <map>
#include <string>

namespace moray::test {

/// The spec of the only cmd.kernel in `ir`; throws std::runtime_error if parsing or classification fails.
codegen::KernelSpec specOf(const std::string &ir);

/// A tensor of a golden file; bf16 is widened to f32.
struct Golden {
  std::vector<size_t> shape;
  std::vector<float> f32;
  std::vector<int32_t> i32;
  std::vector<uint8_t> u8;
};
/// All tensors of test/golden/ops/<name>.safetensors in the build folder (packed in test/data/ops.tar.xz).
std::map<std::string, Golden> readGolden(const std::string &name);

/// Rows of `width` elements as a guarded operand whose last byte is the last of its page.
template <typename T> Buffer bufferOf(const std::vector<T> &values) {
  Buffer buffer(values.size() * sizeof(T), /*exactEnd=*/true);
  if (!values.empty())
    std::memcpy(buffer.data(), values.data(), values.size() * sizeof(T));
  return buffer;
}
template <typename T> std::vector<T> valuesOf(const Buffer &buffer, size_t count) {
  return std::vector<T>(buffer.data<T>(), buffer.data<T>() + count);
}

/// Deterministic test numbers.
class Random {
public:
  explicit Random(uint64_t seed) : state(seed * 0x9E3779B97F4A7C15u + 1) {}
  uint64_t bits() {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
  }
  float uniform() { return float(bits() >> 40) / float(1 << 24); }                         // [0, 1)
  float normal() { return (uniform() + uniform() + uniform() + uniform() - 2.0f) * 1.7f; } // about N(0, 1)
  std::vector<float> normals(size_t count, float scale = 1) {
    std::vector<float> v(count);
    for (float &x : v)
      x = normal() * scale;
    return v;
  }

private:
  uint64_t state;
};

} // namespace moray::test

#endif
