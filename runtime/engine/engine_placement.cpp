// Placements that change between two steps, and what the experts had to do.
//
// Rank 0 sends a placement to all ranks; each gets what it lacks in the background and says when it is ready. When all
// are, rank 0 tells them so with one agreement, and all change after the step of that agreement.
#include "runtime/engine/engine.h"
#include <algorithm>
#include <functional>

namespace moray::rt {

Status Engine::needGroup() const {
  if (!link)
    return fail(kE5002, "experts have no placement in a local step; give the engine a group, on one rank with "
                        "force_dist");
  if (reports())
    return fail(kE5002, "placements and loads are for rank 0 of a group, this is rank %u; call moray_group_serve",
                link->rank());
  return {};
}

Status Engine::place(const moray_placement &given) {
  MORAY_TRY(needGroup());
  if (change.underWay)
    return fail(kE5002, "a change of the placement is under way; take steps until `placements` of the statistics "
                        "counts it");
  comm::ModelPlacement next;
  MORAY_TRY(comm::readPlacement(given, link->members(), next));
  MORAY_TRY(GroupLink::checkPlacement(artifact, next));
  for (uint32_t rank = 1; rank < link->ranks(); ++rank)
    link->outbox(rank).place(next);
  change.next = std::move(next);
  change.underWay = true;
  return {};
}

Status Engine::receivePlacement(const Message &message, Inbox &inbox) {
  std::vector<int32_t> slots;
  MORAY_TRY(inbox.ids(message.count, slots));
  const schema::ModelConfig &model = artifact.model();
  MORAY_TRY(comm::ModelPlacement::make(model.experts(), link->ranks(), link->members().nodes, model.layers(),
                                       {slots.data(), slots.size()}, change.next));
  change.underWay = true;
  return {};
}

// Before an agreement: whether this rank is ready, and on rank 0 whether all are.
Status Engine::prepareChange() {
  if (!change.underWay)
    return {};
  if (!change.prepared) {
    MORAY_TRY(executor->preparePlacement(change.next, change.prepared));
    if (!change.prepared)
      return {};
    ++change.ranksReady;
    if (reports())
      link->outbox(0).signal(MessageKind::Ready);
  }
  if (reports() || change.ranksReady != link->ranks())
    return {};
  for (uint32_t rank = 1; rank < link->ranks(); ++rank)
    link->outbox(rank).signal(MessageKind::Swap);
  change.decided = true;
  return {};
}

Status Engine::changePlacement() {
  if (!change.prepared)
    return fail(kE5113, "rank 0 wants a placement that it did not announce; start all ranks from one installation");
  MORAY_TRY(executor->setPlacement(change.next));
  change = {};
  ++statistics.placements;
  return {};
}

// ---- loads ----

Status Engine::expertLoads(uint64_t *result) {
  MORAY_TRY(needGroup());
  loads.resize(uint64_t{artifact.model().layers()} * artifact.model().experts());
  MORAY_TRY(executor->addExpertLoads(loads.data()));
  loadsMissing = link->ranks() - 1;
  for (uint32_t rank = 1; rank < link->ranks(); ++rank)
    link->outbox(rank).signal(MessageKind::AskLoads);
  moray_step_info info;
  while (loadsMissing != 0)
    MORAY_TRY(step(info));
  std::copy(loads.begin(), loads.end(), result);
  return {};
}

Status Engine::sendLoads() {
  loads.assign(uint64_t{artifact.model().layers()} * artifact.model().experts(), 0);
  MORAY_TRY(executor->addExpertLoads(loads.data()));
  link->outbox(0).loads({loads.data(), loads.size()});
  return {};
}

Status Engine::receiveLoads(const Message &message, Inbox &inbox, uint32_t from) {
  std::vector<uint64_t> numbers;
  if (message.count != loads.size() || loadsMissing == 0)
    return fail(kE5113, "rank %u sent %llu loads of experts; start all ranks from one installation", from,
                static_cast<unsigned long long>(message.count));
  MORAY_TRY(inbox.numbers(message.count, numbers));
  std::transform(loads.begin(), loads.end(), numbers.begin(), loads.begin(), std::plus<uint64_t>());
  --loadsMissing;
  return {};
}

} // namespace moray::rt
