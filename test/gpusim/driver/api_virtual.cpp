// Entry points for virtual memory: reserved addresses, physical memory, mappings.
#include "test/gpusim/driver/driver.h"

#include <algorithm>

using namespace gpusim;

namespace {

bool isOwnDevice(const CUmemLocation &location) {
  return location.type == CU_MEM_LOCATION_TYPE_DEVICE && location.id == 0;
}

// Only pinned memory of the device that nobody else may import.
bool isSupported(const CUmemAllocationProp *properties) {
  return properties && properties->type == CU_MEM_ALLOCATION_TYPE_PINNED && properties->requestedHandleTypes == 0 &&
         isOwnDevice(properties->location);
}

// A report says what a caller would have to guess.
CUresult invalid(Context &context, const char *call, uint64_t address, uint64_t bytes, const char *rule) {
  char text[256];
  snprintf(text, sizeof text, "invalid use of virtual memory: %s(0x%llx, %llu bytes): %s; ", call,
           static_cast<unsigned long long>(address), static_cast<unsigned long long>(bytes), rule);
  context.reports.add(text + context.memory.describe(address, bytes));
  return CUDA_ERROR_INVALID_VALUE;
}

} // namespace

GPUSIM_EXPORT CUresult cuMemGetAllocationGranularity(size_t *bytes, const CUmemAllocationProp *properties, int option) {
  return inDriver([&](Driver &driver) -> CUresult {
    if (!bytes || !isSupported(properties) || option < 0 || option > 1)
      return CUDA_ERROR_INVALID_VALUE;
    *bytes = driver.settings.granularity;
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuMemAddressReserve(CUdeviceptr *address, size_t bytes, size_t alignment, CUdeviceptr,
                                           unsigned long long flags) {
  return inContext(Call::Unsafe, [&](Context &context) -> CUresult {
    if (!address || flags != 0 || (alignment & (alignment - 1)) != 0)
      return CUDA_ERROR_INVALID_VALUE;
    *address = context.memory.reserve(bytes, alignment, context.settings.granularity);
    return *address ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}

GPUSIM_EXPORT CUresult cuMemAddressFree(CUdeviceptr address, size_t bytes) {
  return inContext(Call::Destroy, [&](Context &context) -> CUresult {
    if (context.memory.unreserve(address, bytes))
      return CUDA_SUCCESS;
    return invalid(context, "cuMemAddressFree", address, bytes, "no whole reservation without mappings");
  });
}

GPUSIM_EXPORT CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes,
                                   const CUmemAllocationProp *properties, unsigned long long flags) {
  return inContext(Call::Unsafe, [&](Context &context) -> CUresult {
    if (!handle || !isSupported(properties) || flags != 0 || bytes == 0 || bytes % context.settings.granularity != 0)
      return CUDA_ERROR_INVALID_VALUE;
    const uint64_t made = nextHandle();
    if (!context.memory.createPhysical(made, bytes))
      return CUDA_ERROR_OUT_OF_MEMORY;
    uint64_t &peak = context.counters[GPUSIM_PEAK_BYTES];
    peak = std::max(peak, context.memory.usedBytes());
    *handle = made;
    return CUDA_SUCCESS;
  });
}

GPUSIM_EXPORT CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
  return inContext(Call::Destroy, [&](Context &context) -> CUresult {
    return context.memory.releasePhysical(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}

GPUSIM_EXPORT CUresult cuMemMap(CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
                                unsigned long long flags) {
  return inContext(Call::Unsafe, [&](Context &context) -> CUresult {
    if (offset != 0 || flags != 0)
      return CUDA_ERROR_INVALID_VALUE;
    if (context.memory.map(address, bytes, handle))
      return CUDA_SUCCESS;
    return invalid(context, "cuMemMap", address, bytes, "no free part of a reservation, or no such memory");
  });
}

// Queued work that uses the range later is reported: nobody is waited for.
GPUSIM_EXPORT CUresult cuMemUnmap(CUdeviceptr address, size_t bytes) {
  return inContext(Call::Destroy, [&](Context &context) -> CUresult {
    if (context.memory.unmap(address, bytes))
      return CUDA_SUCCESS;
    return invalid(context, "cuMemUnmap", address, bytes, "does not consist of whole mappings");
  });
}

GPUSIM_EXPORT CUresult cuMemSetAccess(CUdeviceptr address, size_t bytes, const CUmemAccessDesc *access, size_t count) {
  return inContext(Call::Unsafe, [&](Context &context) -> CUresult {
    if (!access || count != 1 || !isOwnDevice(access->location) ||
        (access->flags != CU_MEM_ACCESS_FLAGS_PROT_NONE && access->flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE))
      return CUDA_ERROR_INVALID_VALUE;
    if (context.memory.setAccess(address, bytes, access->flags != CU_MEM_ACCESS_FLAGS_PROT_NONE))
      return CUDA_SUCCESS;
    return invalid(context, "cuMemSetAccess", address, bytes, "does not consist of whole mappings");
  });
}
