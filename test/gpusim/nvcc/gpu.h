//===- gpu.h - Running one kernel of a PTX file through the driver API -----===//
//
// The tests of this folder see a GPU only through these classes. The library behind them is the simulator of the build
// tree, or what MORAY_CUDA_LIBRARY names: with libcuda.so.1 the same tests run on real silicon.
//
//===----------------------------------------------------------------------===//
#ifndef MORAY_TEST_GPUSIM_NVCC_GPU_H
#define MORAY_TEST_GPUSIM_NVCC_GPU_H

#include "runtime/device/cuda/driver_api.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace gpu_test {

/// The driver: opened once, with the primary context of device 0 current. Aborts the program with a sentence if it
/// cannot.
class Gpu {
public:
  static Gpu &get();
  const moray::rt::cuda::DriverTable &driver() const { return table; }
  /// A loaded module of kernels/NAME.ptx; loaded once, with its text.
  moray::rt::cuda::Module module(const std::string &name);
  /// Name and explanation of a driver result.
  std::string describe(moray::rt::cuda::Result result) const;
  /// Unloads everything and releases the context; returns how many findings the simulator has reported, leaks included.
  size_t close();

private:
  Gpu();
  moray::rt::cuda::DriverTable table = {};
  size_t (*reportCount)() = nullptr; // the simulator's alone
  std::vector<std::pair<std::string, moray::rt::cuda::Module>> modules;
};

struct Shape {
  unsigned x = 1, y = 1, z = 1;
  Shape(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

/// One launch of a kernel: arguments in order, then run, then the results. Buffers live until the object dies; each is
/// an allocation of its own, and outputs are handed over uninitialised. A failure is a GoogleTest failure with the
/// driver's words.
class Launch {
public:
  Launch(const std::string &file, const std::string &kernel, Shape grid, Shape block, unsigned sharedBytes = 0);
  ~Launch();
  Launch(const Launch &) = delete;
  Launch &operator=(const Launch &) = delete;

  /// A buffer with contents; may be read back as well.
  template <typename T> Launch &in(const std::vector<T> &values) {
    return buffer(values.data(), values.size() * sizeof(T));
  }
  /// An uninitialised buffer of `count` elements.
  template <typename T> Launch &out(size_t count) { return buffer(nullptr, count * sizeof(T)); }
  /// An argument by value.
  template <typename T> Launch &value(const T &argument) { return scalar(&argument, sizeof(T)); }

  /// Launches and waits; false if anything went wrong.
  bool run();
  /// The contents of the buffer given as argument `index`, counting all arguments from 0. Empty after a failure.
  template <typename T> std::vector<T> result(size_t index) {
    std::vector<T> values(arguments[index].bytes / sizeof(T));
    if (!read(index, values.data()))
      values.clear();
    return values;
  }

private:
  struct Argument {
    std::vector<uint8_t> bits;
    moray::rt::cuda::Address address = 0;
    size_t bytes = 0;
  };
  Launch &buffer(const void *contents, size_t bytes);
  Launch &scalar(const void *contents, size_t bytes);
  bool read(size_t index, void *to);
  bool check(moray::rt::cuda::Result result, const char *what);

  std::string file, kernel;
  Shape grid, block;
  unsigned sharedBytes;
  bool failed = false;
  std::vector<Argument> arguments;
};

/// `count` random values, led by the type's edges.
template <typename T> std::vector<T> randomIntegers(size_t count, uint64_t seed) {
  constexpr T top = T(T(1) << (sizeof(T) * 8 - 1));
  std::vector<T> values = {0, 1, 2, T(~T(0)), top, T(top - 1), T(top + 1), 31, 32, 33, 63, 64, T(~T(1))};
  std::mt19937_64 random(seed);
  std::shuffle(values.begin(), values.end(), random);
  while (values.size() < count)
    values.push_back(T(random()) >> (values.size() % 3 ? 0 : random() % (sizeof(T) * 8)));
  values.resize(count);
  return values;
}

inline uint32_t bits(float value) {
  uint32_t result;
  std::memcpy(&result, &value, sizeof(result));
  return result;
}
inline uint64_t bits(double value) {
  uint64_t result;
  std::memcpy(&result, &value, sizeof(result));
  return result;
}
inline float number(uint32_t bits) {
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}
inline double number(uint64_t bits) {
  double result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

} // namespace gpu_test

#endif
