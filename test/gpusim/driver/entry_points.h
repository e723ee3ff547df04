// Every entry point with its parameters: what the library exports, what tests load, what is compared with cuda.h.
#pragma once

#include "test/gpusim/driver/cuda_abi.h"

// X(name, (parameters)); all return CUresult.
#define GPUSIM_ENTRY_POINTS(X)                                                                                         \
  X(cuInit, (unsigned flags))                                                                                          \
  X(cuDriverGetVersion, (int *version))                                                                                \
  X(cuGetErrorName, (CUresult error, const char **name))                                                               \
  X(cuGetErrorString, (CUresult error, const char **sentence))                                                         \
  X(cuDeviceGetCount, (int *count))                                                                                    \
  X(cuDeviceGet, (CUdevice * device, int ordinal))                                                                     \
  X(cuDeviceGetName, (char *name, int length, CUdevice device))                                                        \
  X(cuDeviceGetAttribute, (int *value, int attribute, CUdevice device))                                                \
  X(cuDeviceTotalMem_v2, (size_t *bytes, CUdevice device))                                                             \
  X(cuDeviceGetUuid_v2, (CUuuid * uuid, CUdevice device))                                                              \
  X(cuDevicePrimaryCtxRetain, (CUcontext * context, CUdevice device))                                                  \
  X(cuDevicePrimaryCtxRelease_v2, (CUdevice device))                                                                   \
  X(cuCtxSetCurrent, (CUcontext context))                                                                              \
  X(cuCtxGetCurrent, (CUcontext * context))                                                                            \
  X(cuCtxPushCurrent_v2, (CUcontext context))                                                                          \
  X(cuCtxPopCurrent_v2, (CUcontext * context))                                                                         \
  X(cuCtxGetDevice, (CUdevice * device))                                                                               \
  X(cuCtxSynchronize, ())                                                                                              \
  X(cuProfilerStart, ())                                                                                               \
  X(cuProfilerStop, ())                                                                                                \
  X(cuModuleLoadData, (CUmodule * module, const void *image))                                                          \
  X(cuModuleLoadDataEx, (CUmodule * module, const void *image, unsigned optionCount, int *options, void **values))     \
  X(cuModuleUnload, (CUmodule module))                                                                                 \
  X(cuModuleGetFunction, (CUfunction * function, CUmodule module, const char *name))                                   \
  X(cuModuleGetGlobal_v2, (CUdeviceptr * address, size_t *bytes, CUmodule module, const char *name))                   \
  X(cuFuncGetAttribute, (int *value, int attribute, CUfunction function))                                              \
  X(cuFuncSetAttribute, (CUfunction function, int attribute, int value))                                               \
  X(cuFuncGetParamInfo, (CUfunction function, size_t index, size_t *offset, size_t *bytes))                            \
  X(cuOccupancyMaxActiveBlocksPerMultiprocessor,                                                                       \
    (int *blocks, CUfunction function, int blockSize, size_t dynamicShared))                                           \
  X(cuMemAlloc_v2, (CUdeviceptr * address, size_t bytes))                                                              \
  X(cuMemFree_v2, (CUdeviceptr address))                                                                               \
  X(cuMemGetInfo_v2, (size_t *free, size_t *total))                                                                    \
  X(cuMemGetAllocationGranularity, (size_t *bytes, const CUmemAllocationProp *properties, int option))                 \
  X(cuMemAddressReserve,                                                                                               \
    (CUdeviceptr * address, size_t bytes, size_t alignment, CUdeviceptr wish, unsigned long long flags))               \
  X(cuMemAddressFree, (CUdeviceptr address, size_t bytes))                                                             \
  X(cuMemCreate, (CUmemGenericAllocationHandle * handle, size_t bytes, const CUmemAllocationProp *properties,          \
                  unsigned long long flags))                                                                           \
  X(cuMemRelease, (CUmemGenericAllocationHandle handle))                                                               \
  X(cuMemMap,                                                                                                          \
    (CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle, unsigned long long flags)) \
  X(cuMemUnmap, (CUdeviceptr address, size_t bytes))                                                                   \
  X(cuMemSetAccess, (CUdeviceptr address, size_t bytes, const CUmemAccessDesc *access, size_t count))                  \
  X(cuMemHostAlloc, (void **pointer, size_t bytes, unsigned flags))                                                    \
  X(cuMemAllocHost_v2, (void **pointer, size_t bytes))                                                                 \
  X(cuMemFreeHost, (void *pointer))                                                                                    \
  X(cuMemHostRegister_v2, (void *pointer, size_t bytes, unsigned flags))                                               \
  X(cuMemHostUnregister, (void *pointer))                                                                              \
  X(cuMemcpyHtoD_v2, (CUdeviceptr target, const void *source, size_t bytes))                                           \
  X(cuMemcpyDtoH_v2, (void *target, CUdeviceptr source, size_t bytes))                                                 \
  X(cuMemcpyDtoD_v2, (CUdeviceptr target, CUdeviceptr source, size_t bytes))                                           \
  X(cuMemcpyHtoDAsync_v2, (CUdeviceptr target, const void *source, size_t bytes, CUstream stream))                     \
  X(cuMemcpyDtoHAsync_v2, (void *target, CUdeviceptr source, size_t bytes, CUstream stream))                           \
  X(cuMemcpyDtoDAsync_v2, (CUdeviceptr target, CUdeviceptr source, size_t bytes, CUstream stream))                     \
  X(cuMemcpyAsync, (CUdeviceptr target, CUdeviceptr source, size_t bytes, CUstream stream))                            \
  X(cuMemsetD8_v2, (CUdeviceptr target, unsigned char value, size_t count))                                            \
  X(cuMemsetD16_v2, (CUdeviceptr target, unsigned short value, size_t count))                                          \
  X(cuMemsetD32_v2, (CUdeviceptr target, unsigned value, size_t count))                                                \
  X(cuMemsetD8Async, (CUdeviceptr target, unsigned char value, size_t count, CUstream stream))                         \
  X(cuMemsetD16Async, (CUdeviceptr target, unsigned short value, size_t count, CUstream stream))                       \
  X(cuMemsetD32Async, (CUdeviceptr target, unsigned value, size_t count, CUstream stream))                             \
  X(cuStreamCreate, (CUstream * stream, unsigned flags))                                                               \
  X(cuStreamCreateWithPriority, (CUstream * stream, unsigned flags, int priority))                                     \
  X(cuStreamGetPriority, (CUstream stream, int *priority))                                                             \
  X(cuStreamDestroy_v2, (CUstream stream))                                                                             \
  X(cuStreamSynchronize, (CUstream stream))                                                                            \
  X(cuStreamQuery, (CUstream stream))                                                                                  \
  X(cuStreamWaitEvent, (CUstream stream, CUevent event, unsigned flags))                                               \
  X(cuStreamBeginCapture_v2, (CUstream stream, int mode))                                                              \
  X(cuStreamEndCapture, (CUstream stream, CUgraph * graph))                                                            \
  X(cuStreamIsCapturing, (CUstream stream, int *status))                                                               \
  X(cuStreamGetCaptureInfo, (CUstream stream, int *status, uint64_t *id))                                              \
  X(cuThreadExchangeStreamCaptureMode, (int *mode))                                                                    \
  X(cuEventCreate, (CUevent * event, unsigned flags))                                                                  \
  X(cuEventDestroy_v2, (CUevent event))                                                                                \
  X(cuEventRecord, (CUevent event, CUstream stream))                                                                   \
  X(cuEventQuery, (CUevent event))                                                                                     \
  X(cuEventSynchronize, (CUevent event))                                                                               \
  X(cuEventElapsedTime, (float *milliseconds, CUevent start, CUevent end))                                             \
  X(cuEventElapsedTime_v2, (float *milliseconds, CUevent start, CUevent end))                                          \
  X(cuLaunchKernel,                                                                                                    \
    (CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY,            \
     unsigned blockZ, unsigned sharedBytes, CUstream stream, void **values, void **extra))                             \
  X(cuLaunchHostFunc, (CUstream stream, CUhostFn call, void *userData))                                                \
  X(cuGraphInstantiateWithFlags, (CUgraphExec * exec, CUgraph graph, unsigned long long flags))                        \
  X(cuGraphLaunch, (CUgraphExec exec, CUstream stream))                                                                \
  X(cuGraphUpload, (CUgraphExec exec, CUstream stream))                                                                \
  X(cuGraphExecDestroy, (CUgraphExec exec))                                                                            \
  X(cuGraphDestroy, (CUgraph graph))                                                                                   \
  X(cuGraphGetNodes, (CUgraph graph, CUgraphNode * nodes, size_t *count))                                              \
  X(cuGraphNodeGetType, (CUgraphNode node, int *type))                                                                 \
  X(cuGraphKernelNodeGetParams_v2, (CUgraphNode node, CUDA_KERNEL_NODE_PARAMS_v2 * params))

namespace gpusim {
namespace entry {

#define GPUSIM_ENTRY_TYPE(name, parameters) using name = CUresult parameters;
GPUSIM_ENTRY_POINTS(GPUSIM_ENTRY_TYPE)
#undef GPUSIM_ENTRY_TYPE

} // namespace entry
} // namespace gpusim
