// Measures a GPU: the driver's own copy, and the probe kernels of the artifact.
#include "runtime/artifact/checker.h"
#include "runtime/base/clock.h"
#include "runtime/device/cuda/cuda_executor.h"
#include <algorithm>
#include <cstring>

namespace moray::rt::cuda {

// Tasks of a probe are blocks; so many of 256 threads fill a multiprocessor of every chip.
constexpr uint64_t kBlocksPerMultiprocessor = 8;

Status CudaExecutor::runProbe(const char *name, const moray_probe_options &options, moray_probe_result &result) {
  const bool copy = strcmp(name, "copy") == 0;
  uint32_t kernel = 0;
  if (!copy)
    MORAY_TRY(findProbe(name, kernel));
  MORAY_TRY(driver->enter());
  // Allocations of their own, freed on return.
  DeviceMemory blocks(*driver, plan);
  return copy ? probeCopy(blocks, options, result) : probeKernel(blocks, kernel, options, result);
}

Status CudaExecutor::probeCopy(DeviceMemory &blocks, const moray_probe_options &options, moray_probe_result &result) {
  Address from = 0, to = 0;
  MORAY_TRY(blocks.take(options.bytes, from));
  MORAY_TRY(blocks.take(options.bytes, to));
  const char *what = "copying for a probe";
  MORAY_TRY(check((*driver)->memsetD8Async(from, 1, options.bytes, stream), what));
  MORAY_TRY(check((*driver)->streamSynchronize(stream), what));
  const uint64_t start = nowNs();
  for (uint64_t i = 0; i < options.iterations; ++i)
    MORAY_TRY(check((*driver)->memcpyDtoDAsync(to, from, options.bytes, stream), what));
  MORAY_TRY(check((*driver)->streamSynchronize(stream), what));
  result.ns = nowNs() - start;
  result.work = 2 * options.bytes * options.iterations; // read and written
  return {};
}

// schema/kernel_abi.h: two operands, a block for each task, and each task says what it did.
Status CudaExecutor::probeKernel(DeviceMemory &blocks, uint32_t kernel, const moray_probe_options &options,
                                 moray_probe_result &result) {
  int multiprocessors = 0;
  MORAY_TRY(driver->attribute(kMultiprocessors, multiprocessors));
  uint64_t tasks = kBlocksPerMultiprocessor * static_cast<uint64_t>(std::max(multiprocessors, 1));
  uint64_t share = alignUp(std::max<uint64_t>(options.bytes / tasks, 1), schema::kPageBytes);
  const uint64_t sinkBytes = tasks * kBufferAlign;
  Address data = 0, sink = 0, live = liveAddresses[0], scratch = scratchOf[kernel], fault = faultAddress;
  MORAY_TRY(blocks.take(tasks * share, data));
  MORAY_TRY(blocks.take(sinkBytes, sink));
  const char *what = "running a probe";
  // Small finite numbers in every format.
  MORAY_TRY(check((*driver)->memsetD8Async(data, 0x3c, tasks * share, stream), what));
  MORAY_TRY(check((*driver)->memsetD8Async(sink, 0, sinkBytes, stream), what));
  MORAY_TRY(check((*driver)->streamSynchronize(stream), what));
  uint64_t unused = 0, iterations = options.iterations;
  void *values[] = {&data, &sink, &live, &scratch, &fault, &tasks, &share, &unused, &unused, &unused, &iterations};
  static_assert(sizeof(values) / sizeof(values[0]) == 2 + MORAY_GPU_TRAILING, "the interface of kernel_abi.h");
  const schema::Stage &stage = *plan.code.variants[kernel]->stages()->Get(0);
  const uint64_t start = nowNs();
  MORAY_TRY(check((*driver)->launchKernel(modules->stage(kernel, 0), static_cast<unsigned>(tasks), 1, 1,
                                          stage.threads(), 1, 1, stage.dynamic_shared(), stream, values, nullptr),
                  what));
  MORAY_TRY(check((*driver)->streamSynchronize(stream), what));
  result.ns = nowNs() - start;
  std::vector<uint64_t> done(sinkBytes / sizeof(uint64_t));
  MORAY_TRY(check((*driver)->memcpyDtoHAsync(done.data(), sink, sinkBytes, stream), what));
  MORAY_TRY(check((*driver)->streamSynchronize(stream), what));
  result.work = 0;
  for (uint64_t task = 0; task < tasks; ++task)
    result.work += done[task * kBufferAlign / sizeof(uint64_t)];
  return {};
}

} // namespace moray::rt::cuda
