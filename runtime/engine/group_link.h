// An engine's ties to its group: the channel, the placement and the messages that wait for the next agreement.
#pragma once
#include "runtime/artifact/artifact.h"
#include "runtime/device/options.h"
#include "runtime/engine/messages.h"
#include "runtime/exec/executor.h"
#include <memory>

namespace moray::rt {

class GroupLink {
public:
  // Joins the ranks: all are present and equal afterwards. Errors of comm::joinGroup, 5112.
  Status join(const Artifact &artifact, const EngineSetup &setup);
  // What the executor needs for the steps of all ranks.
  ExchangeSetup exchange() const { return {group, placement, channel.get()}; }
  const comm::ModelPlacement &placementAtStart() const { return placement; }

  uint32_t rank() const { return group->found.rank; }
  uint32_t ranks() const { return group->found.ranks; }
  // Messages for `rank`; on ranks other than 0 all go to rank 0.
  Outbox &outbox(uint32_t rank) { return outboxes[rank]; }
  bool sending() const;

  // One agreement; what waited in the outboxes has been sent afterwards.
  // Of `vote`: all but the payload.
  Status agree(comm::StepVote vote, comm::StepDecision &decision);
  // Everything that goes wrong on this rank: the others end with the cause.
  void announce(const Status &cause) { channel->announce(cause); }
  // 5112 unless `placement` is for this model.
  static Status checkPlacement(const Artifact &artifact, const comm::ModelPlacement &placement);
  const moray_group &members() const { return *group; }
  // The end of the channel; the exchange has been closed.
  Status close() { return channel->close(); }

private:
  const moray_group *group = nullptr;
  comm::ModelPlacement placement; // at the start
  std::unique_ptr<comm::ControlChannel> channel;
  std::vector<Outbox> outboxes;
  std::vector<Bytes> payload;
};

// The decision of a single rank, which agrees with nobody.
comm::StepDecision decideAlone(uint64_t step, const comm::StepVote &vote);

} // namespace moray::rt
