//===- GpuRunner.cpp - runs GPU kernels in a test ---------------------------------===//
// See GpuRunner.h.

#include "GpuRunner.h"
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <stdexcept>

using namespace moray::codegen;
using namespace moray::test;
namespace cuda = moray::rt::cuda;

bool moray::test::onSilicon() { return std::getenv("MORAY_CUDA_LIBRARY") != nullptr; }

void GpuRunner::check(cuda::Result result, const char *what) const {
  if (result == cuda::kSuccess)
    return;
  std::string message = std::string(what) + " failed with code " + std::to_string(result);
  using Reports = size_t (*)(char *, size_t);
  if (auto reports = reinterpret_cast<Reports>(dlsym(library, "moray_gpusim_reports"))) {
    std::string text(reports(nullptr, 0), '\0');
    reports(text.data(), text.size());
    message += ": " + text;
  }
  throw std::runtime_error(message);
}

GpuRunner::GpuRunner(const std::vector<KernelSpec> &specs, const GpuTarget &target) {
  kernels = [&] {
    auto compiled = compileGpuKernels(specs, target, CompileOptions());
    if (!compiled)
      throw std::runtime_error(llvm::toString(compiled.takeError()));
    return std::move(*compiled);
  }();
  setenv("MORAY_GPUSIM_SM", std::to_string(target.sm).c_str(), 1);
  const char *path = onSilicon() ? std::getenv("MORAY_CUDA_LIBRARY") : MORAY_GPUSIM_LIBRARY;
  library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library)
    throw std::runtime_error(dlerror());
  if (auto reset = reinterpret_cast<void (*)()>(dlsym(library, "moray_gpusim_reset")))
    reset(); // a report is sticky; the next test starts afresh
#define MORAY_RESOLVE(member, symbol, result, parameters)                                                              \
  driver.member = reinterpret_cast<decltype(driver.member)>(dlsym(library, #symbol));                                  \
  if (!driver.member)                                                                                                  \
    throw std::runtime_error(#symbol " is missing");
  MORAY_CUDA_SYMBOLS(MORAY_RESOLVE)
#undef MORAY_RESOLVE
  cuda::Context context;
  check(driver.init(0), "cuInit");
  check(driver.primaryCtxRetain(&context, 0), "cuDevicePrimaryCtxRetain");
  check(driver.ctxSetCurrent(context), "cuCtxSetCurrent");
  check(driver.streamCreate(&stream, cuda::kStreamNonBlocking), "cuStreamCreate");
  for (size_t i = 0; i < specs.size(); ++i) {
    std::vector<char> log(16 << 10);
    cuda::JitOption names[] = {cuda::kErrorLogBuffer, cuda::kErrorLogBytes};
    void *values[] = {log.data(), reinterpret_cast<void *>(log.size())};
    modules.push_back(nullptr);
    const std::vector<char> &text = kernels.images[variant(i).image].bytes;
    cuda::Result result = driver.moduleLoadDataEx(&modules.back(), text.data(), 2, names, values);
    if (result != cuda::kSuccess)
      throw std::runtime_error("loading the PTX of " + specs[i].key() + " failed with code " + std::to_string(result) +
                               ": " + log.data() + "\n" + text.data());
    functions.emplace_back();
    for (const CompiledStage &stage : variant(i).stages) {
      functions[i].push_back(nullptr);
      check(driver.moduleGetFunction(&functions[i].back(), modules[i], stage.entry.c_str()), "cuModuleGetFunction");
      check(driver.funcSetAttribute(functions[i].back(), cuda::kMaxDynamicSharedBytes, int(stage.dynamicShared)),
            "cuFuncSetAttribute");
    }
  }
}

GpuRunner::~GpuRunner() {
  for (cuda::Address address : allocated)
    driver.memFree(address);
  for (cuda::Module module : modules)
    driver.moduleUnload(module);
  driver.streamDestroy(stream);
  driver.primaryCtxRelease(0);
}

cuda::Address GpuRunner::allocate(size_t bytes) {
  allocated.push_back(0);
  check(driver.memAlloc(&allocated.back(), std::max<size_t>(bytes, 1)), "cuMemAlloc");
  return allocated.back();
}
cuda::Address GpuRunner::upload(const void *data, size_t bytes) {
  cuda::Address address = allocate(bytes);
  if (bytes)
    check(driver.memcpyHtoDAsync(address, data, bytes, stream), "cuMemcpyHtoDAsync");
  return address;
}

uint32_t GpuRunner::run(size_t index, const std::vector<Memory> &operands, const SymbolValues &symbols,
                        const std::array<int32_t, 4> &live, uint64_t layer, unsigned grid) {
  std::vector<uint64_t> values;
  for (const Memory &operand : operands)
    values.push_back(upload(operand.data, operand.bytes));
  values.push_back(upload(live.data(), sizeof live));
  uint64_t scratchBytes = evaluate(variant(index).scratchBytes, symbols);
  cuda::Address scratch = allocate(scratchBytes);
  if (scratchBytes)
    check(driver.memsetD8Async(scratch, 0, std::min<size_t>(scratchBytes, MORAY_GPU_COUNTER_BYTES), stream),
          "cuMemsetD8Async");
  values.push_back(scratch);
  uint32_t fault = 0;
  cuda::Address faultWord = upload(&fault, sizeof fault);
  values.push_back(faultWord);
  values.insert(values.end(), symbols.begin(), symbols.begin() + 5);
  values.push_back(layer);
  std::vector<void *> parameters;
  for (uint64_t &value : values)
    parameters.push_back(&value);
  const std::vector<CompiledStage> &stages = variant(index).stages;
  for (size_t i = 0; i < stages.size(); ++i)
    if (unsigned blocks = grid ? grid : unsigned(evaluate(stages[i].grid, symbols)))
      check(driver.launchKernel(functions[index][i], blocks, 1, 1, stages[i].threads, 1, 1, stages[i].dynamicShared,
                                stream, parameters.data(), nullptr),
            "cuLaunchKernel");
  for (size_t i = 0; i < operands.size(); ++i)
    if (operands[i].bytes)
      check(driver.memcpyDtoHAsync(operands[i].data, values[i], operands[i].bytes, stream), "cuMemcpyDtoHAsync");
  check(driver.memcpyDtoHAsync(&fault, faultWord, sizeof fault, stream), "cuMemcpyDtoHAsync");
  check(driver.streamSynchronize(stream), "cuStreamSynchronize");
  for (cuda::Address address : allocated)
    check(driver.memFree(address), "cuMemFree");
  allocated.clear();
  return fault;
}
