// The part of NCCL's binary interface that the simulator exports, declared here so that neither NCCL nor a CUDA toolkit
// is needed; a test compares it with nccl.h where that is installed.
#pragma once

#include "test/gpusim/driver/cuda_abi.h"

#include <climits>

namespace ncclsim {

using ncclComm_t = struct Communicator *;
using ncclWindow_t = struct Window *;
using cudaStream_t = gpusim::CUstream;

struct ncclUniqueId {
  char internal[128];
};

enum ncclResult_t : int {
  ncclSuccess = 0,
  ncclUnhandledCudaError = 1,
  ncclSystemError = 2,
  ncclInternalError = 3,
  ncclInvalidArgument = 4,
  ncclInvalidUsage = 5,
  ncclRemoteError = 6,
  ncclInProgress = 7,
};

enum ncclDataType_t : unsigned {
  ncclInt8 = 0,
  ncclUint8 = 1,
  ncclInt32 = 2,
  ncclUint32 = 3,
  ncclInt64 = 4,
  ncclUint64 = 5,
  ncclFloat16 = 6,
  ncclFloat32 = 7,
  ncclFloat64 = 8,
  ncclBfloat16 = 9,
  ncclFloat8e4m3 = 10,
  ncclFloat8e5m2 = 11,
  ncclNumTypes = 12,
};

enum ncclRedOp_t : unsigned { ncclSum = 0, ncclProd = 1, ncclMax = 2, ncclMin = 3, ncclAvg = 4 };

// The members that all versions since 2.14 begin with; the rest is not looked at.
struct ncclConfig_t {
  size_t size;
  unsigned magic;
  unsigned version;
  int blocking;
};
constexpr unsigned configMagic = 0xcafebeef;
constexpr int configUndefined = INT_MIN;
constexpr size_t windowAlignment = 4096;

// X(result, name, (parameters)); the second list came with 2.27 and 2.28.
#define NCCLSIM_ENTRY_POINTS(X)                                                                                        \
  X(ncclResult_t, ncclGetVersion, (int *version))                                                                      \
  X(ncclResult_t, ncclGetUniqueId, (ncclUniqueId * id))                                                                \
  X(ncclResult_t, ncclCommInitRank, (ncclComm_t * comm, int ranks, ncclUniqueId id, int rank))                         \
  X(ncclResult_t, ncclCommInitRankConfig,                                                                              \
    (ncclComm_t * comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t *config))                                   \
  X(ncclResult_t, ncclCommFinalize, (ncclComm_t comm))                                                                 \
  X(ncclResult_t, ncclCommDestroy, (ncclComm_t comm))                                                                  \
  X(ncclResult_t, ncclCommAbort, (ncclComm_t comm))                                                                    \
  X(const char *, ncclGetErrorString, (ncclResult_t result))                                                           \
  X(const char *, ncclGetLastError, (ncclComm_t comm))                                                                 \
  X(ncclResult_t, ncclCommGetAsyncError, (ncclComm_t comm, ncclResult_t * error))                                      \
  X(ncclResult_t, ncclCommCount, (ncclComm_t comm, int *count))                                                        \
  X(ncclResult_t, ncclCommCuDevice, (ncclComm_t comm, int *device))                                                    \
  X(ncclResult_t, ncclCommUserRank, (ncclComm_t comm, int *rank))                                                      \
  X(ncclResult_t, ncclMemAlloc, (void **pointer, size_t bytes))                                                        \
  X(ncclResult_t, ncclMemFree, (void *pointer))                                                                        \
  X(ncclResult_t, ncclGroupStart, ())                                                                                  \
  X(ncclResult_t, ncclGroupEnd, ())                                                                                    \
  X(ncclResult_t, ncclSend,                                                                                            \
    (const void *from, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream))             \
  X(ncclResult_t, ncclRecv,                                                                                            \
    (void *to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream))                     \
  X(ncclResult_t, ncclBroadcast,                                                                                       \
    (const void *from, void *to, size_t count, ncclDataType_t type, int root, ncclComm_t comm, cudaStream_t stream))   \
  X(ncclResult_t, ncclAllGather,                                                                                       \
    (const void *from, void *to, size_t count, ncclDataType_t type, ncclComm_t comm, cudaStream_t stream))             \
  X(ncclResult_t, ncclReduceScatter,                                                                                   \
    (const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,                   \
     cudaStream_t stream))                                                                                             \
  X(ncclResult_t, ncclAllReduce,                                                                                       \
    (const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,                   \
     cudaStream_t stream))

#define NCCLSIM_NEW_ENTRY_POINTS(X)                                                                                    \
  X(ncclResult_t, ncclCommWindowRegister,                                                                              \
    (ncclComm_t comm, void *pointer, size_t bytes, ncclWindow_t *window, int flags))                                   \
  X(ncclResult_t, ncclCommWindowDeregister, (ncclComm_t comm, ncclWindow_t window))                                    \
  X(ncclResult_t, ncclAlltoAll,                                                                                        \
    (const void *from, void *to, size_t count, ncclDataType_t type, ncclComm_t comm, cudaStream_t stream))

} // namespace ncclsim
