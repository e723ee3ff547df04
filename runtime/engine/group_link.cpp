// Handshake, agreements and the end of a group.
#include "runtime/engine/group_link.h"
#include <algorithm>
#include <cstring>

namespace moray::rt {

static constexpr uint64_t kPromptBytes = uint64_t{256} << 20; // of all prompts that are added between two steps

static_assert(sizeof(LiveCounts) == sizeof(comm::StepVote::live), "a vote carries the counts of all micro-batches");

// FNV-1a over the numbers that all ranks must share.
static uint64_t mix(uint64_t hash, uint64_t value) {
  for (int i = 0; i < 8; ++i)
    hash = (hash ^ (value >> (8 * i) & 0xFF)) * 0x100000001B3u;
  return hash;
}

static comm::Identity identityOf(const Artifact &artifact, const EngineSetup &setup, uint64_t placement) {
  comm::Identity identity;
  moray_preamble preamble;
  memcpy(&preamble, artifact.file().bytes().data(), sizeof(preamble));
  // The checksum covers the hash of the metadata, which holds the hashes of all weights.
  memcpy(identity.artifact, &preamble.checksum, 8);
  memcpy(identity.artifact + 8, &preamble.sections[MORAY_SECTION_METADATA].hash, 8);
  identity.abi = MORAY_ABI_ID;
  const Capacities &c = setup.capacities;
  identity.plan = placement;
  for (uint64_t value :
       {c.rows, c.seqs, c.outs, c.pages, c.cachePages, uint64_t{setup.prefillChunk}, uint64_t{setup.context},
        uint64_t{setup.group->nodes}, static_cast<uint64_t>(setup.group->combine), uint64_t{c.batches}})
    identity.plan = mix(identity.plan, value);
  return identity;
}

Status GroupLink::join(const Artifact &artifact, const EngineSetup &setup) {
  group = setup.group;
  placement = group->placement;
  if (placement.layers() == 0)
    MORAY_TRY(comm::ModelPlacement::makeDefault(artifact.model().experts(), ranks(), group->nodes,
                                                artifact.model().layers(), placement));
  MORAY_TRY(checkPlacement(artifact, placement));
  const Capacities &c = setup.capacities;
  const uint64_t results = c.batches * c.outs * (uint64_t{artifact.model().vocab()} * sizeof(float) + sizeof(Message)) +
                           c.seqs * sizeof(Message);
  const auto limit = static_cast<uint32_t>(std::min<uint64_t>(std::max(results, kPromptBytes), UINT32_MAX));
  outboxes.resize(rank() == 0 ? ranks() : 1);
  payload.resize(outboxes.size());
  return comm::joinGroup(*group, identityOf(artifact, setup, placement.hash()), limit, channel);
}

Status GroupLink::checkPlacement(const Artifact &artifact, const comm::ModelPlacement &wanted) {
  const schema::ModelConfig &model = artifact.model();
  if (wanted.experts() != model.experts() || wanted.layers() != model.layers())
    return fail(kE5112,
                "the placement is for %u experts in %u layers, the model has %u experts in %u layers; make a placement "
                "for this model",
                wanted.experts(), wanted.layers(), model.experts(), model.layers());
  return {};
}

bool GroupLink::sending() const {
  return std::any_of(outboxes.begin(), outboxes.end(), [](const Outbox &outbox) { return !outbox.bytes().empty(); });
}

Status GroupLink::agree(comm::StepVote vote, comm::StepDecision &decision) {
  for (size_t i = 0; i < outboxes.size(); ++i)
    payload[i] = outboxes[i].bytes();
  vote.payload = {payload.data(), payload.size()};
  MORAY_TRY(channel->agree(vote, decision));
  for (Outbox &outbox : outboxes)
    outbox.clear();
  return {};
}

comm::StepDecision decideAlone(uint64_t step, const comm::StepVote &vote) {
  comm::StepDecision decision;
  decision.step = step;
  decision.program = decision.activeRanks = 1;
  decision.eager = vote.eager;
  std::copy(vote.live, vote.live + comm::kLiveCounts, decision.sum);
  std::copy(vote.live, vote.live + comm::kLiveCounts, decision.max);
  return decision;
}

} // namespace moray::rt
