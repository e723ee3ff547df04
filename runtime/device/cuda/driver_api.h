// The part of the CUDA driver's binary interface that the runtime uses, declared here so that no CUDA header is needed
// to build. test/Unit/Runtime/driver_api_test.cpp compares every declaration with cuda.h where the toolkit is
// installed.
#pragma once
#include <cstddef>
#include <cstdint>

namespace moray::rt::cuda {

using Result = int;                 // CUresult
using Device = int;                 // CUdevice
using Address = unsigned long long; // CUdeviceptr
using Context = struct CUctx_st *;
using Module = struct CUmod_st *;
using Function = struct CUfunc_st *;
using Stream = struct CUstream_st *;
using Event = struct CUevent_st *;
using Graph = struct CUgraph_st *;
using GraphExec = struct CUgraphExec_st *;
using PhysicalMemory = unsigned long long; // CUmemGenericAllocationHandle

// CUmemLocation, CUmemAllocationProp and CUmemAccessDesc; enumerations are ints.
struct MemoryLocation {
  int type, id;
};
struct MemoryProperties {
  int type, handleTypes;
  MemoryLocation location;
  void *windows;
  unsigned char flags[8];
};
struct MemoryAccess {
  MemoryLocation location;
  int flags;
};
enum MemoryValue : int {
  kMemoryPinned = 1,    // CU_MEM_ALLOCATION_TYPE_PINNED
  kLocationDevice = 1,  // CU_MEM_LOCATION_TYPE_DEVICE
  kAccessReadWrite = 3, // CU_MEM_ACCESS_FLAGS_PROT_READWRITE
};

// Codes that the runtime tells apart (driver.cpp has the sentences).
enum : Result {
  kSuccess = 0,
  kInvalidValue = 1,
  kOutOfMemory = 2,
  kNotInitialized = 3,
  kDeinitialized = 4,
  kStubLibrary = 34,
  kNewerDriverNeeded = 36,
  kDeviceUnavailable = 46,
  kNoDevice = 100,
  kInvalidDevice = 101,
  kInvalidImage = 200,
  kInvalidContext = 201,
  kNoBinaryForGpu = 209,
  kEccUncorrectable = 214,
  kInvalidPtx = 218,
  kNvlinkUncorrectable = 220,
  kJitCompilerNotFound = 221,
  kUnsupportedPtxVersion = 222,
  kJitCompilationDisabled = 223,
  kContained = 226,
  kOperatingSystem = 304,
  kInvalidHandle = 400,
  kNotFound = 500,
  kNotReady = 600,
  kIllegalAddress = 700,
  kLaunchOutOfResources = 701,
  kLaunchTimeout = 702,
  kContextIsDestroyed = 709,
  kAssert = 710,
  kHardwareStackError = 714,
  kIllegalInstruction = 715,
  kMisalignedAddress = 716,
  kInvalidAddressSpace = 717,
  kInvalidPc = 718,
  kLaunchFailed = 719,
  kTensorMemoryLeak = 721,
  kNotSupported = 801,
  kSystemNotReady = 802,
  kSystemDriverMismatch = 803,
  kCompatNotSupported = 804,
  kStreamCaptureUnsupported = 900,
  kStreamCaptureInvalidated = 901,
  kExternalDevice = 911,
  kUnknown = 999,
};

// CUdevice_attribute.
enum DeviceAttribute : int {
  kMultiprocessors = 16,
  kL2CacheBytes = 38,
  kComputeMajor = 75,
  kComputeMinor = 76,
  kMaxSharedPerBlockOptin = 97,
  kVirtualMemory = 102,
};

// CUfunction_attribute.
enum FunctionAttribute : int {
  kMaxThreadsPerBlock = 0,
  kMaxDynamicSharedBytes = 8,
};

// CUjit_option.
enum JitOption : int { kErrorLogBuffer = 5, kErrorLogBytes = 6 };

enum : unsigned {
  kStreamNonBlocking = 1,  // CU_STREAM_NON_BLOCKING
  kEventDefault = 0,       // CU_EVENT_DEFAULT: with timing
  kEventDisableTiming = 2, // CU_EVENT_DISABLE_TIMING
};
enum CaptureMode : int { kCaptureThreadLocal = 1 }; // CU_STREAM_CAPTURE_MODE_THREAD_LOCAL

// X(member, exact exported symbol, result, parameters). Plain names can be ancient interfaces, so every versioned
// symbol is named with its version. Missing symbols mean a driver that is too old.
#define MORAY_CUDA_SYMBOLS(X)                                                                                          \
  X(init, cuInit, Result, (unsigned flags))                                                                            \
  X(driverGetVersion, cuDriverGetVersion, Result, (int *version))                                                      \
  X(getErrorName, cuGetErrorName, Result, (Result error, const char **text))                                           \
  X(getErrorString, cuGetErrorString, Result, (Result error, const char **text))                                       \
  X(deviceGetCount, cuDeviceGetCount, Result, (int *count))                                                            \
  X(deviceGet, cuDeviceGet, Result, (Device * device, int ordinal))                                                    \
  X(deviceGetName, cuDeviceGetName, Result, (char *name, int bytes, Device device))                                    \
  X(deviceGetAttribute, cuDeviceGetAttribute, Result, (int *value, DeviceAttribute attribute, Device device))          \
  X(primaryCtxRetain, cuDevicePrimaryCtxRetain, Result, (Context * context, Device device))                            \
  X(primaryCtxRelease, cuDevicePrimaryCtxRelease_v2, Result, (Device device))                                          \
  X(ctxSetCurrent, cuCtxSetCurrent, Result, (Context context))                                                         \
  X(moduleLoadDataEx, cuModuleLoadDataEx, Result,                                                                      \
    (Module * module, const void *image, unsigned options, JitOption *names, void **values))                           \
  X(moduleUnload, cuModuleUnload, Result, (Module module))                                                             \
  X(moduleGetFunction, cuModuleGetFunction, Result, (Function * function, Module module, const char *name))            \
  X(funcGetAttribute, cuFuncGetAttribute, Result, (int *value, FunctionAttribute attribute, Function function))        \
  X(funcSetAttribute, cuFuncSetAttribute, Result, (Function function, FunctionAttribute attribute, int value))         \
  X(memGetInfo, cuMemGetInfo_v2, Result, (size_t *free, size_t *total))                                                \
  X(memAlloc, cuMemAlloc_v2, Result, (Address * address, size_t bytes))                                                \
  X(memFree, cuMemFree_v2, Result, (Address address))                                                                  \
  X(memGranularity, cuMemGetAllocationGranularity, Result, (size_t *bytes, const MemoryProperties *of, int option))    \
  X(memReserve, cuMemAddressReserve, Result,                                                                           \
    (Address * address, size_t bytes, size_t alignment, Address wish, unsigned long long flags))                       \
  X(memUnreserve, cuMemAddressFree, Result, (Address address, size_t bytes))                                           \
  X(memCreate, cuMemCreate, Result,                                                                                    \
    (PhysicalMemory * memory, size_t bytes, const MemoryProperties *of, unsigned long long flags))                     \
  X(memRelease, cuMemRelease, Result, (PhysicalMemory memory))                                                         \
  X(memMap, cuMemMap, Result,                                                                                          \
    (Address address, size_t bytes, size_t offset, PhysicalMemory memory, unsigned long long flags))                   \
  X(memUnmap, cuMemUnmap, Result, (Address address, size_t bytes))                                                     \
  X(memSetAccess, cuMemSetAccess, Result, (Address address, size_t bytes, const MemoryAccess *access, size_t count))   \
  X(memAllocHost, cuMemAllocHost_v2, Result, (void **address, size_t bytes))                                           \
  X(memFreeHost, cuMemFreeHost, Result, (void *address))                                                               \
  X(memcpyHtoDAsync, cuMemcpyHtoDAsync_v2, Result, (Address to, const void *from, size_t bytes, Stream stream))        \
  X(memcpyDtoHAsync, cuMemcpyDtoHAsync_v2, Result, (void *to, Address from, size_t bytes, Stream stream))              \
  X(memcpyDtoDAsync, cuMemcpyDtoDAsync_v2, Result, (Address to, Address from, size_t bytes, Stream stream))            \
  X(memsetD8Async, cuMemsetD8Async, Result, (Address to, unsigned char value, size_t bytes, Stream stream))            \
  X(streamCreate, cuStreamCreate, Result, (Stream * stream, unsigned flags))                                           \
  X(streamDestroy, cuStreamDestroy_v2, Result, (Stream stream))                                                        \
  X(streamQuery, cuStreamQuery, Result, (Stream stream))                                                               \
  X(streamSynchronize, cuStreamSynchronize, Result, (Stream stream))                                                   \
  X(eventCreate, cuEventCreate, Result, (Event * event, unsigned flags))                                               \
  X(eventDestroy, cuEventDestroy_v2, Result, (Event event))                                                            \
  X(streamWaitEvent, cuStreamWaitEvent, Result, (Stream stream, Event event, unsigned flags))                          \
  X(eventRecord, cuEventRecord, Result, (Event event, Stream stream))                                                  \
  X(eventSynchronize, cuEventSynchronize, Result, (Event event))                                                       \
  X(eventElapsedTime, cuEventElapsedTime, Result, (float *ms, Event begin, Event end))                                 \
  X(streamBeginCapture, cuStreamBeginCapture_v2, Result, (Stream stream, CaptureMode mode))                            \
  X(streamEndCapture, cuStreamEndCapture, Result, (Stream stream, Graph * graph))                                      \
  X(graphInstantiate, cuGraphInstantiateWithFlags, Result, (GraphExec * exec, Graph graph, unsigned long long flags))  \
  X(graphLaunch, cuGraphLaunch, Result, (GraphExec exec, Stream stream))                                               \
  X(graphExecDestroy, cuGraphExecDestroy, Result, (GraphExec exec))                                                    \
  X(graphDestroy, cuGraphDestroy, Result, (Graph graph))                                                               \
  X(launchKernel, cuLaunchKernel, Result,                                                                              \
    (Function function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY,              \
     unsigned blockZ, unsigned sharedBytes, Stream stream, void **parameters, void **extra))

// The driver's functions; every pointer is set once a library is open.
struct DriverTable {
#define MORAY_CUDA_MEMBER(member, symbol, result, parameters) result(*member) parameters;
  MORAY_CUDA_SYMBOLS(MORAY_CUDA_MEMBER)
#undef MORAY_CUDA_MEMBER
};

} // namespace moray::rt::cuda
