// NCCL of this machine, found at run time, and one communicator of it that never blocks the caller for longer than a
// deadline.
//
// All ranks of a group open and close a link together, and enqueue the same exchanges in the same order. What is
// enqueued runs on the stream; its failures are seen by poll().
#pragma once
#include "runtime/comm/communicator.h"
#include "runtime/comm/control_channel.h"
#include "runtime/comm/nccl_api.h"
#include <string>
#include <vector>

namespace moray::rt::comm {

struct NcclOptions {
  uint32_t rank = 0, ranks = 1;
  uint32_t deadlineMs = kDefaultDeadlineMs;
  const char *library = nullptr; // path; null: libnccl.so.2 where the loader looks
};

class NcclLink {
public:
  // Bytes for every rank, block r of both for and from rank r.
  struct Blocks {
    void *send, *receive; // device memory; this rank's own blocks are left to the caller unless exchangesOwn()
    uint64_t bytes;       // of one block
  };

  NcclLink() = default;
  ~NcclLink(); // abandons what is open
  NcclLink(const NcclLink &) = delete;
  NcclLink &operator=(const NcclLink &) = delete;

  // Loads the library, takes rank 0's id over the channel and starts the communicator on the current context. 5110 the
  // library, one of its functions or its version; 5115 an error of NCCL; what the channel returns.
  Status open(const NcclOptions &options, ControlChannel &channel);
  // Registers memory that is exchanged, on all ranks in the same order, before anything is captured; where the library
  // cannot, nothing happens.
  Status registerMemory(void *address, uint64_t bytes);
  // Whether an exchange moves block `rank` as well: from send to receive.
  bool exchangesOwn() const { return table.alltoAll != nullptr; }
  // Enqueues one exchange of all blocks. 5115.
  Status exchange(Span<const Blocks> blocks, NcclStream stream, const Place &place);
  // Failures of what was enqueued: 5115, or what the channel says. Where another rank is the cause, that is waited for,
  // at most half a second.
  Status poll(const Place &place);
  // Asks the channel whether the group is whole; with `overdue` lets it name who is late.
  Status watch(const Place &place, uint64_t sinceNs, bool overdue);
  // Ends all exchanges, on this rank alone, by a thread that is waited for at most a second.
  void abort();
  // The orderly end of all ranks; nothing is enqueued. 5106, 5107, 5115.
  Status close();

  const NcclOptions &configured() const { return options; }

private:
  Status load();
  Status shareId(NcclId &id);
  Status check(NcclResult result, const char *what) const;
  // Waits until a call that went on in the background has ended.
  Status settle(NcclResult result, const char *what, const Place &place, uint64_t limitMs);

  NcclOptions options;
  NcclTable table = {};
  ControlChannel *channel = nullptr;
  NcclComm comm = nullptr;
  std::vector<NcclWindow> windows;
  std::vector<uint32_t> others; // ranks
};

} // namespace moray::rt::comm
