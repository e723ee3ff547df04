// An engine's ties to its group: the channel, the communicator and the messages that wait for the next agreement.
#pragma once
#include "runtime/artifact/artifact.h"
#include "runtime/comm/group.h"
#include "runtime/device/options.h"
#include "runtime/engine/messages.h"
#include <memory>

namespace moray::rt {

class GroupLink {
public:
  // Joins the ranks: all are present and equal afterwards. Errors of comm::joinGroup, 5112.
  Status join(const Artifact &artifact, const EngineSetup &setup);
  // Opens the communicator of the steps.
  Status connect();

  uint32_t rank() const { return group->found.rank; }
  uint32_t ranks() const { return group->found.ranks; }
  comm::Communicator &communicator() { return *between; }
  // Messages for `rank`; on ranks other than 0 all go to rank 0.
  Outbox &outbox(uint32_t rank) { return outboxes[rank]; }
  bool sending() const;

  // One agreement; what waited in the outboxes has been sent afterwards. Begins the step of the communicator.
  Status agree(bool work, const int32_t (&live)[4], bool stop, comm::StepDecision &decision);
  // Numbers the steps of a single rank, which agrees with nobody.
  void beginStep() { between->beginStep(++steps); }
  // Everything that goes wrong on this rank: the others end with the cause.
  void announce(const Status &cause) { channel->announce(cause); }
  // The orderly end of all ranks.
  Status close();

private:
  const moray_group *group = nullptr;
  comm::Placement placement;
  std::unique_ptr<comm::ControlChannel> channel;
  std::unique_ptr<comm::Communicator> between; // uses the channel
  std::vector<Outbox> outboxes;
  std::vector<Bytes> payload;
  uint64_t steps = 0;
};

} // namespace moray::rt
