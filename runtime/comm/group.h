// What a process knows of its group before an engine joins it: its rank, and how the ranks reach each other.
#pragma once
#include "runtime/comm/communicator.h"
#include "runtime/comm/control_channel.h"
#include "runtime/comm/placement.h"
#include <string>

namespace moray::rt::comm {
// Auto: what the device needs for this number of ranks.
enum class CommKind { Auto, Self, Mpi, Nccl };
} // namespace moray::rt::comm

// The handle of the C API. Immutable; it outlives the engine that joins it.
struct moray_group {
  moray::rt::comm::LaunchRanks found;
  moray::rt::comm::CommKind comm = moray::rt::comm::CommKind::Auto;
  bool forceDist = false; // run distributed steps on one rank as well
  uint32_t deadlineMs = moray::rt::comm::kDefaultDeadlineMs;
  uint32_t nodes = 1; // divides the ranks
  moray::rt::comm::CombineMode combine = moray::rt::comm::CombineMode::Exact;
  moray::rt::comm::ModelPlacement placement; // without layers: the default of the model
  std::string library;                       // path of libmoray_comm_mpi.so; empty: beside the runtime
  std::string ncclLibrary;                   // path of libnccl.so.2; empty: where the loader looks
  const volatile int *cancel = nullptr;      // nonzero: waits for nobody any longer
};

namespace moray::rt::comm {

// Reads the variables of the launcher. 5002 for an unknown communicator or mode of combine or a deadline of 0, 5101
// where the launcher's ranks are unclear, no communicator serves them, they have no rendezvous or do not fill the
// nodes. 5112 for the placement.
Status findGroup(const moray_group_options &options, moray_group &group);

// 5112 as ModelPlacement::make, and where it is for other ranks or nodes than those of the group.
Status readPlacement(const moray_placement &given, const moray_group &group, ModelPlacement &placement);

// Joins the other ranks and waits for all of them; errors of ControlChannel::open.
Status joinGroup(const moray_group &group, const Identity &identity, uint32_t maxPayloadBytes,
                 std::unique_ptr<ControlChannel> &channel);
// Errors of makeHostCommunicator and makeMpiCommunicator.
Status makeCommunicator(const moray_group &group, const ModelPlacement &placement, Watch *watch,
                        std::unique_ptr<Communicator> &communicator);

} // namespace moray::rt::comm
