// How bytes get from rank to rank: the one thing in which communicators of host memory differ.
#pragma once
#include "runtime/base/span.h"
#include "runtime/base/status.h"
#include <cstdint>

namespace moray::rt::comm {

// Bytes for, or from, another rank; never empty. Pieces of the same pair of ranks match in the order of their posting.
struct Piece {
  uint32_t peer = 0;
  uint8_t *data = nullptr; // a transport does not write to what it sends
  uint64_t bytes = 0;
};

// Nothing here blocks. One exchange at a time: begin, then progress until it is done. After an error only abandon() may
// follow. One thread at a time.
class Transport {
public:
  virtual ~Transport() = default;
  // Posts receives and sends of one exchange; the buffers stay in use until it is done. `sequence` counts exchanges and
  // is equal on all ranks. 5111, 5108 where sizes differ between the ranks.
  virtual Status begin(Span<const Piece> sends, Span<const Piece> receives, uint32_t sequence) = 0;
  virtual Status progress(bool &done) = 0;
  // Ranks whose bytes have not arrived or that have not taken ours; at most `capacity`, each once. Returns how many.
  virtual uint32_t missing(uint32_t *peers, uint32_t capacity) = 0;
  // Gives up what is in flight and waits for nobody. The buffers may still be in use: the caller must not free them.
  virtual void abandon() = 0;
  // Begins or continues the orderly end of all ranks; called until it is done. 5111.
  virtual Status close(bool &done) = 0;
};

} // namespace moray::rt::comm
