// Agreements, signs of life and failures over the links of a group.
#include "runtime/comm/control_channel.h"
#include "runtime/base/clock.h"
#include "runtime/comm/channel_state.h"
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <poll.h>

namespace moray::rt::comm {

namespace {

constexpr size_t kMessagePrefix = 14; // "error[E5106]: "
constexpr uint32_t kSliceMs = 20;
constexpr uint32_t kLingerMs = 100;

AliveMessage messageOf(const Place &place) { return {place.step, place.layer, static_cast<uint32_t>(place.operation)}; }

bool placeOf(const AliveMessage &message, Place &place) {
  if (message.operation >= kOperations || message.layer < -1)
    return false;
  place = {message.step, message.layer, static_cast<Operation>(message.operation)};
  return true;
}

// Errors about ranks keep their code on other ranks; all else becomes "another rank failed".
bool isAboutRanks(uint32_t code) { return code >= kE5104 && code <= kE5108; }

uint64_t elapsedNs(uint64_t since, uint64_t now) { return now > since ? now - since : 0; }

} // namespace

std::string describe(const Place &place) {
  std::string text = nameOf(place.operation);
  if (place.layer >= 0)
    text += " of layer " + std::to_string(place.layer);
  return text + " in step " + std::to_string(place.step);
}

FailureMessage failureOf(const Status &cause, uint32_t reporter) {
  const auto code = static_cast<uint32_t>(moray_status_code(cause.get()));
  FailureMessage message = {code, reporter, {}};
  const char *text = moray_status_message(cause.get());
  // The code of a message about ranks is printed again by who receives it.
  if (isAboutRanks(code) && strlen(text) > kMessagePrefix)
    text += kMessagePrefix;
  snprintf(message.text, sizeof(message.text), "%s", text);
  return message;
}

Status ControlChannel::State::refuse() const {
  if (failed || closed)
    return fail(kE5114, "the group of ranks has %s; start again", failed ? "failed before" : "ended");
  return {};
}

void ControlChannel::State::spread(const FailureMessage &message, const Peer *except) {
  failed = true;
  for (Peer &peer : peers)
    if (&peer != except)
      peer.link.send(FrameType::Failure, bytesOf(message));
  // Closing with unread input would reset the connection and lose what was just sent.
  const uint64_t end = nowNs() + uint64_t{1000000} * kLingerMs;
  for (Peer &peer : peers)
    if (peer.link.flush())
      peer.link.endOutput();
  for (bool waits = true; waits && nowNs() < end;) {
    waits = false;
    for (Peer &peer : peers) {
      Frame frame;
      Link::Read read = Link::Read::Closed;
      while (peer.link.open() && (read = peer.link.next(frame)) == Link::Read::Frame) {
      }
      waits = waits || (peer.link.open() && read == Link::Read::Nothing);
    }
    if (waits)
      await(kSliceMs);
  }
}

Status ControlChannel::State::tell(Status cause, const Peer *except) {
  spread(failureOf(cause, options.rank), except);
  return cause;
}

void ControlChannel::State::await(uint32_t ms) {
  std::vector<struct pollfd> waits;
  for (Peer &peer : peers)
    if (peer.link.open())
      waits.push_back({peer.link.fd(), static_cast<short>(peer.link.flush() ? POLLIN : POLLIN | POLLOUT), 0});
  ::poll(waits.data(), waits.size(), static_cast<int>(ms));
}

void ControlChannel::State::sayAlive(const Place &place) {
  const uint64_t now = nowNs();
  if (elapsedNs(aliveNs, now) < deadlineNs() / 4)
    return;
  aliveNs = now;
  for (Peer &peer : peers)
    peer.link.send(FrameType::Alive, bytesOf(messageOf(place)));
}

Status ControlChannel::State::hear(const Place &place) {
  for (Peer &peer : peers) {
    while (peer.link.open()) {
      Frame frame;
      const Link::Read read = peer.link.next(frame);
      if (read == Link::Read::Nothing)
        break;
      if (read == Link::Read::Closed) {
        peer.link.close();
        if (!closing || !peer.farewell)
          return tell(fail(kE5106, "rank %u was lost: its connection ended during %s; see its own last message",
                           peer.rank, describe(place).c_str()),
                      &peer);
        break;
      }
      if (read == Link::Read::Malformed)
        return tell(
            fail(kE5113, "rank %u sent bytes that are no message, during %s", peer.rank, describe(place).c_str()));
      peer.heardNs = nowNs();
      MORAY_TRY(handle(peer, frame, place));
      if (frame.type == FrameType::Decision)
        return {}; // what follows it belongs to the step
    }
  }
  return {};
}

Status ControlChannel::State::handle(Peer &peer, const Frame &frame, const Place &place) {
  AliveMessage alive;
  Place reported;
  Bytes rest;
  switch (frame.type) {
  case FrameType::Alive:
    if (decode(frame.payload, alive, rest) && rest.empty() && placeOf(alive, reported))
      return {};
    break;
  case FrameType::Failure:
    return handleFailure(peer, frame.payload);
  case FrameType::Stalled:
    if (leads())
      return handleStalled(peer, frame.payload);
    break;
  case FrameType::Vote:
  case FrameType::Decision:
    if (handleAnswer(peer, frame))
      return {};
    break;
  case FrameType::Bye:
    peer.farewell = true;
    if (closing || leads())
      return {};
    return tell(fail(kE5106, "rank %u left the group during %s; all ranks must end together", peer.rank,
                     describe(place).c_str()));
  default:
    break;
  }
  return tell(fail(kE5113, "rank %u sent a message of type %u and %zu bytes that does not belong here, during %s",
                   peer.rank, static_cast<uint32_t>(frame.type), frame.payload.size(), describe(place).c_str()));
}

bool ControlChannel::State::handleAnswer(Peer &peer, const Frame &frame) const {
  Bytes tail;
  const bool vote = frame.type == FrameType::Vote;
  if (vote != leads() || peer.answered || (!vote && !awaitsDecision))
    return false;
  if (vote ? !decode(frame.payload, peer.vote, tail) || peer.vote.stop > 1 || peer.vote.eager > 1
           : !decode(frame.payload, peer.decision, tail) || peer.decision.stop > 1 || peer.decision.eager > 1 ||
                 peer.decision.step != step + 1)
    return false;
  peer.payload.assign(tail.begin(), tail.end());
  peer.answered = true;
  return true;
}

Status ControlChannel::State::handleFailure(Peer &peer, Bytes payload) {
  FailureMessage message;
  Bytes rest;
  if (!decode(payload, message, rest) || !rest.empty())
    return tell(fail(kE5113, "rank %u sent a damaged report of a failure", peer.rank), &peer);
  message.text[sizeof(message.text) - 1] = 0;
  for (char &c : message.text)
    if (c != 0 && (c < ' ' || c > '~'))
      c = c == '\n' ? ' ' : '?';
  const uint32_t reporter = message.reporter < options.ranks ? message.reporter : peer.rank;
  Status cause = isAboutRanks(message.code)
                     ? fail(static_cast<Code>(message.code), "%s (found by rank %u)", message.text, reporter)
                     : fail(kE5109, "rank %u failed: %s", reporter, message.text);
  failed = true;
  // Others are told what was reported, not how this rank words it.
  if (leads())
    spread(message, &peer);
  else
    peer.link.close(); // tells rank 0 that it was heard
  return cause;
}

Status ControlChannel::State::blame(Span<const uint32_t> missing, const Place &place) const {
  const uint64_t now = nowNs();
  uint32_t culprit = missing.empty() ? 0 : missing[0];
  uint64_t silence = 0;
  for (uint32_t rank : missing)
    for (const Peer &peer : peers)
      if (peer.rank == rank && elapsedNs(peer.heardNs, now) > silence) {
        culprit = rank;
        silence = elapsedNs(peer.heardNs, now);
      }
  return fail(
      kE5107,
      "rank %u stalled: it did not answer within %u ms in %s; it is stopped, stuck, or slower than the deadline",
      culprit, options.deadlineMs, describe(place).c_str());
}

Status ControlChannel::State::handleStalled(const Peer &peer, Bytes payload) {
  StalledMessage message;
  Bytes rest;
  Place place;
  bool valid = decode(payload, message, rest) && rest.empty() && placeOf(message.at, place) && message.count >= 1 &&
               message.count <= kMostNamed;
  for (uint32_t i = 0; valid && i < message.count; ++i)
    valid = message.missing[i] < options.ranks && message.missing[i] != peer.rank;
  if (!valid)
    return tell(fail(kE5113, "rank %u sent a damaged report of a stalled rank", peer.rank));
  return tell(blame({message.missing, message.count}, place));
}

// ---- agreements ----

Status ControlChannel::State::collectVotes() {
  const uint64_t begun = nowNs();
  const Place place = here(Operation::Agreement);
  for (;;) {
    MORAY_TRY(hear(place));
    bool all = true;
    for (Peer &peer : peers) {
      if (peer.answered)
        continue;
      all = false;
      if (peer.farewell)
        return tell(fail(kE5106, "rank %u left the group before step %" PRIu64 "; all ranks must end together",
                         peer.rank, step + 1));
      if (elapsedNs(std::max(begun, peer.heardNs), nowNs()) > deadlineNs())
        return tell(blame({&peer.rank, 1}, place), &peer);
    }
    if (all)
      return {};
    sayAlive(place);
    await(kSliceMs);
  }
}

Status ControlChannel::State::decide(const StepVote &own, DecisionMessage &decision) const {
  decision = {};
  decision.step = step + 1;
  uint32_t speaker = 0;
  auto count = [&](uint32_t rank, const VoteMessage &vote) -> Status {
    decision.stop |= vote.stop;
    decision.eager |= vote.eager;
    for (uint32_t i = 0; i < kLiveCounts; ++i) {
      decision.sum[i] += vote.live[i];
      decision.max[i] = std::max(decision.max[i], vote.live[i]);
      if (vote.live[i] < 0)
        return fail(kE5113, "rank %u votes with a live count of %d", rank, vote.live[i]);
    }
    if (vote.program == 0)
      return {};
    if (decision.program != 0 && decision.program != vote.program)
      return fail(kE5108, "rank %u wants to run program %u in step %" PRIu64 ", rank %u program %u", speaker,
                  decision.program, decision.step, rank, vote.program);
    if (decision.program == 0)
      speaker = rank;
    decision.program = vote.program;
    ++decision.activeRanks;
    return {};
  };
  VoteMessage mine = {own.program, own.stop, own.eager, {}};
  std::copy(own.live, own.live + kLiveCounts, mine.live);
  MORAY_TRY(count(0, mine));
  for (const Peer &peer : peers)
    MORAY_TRY(count(peer.rank, peer.vote));
  return {};
}

Status ControlChannel::State::awaitDecision() {
  const uint64_t begun = nowNs();
  const Place place = here(Operation::Agreement);
  Peer &leader = peers[0];
  awaitsDecision = true;
  for (;;) {
    MORAY_TRY(hear(place));
    if (leader.answered)
      break;
    if (elapsedNs(std::max(begun, leader.heardNs), nowNs()) > deadlineNs())
      return tell(blame({&leader.rank, 1}, place));
    await(kSliceMs);
  }
  awaitsDecision = false;
  return {};
}

Status ControlChannel::agree(const StepVote &vote, StepDecision &decision) {
  State &s = *state;
  MORAY_TRY(s.refuse());
  const size_t entries = s.leads() ? s.options.ranks : 1;
  if (!vote.payload.empty() && vote.payload.size() != entries)
    return fail(kE5002, "an agreement of rank %u carries %zu payloads, not %zu", rank(), vote.payload.size(), entries);
  for (const Bytes &payload : vote.payload)
    if (payload.size() > s.options.maxPayloadBytes)
      return fail(kE5002, "a payload of %zu bytes is larger than the limit of %u", payload.size(),
                  s.options.maxPayloadBytes);
  DecisionMessage message;
  if (s.leads()) {
    MORAY_TRY(s.collectVotes());
    if (Status problem = s.decide(vote, message); !problem.ok())
      return s.tell(std::move(problem));
    for (Peer &peer : s.peers)
      peer.link.send(FrameType::Decision, bytesOf(message), vote.payload.empty() ? Bytes() : vote.payload[peer.rank]);
  } else {
    VoteMessage mine = {vote.program, vote.stop, vote.eager, {}};
    std::copy(vote.live, vote.live + kLiveCounts, mine.live);
    s.peers[0].answered = false;
    s.peers[0].link.send(FrameType::Vote, bytesOf(mine), vote.payload.empty() ? Bytes() : vote.payload[0]);
    MORAY_TRY(s.awaitDecision());
    message = s.peers[0].decision;
  }
  s.payloads.assign(entries, Bytes());
  for (Peer &peer : s.peers) {
    std::swap(peer.payload, peer.delivered); // the next vote may come before this one was read
    s.payloads[peer.rank] = {peer.delivered.data(), peer.delivered.size()};
    peer.answered = false;
  }
  s.aliveNs = nowNs();
  s.step = message.step;
  decision.step = message.step;
  decision.program = message.program;
  decision.stop = message.stop != 0;
  decision.activeRanks = message.activeRanks;
  decision.eager = message.eager != 0;
  std::copy(message.sum, message.sum + kLiveCounts, decision.sum);
  std::copy(message.max, message.max + kLiveCounts, decision.max);
  decision.payload = {s.payloads.data(), s.payloads.size()};
  return {};
}

// ---- between agreements ----

Status ControlChannel::poll(const Waiting &waiting) {
  MORAY_TRY(state->refuse());
  MORAY_TRY(state->hear(waiting.place));
  for (Peer &peer : state->peers)
    peer.link.flush();
  state->sayAlive(waiting.place);
  return {};
}

Status ControlChannel::poll() { return poll({state->here(Operation::Agreement), {}, 0}); }

Status ControlChannel::stalled(const Waiting &waiting) {
  State &s = *state;
  MORAY_TRY(poll(waiting));
  if (s.leads() || s.peers.empty())
    return s.tell(s.blame(waiting.missing, waiting.place));
  StalledMessage message = {messageOf(waiting.place), 0, {}, 0};
  for (uint32_t rank : waiting.missing)
    if (message.count < kMostNamed)
      message.missing[message.count++] = rank;
  s.peers[0].link.send(FrameType::Stalled, bytesOf(message));
  const uint64_t asked = nowNs();
  while (elapsedNs(asked, nowNs()) < uint64_t{1000000} * kGraceMs) {
    MORAY_TRY(s.hear(waiting.place));
    s.await(kSliceMs);
  }
  // No verdict: rank 0 itself is silent, or busy.
  const uint32_t leader = 0;
  const bool silent = elapsedNs(s.peers[0].heardNs, nowNs()) > s.deadlineNs() / 2;
  return s.tell(s.blame(silent ? Span<const uint32_t>(&leader, 1) : waiting.missing, waiting.place));
}

Status ControlChannel::silent(const Waiting &waiting) {
  State &s = *state;
  for (const Peer &peer : s.peers)
    if (elapsedNs(std::max(waiting.sinceNs, peer.heardNs), nowNs()) > s.deadlineNs())
      return s.tell(s.blame({&peer.rank, 1}, waiting.place), &peer);
  return {};
}

void ControlChannel::announce(const Status &cause) {
  State &s = *state;
  if (s.failed || s.closed || cause.ok())
    return;
  s.spread(failureOf(cause, s.options.rank), nullptr);
}

Status ControlChannel::close() {
  State &s = *state;
  MORAY_TRY(s.refuse());
  s.closing = true;
  const Place place = s.here(Operation::Shutdown);
  if (!s.leads())
    s.peers[0].link.send(FrameType::Bye, {});
  const uint64_t begun = nowNs();
  for (bool waits = true; waits;) {
    MORAY_TRY(s.hear(place));
    waits = false;
    for (const Peer &peer : s.peers) {
      if (peer.farewell)
        continue;
      waits = true;
      if (peer.answered)
        return s.tell(fail(kE5108, "rank %u wants to run step %" PRIu64 ", but rank %u ends the group", peer.rank,
                           s.step + 1, rank()));
      if (elapsedNs(std::max(begun, peer.heardNs), nowNs()) > s.deadlineNs())
        return s.tell(s.blame({&peer.rank, 1}, place), &peer);
    }
    if (waits) {
      s.sayAlive(place);
      s.await(kSliceMs);
    }
  }
  for (Peer &peer : s.peers) {
    if (s.leads())
      peer.link.send(FrameType::Bye, {});
    while (!peer.link.flush() && elapsedNs(begun, nowNs()) < s.deadlineNs())
      s.await(kSliceMs);
    peer.link.close();
  }
  s.closed = true;
  return {};
}

ControlChannel::ControlChannel() : state(std::make_unique<State>()) {}
ControlChannel::~ControlChannel() = default;
uint32_t ControlChannel::rank() const { return state->options.rank; }
uint32_t ControlChannel::ranks() const { return state->options.ranks; }

} // namespace moray::rt::comm
