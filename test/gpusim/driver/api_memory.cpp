// Entry points for device and host memory, copies and fills.
#include "test/gpusim/driver/driver.h"

#include <algorithm>
#include <cstdlib>

using namespace gpusim;

GPUSIM_EXPORT CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes) {
  return inContext(Call::Unsafe, [&](Context &context) -> CUresult {
    if (!address || bytes == 0)
      return CUDA_ERROR_INVALID_VALUE;
    uint64_t made = context.memory.allocate(bytes);
    if (!made)
      return CUDA_ERROR_OUT_OF_MEMORY;
    context.allocations.insert(made);
    ++context.counters[GPUSIM_ALLOCATIONS];
    uint64_t &peak = context.counters[GPUSIM_PEAK_BYTES];
    peak = std::max(peak, context.memory.usedBytes());
    *address = made;
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuMemFree_v2(CUdeviceptr address) {
  if (!address)
    return CUDA_SUCCESS;
  return inContext(Call::Destroy, [&](Context &context) -> CUresult {
    if (CUresult error = context.checkUnsafe())
      return error;
    if (!context.allocations.count(address)) {
      context.reports.add("cuMemFree of no allocation's begin: " + context.memory.describe(address, 1));
      return CUDA_ERROR_INVALID_VALUE;
    }
    context.drainAll(); // as the driver does
    context.memory.release(address);
    context.allocations.erase(address);
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuMemGetInfo_v2(size_t *free, size_t *total) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    if (!free || !total)
      return CUDA_ERROR_INVALID_VALUE;
    *total = context.memory.limitBytes();
    *free = *total - context.memory.usedBytes();
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuMemHostAlloc(void **pointer, size_t bytes, unsigned flags) {
  return inContext(Call::Unsafe, [&](Context &context) -> CUresult {
    if (!pointer || bytes == 0 || (flags & ~CU_MEMHOSTALLOC_FLAGS))
      return CUDA_ERROR_INVALID_VALUE;
    void *memory = nullptr;
    if (posix_memalign(&memory, 4096, bytes) != 0)
      return CUDA_ERROR_OUT_OF_MEMORY;
    context.hostRegions[reinterpret_cast<uint64_t>(memory)] = {bytes, false};
    *pointer = memory;
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuMemAllocHost_v2(void **pointer, size_t bytes) { return cuMemHostAlloc(pointer, bytes, 0); }

namespace {

// Ends a pinned region once nothing pending uses it any more.
CUresult dropHostRegion(void *pointer, bool registered, CUresult missing) {
  return inContext(Call::Destroy, [&](Context &context) -> CUresult {
    if (CUresult error = context.checkUnsafe())
      return error;
    uint64_t address = reinterpret_cast<uint64_t>(pointer);
    auto region = context.hostRegions.find(address);
    if (region == context.hostRegions.end() || region->second.registered != registered)
      return missing;
    context.drainAll();
    context.hostRegions.erase(region);
    if (!registered)
      free(pointer);
    return CUDA_SUCCESS;
  });
}

} // namespace

GPUSIM_EXPORT CUresult cuMemFreeHost(void *pointer) { return dropHostRegion(pointer, false, CUDA_ERROR_INVALID_VALUE); }

GPUSIM_EXPORT CUresult cuMemHostUnregister(void *pointer) {
  return dropHostRegion(pointer, true, CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
}

GPUSIM_EXPORT CUresult cuMemHostRegister_v2(void *pointer, size_t bytes, unsigned flags) {
  return inContext(Call::Unsafe, [&](Context &context) -> CUresult {
    if (!pointer || bytes == 0 || (flags & ~CU_MEMHOSTREGISTER_FLAGS))
      return CUDA_ERROR_INVALID_VALUE;
    uint64_t address = reinterpret_cast<uint64_t>(pointer);
    auto next = context.hostRegions.lower_bound(address);
    if (context.hostRegion(address) != context.hostRegions.end() ||
        (next != context.hostRegions.end() && next->first - address < bytes))
      return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    context.hostRegions[address] = {bytes, true};
    return CUDA_SUCCESS;
  });
}

namespace {

// The kind of a copy, from which side each address lies on; HostCall for host to host.
Work::Kind directionOf(uint64_t target, uint64_t source) {
  if (GlobalMemory::isDeviceAddress(target))
    return GlobalMemory::isDeviceAddress(source) ? Work::CopyWithin : Work::CopyToDevice;
  return GlobalMemory::isDeviceAddress(source) ? Work::CopyToHost : Work::HostCall;
}

// Makes the work of a copy, or says what is wrong with its ranges.
CUresult makeCopy(Context &context, const char *name, Work::Kind kind, uint64_t target, uint64_t source, uint64_t bytes,
                  Work &work) {
  std::string what(name);
  bool toDevice = kind == Work::CopyToDevice || kind == Work::CopyWithin;
  bool fromDevice = kind == Work::CopyToHost || kind == Work::CopyWithin;
  if (toDevice)
    if (CUresult error = context.checkRange((what + ", target").c_str(), target, bytes))
      return error;
  if (fromDevice)
    if (CUresult error = context.checkRange((what + ", source").c_str(), source, bytes))
      return error;
  uint64_t host = toDevice ? source : target;
  if (toDevice != fromDevice && (host == 0 || GlobalMemory::isDeviceAddress(host)))
    return CUDA_ERROR_INVALID_VALUE;
  work.kind = kind;
  work.target = target;
  work.source = source;
  work.bytes = bytes;
  return CUDA_SUCCESS;
}

CUresult copyAsync(const char *name, Work::Kind kind, uint64_t target, uint64_t source, uint64_t bytes,
                   CUstream handle) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    std::shared_ptr<Stream> stream = context.stream(handle);
    if (!stream)
      return CUDA_ERROR_INVALID_HANDLE;
    Work work;
    if (bytes == 0)
      return CUDA_SUCCESS;
    if (CUresult error = makeCopy(context, name, kind, target, source, bytes, work))
      return error;
    return context.enqueue(*stream, std::move(work));
  });
}

// On the default stream. Copies between host and device wait; those on the device do not.
CUresult copySync(const char *name, Work::Kind kind, uint64_t target, uint64_t source, uint64_t bytes) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    std::shared_ptr<Stream> legacy = context.stream(nullptr);
    if (CUresult error = context.checkLegacy(*legacy))
      return error;
    if (CUresult error = context.checkUnsafe())
      return error;
    Work work;
    if (bytes == 0)
      return CUDA_SUCCESS;
    if (CUresult error = makeCopy(context, name, kind, target, source, bytes, work))
      return error;
    if (kind == Work::CopyWithin)
      return context.enqueue(*legacy, std::move(work));
    context.drainLegacy();
    context.execute(work);
    return CUDA_SUCCESS;
  });
}

CUresult fill(const char *name, uint64_t target, uint32_t pattern, unsigned patternBytes, size_t count,
              CUstream handle) {
  return inContext(Call::Plain, [&](Context &context) -> CUresult {
    std::shared_ptr<Stream> stream = context.stream(handle);
    if (!stream)
      return CUDA_ERROR_INVALID_HANDLE;
    if (target % patternBytes != 0 || count > SIZE_MAX / patternBytes)
      return CUDA_ERROR_INVALID_VALUE;
    if (count == 0)
      return CUDA_SUCCESS;
    Work work;
    work.kind = Work::Fill;
    work.target = target;
    work.bytes = count * patternBytes;
    work.pattern = pattern;
    work.patternBytes = patternBytes;
    if (CUresult error = context.checkRange(name, target, work.bytes))
      return error;
    return context.enqueue(*stream, std::move(work));
  });
}

uint64_t hostAddress(const void *pointer) { return reinterpret_cast<uint64_t>(pointer); }

} // namespace

GPUSIM_EXPORT CUresult cuMemcpyHtoD_v2(CUdeviceptr target, const void *source, size_t bytes) {
  return copySync("cuMemcpyHtoD", Work::CopyToDevice, target, hostAddress(source), bytes);
}

GPUSIM_EXPORT CUresult cuMemcpyDtoH_v2(void *target, CUdeviceptr source, size_t bytes) {
  return copySync("cuMemcpyDtoH", Work::CopyToHost, hostAddress(target), source, bytes);
}

GPUSIM_EXPORT CUresult cuMemcpyDtoD_v2(CUdeviceptr target, CUdeviceptr source, size_t bytes) {
  return copySync("cuMemcpyDtoD", Work::CopyWithin, target, source, bytes);
}

GPUSIM_EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr target, const void *source, size_t bytes, CUstream stream) {
  return copyAsync("cuMemcpyHtoDAsync", Work::CopyToDevice, target, hostAddress(source), bytes, stream);
}

GPUSIM_EXPORT CUresult cuMemcpyDtoHAsync_v2(void *target, CUdeviceptr source, size_t bytes, CUstream stream) {
  return copyAsync("cuMemcpyDtoHAsync", Work::CopyToHost, hostAddress(target), source, bytes, stream);
}

GPUSIM_EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr target, CUdeviceptr source, size_t bytes, CUstream stream) {
  return copyAsync("cuMemcpyDtoDAsync", Work::CopyWithin, target, source, bytes, stream);
}

GPUSIM_EXPORT CUresult cuMemcpyAsync(CUdeviceptr target, CUdeviceptr source, size_t bytes, CUstream stream) {
  Work::Kind kind = directionOf(target, source);
  if (kind == Work::HostCall)
    return CUDA_ERROR_NOT_SUPPORTED; // host to host
  return copyAsync("cuMemcpyAsync", kind, target, source, bytes, stream);
}

GPUSIM_EXPORT CUresult cuMemsetD8_v2(CUdeviceptr target, unsigned char value, size_t count) {
  return fill("cuMemsetD8", target, value, 1, count, nullptr);
}

GPUSIM_EXPORT CUresult cuMemsetD16_v2(CUdeviceptr target, unsigned short value, size_t count) {
  return fill("cuMemsetD16", target, value, 2, count, nullptr);
}

GPUSIM_EXPORT CUresult cuMemsetD32_v2(CUdeviceptr target, unsigned value, size_t count) {
  return fill("cuMemsetD32", target, value, 4, count, nullptr);
}

GPUSIM_EXPORT CUresult cuMemsetD8Async(CUdeviceptr target, unsigned char value, size_t count, CUstream stream) {
  return fill("cuMemsetD8Async", target, value, 1, count, stream);
}

GPUSIM_EXPORT CUresult cuMemsetD16Async(CUdeviceptr target, unsigned short value, size_t count, CUstream stream) {
  return fill("cuMemsetD16Async", target, value, 2, count, stream);
}

GPUSIM_EXPORT CUresult cuMemsetD32Async(CUdeviceptr target, unsigned value, size_t count, CUstream stream) {
  return fill("cuMemsetD32Async", target, value, 4, count, stream);
}
