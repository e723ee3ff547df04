// Compares our declarations of the CUDA driver's interface with cuda.h; without the toolkit there is nothing to
// compare.
#include "runtime/device/cuda/driver_api.h"
#include <gtest/gtest.h>

#ifdef MORAY_HAVE_CUDA_H
#include <cuda.h>
#include <type_traits>

namespace {

using namespace moray::rt::cuda;

// Handles are different structs of the same name and enumerations are ints with us: equal once these are set aside.
template <typename T> struct Plain {
  using Type = std::conditional_t<std::is_enum_v<T>, int, T>;
};
template <typename T> struct Plain<T *> {
  using Type = std::conditional_t<
      std::is_class_v<T>, void *,
      std::add_pointer_t<std::conditional_t<std::is_const_v<T>, const typename Plain<std::remove_const_t<T>>::Type,
                                            typename Plain<T>::Type>>>;
};
template <> struct Plain<void *> {
  using Type = void *;
};
template <> struct Plain<const void *> {
  using Type = const void *;
};
template <typename F> struct PlainFunction;
template <typename R, typename... P> struct PlainFunction<R (*)(P...)> {
  using Type = typename Plain<R>::Type (*)(typename Plain<P>::Type...);
};

// cuda.h renames plain names to versions; asked for by their exact names, all are declared.
#define COMPARE(member, symbol, result, parameters)                                                                    \
  static_assert(                                                                                                       \
      std::is_same_v<PlainFunction<decltype(DriverTable::member)>::Type, PlainFunction<decltype(&::symbol)>::Type>,    \
      #symbol " differs from cuda.h");
MORAY_CUDA_SYMBOLS(COMPARE)

static_assert(kSuccess == CUDA_SUCCESS && kInvalidValue == CUDA_ERROR_INVALID_VALUE);
static_assert(kOutOfMemory == CUDA_ERROR_OUT_OF_MEMORY && kNotInitialized == CUDA_ERROR_NOT_INITIALIZED);
static_assert(kDeinitialized == CUDA_ERROR_DEINITIALIZED && kStubLibrary == CUDA_ERROR_STUB_LIBRARY);
static_assert(kDeviceUnavailable == CUDA_ERROR_DEVICE_UNAVAILABLE && kNoDevice == CUDA_ERROR_NO_DEVICE);
static_assert(kInvalidDevice == CUDA_ERROR_INVALID_DEVICE && kInvalidImage == CUDA_ERROR_INVALID_IMAGE);
static_assert(kInvalidContext == CUDA_ERROR_INVALID_CONTEXT && kNoBinaryForGpu == CUDA_ERROR_NO_BINARY_FOR_GPU);
static_assert(kEccUncorrectable == CUDA_ERROR_ECC_UNCORRECTABLE && kInvalidPtx == CUDA_ERROR_INVALID_PTX);
static_assert(kNvlinkUncorrectable == CUDA_ERROR_NVLINK_UNCORRECTABLE);
static_assert(kJitCompilerNotFound == CUDA_ERROR_JIT_COMPILER_NOT_FOUND);
static_assert(kUnsupportedPtxVersion == CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
static_assert(kJitCompilationDisabled == CUDA_ERROR_JIT_COMPILATION_DISABLED);
static_assert(kOperatingSystem == CUDA_ERROR_OPERATING_SYSTEM && kInvalidHandle == CUDA_ERROR_INVALID_HANDLE);
static_assert(kNotFound == CUDA_ERROR_NOT_FOUND && kNotReady == CUDA_ERROR_NOT_READY);
static_assert(kIllegalAddress == CUDA_ERROR_ILLEGAL_ADDRESS);
static_assert(kLaunchOutOfResources == CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
static_assert(kLaunchTimeout == CUDA_ERROR_LAUNCH_TIMEOUT && kContextIsDestroyed == CUDA_ERROR_CONTEXT_IS_DESTROYED);
static_assert(kAssert == CUDA_ERROR_ASSERT && kHardwareStackError == CUDA_ERROR_HARDWARE_STACK_ERROR);
static_assert(kIllegalInstruction == CUDA_ERROR_ILLEGAL_INSTRUCTION);
static_assert(kMisalignedAddress == CUDA_ERROR_MISALIGNED_ADDRESS);
static_assert(kInvalidAddressSpace == CUDA_ERROR_INVALID_ADDRESS_SPACE && kInvalidPc == CUDA_ERROR_INVALID_PC);
static_assert(kLaunchFailed == CUDA_ERROR_LAUNCH_FAILED && kNotSupported == CUDA_ERROR_NOT_SUPPORTED);
static_assert(kSystemNotReady == CUDA_ERROR_SYSTEM_NOT_READY);
static_assert(kSystemDriverMismatch == CUDA_ERROR_SYSTEM_DRIVER_MISMATCH);
static_assert(kCompatNotSupported == CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE);
static_assert(kStreamCaptureUnsupported == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
static_assert(kStreamCaptureInvalidated == CUDA_ERROR_STREAM_CAPTURE_INVALIDATED && kUnknown == CUDA_ERROR_UNKNOWN);
#if CUDA_VERSION >= 13000 // codes that came late
static_assert(kNewerDriverNeeded == CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER && kContained == CUDA_ERROR_CONTAINED);
static_assert(kTensorMemoryLeak == CUDA_ERROR_TENSOR_MEMORY_LEAK && kExternalDevice == CUDA_ERROR_EXTERNAL_DEVICE);
#endif

static_assert(+kMultiprocessors == +CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
static_assert(+kL2CacheBytes == +CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
static_assert(+kComputeMajor == +CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
static_assert(+kComputeMinor == +CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
static_assert(sizeof(MemoryProperties) == sizeof(CUmemAllocationProp) &&
              sizeof(MemoryAccess) == sizeof(CUmemAccessDesc));
static_assert(offsetof(MemoryProperties, location) == offsetof(CUmemAllocationProp, location));
static_assert(offsetof(MemoryProperties, flags) == offsetof(CUmemAllocationProp, allocFlags));
static_assert(+kMemoryPinned == +CU_MEM_ALLOCATION_TYPE_PINNED && +kLocationDevice == +CU_MEM_LOCATION_TYPE_DEVICE);
static_assert(+kAccessReadWrite == +CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
static_assert(+kVirtualMemory == +CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED);
static_assert(+kMaxSharedPerBlockOptin == +CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
static_assert(+kMaxThreadsPerBlock == +CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
static_assert(+kMaxDynamicSharedBytes == +CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
static_assert(+kErrorLogBuffer == +CU_JIT_ERROR_LOG_BUFFER && +kErrorLogBytes == +CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
static_assert(+kStreamNonBlocking == +CU_STREAM_NON_BLOCKING && +kEventDefault == +CU_EVENT_DEFAULT);
static_assert(+kEventDisableTiming == +CU_EVENT_DISABLE_TIMING);
static_assert(+kCaptureThreadLocal == +CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);

} // namespace

TEST(DriverApi, AgreesWithTheToolkit) { SUCCEED() << "compared when it was compiled"; }
#else
TEST(DriverApi, AgreesWithTheToolkit) { GTEST_SKIP() << "cuda.h was not found"; }
#endif
