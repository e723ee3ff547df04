// Order through flags and locks: a fence, then a strong write; a strong read of it, then a fence.
#include "test/gpusim/exec/warp.h"

namespace gpusim {
namespace {

Knowledge *copyOf(const KnowledgeRef &known) {
  Knowledge *copy = new Knowledge(*known);
  copy->references = 0;
  return copy;
}

void joinInto(KnowledgeRef &known, const KnowledgeRef &other) {
  Knowledge *sum = copyOf(known);
  sum->join(*other);
  known = KnowledgeRef(sum);
}

} // namespace

void Warp::fence(uint32_t lanes) {
  forLanes(lanes, [&](unsigned lane) {
    if (seen[lane].get()) {
      joinInto(known[lane], seen[lane]);
      seen[lane] = KnowledgeRef();
    }
    fenced[lane] = known[lane];
    fencedEpoch[lane] = epoch;
  });
  ++epoch; // later writes are not covered
}

// A strong write. A store replaces what the location carried, an atomic adds to it.
void Warp::publish(unsigned lane, uint64_t location, bool release, bool replace) {
  if (release)
    fence(1u << lane);
  if (!fencedEpoch[lane]) {
    if (replace && !block->published.empty())
      block->published.erase(location);
    return;
  }
  KnowledgeRef &carried = block->published[location];
  Knowledge *sum = copyOf(fenced[lane]);
  if (!replace)
    sum->join(*carried);
  sum->learn(index, 1u << lane, fencedEpoch[lane], (live & ~(1u << lane)) == 0);
  carried = KnowledgeRef(sum);
}

// A strong read.
void Warp::observe(unsigned lane, uint64_t location, bool acquire) {
  if (block->published.empty())
    return;
  auto found = block->published.find(location);
  if (found == block->published.end())
    return;
  joinInto(acquire ? known[lane] : seen[lane], found->second);
}

} // namespace gpusim
