// The exported calls of every version.
#include "test/ncclsim/communicator.h"

#include <cstdlib>
#include <map>
#include <new>

namespace ncclsim {
#define NCCLSIM_DECLARE(result, name, parameters) GPUSIM_EXPORT result name parameters;
NCCLSIM_ENTRY_POINTS(NCCLSIM_DECLARE)
#undef NCCLSIM_DECLARE
// Only the library of the newer version has it.
extern "C" __attribute__((weak)) ncclResult_t ncclAlltoAll(const void *, void *, size_t, ncclDataType_t, ncclComm_t,
                                                           cudaStream_t);
} // namespace ncclsim

using namespace ncclsim;

namespace {

std::mutex memoryMutex;
std::map<uint64_t, size_t> memorySizes; // of ncclMemAlloc

uint64_t address(const void *pointer) { return reinterpret_cast<uint64_t>(pointer); }

ncclResult_t noCommunicator() { return refuse(ncclInvalidArgument, "there is no such communicator"); }

ncclResult_t initialise(ncclComm_t *comm, int ranks, const ncclUniqueId &id, int rank, bool blocking) {
  if (!comm || ranks < 1 || rank < 0 || rank >= ranks)
    return refuse(ncclInvalidArgument, "rank " + std::to_string(rank) + " of " + std::to_string(ranks));
  *comm = nullptr;
  if (ranks > maxRanks || inGroup())
    return refuse(ncclInvalidUsage, "not simulated: more than 64 ranks, or several in one process (in a group)");
  const Device *device = findDevice();
  if (!device)
    return refuse(ncclUnhandledCudaError, "libmoray_gpusim.so is not the driver of this process");
  auto made = std::make_unique<Communicator>(*device, ranks, rank, blocking);
  Communicator &added = *addCommunicator(std::move(made));
  ncclResult_t result = added.initialise(id);
  if (result == ncclSuccess || result == ncclInProgress)
    *comm = &added;
  else
    added.live = false;
  return result;
}

// Runs body(Communicator &) for a handle.
template <typename Body> ncclResult_t with(ncclComm_t comm, bool valid, Body body) {
  if (!isLive(comm))
    return noCommunicator();
  return valid ? body(*comm) : refuse(ncclInvalidArgument, "a pointer is null");
}

} // namespace

// MORAY_NCCLSIM_VERSION replaces the number.
GPUSIM_EXPORT ncclResult_t ncclsim::ncclGetVersion(int *version) {
  if (!version)
    return refuse(ncclInvalidArgument, "a pointer is null");
  const char *wanted = getenv("MORAY_NCCLSIM_VERSION");
  *version = wanted && *wanted ? atoi(wanted) : ncclAlltoAll ? 22809 : 22602;
  return ncclSuccess;
}

GPUSIM_EXPORT ncclResult_t ncclsim::ncclGetUniqueId(ncclUniqueId *id) {
  std::string problem;
  if (!id)
    return refuse(ncclInvalidArgument, "a pointer is null");
  return SharedGroup::makeId(id->internal, problem) ? ncclSuccess : refuse(ncclSystemError, problem);
}

GPUSIM_EXPORT ncclResult_t ncclsim::ncclCommInitRank(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank) {
  return initialise(comm, ranks, id, rank, true);
}

GPUSIM_EXPORT ncclResult_t ncclsim::ncclCommInitRankConfig(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank,
                                                           ncclConfig_t *config) {
  if (config && (config->magic != configMagic || config->size < sizeof(ncclConfig_t)))
    return refuse(ncclInvalidArgument, "the configuration was not initialised by NCCL_CONFIG_INITIALIZER");
  const int blocking = config ? config->blocking : configUndefined;
  if (blocking != 0 && blocking != 1 && blocking != configUndefined)
    return refuse(ncclInvalidArgument, "blocking must be 0 or 1");
  return initialise(comm, ranks, id, rank, blocking != 0);
}

GPUSIM_EXPORT ncclResult_t ncclsim::ncclCommFinalize(ncclComm_t comm) {
  return with(comm, true, [](Communicator &it) { return it.finalise(); });
}

GPUSIM_EXPORT ncclResult_t ncclsim::ncclCommDestroy(ncclComm_t comm) {
  return !comm ? ncclSuccess : with(comm, true, [](Communicator &it) { return it.destroy(); });
}

GPUSIM_EXPORT ncclResult_t ncclsim::ncclCommAbort(ncclComm_t comm) {
  return !comm ? ncclSuccess : with(comm, true, [](Communicator &it) { return it.abort(); });
}

GPUSIM_EXPORT const char *ncclsim::ncclGetErrorString(ncclResult_t result) {
  switch (result) {
  case ncclSuccess:
    return "no error";
  case ncclUnhandledCudaError:
    return "unhandled cuda error (run with NCCL_DEBUG=INFO for details)";
  case ncclSystemError:
    return "unhandled system error (run with NCCL_DEBUG=INFO for details)";
  case ncclInternalError:
    return "internal error - please report this issue to the NCCL developers";
  case ncclInvalidArgument:
    return "invalid argument (run with NCCL_DEBUG=WARN for details)";
  case ncclInvalidUsage:
    return "invalid usage (run with NCCL_DEBUG=WARN for details)";
  case ncclRemoteError:
    return "remote process exited or there was a network error";
  case ncclInProgress:
    return "NCCL operation in progress";
  }
  return "unknown result code";
}

GPUSIM_EXPORT const char *ncclsim::ncclGetLastError(ncclComm_t) { return lastRefusal(); }

GPUSIM_EXPORT ncclResult_t ncclsim::ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error) {
  return with(comm, error, [&](Communicator &it) {
    *error = it.poll();
    return ncclSuccess;
  });
}

GPUSIM_EXPORT ncclResult_t ncclsim::ncclCommCount(ncclComm_t comm, int *count) {
  return with(comm, count, [&](Communicator &it) {
    *count = it.ranks;
    return it.checkReady();
  });
}

GPUSIM_EXPORT ncclResult_t ncclsim::ncclCommCuDevice(ncclComm_t comm, int *device) {
  return with(comm, device, [&](Communicator &it) {
    *device = 0;
    return it.checkReady();
  });
}

GPUSIM_EXPORT ncclResult_t ncclsim::ncclCommUserRank(ncclComm_t comm, int *rank) {
  return with(comm, rank, [&](Communicator &it) {
    *rank = it.rank;
    return it.checkReady();
  });
}

// Virtual memory, as NCCL does it: aligned so that windows may begin there.
GPUSIM_EXPORT ncclResult_t ncclsim::ncclMemAlloc(void **pointer, size_t bytes) {
  const Device *device = findDevice();
  const gpusim::CUmemLocation place = {gpusim::CU_MEM_LOCATION_TYPE_DEVICE, 0};
  const gpusim::CUmemAllocationProp properties = {gpusim::CU_MEM_ALLOCATION_TYPE_PINNED, 0, place, nullptr, {}};
  const gpusim::CUmemAccessDesc access = {place, gpusim::CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
  gpusim::CUmemGenericAllocationHandle handle = 0;
  gpusim::CUdeviceptr made = 0;
  size_t granule = 0;
  if (!device || !pointer || bytes == 0)
    return refuse(ncclInvalidUsage, "ncclMemAlloc: no driver, no pointer or no bytes");
  if (device->cuMemGetAllocationGranularity(&granule, &properties, 0))
    return refuse(ncclUnhandledCudaError, "ncclMemAlloc failed");
  bytes = (bytes + granule - 1) / granule * granule;
  if (device->cuMemCreate(&handle, bytes, &properties, 0) || device->cuMemAddressReserve(&made, bytes, 0, 0, 0) ||
      device->cuMemMap(made, bytes, 0, handle, 0) || device->cuMemSetAccess(made, bytes, &access, 1) ||
      device->cuMemRelease(handle))
    return refuse(ncclUnhandledCudaError, "ncclMemAlloc failed");
  std::lock_guard<std::mutex> lock(memoryMutex);
  memorySizes[made] = bytes;
  *pointer = reinterpret_cast<void *>(made);
  return ncclSuccess;
}

GPUSIM_EXPORT ncclResult_t ncclsim::ncclMemFree(void *pointer) {
  const Device *device = findDevice();
  std::lock_guard<std::mutex> lock(memoryMutex);
  auto found = memorySizes.find(address(pointer));
  if (!device || found == memorySizes.end())
    return refuse(ncclInvalidArgument, "ncclMemFree: not from ncclMemAlloc");
  const auto [begin, bytes] = *found;
  memorySizes.erase(found);
  if (device->cuMemUnmap(begin, bytes) || device->cuMemAddressFree(begin, bytes))
    return refuse(ncclUnhandledCudaError, "ncclMemFree failed");
  return ncclSuccess;
}

GPUSIM_EXPORT ncclResult_t ncclsim::ncclGroupStart() { return groupStart(); }
GPUSIM_EXPORT ncclResult_t ncclsim::ncclGroupEnd() { return groupEnd(); }

GPUSIM_EXPORT ncclResult_t ncclsim::ncclSend(const void *from, size_t count, ncclDataType_t type, int peer,
                                             ncclComm_t comm, cudaStream_t stream) {
  return addTask({Kind::Send, address(from), 0, count, type, ncclSum, peer, comm, stream});
}

GPUSIM_EXPORT ncclResult_t ncclsim::ncclRecv(void *to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                                             cudaStream_t stream) {
  return addTask({Kind::Recv, 0, address(to), count, type, ncclSum, peer, comm, stream});
}

GPUSIM_EXPORT ncclResult_t ncclsim::ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t type,
                                                  int root, ncclComm_t comm, cudaStream_t stream) {
  return addTask({Kind::Broadcast, address(from), address(to), count, type, ncclSum, root, comm, stream});
}

GPUSIM_EXPORT ncclResult_t ncclsim::ncclAllGather(const void *from, void *to, size_t count, ncclDataType_t type,
                                                  ncclComm_t comm, cudaStream_t stream) {
  return addTask({Kind::AllGather, address(from), address(to), count, type, ncclSum, 0, comm, stream});
}

GPUSIM_EXPORT ncclResult_t ncclsim::ncclReduceScatter(const void *from, void *to, size_t count, ncclDataType_t type,
                                                      ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  if (!canReduce(type, op))
    return refuse(ncclInvalidArgument, "not simulated: this type or operator of a reduction");
  return addTask({Kind::ReduceScatter, address(from), address(to), count, type, op, 0, comm, stream});
}

GPUSIM_EXPORT ncclResult_t ncclsim::ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type,
                                                  ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  if (!canReduce(type, op))
    return refuse(ncclInvalidArgument, "not simulated: this type or operator of a reduction");
  return addTask({Kind::AllReduce, address(from), address(to), count, type, op, 0, comm, stream});
}
