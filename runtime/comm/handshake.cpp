// How a group of ranks comes together: everybody connects to rank 0, which compares what has to be equal.
#include "runtime/base/clock.h"
#include "runtime/comm/channel_state.h"
#include <algorithm>
#include <cinttypes>
#include <cstring>
#include <poll.h>

namespace moray::rt::comm {

namespace {

constexpr uint32_t kMostHead = sizeof(DecisionMessage); // before a payload
constexpr uint32_t kLateMs = 1000;                      // how long a refusal waits for ranks that have not come
constexpr size_t kMostStrangers = 64;                   // connections that have not said who they are

std::string hex(const uint8_t (&bytes)[16]) {
  static const char digits[] = "0123456789abcdef";
  std::string text;
  for (uint8_t byte : bytes) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

std::string listMissing(const std::vector<Peer> &peers) {
  std::string names;
  uint32_t count = 0;
  for (const Peer &peer : peers)
    if (!peer.link.open() && ++count <= kMostNamed)
      names += (names.empty() ? "" : ", ") + std::to_string(peer.rank);
  if (count == 0)
    return "";
  return (count == 1 ? "rank " : "ranks ") + names + (count > kMostNamed ? " ..." : "");
}

} // namespace

// 5105 with both sides.
Status ControlChannel::State::compare(const HelloMessage &hello) const {
  if (hello.ranks != options.ranks || hello.rank == 0 || hello.rank >= options.ranks)
    return fail(kE5105, "a process says that it is rank %u of %u, but rank 0 leads %u ranks; start all ranks together",
                hello.rank, hello.ranks, options.ranks);
  if (peers[hello.rank - 1].link.open())
    return fail(kE5105, "two processes say that they are rank %u of %u; give each process its own rank", hello.rank,
                options.ranks);
  if (memcmp(hello.artifact, identity.artifact, sizeof(hello.artifact)) != 0)
    return fail(kE5105, "rank %u has the artifact %s, rank 0 has %s; give all ranks the same file", hello.rank,
                hex(hello.artifact).c_str(), hex(identity.artifact).c_str());
  if (hello.abi != identity.abi)
    return fail(kE5105, "rank %u has kernel interface %u, rank 0 has %u; install the same runtime on all hosts",
                hello.rank, hello.abi, identity.abi);
  if (hello.plan != identity.plan)
    return fail(kE5105,
                "rank %u has plan %016" PRIx64 ", rank 0 has %016" PRIx64
                "; give all ranks the same placement and options",
                hello.rank, hello.plan, identity.plan);
  return {};
}

// Strangers are dropped without a word. The first rank of this group that does not fit is the cause for which this one
// and all later ones are refused.
ControlChannel::State::Admission ControlChannel::State::admit(Link &link, Bytes payload, const Secret &secret,
                                                              Status &cause) {
  HelloMessage hello;
  Bytes rest;
  if (!decode(payload, hello, rest) || !rest.empty() || memcmp(hello.secret, secret.words, sizeof(hello.secret)) != 0)
    return Admission::Stranger;
  if (cause.ok())
    cause = hello.protocol == kProtocol
                ? compare(hello)
                : fail(kE5105,
                       "a rank speaks version %u of the protocol, rank 0 version %u; install the "
                       "same runtime on all hosts",
                       hello.protocol, kProtocol);
  if (!cause.ok()) {
    link.send(FrameType::Failure, bytesOf(failureOf(cause, 0)));
    return Admission::Refused;
  }
  Peer &peer = peers[hello.rank - 1];
  peer.link = std::move(link);
  peer.heardNs = nowNs();
  return Admission::Joined;
}

// Reads what connections say that have not said who they are; returns how many of them were ranks.
size_t ControlChannel::State::greet(std::vector<Link> &strangers, const Secret &secret, Status &cause) {
  size_t ranks = 0;
  for (size_t i = 0; i < strangers.size();) {
    Frame frame;
    const Link::Read read = strangers[i].next(frame);
    if (read == Link::Read::Frame && frame.type == FrameType::Hello)
      ranks += admit(strangers[i], frame.payload, secret, cause) != Admission::Stranger;
    if (read == Link::Read::Nothing)
      ++i;
    else
      strangers.erase(strangers.begin() + static_cast<ptrdiff_t>(i));
  }
  return ranks;
}

Status ControlChannel::State::gather() {
  Listener listener;
  MORAY_TRY(listener.open(rendezvous.c_str(), options.ranks));
  for (uint32_t rank = 1; rank < options.ranks; ++rank) {
    peers.emplace_back();
    peers.back().rank = rank;
  }
  std::vector<Link> strangers;
  Status cause;
  uint64_t end = nowNs() + uint64_t{1000000} * options.connectMs;
  for (size_t spoken = 0; spoken < peers.size();) {
    MORAY_TRY(hear({0, -1, Operation::Load}));
    if (nowNs() >= end || options.cancelled())
      break;
    for (int fd = listener.accept(); fd >= 0; fd = listener.accept())
      strangers.emplace_back(fd, static_cast<uint32_t>(sizeof(HelloMessage)));
    if (strangers.size() > options.ranks + kMostStrangers)
      strangers.erase(strangers.begin()); // it has had time to speak
    const bool whole = cause.ok();
    spoken += greet(strangers, listener.secret(), cause);
    if (whole && !cause.ok()) // the others shall hear why, if they come soon
      end = std::min(end, nowNs() + uint64_t{1000000} * kLateMs);
    struct pollfd wait = {listener.fd(), POLLIN, 0};
    ::poll(&wait, 1, strangers.empty() && spoken < peers.size() ? 20 : 1);
  }
  const std::string late = listMissing(peers);
  if (cause.ok() && !late.empty() && options.cancelled())
    cause = fail(kE5104, "rank 0 was interrupted before %s of %u had joined", late.c_str(), options.ranks);
  if (cause.ok() && !late.empty())
    cause = fail(kE5104,
                 "%s of %u did not join rank 0 at %s within %u ms; start all ranks together, or raise the deadline "
                 "above 10000 ms",
                 late.c_str(), options.ranks, rendezvous.c_str(), options.connectMs);
  if (!cause.ok())
    return tell(std::move(cause));
  for (Peer &peer : peers) {
    peer.link.setMaxPayload(options.maxPayloadBytes + kMostHead);
    peer.link.send(FrameType::Welcome, {});
  }
  return {};
}

Status ControlChannel::State::join() {
  Connector connector(rendezvous.c_str(), options.rank, options.ranks, options.cancel);
  const uint64_t end = nowNs() + uint64_t{1000000} * options.connectMs;
  int descriptor = -1;
  MORAY_TRY(connector.connect(end, descriptor));
  peers.emplace_back();
  Peer &leader = peers.back();
  leader.link = Link(descriptor, options.maxPayloadBytes + kMostHead);
  HelloMessage hello = {kProtocol, options.rank, options.ranks, identity.abi, {}, identity.plan, {}};
  memcpy(hello.artifact, identity.artifact, sizeof(hello.artifact));
  memcpy(hello.secret, connector.secret().words, sizeof(hello.secret));
  leader.link.send(FrameType::Hello, bytesOf(hello));
  // Rank 0 is the one to say who is late.
  for (const uint64_t last = end + uint64_t{1000000} * (kGraceMs / 2); nowNs() < last && !options.cancelled();
       await(20)) {
    Frame frame;
    const Link::Read read = leader.link.next(frame);
    leader.heardNs = nowNs();
    if (read == Link::Read::Frame && frame.type == FrameType::Welcome)
      return {};
    if (read == Link::Read::Frame && frame.type == FrameType::Failure)
      return handleFailure(leader, frame.payload);
    if (read == Link::Read::Closed)
      return fail(kE5104,
                  "rank 0 at %s ended the connection of rank %u; see what rank 0 says: it has failed, or belongs to "
                  "another group",
                  rendezvous.c_str(), options.rank);
    if (read != Link::Read::Nothing)
      return fail(kE5113, "what listens at %s is not rank 0 of this group; give all ranks another port",
                  rendezvous.c_str());
  }
  return fail(kE5104,
              "rank 0 at %s took the connection of rank %u, but did not welcome it in time; see what rank 0 says",
              rendezvous.c_str(), options.rank);
}

Status ControlChannel::open(const ChannelOptions &options, const Identity &identity,
                            std::unique_ptr<ControlChannel> &channel) {
  if (options.ranks == 0 || options.ranks > kMaxRanks || options.rank >= options.ranks || options.deadlineMs == 0 ||
      options.maxPayloadBytes > UINT32_MAX - kMostHead)
    return fail(kE5101, "rank %u of %u with a deadline of %u ms is not possible; there are 1 to %u ranks", options.rank,
                options.ranks, options.deadlineMs, kMaxRanks);
  std::unique_ptr<ControlChannel> opened(new ControlChannel());
  State &state = *opened->state;
  state.options = options;
  state.rendezvous = options.rendezvous ? options.rendezvous : "";
  state.options.rendezvous = nullptr; // the caller's
  state.identity = identity;
  if (options.ranks > 1) {
    if (state.rendezvous.empty())
      return fail(kE5101, "%u ranks on several hosts need an address to meet; give HOST:PORT of rank 0", options.ranks);
    MORAY_TRY(state.leads() ? state.gather() : state.join());
  }
  channel = std::move(opened);
  return {};
}

} // namespace moray::rt::comm
