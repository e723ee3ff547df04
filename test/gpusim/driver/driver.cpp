// Beginning and end of the simulated driver, its device and its primary context.
#include "test/gpusim/driver/driver.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <unistd.h>

namespace gpusim {
namespace {

__attribute__((destructor)) void finishProcess() { Driver::get().finish(); }

int deviceAttribute(const Settings &settings, int attribute) {
  const DeviceModel &device = settings.device;
  switch (attribute) {
  case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
    return int(device.maxThreads);
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
    return 64;
  case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
    return 0x7fffffff;
  case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
  case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
    return 65535;
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
    return int(device.sharedPerBlock);
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
    return int(device.sharedOptIn);
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
    return int(device.sharedOptIn + Settings::reservedShared);
  case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK:
    return int(Settings::reservedShared);
  case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY:
  case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
  case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:
    return 65536;
  case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
    return 32;
  case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
    return settings.multiprocessors;
  case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
  case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
    return 1000000; // kHz
  case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:
    return 256;
  case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
    return 4 << 20;
  case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
    return int(settings.residentThreads());
  case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:
    return int(settings.residentBlocks());
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
    return int(device.sm / 10);
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
    return int(device.sm % 10);
  case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
  case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
  case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
  case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
  case CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED:
    return 1;
  case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
    return 2;
  default: // mapped and managed memory, cooperative launches, pools and the rest: not modelled
    return 0;
  }
}

// One line, in the order of gpusim_api.h.
void printCounters(const uint64_t *counters) {
  static constexpr const char *names[GPUSIM_COUNTERS] = {
      "direct-launches", "graph-launches", "last-graph-kernels", "last-graph-nodes", "kernels-run", "synchronisations",
      "bytes-to-device", "bytes-to-host",  "allocations",        "peak-bytes",       "reports"};
  std::string line = "gpusim: counters:";
  for (size_t i = 0; i < GPUSIM_COUNTERS; ++i)
    line += std::string(" ") + names[i] + "=" + std::to_string(counters[i]);
  fprintf(stderr, "%s\n", line.c_str());
}

} // namespace

Driver &Driver::get() {
  static Driver *driver = new Driver;
  return *driver;
}

std::vector<CUcontext> &contextStack() {
  thread_local std::vector<CUcontext> stack;
  return stack;
}

CUresult Driver::initialise() {
  if (initialised)
    return CUDA_SUCCESS;
  settings = Settings::fromEnvironment();
  if (settings.devices == 0)
    return CUDA_ERROR_NO_DEVICE;
  initialised = true;
  return CUDA_SUCCESS;
}

void Driver::finish() {
  // A thread may have died inside a call; its context is past reporting.
  if (!mutex.try_lock())
    return;
  if (primary) {
    // What is pending stays undone: the memory it would write may be gone.
    primary->reportLeaks();
    if (!primary->sticky)
      reports.add("leak: the primary context was never released");
    primary = nullptr;
  }
  counters[GPUSIM_REPORTS] = reports.count();
  if (settings.statistics)
    printCounters(counters);
  mutex.unlock();
  if (settings.exitCode && reports.count() > 0) {
    fflush(nullptr);
    _exit(settings.exitCode);
  }
}

void Driver::reset() {
  std::lock_guard<DriverMutex> lock(mutex);
  primary = nullptr;
  initialised = false;
  reports.clear();
  std::fill(std::begin(counters), std::end(counters), 0);
}

} // namespace gpusim

using namespace gpusim;

GPUSIM_EXPORT CUresult cuInit(unsigned flags) {
  if (flags != 0)
    return CUDA_ERROR_INVALID_VALUE;
  Driver &driver = Driver::get();
  std::lock_guard<DriverMutex> lock(driver.mutex);
  return driver.initialise();
}

GPUSIM_EXPORT CUresult cuDriverGetVersion(int *version) {
  if (!version)
    return CUDA_ERROR_INVALID_VALUE;
  *version = Settings::fromEnvironment().driverVersion; // legal before cuInit
  return CUDA_SUCCESS;
}

GPUSIM_EXPORT CUresult cuDeviceGetCount(int *count) {
  return inDriver([&](Driver &driver) -> CUresult {
    if (!count)
      return CUDA_ERROR_INVALID_VALUE;
    *count = driver.settings.devices;
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  return inDriver([&](Driver &driver) -> CUresult {
    if (!device)
      return CUDA_ERROR_INVALID_VALUE;
    if (ordinal < 0 || ordinal >= driver.settings.devices)
      return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
  });
}

namespace {

// Runs body(Driver &) for a valid device number.
template <typename Body> CUresult onDevice(CUdevice device, bool valid, Body body) {
  return inDriver([&](Driver &driver) -> CUresult {
    if (!valid)
      return CUDA_ERROR_INVALID_VALUE;
    return device == 0 ? body(driver) : CUresult(CUDA_ERROR_INVALID_DEVICE);
  });
}

} // namespace

GPUSIM_EXPORT CUresult cuDeviceGetName(char *name, int length, CUdevice device) {
  return onDevice(device, name && length > 0, [&](Driver &driver) -> CUresult {
    snprintf(name, size_t(length), "Moray GPU simulator sm_%u", driver.settings.device.sm);
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device) {
  bool valid = value && attribute > 0 && attribute < CU_DEVICE_ATTRIBUTE_LAST;
  return onDevice(device, valid, [&](Driver &driver) -> CUresult {
    *value = deviceAttribute(driver.settings, attribute);
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) {
  return onDevice(device, bytes, [&](Driver &driver) -> CUresult {
    *bytes = driver.settings.memoryBytes;
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device) {
  return onDevice(device, uuid, [&](Driver &driver) -> CUresult {
    memcpy(uuid->bytes, "moray-gpusim-0\0", 16);
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
  return onDevice(device, context, [&](Driver &driver) -> CUresult {
    if (!driver.primary)
      driver.primary = std::make_shared<Context>(driver.settings, driver.reports, driver.counters, driver.mutex);
    ++driver.primary->references;
    *context = driver.primary->handle;
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  return onDevice(device, true, [&](Driver &driver) -> CUresult {
    if (!driver.primary)
      return CUDA_ERROR_INVALID_CONTEXT;
    if (--driver.primary->references > 0)
      return CUDA_SUCCESS;
    driver.primary->drainAll();
    driver.primary->reportLeaks();
    driver.primary = nullptr;
    return CUDA_SUCCESS;
  });
}

namespace {

bool isContext(const Driver &driver, CUcontext context) { return driver.primary && driver.primary->handle == context; }

} // namespace

GPUSIM_EXPORT CUresult cuCtxSetCurrent(CUcontext context) {
  return inDriver([&](Driver &driver) -> CUresult {
    std::vector<CUcontext> &stack = contextStack();
    if (context && !isContext(driver, context))
      return CUDA_ERROR_INVALID_CONTEXT;
    if (!stack.empty())
      stack.pop_back();
    if (context)
      stack.push_back(context);
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuCtxGetCurrent(CUcontext *context) {
  return inDriver([&](Driver &) -> CUresult {
    if (!context)
      return CUDA_ERROR_INVALID_VALUE;
    *context = contextStack().empty() ? nullptr : contextStack().back();
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuCtxPushCurrent_v2(CUcontext context) {
  return inDriver([&](Driver &driver) -> CUresult {
    if (!isContext(driver, context))
      return CUDA_ERROR_INVALID_CONTEXT;
    contextStack().push_back(context);
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuCtxPopCurrent_v2(CUcontext *context) {
  return inDriver([&](Driver &) -> CUresult {
    if (contextStack().empty())
      return CUDA_ERROR_INVALID_CONTEXT;
    if (context)
      *context = contextStack().back();
    contextStack().pop_back();
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuCtxGetDevice(CUdevice *device) {
  return inContext(Call::Plain, [&](Context &) -> CUresult {
    if (!device)
      return CUDA_ERROR_INVALID_VALUE;
    *device = 0;
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuCtxSynchronize() {
  return inContext(Call::Unsafe, [](Context &context) -> CUresult {
    ++context.counters[GPUSIM_SYNCHRONISATIONS];
    context.drainAll();
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuProfilerStart() {
  return inContext(Call::Plain, [](Context &) -> CUresult { return CUDA_SUCCESS; });
}

GPUSIM_EXPORT CUresult cuProfilerStop() {
  return inContext(Call::Plain, [](Context &) -> CUresult { return CUDA_SUCCESS; });
}

size_t moray_gpusim_counters(uint64_t *values, size_t count) {
  Driver &driver = Driver::get();
  std::lock_guard<DriverMutex> lock(driver.mutex);
  driver.counters[GPUSIM_REPORTS] = driver.reports.count();
  std::copy_n(driver.counters, std::min<size_t>(count, GPUSIM_COUNTERS), values);
  return GPUSIM_COUNTERS;
}

size_t moray_gpusim_reports(char *text, size_t size) { return Driver::get().reports.copy(text, size); }
size_t moray_gpusim_report_count(void) { return Driver::get().reports.count(); }
void moray_gpusim_reset(void) { Driver::get().reset(); }
