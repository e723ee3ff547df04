// The exported calls that older versions of NCCL lack: windows (2.27) and all-to-all (2.28).
#include "test/ncclsim/communicator.h"

namespace ncclsim {
#define NCCLSIM_DECLARE(result, name, parameters) GPUSIM_EXPORT result name parameters;
NCCLSIM_NEW_ENTRY_POINTS(NCCLSIM_DECLARE)
#undef NCCLSIM_DECLARE
} // namespace ncclsim

using namespace ncclsim;

GPUSIM_EXPORT ncclResult_t ncclsim::ncclAlltoAll(const void *from, void *to, size_t count, ncclDataType_t type,
                                                 ncclComm_t comm, cudaStream_t stream) {
  return addTask({Kind::AlltoAll, reinterpret_cast<uint64_t>(from), reinterpret_cast<uint64_t>(to), count, type,
                  ncclSum, 0, comm, stream});
}

// Only checked: whatever is sent passes through the same mailboxes. NCCL makes all ranks call it together.
GPUSIM_EXPORT ncclResult_t ncclsim::ncclCommWindowRegister(ncclComm_t comm, void *pointer, size_t bytes,
                                                           ncclWindow_t *window, int) {
  if (!isLive(comm) || !pointer || bytes == 0 || !window)
    return refuse(ncclInvalidArgument, "registering a window: no communicator, no memory or no window");
  return comm->registerWindow(reinterpret_cast<uint64_t>(pointer), *window);
}

GPUSIM_EXPORT ncclResult_t ncclsim::ncclCommWindowDeregister(ncclComm_t comm, ncclWindow_t window) {
  if (!isLive(comm))
    return refuse(ncclInvalidArgument, "there is no such communicator");
  return comm->deregisterWindow(window);
}
