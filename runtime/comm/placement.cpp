// Checks and indexes the placement of experts.
#include "runtime/comm/placement.h"
#include <algorithm>
#include <cstdio>
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace moray::rt::comm {

Status Placement::makeDefault(uint32_t experts, uint32_t ranks, Placement &placement, uint32_t nodes) {
  if (experts == 0 || ranks == 0 || experts > INT32_MAX)
    return fail(kE5112, "a placement of %u experts on %u ranks is not possible; both must be at least 1", experts,
                ranks);
  const uint64_t slots = (static_cast<uint64_t>(experts) + ranks - 1) / ranks * ranks;
  std::vector<int32_t> table(slots);
  for (uint64_t slot = 0; slot < slots; ++slot)
    table[slot] = static_cast<int32_t>(slot % experts);
  return make(experts, ranks, {table.data(), table.size()}, placement, nodes);
}

// " of layer 3" for messages.
static const char *ofLayer(int32_t layer, char (&text)[24]) {
  text[0] = 0;
  if (layer >= 0)
    snprintf(text, sizeof(text), " of layer %d", layer);
  return text;
}

Status Placement::make(uint32_t experts, uint32_t ranks, Span<const int32_t> slotExperts, Placement &placement,
                       uint32_t nodes, int32_t layer) {
  char text[24];
  if (experts == 0 || ranks == 0 || slotExperts.empty() || slotExperts.size() % ranks != 0)
    return fail(kE5112,
                "the placement%s has %zu slots for %u experts on %u ranks; the slots must be a multiple of the ranks, "
                "and at least one per rank",
                ofLayer(layer, text), slotExperts.size(), experts, ranks);
  if (nodes == 0 || ranks % nodes != 0)
    return fail(kE5112, "the placement puts %u ranks on %u nodes; each node needs the same number of ranks", ranks,
                nodes);
  placement.expertCount = experts;
  placement.rankCount = ranks;
  placement.nodeCount = nodes;
  placement.table.assign(slotExperts.begin(), slotExperts.end());
  for (size_t slot = 0; slot < slotExperts.size(); ++slot)
    if (slotExperts[slot] != kSpareSlot &&
        (slotExperts[slot] < 0 || slotExperts[slot] >= static_cast<int64_t>(experts)))
      return fail(kE5112, "slot %zu of the placement%s holds expert %d, which the model does not have; it has 0 to %u",
                  slot, ofLayer(layer, text), slotExperts[slot], experts - 1);
  return placement.index(layer);
}

// The expert that took the place of a missing one, for messages: " while expert 3 has slots 3 and 5", or nothing.
static void describeDoubled(const std::vector<int32_t> &table, char (&text)[80]) {
  text[0] = 0;
  for (size_t slot = 0; slot < table.size(); ++slot)
    for (size_t before = 0; before < slot && table[slot] != kSpareSlot; ++before)
      if (table[before] == table[slot]) {
        snprintf(text, sizeof(text), " while expert %d has slots %zu and %zu", table[slot], before, slot);
        return;
      }
}

Status Placement::index(int32_t layer) {
  homeBegin.assign(expertCount + size_t{1}, 0);
  for (int32_t expert : table)
    if (expert != kSpareSlot)
      ++homeBegin[static_cast<size_t>(expert) + 1];
  for (uint32_t expert = 0; expert < expertCount; ++expert) {
    if (homeBegin[expert + 1] == 0) {
      char text[24], doubled[80];
      describeDoubled(table, doubled);
      return fail(kE5112, "the placement%s has no slot for expert %u%s; every expert needs at least one",
                  ofLayer(layer, text), expert, doubled);
    }
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

Span<const uint32_t> Placement::candidates(uint32_t expert, uint32_t home) const {
  const uint32_t *first = homes.data() + homeBegin[expert], *end = homes.data() + homeBegin[expert + 1];
  if (end - first == 1)
    return {first, 1};
  const uint32_t perNode = rankCount / nodeCount, node = home / perNode * perNode;
  const uint32_t *near = std::lower_bound(first, end, node), *far = std::lower_bound(near, end, node + perNode);
  if (const uint32_t *here = std::lower_bound(near, far, home); here != far && *here == home)
    return {here, 1};
  return near != far ? Span<const uint32_t>(near, static_cast<size_t>(far - near))
                     : Span<const uint32_t>(first, static_cast<size_t>(end - first));
}

Span<const uint32_t> Placement::expertsOn(uint32_t rank) const {
  return {residents.data() + residentBegin[rank], residentBegin[rank + 1] - residentBegin[rank]};
}

uint64_t Placement::hash() const {
  const uint32_t shape[3] = {expertCount, rankCount, nodeCount};
  return XXH64(table.data(), table.size() * sizeof(int32_t), XXH64(shape, sizeof(shape), 0));
}

Status ModelPlacement::makeDefault(uint32_t experts, uint32_t ranks, uint32_t nodes, uint32_t layers,
                                   ModelPlacement &placement) {
  auto made = std::make_shared<std::vector<Placement>>(1);
  MORAY_TRY(Placement::makeDefault(experts, ranks, (*made)[0], nodes));
  placement.tables = std::move(made);
  placement.layerCount = layers;
  return {};
}

Status ModelPlacement::make(uint32_t experts, uint32_t ranks, uint32_t nodes, uint32_t layers,
                            Span<const int32_t> slotExperts, ModelPlacement &placement) {
  if (layers == 0 || slotExperts.size() % layers != 0)
    return fail(kE5112, "the placement has %zu slots in %u layers; all layers have the same number of slots",
                slotExperts.size(), layers);
  const size_t slots = slotExperts.size() / layers;
  auto made = std::make_shared<std::vector<Placement>>(layers);
  for (uint32_t layer = 0; layer < layers; ++layer)
    MORAY_TRY(Placement::make(experts, ranks, {slotExperts.data() + layer * slots, slots}, (*made)[layer], nodes,
                              static_cast<int32_t>(layer)));
  placement.tables = std::move(made);
  placement.layerCount = layers;
  return {};
}

uint64_t ModelPlacement::hash() const {
  uint64_t hash = layerCount;
  for (uint32_t i = 0; i < layerCount; ++i)
    hash = layer(static_cast<int32_t>(i)).hash() ^ hash * 0x100000001B3u;
  return hash;
}

} // namespace moray::rt::comm
