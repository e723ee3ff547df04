// The part of NCCL's binary interface that the runtime uses, declared here so that no header of NCCL is needed to
// build. test/Unit/Comm/nccl_api_test.cpp compares every declaration with nccl.h where it is installed.
#pragma once
#include <cstddef>

struct CUstream_st;

namespace moray::rt::comm {

using NcclResult = int; // ncclResult_t
using NcclComm = struct ncclComm *;
using NcclWindow = struct ncclWindow_vidmem *;
using NcclStream = CUstream_st *;

enum : NcclResult {
  kNcclSuccess = 0,
  kNcclUnhandledCudaError = 1,
  kNcclSystemError = 2,
  kNcclInternalError = 3,
  kNcclInvalidArgument = 4,
  kNcclInvalidUsage = 5,
  kNcclRemoteError = 6,
  kNcclInProgress = 7,
};

enum NcclType : int { kNcclUint8 = 1 }; // ncclDataType_t

struct NcclId { // ncclUniqueId
  char bytes[128];
};

// The members of ncclConfig_t that every version since 2.14 begins with: a library takes what `size` says, and its own
// defaults for what came after `version`.
struct NcclConfig {
  size_t size;
  unsigned magic;
  unsigned version;
  int blocking;
};
constexpr unsigned kNcclConfigMagic = 0xcafebeef;
constexpr int kNcclOldest = 21400; // 2.14: non-blocking communicators

// X(member, exported symbol, result, parameters)
#define MORAY_NCCL_SYMBOLS(X)                                                                                          \
  X(getVersion, ncclGetVersion, NcclResult, (int *version))                                                            \
  X(getUniqueId, ncclGetUniqueId, NcclResult, (NcclId * id))                                                           \
  X(getErrorString, ncclGetErrorString, const char *, (NcclResult result))                                             \
  X(getLastError, ncclGetLastError, const char *, (NcclComm comm))                                                     \
  X(commInitRankConfig, ncclCommInitRankConfig, NcclResult,                                                            \
    (NcclComm * comm, int ranks, NcclId id, int rank, NcclConfig *config))                                             \
  X(commGetAsyncError, ncclCommGetAsyncError, NcclResult, (NcclComm comm, NcclResult * result))                        \
  X(commFinalize, ncclCommFinalize, NcclResult, (NcclComm comm))                                                       \
  X(commDestroy, ncclCommDestroy, NcclResult, (NcclComm comm))                                                         \
  X(commAbort, ncclCommAbort, NcclResult, (NcclComm comm))                                                             \
  X(groupStart, ncclGroupStart, NcclResult, ())                                                                        \
  X(groupEnd, ncclGroupEnd, NcclResult, ())                                                                            \
  X(send, ncclSend, NcclResult,                                                                                        \
    (const void *from, size_t count, NcclType type, int peer, NcclComm comm, NcclStream stream))                       \
  X(recv, ncclRecv, NcclResult, (void *to, size_t count, NcclType type, int peer, NcclComm comm, NcclStream stream))

// Null where the library is older.
#define MORAY_NCCL_OPTIONAL(X)                                                                                         \
  X(alltoAll, ncclAlltoAll, NcclResult,                                                                                \
    (const void *from, void *to, size_t count, NcclType type, NcclComm comm, NcclStream stream))                       \
  X(windowRegister, ncclCommWindowRegister, NcclResult,                                                                \
    (NcclComm comm, void *address, size_t bytes, NcclWindow *window, int flags))                                       \
  X(windowDeregister, ncclCommWindowDeregister, NcclResult, (NcclComm comm, NcclWindow window))

struct NcclTable {
#define MORAY_NCCL_MEMBER(member, symbol, result, parameters) result(*member) parameters;
  MORAY_NCCL_SYMBOLS(MORAY_NCCL_MEMBER)
  MORAY_NCCL_OPTIONAL(MORAY_NCCL_MEMBER)
#undef MORAY_NCCL_MEMBER
};

} // namespace moray::rt::comm
