// Packs buffers into one block by lifetime and size.
#pragma once
#include "runtime/base/span.h"

namespace moray::rt {

// A buffer that is live during commands first..last (inclusive); `offset` is the result.
struct PlannedBuffer {
  uint64_t bytes;
  uint32_t first, last;
  uint64_t offset;
};

constexpr uint64_t kBufferAlign = 64; // on a CPU

// Places larger buffers first, each at the lowest offset where it overlaps no buffer that is live at the same time.
// Offsets are multiples of `alignment`. Returns the size of the block; false where it exceeds 64 bits. The result
// depends on the input alone.
bool packBuffers(Span<PlannedBuffer> buffers, uint64_t alignment, uint64_t &total);

} // namespace moray::rt
