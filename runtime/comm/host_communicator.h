// The communicators of CPU ranks: one implementation over a transport; `self` has none, `mpi` opens
// libmoray_comm_mpi.so.
#pragma once
#include "runtime/comm/communicator.h"
#include "runtime/comm/placement.h"
#include "runtime/comm/transport.h"
#include <memory>

namespace moray::rt::comm {

struct CommunicatorOptions {
  uint32_t rank = 0, ranks = 1;
  uint32_t deadlineMs = kDefaultDeadlineMs;
  CombineMode combine = CombineMode::Exact;
  uint32_t startMs = 0; // for MPI to start, which is slow on loaded machines; 0: three deadlines, at least 5 s
  const char *library =
      nullptr; // path of libmoray_comm_mpi.so; null: beside the runtime, then the loader's search path
};

// Ranks of an MPI job; the control channel has been opened, so all ranks are there. Starts MPI (once per process). 5110
// the library or one of its functions is missing, 5101 MPI counts other ranks than `options`, 5107 MPI does not start
// within startMs, 5106 a rank was lost meanwhile, 5111 an error of MPI. `watch` may be null: then errors name whom this
// rank waits for.
Status makeMpiCommunicator(const CommunicatorOptions &options, const ModelPlacement &placement, Watch *watch,
                           std::unique_ptr<Communicator> &communicator);
// Over any transport; null for one rank, whose dispatch and combine copy. 5112 unless the placement is for so many
// ranks.
Status makeHostCommunicator(const CommunicatorOptions &options, const ModelPlacement &placement, Watch *watch,
                            std::unique_ptr<Transport> transport, std::unique_ptr<Communicator> &communicator);

} // namespace moray::rt::comm
