// Checks and indexes the placement of experts.
#include "runtime/comm/placement.h"
#include <algorithm>
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace moray::rt::comm {

Status Placement::makeDefault(uint32_t experts, uint32_t ranks, Placement &placement) {
  if (experts == 0 || ranks == 0 || experts > INT32_MAX)
    return fail(kE5112, "a placement of %u experts on %u ranks is not possible; both must be at least 1", experts,
                ranks);
  const uint64_t slots = (static_cast<uint64_t>(experts) + ranks - 1) / ranks * ranks;
  std::vector<int32_t> table(slots, kSpareSlot);
  for (uint32_t expert = 0; expert < experts; ++expert)
    table[expert] = static_cast<int32_t>(expert);
  return make(experts, ranks, {table.data(), table.size()}, placement);
}

Status Placement::make(uint32_t experts, uint32_t ranks, Span<const int32_t> slotExperts, Placement &placement) {
  if (experts == 0 || ranks == 0 || slotExperts.empty() || slotExperts.size() % ranks != 0)
    return fail(
        kE5112,
        "the placement has %zu slots for %u experts on %u ranks; the slots must be a multiple of the ranks, and "
        "at least one per rank",
        slotExperts.size(), experts, ranks);
  placement.expertCount = experts;
  placement.rankCount = ranks;
  placement.table.assign(slotExperts.begin(), slotExperts.end());
  for (size_t slot = 0; slot < slotExperts.size(); ++slot)
    if (slotExperts[slot] != kSpareSlot &&
        (slotExperts[slot] < 0 || slotExperts[slot] >= static_cast<int64_t>(experts)))
      return fail(kE5112, "slot %zu of the placement holds expert %d, which the model does not have; it has 0 to %u",
                  slot, slotExperts[slot], experts - 1);
  return placement.index();
}

Status Placement::index() {
  homeBegin.assign(expertCount + size_t{1}, 0);
  for (int32_t expert : table)
    if (expert != kSpareSlot)
      ++homeBegin[static_cast<size_t>(expert) + 1];
  for (uint32_t expert = 0; expert < expertCount; ++expert) {
    if (homeBegin[expert + 1] == 0)
      return fail(kE5112, "the placement has no slot for expert %u; every expert needs at least one", expert);
    homeBegin[expert + 1] += homeBegin[expert];
  }
  homes.assign(homeBegin[expertCount], 0);
  std::vector<uint32_t> next(homeBegin.begin(), homeBegin.end() - 1);
  residents.clear();
  residentBegin.assign(1, 0);
  for (uint32_t rank = 0; rank < rankCount; ++rank) {
    const size_t first = residents.size();
    for (uint32_t slot = rank * slotsPerRank(); slot < (rank + 1) * slotsPerRank(); ++slot)
      if (const int32_t expert = table[slot]; expert != kSpareSlot) {
        homes[next[static_cast<size_t>(expert)]++] = rank;
        residents.push_back(static_cast<uint32_t>(expert));
      }
    // An expert may have two slots on a rank: legal, but it is one expert there.
    std::sort(residents.begin() + static_cast<ptrdiff_t>(first), residents.end());
    residents.erase(std::unique(residents.begin() + static_cast<ptrdiff_t>(first), residents.end()), residents.end());
    residentBegin.push_back(static_cast<uint32_t>(residents.size()));
  }
  return {};
}

uint32_t Placement::rankFor(uint32_t expert, uint32_t home, uint64_t row) const {
  const uint32_t *first = homes.data() + homeBegin[expert];
  const uint32_t count = homeBegin[expert + 1] - homeBegin[expert];
  if (count == 1)
    return *first;
  if (std::binary_search(first, first + count, home))
    return home;
  return first[(home + row) % count];
}

Span<const uint32_t> Placement::expertsOn(uint32_t rank) const {
  return {residents.data() + residentBegin[rank], residentBegin[rank + 1] - residentBegin[rank]};
}

uint64_t Placement::hash() const {
  const uint32_t shape[2] = {expertCount, rankCount};
  return XXH64(table.data(), table.size() * sizeof(int32_t), XXH64(shape, sizeof(shape), 0));
}

} // namespace moray::rt::comm
