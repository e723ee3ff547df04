// How bytes get from rank to rank: the one thing in which communicators of host memory differ.
#pragma once
#include "runtime/base/span.h"
#include "runtime/base/status.h"
#include <cstdint>

namespace moray::rt::comm {

// Exchanges in flight at a time, each in a lane of its own.
constexpr uint32_t kLanes = 6;

// Bytes for, or from, another rank; never empty. Pieces of the same pair of ranks and the same sequence match in the
// order of their posting.
struct Piece {
  uint32_t peer = 0;
  uint8_t *data = nullptr; // a transport does not write to what it sends
  uint64_t bytes = 0;
};

// Nothing here blocks. Each lane: post, maybe several times, then progress until it is done. After an error only
// abandon() may follow. One thread at a time.
class Transport {
public:
  virtual ~Transport() = default;
  // Adds sends and receives to the exchange of a lane; the buffers stay in use until it is done. `sequence` names the
  // exchange, is equal on all ranks and different for all that are in flight. 5111.
  virtual Status post(uint32_t lane, Span<const Piece> sends, Span<const Piece> receives, uint32_t sequence) = 0;
  // Whether all that was posted in this lane is done. 5111, 5108 where sizes differ between the ranks.
  virtual Status progress(uint32_t lane, bool &done) = 0;
  // Ranks whose bytes have not arrived or that have not taken ours; at most `capacity`, each once. Returns how many.
  virtual uint32_t missing(uint32_t lane, uint32_t *peers, uint32_t capacity) = 0;
  // Gives up what is in flight and waits for nobody. The buffers may still be in use: the caller must not free them.
  virtual void abandon() = 0;
  // Begins or continues the orderly end of all ranks; called until it is done. 5111.
  virtual Status close(bool &done) = 0;
};

} // namespace moray::rt::comm
