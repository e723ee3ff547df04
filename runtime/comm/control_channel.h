// The control channel: a TCP star through rank 0 that starts the group, agrees on steps and says who failed.
//
// It carries a few small messages per step, never rows. All bytes of peers are checked: length, type, sender, order.
//
// Life of a channel: open (rendezvous and handshake; all ranks are present afterwards), agree before every step, close.
// Between agreements the communicator calls poll() and stalled() through Watch. A rank that fails by itself calls
// announce(), so that all others end with its cause.
//
// Failure. The first cause wins and reaches every rank: EOF without farewell = rank lost (5106); silence for the
// deadline in an agreement, or a collective that passes its deadline = rank stalled (5107), named by rank 0, which
// hears every rank. All errors are final; the process is expected to end with the exit code of the status. mpirun ends
// all ranks as soon as the first has ended, maybe before another has spoken.
//
// Threads: one at a time, the one that runs the engine. No thread of its own.
#pragma once
#include "runtime/comm/communicator.h"
#include <memory>

namespace moray::rt::comm {

constexpr uint32_t kMaxRanks = 4096;
constexpr uint32_t kLiveCounts = 8; // those of both micro-batches of a step; without overlap the second four are 0

// Who is who, as the launcher says.
struct LaunchRanks {
  uint32_t rank = 0, ranks = 1;
  uint32_t localRank = 0;     // among the ranks of this host; `rank` where the launcher does not say
  char launcher[24] = "none"; // whose variables were read: "Open MPI", "PMI", "torchrun", "Slurm", "none"
  char rendezvous[256] = "";  // "HOST:PORT" or "file:PATH"; empty where the user has to give one
};
// Reads the variables of Open MPI, PMI, torchrun and Slurm, in this order; without any, one rank. `expected` is the
// number of ranks that the user asked for, 0 for any. 5101 where variables are incomplete, no numbers, or contradict
// each other or `expected`: names both.
Status findRanks(uint32_t expected, LaunchRanks &found);

// What has to be equal on all ranks.
struct Identity {
  uint8_t artifact[16] = {}; // hash of the file
  uint32_t abi = 0;          // kernel interface
  uint64_t plan = 0;         // Placement::hash() and whatever else the ranks must share
};

struct ChannelOptions {
  uint32_t rank = 0, ranks = 1;
  const char *rendezvous = ""; // as in LaunchRanks
  uint32_t deadlineMs = kDefaultDeadlineMs;
  uint32_t connectMs = 4500; // for all ranks to join
  uint32_t maxPayloadBytes = 16u << 20;
  const volatile int *cancel = nullptr; // nonzero: open() gives up (5104)

  bool cancelled() const { return cancel && *cancel != 0; }
};

// One rank's part of an agreement.
struct StepVote {
  uint32_t program = 0;           // number of the program that this rank wants to run next; 0: idle, joins any
  int32_t live[kLiveCounts] = {}; // its live counts; all 0 when idle
  bool stop = false;              // this rank wants the group to end
  bool eager = false;             // this rank cannot run the step as a captured graph
  // Bytes that travel along: on rank 0 one entry per rank (entry 0 is not sent), elsewhere one entry, for rank 0. May
  // be empty. Read during the call.
  Span<const Bytes> payload;
};

// The same on all ranks, but for the payload.
struct StepDecision {
  uint64_t step = 0;        // 1, 2, 3 ...
  uint32_t program = 0;     // what the ranks with work want; 0: nobody has work
  bool stop = false;        // a rank wants to end: no step follows
  bool eager = false;       // a rank cannot run the step as a captured graph: nobody does
  uint32_t activeRanks = 0; // ranks that voted for a program
  int64_t sum[kLiveCounts] = {};
  int32_t max[kLiveCounts] = {};
  // On rank 0 one entry per rank (entry 0 empty), elsewhere one entry, from rank 0. Valid until the next agreement.
  Span<const Bytes> payload;
};

class ControlChannel : public Watch {
public:
  // Returns when all ranks have joined and are equal. With one rank no socket is opened. 5101 ranks or rendezvous
  // text; 5102 the address cannot be used (port taken ...); 5103 the rendezvous file is stale, foreign or unreadable;
  // 5104 who has not joined in time; 5105 who differs from rank 0, and in what; 5113 a peer that does not speak the
  // protocol.
  static Status open(const ChannelOptions &options, const Identity &identity, std::unique_ptr<ControlChannel> &channel);
  ~ControlChannel() override;

  uint32_t rank() const;
  uint32_t ranks() const;

  // Collective: one vote of every rank, one decision for all. Ranks whose programs differ: 5108, naming two of them.
  // Rank 0 waits until each rank voted; any rank fails when another is silent for the deadline. Rank 0 may come late
  // as long as it calls poll() at least every half deadline.
  Status agree(const StepVote &vote, StepDecision &decision);

  // Watch: answers, heartbeats, news of failures. Also for a rank that waits for something else (rank 0 for
  // requests).
  Status poll(const Waiting &waiting) override;
  Status stalled(const Waiting &waiting) override;
  Status silent(const Waiting &waiting) override;
  Status poll();

  // Tells all others that this rank fails with `cause`; they return 5109 with its text (or `cause` itself where it is
  // already about a rank). Takes at most 0.1 s; further calls of this channel return 5114.
  void announce(const Status &cause);
  // Collective: the orderly end. A rank that closes while others go on is lost for them (5106).
  Status close();

private:
  ControlChannel();
  struct State;
  std::unique_ptr<State> state;
};

} // namespace moray::rt::comm
