// The inside of a control channel: links to peers, what they said, and the messages; see control_channel.h.
#pragma once
#include "runtime/comm/control_channel.h"
#include "runtime/comm/frame.h"
#include "runtime/comm/rendezvous.h"
#include <string>

namespace moray::rt::comm {

constexpr uint32_t kProtocol = 2;
constexpr uint32_t kMostNamed = 8; // ranks in a message
constexpr uint32_t kGraceMs = 500; // for the verdict of rank 0

// Messages, as they lie in a frame; all ranks are of one architecture and one build of the protocol.
struct HelloMessage {
  uint32_t protocol, rank, ranks, abi;
  uint8_t artifact[16];
  uint64_t plan;
  uint64_t secret[2];
};

struct AliveMessage {
  uint64_t step;
  int32_t layer;
  uint32_t operation;
};

struct StalledMessage {
  AliveMessage at;
  uint32_t count;
  uint32_t missing[kMostNamed];
  uint32_t padding;
};

struct FailureMessage {
  uint32_t code, reporter;
  char text[504]; // printable, ends with 0
};

struct VoteMessage {
  uint32_t program, stop, eager;
  int32_t live[kLiveCounts];
};

struct DecisionMessage {
  uint64_t step;
  uint32_t program, stop, activeRanks, eager;
  int64_t sum[kLiveCounts];
  int32_t max[kLiveCounts];
};

struct Peer {
  uint32_t rank = 0;
  Link link;
  uint64_t heardNs = 0;           // any frame
  bool farewell = false;          // said Bye
  bool answered = false;          // vote or decision of the current agreement is here
  VoteMessage vote = {};          // on rank 0
  DecisionMessage decision = {};  // elsewhere
  std::vector<uint8_t> payload;   // of vote or decision
  std::vector<uint8_t> delivered; // of the last agreement
};

struct ControlChannel::State {
  ChannelOptions options;
  std::string rendezvous;
  Identity identity;
  std::vector<Peer> peers; // rank 0: all others, peer r at r - 1; elsewhere rank 0 alone
  bool failed = false, closing = false, closed = false;
  bool awaitsDecision = false;
  uint64_t step = 0;    // last one agreed on
  uint64_t aliveNs = 0; // when this rank last said that it lives
  std::vector<Bytes> payloads;

  bool leads() const { return options.rank == 0; }
  uint64_t deadlineNs() const { return uint64_t{1000000} * options.deadlineMs; }
  Place here(Operation operation) const { return {step + 1, -1, operation}; }

  // Handshake (handshake.cpp).
  Status gather();
  Status join();
  enum class Admission { Stranger, Joined, Refused };
  Admission admit(Link &link, Bytes payload, const Secret &secret, Status &cause);
  size_t greet(std::vector<Link> &strangers, const Secret &secret, Status &cause);
  Status compare(const HelloMessage &hello) const;

  // Everything that peers said until now; an error ends the group.
  Status hear(const Place &place);
  Status handle(Peer &peer, const Frame &frame, const Place &place);
  Status handleFailure(Peer &peer, Bytes payload);
  Status handleStalled(const Peer &peer, Bytes payload);
  bool handleAnswer(Peer &peer, const Frame &frame) const;
  // Tells peers that this rank lives, when it is time.
  void sayAlive(const Place &place);
  // Sleeps until a peer speaks, at most `ms`.
  void await(uint32_t ms);
  // The error for the rank of `missing` that was silent for longest.
  Status blame(Span<const uint32_t> missing, const Place &place) const;
  // Marks the group as failed and sends `message` to all peers but `except`; takes at most kLingerMs.
  void spread(const FailureMessage &message, const Peer *except);
  // Spreads and returns `cause`.
  Status tell(Status cause, const Peer *except = nullptr);
  Status refuse() const; // 5114, or success while the group is whole

  Status collectVotes();
  Status decide(const StepVote &own, DecisionMessage &decision) const;
  Status awaitDecision();
};

std::string describe(const Place &place);
FailureMessage failureOf(const Status &cause, uint32_t reporter);

} // namespace moray::rt::comm
