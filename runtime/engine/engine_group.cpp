// The engine as a rank of a group. Rank 0 mirrors the sequences that live on other ranks; the others compute what they
// are sent and report it with the next agreement.
#include "runtime/base/clock.h"
#include "runtime/engine/engine.h"
#include <algorithm>
#include <cstring>

namespace moray::rt {

Status Engine::joinGroup() {
  if (!setup.capacities.distributed)
    return {};
  if (artifact.model().experts() == 0)
    return fail(kE5012, "the model has no experts that %u ranks could share; run it on one rank",
                setup.capacities.ranks);
  auto made = std::make_unique<GroupLink>();
  MORAY_TRY(made->join(artifact, setup));
  link = std::move(made);
  setup.placement = &link->placementAtStart();
  setup.capacities.expertSlots = uint64_t{link->exchange().placement.slotsPerRank()} * setup.capacities.ranks;
  return {};
}

// After the others have been met, an error here is theirs as well.
Status Engine::connectGroup(Status status) {
  if (!link)
    return status;
  if (status.ok())
    status = executor->openExchange(link->exchange());
  if (!status.ok()) {
    link->announce(status);
    executor.reset();
    link.reset();
  }
  return status;
}

// The orderly end of all ranks.
Status Engine::closeGroup() {
  Status status = executor->closeExchange();
  if (status.ok())
    return link->close();
  link->announce(status);
  return status;
}

// The others are waiting for the next agreement.
Status Engine::endGroup() {
  if (!link || groupFailed || groupEnded || link->rank() != 0)
    return {};
  comm::StepDecision decision;
  comm::StepVote stop;
  stop.stop = true;
  groupEnded = true;
  if (link->ranks() > 1)
    MORAY_TRY(link->agree(stop, decision));
  return closeGroup();
}

// What fails here fails the others, too, and they say so.
Engine::~Engine() { const Status ended = endGroup(); }

// ---- steps ----

// What this rank wants of the next step.
comm::StepVote Engine::vote(bool work) const {
  comm::StepVote vote;
  vote.program = work ? 1 : 0;
  StepRequest first = request(0, {});
  const StepRequest second = request(1, {}); // without rows where there is no overlap
  first.second = &second;
  vote.eager = !executor->replays(first);
  memcpy(vote.live, batcher.live(), sizeof(vote.live));
  return vote;
}

// One agreement, and a step of all ranks if any has work. `ended`: rank 0 wants no more.
Status Engine::stepTogether(bool work, moray_step_info &info, bool &ended) {
  comm::StepDecision decision;
  Status status = prepareChange();
  if (status.ok())
    status = link->agree(vote(work), decision);
  if (status.ok()) {
    ended = decision.stop;
    report(decision, info);
    // What the others are sent changes the batch that they have just agreed to run, so it waits until after the step.
    const bool first = link->rank() == 0;
    for (uint32_t r = 0; first && status.ok() && r < decision.payload.size(); ++r)
      status = receive(decision.payload[r], r);
    if (!first && decision.payload.size() == 1)
      received.assign(decision.payload[0].begin(), decision.payload[0].end());
    if (status.ok() && decision.program != 0 && !ended) {
      executor->beginStep(decision);
      status = compute(decision);
    }
    if (!first && status.ok())
      status = receive({received.data(), received.size()}, 0);
    else if (status.ok() && change.decided)
      status = changePlacement();
  }
  if (!status.ok())
    failGroup(status);
  return status;
}

void Engine::failGroup(const Status &cause) {
  groupFailed = true;
  link->announce(cause);
  for (const std::unique_ptr<moray_sequence> &sequence : sequences)
    if (!sequence->done())
      finishSequence(*sequence, MORAY_FINISH_FAILED);
  dropFinished();
  waiting.clear();
  away.clear();
}

Status Engine::serve() {
  if (!link || link->rank() == 0)
    return fail(kE5002, "moray_group_serve is for ranks other than 0 of a group; rank 0 adds sequences and steps");
  moray_step_info info;
  bool ended = false;
  while (!ended) {
    admit();
    MORAY_TRY(stepTogether(batcher.build({running.data(), running.size()}), info, ended));
    sequences.erase(std::remove_if(sequences.begin(), sequences.end(),
                                   [](const std::unique_ptr<moray_sequence> &s) { return s->done(); }),
                    sequences.end());
  }
  groupEnded = true;
  return closeGroup();
}

// ---- messages ----

Status Engine::receive(Bytes bytes, uint32_t from) {
  Inbox inbox(bytes, from);
  Message message;
  while (!inbox.done()) {
    MORAY_TRY(inbox.next(message));
    const bool toRankZero = message.kind >= MessageKind::Out;
    if (toRankZero != (link->rank() == 0))
      return fail(kE5113, "rank %u sent a message of kind %u to rank %u; start all ranks from one installation", from,
                  static_cast<unsigned>(message.kind), link->rank());
    MORAY_TRY(receive(message, inbox, from));
  }
  return {};
}

Status Engine::receive(const Message &message, Inbox &inbox, uint32_t from) {
  switch (message.kind) {
  case MessageKind::Add:
    return receiveSequence(message, inbox);
  case MessageKind::Cancel:
    receiveCancel(message.sequence);
    return {};
  case MessageKind::Place:
    return receivePlacement(message, inbox);
  case MessageKind::Swap:
    return changePlacement();
  case MessageKind::AskLoads:
    return sendLoads();
  case MessageKind::Ready:
    ++change.ranksReady;
    return {};
  case MessageKind::Loads:
    return receiveLoads(message, inbox, from);
  default:
    return receiveResult(message, inbox, from);
  }
}

Status Engine::receiveSequence(const Message &message, Inbox &inbox) {
  SequenceTerms terms;
  std::vector<int32_t> ids;
  MORAY_TRY(inbox.terms(terms));
  MORAY_TRY(inbox.ids(message.count, ids));
  moray_sequence_options options = {};
  options.temperature = terms.temperature;
  options.top_p = terms.topP;
  options.top_k = terms.topK;
  options.max_tokens = terms.maxTokens;
  options.seed = terms.seed;
  options.ignore_eos = terms.ignoreEos != 0;
  options.prompt_only = terms.promptOnly != 0;
  options.logits_rows = message.position;
  const Kept kept = {terms.logits != 0, terms.logProbs != 0};
  std::unique_ptr<moray_sequence> made;
  MORAY_TRY(makeSequence({ids.data(), ids.size()}, options, kept, made));
  made->number = message.sequence;
  waiting.push_back(made.get());
  sequences.push_back(std::move(made));
  return {};
}

void Engine::receiveCancel(uint64_t number) {
  for (const std::unique_ptr<moray_sequence> &sequence : sequences)
    if (sequence->number == number)
      cancel(*sequence, MORAY_FINISH_CANCELLED);
}

Status Engine::receiveResult(const Message &message, Inbox &inbox, uint32_t from) {
  const auto found = std::find_if(away.begin(), away.end(), [&](const moray_sequence *s) {
    return s->number == message.sequence && s->home == from;
  });
  moray_sequence *sequence = found == away.end() ? nullptr : *found; // null: cancelled meanwhile
  const uint64_t time = nowNs();
  if (message.kind == MessageKind::Progress) {
    if (sequence)
      advance(*sequence, message.position, time);
  } else {
    if (message.count != (message.flags & kOutLogits ? artifact.model().vocab() : 0) ||
        (sequence && message.position >= sequence->tokens.size()))
      return fail(kE5113,
                  "rank %u sent a result with %llu logits for position %llu; start all ranks from one "
                  "installation",
                  from, static_cast<unsigned long long>(message.count),
                  static_cast<unsigned long long>(message.position));
    const bool logits = sequence && sequence->wantsLogits(message.position);
    float *target = logits ? sequence->options.logits + message.position * message.count : nullptr;
    MORAY_TRY(inbox.floats(message.count, target));
    if (sequence && message.flags & kOutScore && sequence->wantsScore(message.position))
      sequence->options.log_probs[message.position] = message.logProb;
    if (sequence && message.flags & kOutSample && !sequence->done())
      MORAY_TRY(deliverToken(*sequence, message.token, time));
  }
  if (sequence && sequence->done())
    away.erase(found);
  return {};
}

} // namespace moray::rt
