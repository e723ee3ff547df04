//===- GpuRunner.h - runs GPU kernels in a test ------------------------*- C++ -*-===//
// Compiles specs to PTX and launches them through the CUDA driver interface: the simulator's, or that of the library
// named by MORAY_CUDA_LIBRARY.

#ifndef MORAY_TEST_UNIT_CODEGENGPU_GPURUNNER_H
#define MORAY_TEST_UNIT_CODEGENGPU_GPURUNNER_H

#include "../Codegen/KernelRunner.h"
#include "runtime/device/cuda/driver_api.h"

namespace moray::test {

/// One operand of a kernel: copied to device memory of exactly this size before the launch and back afterwards.
struct Memory {
  void *data;
  size_t bytes;
  Memory(const Buffer &buffer) : data(buffer.data()), bytes(buffer.size()) {}
  Memory(void *data, size_t bytes) : data(data), bytes(bytes) {}
};

/// Compiled kernels of one target, loaded into a device. One context per runner; tests run one at a time.
class GpuRunner {
public:
  /// `specs` must compile and load; a failure throws std::runtime_error with the message.
  GpuRunner(const std::vector<codegen::KernelSpec> &specs, const codegen::GpuTarget &target);
  ~GpuRunner();
  GpuRunner(const GpuRunner &) = delete;

  /// Runs all stages of kernel `index` and returns the fault word. Grids come from `symbols`, counts on the device from
  /// `live` (default: those of `symbols`). A launch that fails throws std::runtime_error with the device's report.
  uint32_t run(size_t index, const std::vector<Memory> &operands, const SymbolValues &symbols, uint64_t layer = 0) {
    return run(index, operands, symbols,
               {int32_t(symbols[5]), int32_t(symbols[6]), int32_t(symbols[7]), int32_t(symbols[8])}, layer);
  }
  /// `grid`: blocks, of a kernel that leaves them to its caller.
  uint32_t run(size_t index, const std::vector<Memory> &operands, const SymbolValues &symbols,
               const std::array<int32_t, 4> &live, uint64_t layer, unsigned grid = 0);

  const codegen::CompiledVariant &variant(size_t index) const { return kernels.variants.at(index).front(); }
  std::string ptx(size_t index) const { return kernels.images[variant(index).image].bytes.data(); }

private:
  void check(rt::cuda::Result result, const char *what) const;
  rt::cuda::Address allocate(size_t bytes);
  rt::cuda::Address upload(const void *data, size_t bytes);

  codegen::CompiledKernels kernels;
  void *library = nullptr;
  rt::cuda::DriverTable driver = {};
  rt::cuda::Stream stream = nullptr;
  std::vector<rt::cuda::Module> modules;                  // by kernel
  std::vector<std::vector<rt::cuda::Function>> functions; // by kernel and stage
  std::vector<rt::cuda::Address> allocated;               // of the current run
};

/// Whether tests run on a real device, where memory checks are the device's own.
bool onSilicon();

} // namespace moray::test

#endif
