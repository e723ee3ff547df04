// Greedy packing by size; programs have tens of buffers, so the quadratic search is of no concern.
#include "runtime/exec/memory_plan.h"
#include <algorithm>
#include <vector>

namespace moray::rt {

// The lowest aligned offset at which `bytes` fit beside `placed`, which overlaps in time and is sorted by offset.
static uint64_t lowestGap(const std::vector<const PlannedBuffer *> &placed, uint64_t alignment, uint64_t bytes) {
  uint64_t offset = 0;
  for (const PlannedBuffer *other : placed) {
    if (other->offset >= offset && other->offset - offset >= bytes)
      break;
    offset = std::max(offset, alignUp(other->offset + other->bytes, alignment));
  }
  return offset;
}

bool packBuffers(Span<PlannedBuffer> buffers, uint64_t alignment, uint64_t &total) {
  std::vector<PlannedBuffer *> order;
  order.reserve(buffers.size());
  uint64_t sum = 0;
  for (PlannedBuffer &buffer : buffers) {
    order.push_back(&buffer);
    if (buffer.bytes > UINT64_MAX / 2 || __builtin_add_overflow(sum, alignUp(buffer.bytes, alignment), &sum))
      return false;
  }
  // Equal sizes keep the order of the program, so that the result is reproducible.
  std::sort(order.begin(), order.end(), [](const PlannedBuffer *a, const PlannedBuffer *b) {
    return a->bytes != b->bytes ? a->bytes > b->bytes : a < b;
  });
  total = 0;
  std::vector<const PlannedBuffer *> together;
  for (size_t i = 0; i < order.size(); ++i) {
    PlannedBuffer &buffer = *order[i];
    together.clear();
    for (size_t j = 0; j < i; ++j)
      if (order[j]->first <= buffer.last && buffer.first <= order[j]->last)
        together.push_back(order[j]);
    std::sort(together.begin(), together.end(),
              [](const PlannedBuffer *a, const PlannedBuffer *b) { return a->offset < b->offset; });
    buffer.offset = lowestGap(together, alignment, buffer.bytes);
    total = std::max(total, alignUp(buffer.offset + buffer.bytes, alignment));
  }
  return true;
}

} // namespace moray::rt
