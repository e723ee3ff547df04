// From options and the launcher's variables to a control channel and a communicator.
#include "runtime/comm/group.h"
#include "runtime/comm/host_communicator.h"
#include <algorithm>
#include <cstring>

namespace moray::rt::comm {

static constexpr uint32_t kStartMs = 500; // launchers do not start all ranks at once

static Status findCombine(const char *name, CombineMode &mode) {
  static const char *const names[] = {"exact", "rank_sum", "node_sum"};
  for (uint32_t i = 0; i < 3; ++i)
    if (!name || strcmp(name, names[i]) == 0) {
      mode = static_cast<CombineMode>(i);
      return {};
    }
  return fail(kE5002, "combine '%s' was asked for, expected exact, rank_sum or node_sum", name);
}

Status readPlacement(const moray_placement &given, const moray_group &group, ModelPlacement &placement) {
  if (!given.slots)
    return fail(kE5002, "argument 'placement' has no slots");
  if (given.ranks != group.found.ranks || given.nodes != group.nodes)
    return fail(kE5112, "the placement is for %u ranks on %u nodes, but this group has %u on %u; make one for these",
                given.ranks, given.nodes, group.found.ranks, group.nodes);
  const uint64_t slots = uint64_t{given.layers} * given.ranks * given.slots_per_rank;
  return ModelPlacement::make(given.experts, given.ranks, given.nodes, given.layers, {given.slots, slots}, placement);
}

static Status findComm(const char *name, CommKind &comm) {
  static const char *const names[] = {"auto", "self", "mpi", "nccl"};
  for (uint32_t i = 0; i < 4; ++i)
    if (!name || strcmp(name, names[i]) == 0) {
      comm = static_cast<CommKind>(i);
      return {};
    }
  return fail(kE5002, "communicator '%s' was asked for, expected auto, mpi, nccl or self", name);
}

Status findGroup(const moray_group_options &options, moray_group &group) {
  MORAY_TRY(findComm(options.comm, group.comm));
  if (options.deadline_ms == 0)
    return fail(kE5002, "the deadline is 0 ms, expected at least 1");
  MORAY_TRY(findCombine(options.combine, group.combine));
  MORAY_TRY(findRanks(options.ranks, group.found));
  if (options.nodes == 0 || group.found.ranks % options.nodes != 0)
    return fail(kE5101, "%u ranks cannot be divided evenly over %u nodes; start a multiple of the nodes",
                group.found.ranks, options.nodes);
  group.nodes = options.nodes;
  if (options.placement)
    MORAY_TRY(readPlacement(*options.placement, group, group.placement));
  if (options.rendezvous && *options.rendezvous) {
    if (strlen(options.rendezvous) >= sizeof(group.found.rendezvous))
      return fail(kE5101, "the rendezvous has %zu characters, expected fewer than %zu", strlen(options.rendezvous),
                  sizeof(group.found.rendezvous));
    strcpy(group.found.rendezvous, options.rendezvous);
  }
  if (group.comm == CommKind::Self && group.found.ranks != 1)
    return fail(kE5101, "communicator self was asked for, but %s started %u ranks; use auto", group.found.launcher,
                group.found.ranks);
  group.forceDist = options.force_dist != 0;
  group.deadlineMs = options.deadline_ms;
  group.cancel = options.cancel;
  group.library = options.comm_library ? options.comm_library : "";
  group.ncclLibrary = options.nccl_library ? options.nccl_library : "";
  return {};
}

Status joinGroup(const moray_group &group, const Identity &identity, uint32_t maxPayloadBytes,
                 std::unique_ptr<ControlChannel> &channel) {
  ChannelOptions options;
  options.rank = group.found.rank;
  options.ranks = group.found.ranks;
  options.rendezvous = group.found.rendezvous;
  options.deadlineMs = group.deadlineMs;
  options.cancel = group.cancel;
  options.connectMs = group.deadlineMs > kDefaultDeadlineMs ? group.deadlineMs
                                                            : std::min(options.connectMs, group.deadlineMs + kStartMs);
  options.maxPayloadBytes = maxPayloadBytes;
  return ControlChannel::open(options, identity, channel);
}

Status makeCommunicator(const moray_group &group, const ModelPlacement &placement, Watch *watch,
                        std::unique_ptr<Communicator> &communicator) {
  CommunicatorOptions options;
  options.rank = group.found.rank;
  options.ranks = group.found.ranks;
  options.deadlineMs = group.deadlineMs;
  options.combine = group.combine;
  options.library = group.library.empty() ? nullptr : group.library.c_str();
  if (group.comm == CommKind::Self || (group.comm == CommKind::Auto && group.found.ranks == 1))
    return makeHostCommunicator(options, placement, nullptr, nullptr, communicator);
  return makeMpiCommunicator(options, placement, watch, communicator);
}

} // namespace moray::rt::comm
