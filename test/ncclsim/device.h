// The driver of this process as the library uses it: the PTX simulator's, wherever the program loaded it from.
#pragma once

#include "test/gpusim/driver/entry_points.h"
#include "test/gpusim/driver/gpusim_api.h"

namespace ncclsim {

using gpusim::CUcontext;
using gpusim::CUevent;
using gpusim::CUresult;
using gpusim::CUstream;

// X(name in gpusim::entry)
#define NCCLSIM_DRIVER_CALLS(X)                                                                                        \
  X(cuCtxGetCurrent)                                                                                                   \
  X(cuCtxPushCurrent_v2)                                                                                               \
  X(cuCtxPopCurrent_v2)                                                                                                \
  X(cuEventCreate)                                                                                                     \
  X(cuEventDestroy_v2)                                                                                                 \
  X(cuEventQuery)                                                                                                      \
  X(cuEventRecord)                                                                                                     \
  X(cuGetErrorName)                                                                                                    \
  X(cuLaunchHostFunc)                                                                                                  \
  X(cuMemAddressFree)                                                                                                  \
  X(cuMemAddressReserve)                                                                                               \
  X(cuMemCreate)                                                                                                       \
  X(cuMemGetAllocationGranularity)                                                                                     \
  X(cuMemMap)                                                                                                          \
  X(cuMemRelease)                                                                                                      \
  X(cuMemSetAccess)                                                                                                    \
  X(cuMemUnmap)                                                                                                        \
  X(cuStreamGetCaptureInfo)                                                                                            \
  X(cuStreamQuery)                                                                                                     \
  X(cuStreamWaitEvent)

struct Device {
#define NCCLSIM_MEMBER(name) gpusim::entry::name *name = nullptr;
  NCCLSIM_DRIVER_CALLS(NCCLSIM_MEMBER)
#undef NCCLSIM_MEMBER
  decltype(&::moray_gpusim_read) read = nullptr;
  decltype(&::moray_gpusim_write) write = nullptr;
  decltype(&::moray_gpusim_report) report = nullptr;
  decltype(&::moray_gpusim_graphs_with) graphsWith = nullptr;
};

/// Finds the library among those that are loaded, by what it exports; null if there is none. It is never closed.
const Device *findDevice();

} // namespace ncclsim
