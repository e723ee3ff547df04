// Where experts live: which logical expert each physical slot holds, and on which rank a (row, expert) is computed.
#pragma once
#include "runtime/base/span.h"
#include "runtime/base/status.h"
#include <cstdint>
#include <vector>

namespace moray::rt::comm {

// A slot that holds no expert.
constexpr int32_t kSpareSlot = -1;

// Slots P = slotsPerRank x ranks; slot p lives on rank p / slotsPerRank. Immutable once built; any thread may read it.
class Placement {
public:
  // The default: slotsPerRank = ceil(experts / ranks), slot p holds expert p, slots behind the last expert are spare.
  // 5112 unless 1 <= experts and 1 <= ranks.
  static Status makeDefault(uint32_t experts, uint32_t ranks, Placement &placement);
  // From a table: `slotExperts[p]` is a logical expert or kSpareSlot; an expert may have several slots. 5112 where the
  // size is no multiple of the ranks, an expert is unknown or has no slot.
  static Status make(uint32_t experts, uint32_t ranks, Span<const int32_t> slotExperts, Placement &placement);

  uint32_t experts() const { return expertCount; }
  uint32_t ranks() const { return rankCount; }
  uint32_t slots() const { return static_cast<uint32_t>(table.size()); }
  uint32_t slotsPerRank() const { return slots() / rankCount; }

  // The rank that computes `expert` for row `row` of rank `home`: home where the expert has a slot there, else the rank
  // of slot (home + row) mod count among the expert's slots, ascending. A function of its arguments alone.
  uint32_t rankFor(uint32_t expert, uint32_t home, uint64_t row) const;
  // Logical experts that have a slot on `rank`: ascending, each once.
  Span<const uint32_t> expertsOn(uint32_t rank) const;
  // A number that equal placements share; part of the handshake's plan.
  uint64_t hash() const;

private:
  Status index();

  uint32_t expertCount = 0, rankCount = 0;
  std::vector<int32_t> table;          // by slot
  std::vector<uint32_t> homes;         // ranks of an expert's slots, ascending; first of expert e at homeBegin[e]
  std::vector<uint32_t> homeBegin;     // [experts + 1]
  std::vector<uint32_t> residents;     // experts of a rank; first of rank r at residentBegin[r]
  std::vector<uint32_t> residentBegin; // [ranks + 1]
};

} // namespace moray::rt::comm
