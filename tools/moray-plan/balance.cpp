// Greedy balancing of experts (hierarchical and global), and relabelling of ranks so that few experts move.
#include "moray-plan/balance.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <numeric>

namespace moray::tools {

using Wide = unsigned __int128;

std::vector<std::vector<uint32_t>> pack(const std::vector<Wide> &weights, uint32_t packs) {
  const auto count = static_cast<uint32_t>(weights.size());
  std::vector<std::vector<uint32_t>> content(packs);
  std::vector<uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0u);
  if (count == packs) {
    for (uint32_t item : order)
      content[item] = {item};
    return content;
  }
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return weights[a] != weights[b] ? weights[a] > weights[b] : a < b; });
  std::vector<Wide> total(packs, 0);
  for (uint32_t item : order) {
    uint32_t best = packs;
    for (uint32_t p = 0; p < packs; ++p)
      if (content[p].size() < count / packs && (best == packs || total[p] < total[best]))
        best = p;
    content[best].push_back(item);
    total[best] += weights[item];
  }
  return content;
}

std::vector<uint32_t> replicate(const Loads &loads, uint32_t slots) {
  const auto items = static_cast<uint32_t>(loads.size());
  std::vector<uint32_t> itemOf(items), count(items, 1);
  std::iota(itemOf.begin(), itemOf.end(), 0u);
  while (itemOf.size() < slots) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < items; ++i)
      if (Wide{loads[i]} * count[best] > Wide{loads[best]} * count[i])
        best = i;
    itemOf.push_back(best);
    ++count[best];
  }
  return itemOf;
}

// load / count of every slot, times a number that makes all of them whole: the least common multiple of the counts.
// Where that has more than 62 bits, 2^62 instead, and weights are rounded down to that fraction.
static std::vector<Wide> slotWeights(const std::vector<uint32_t> &itemOf, const Loads &loads) {
  std::vector<uint32_t> count(loads.size(), 0);
  for (uint32_t item : itemOf)
    ++count[item];
  Wide scale = 1;
  constexpr Wide kMostScale = Wide{1} << 62;
  for (uint32_t c : count)
    if (scale < kMostScale && c != 0)
      scale = std::min(kMostScale, scale / std::gcd(static_cast<uint64_t>(scale), uint64_t{c}) * c);
  std::vector<Wide> weights;
  for (uint32_t item : itemOf)
    weights.push_back(loads[item] * scale / count[item]); // below 2^110: 2^18 of them can be added
  return weights;
}

Slots balance(const Loads &loads, const Shape &shape) {
  const auto experts = static_cast<uint32_t>(loads.size());
  const bool hierarchical = shape.groups % shape.nodes == 0;
  const uint32_t groups = hierarchical ? shape.groups : 1, nodes = hierarchical ? shape.nodes : 1;
  const uint32_t groupSize = experts / groups;
  std::vector<Wide> groupLoads(groups, 0);
  for (uint32_t expert = 0; expert < experts; ++expert)
    groupLoads[expert / groupSize] += loads[expert];
  Slots slots;
  for (const std::vector<uint32_t> &groupsOfNode : pack(groupLoads, nodes)) {
    std::vector<uint32_t> expertOf; // of the node's items
    Loads itemLoads;
    for (uint32_t group : groupsOfNode)
      for (uint32_t expert = group * groupSize; expert < (group + 1) * groupSize; ++expert) {
        expertOf.push_back(expert);
        itemLoads.push_back(loads[expert]);
      }
    const std::vector<uint32_t> itemOf = replicate(itemLoads, shape.slots / nodes);
    for (const std::vector<uint32_t> &rank : pack(slotWeights(itemOf, itemLoads), shape.ranks / nodes))
      for (uint32_t replica : rank)
        slots.push_back(static_cast<int32_t>(expertOf[itemOf[replica]]));
  }
  return slots;
}

// ---- few moves ----

// What a rank holds, sorted.
static Slots contentOf(const Slots &slots, uint32_t ranks, uint32_t rank) {
  const auto perRank = static_cast<std::ptrdiff_t>(slots.size() / ranks);
  Slots content(slots.begin() + rank * perRank, slots.begin() + (rank + 1) * perRank);
  std::sort(content.begin(), content.end());
  return content;
}

// Slots of a rank whose expert was on the rank before.
static int32_t staying(const Slots &fresh, const Slots &old) {
  return static_cast<int32_t>(std::count_if(
      fresh.begin(), fresh.end(), [&](int32_t expert) { return std::binary_search(old.begin(), old.end(), expert); }));
}

// For a square table of gains: the column of each row such that the sum is largest (Hungarian method, n^3).
static std::vector<uint32_t> assign(const std::vector<std::vector<int32_t>> &gain) {
  const size_t n = gain.size();
  constexpr int32_t kFar = std::numeric_limits<int32_t>::max();
  std::vector<int32_t> rowPrice(n + 1, 0), columnPrice(n + 1, 0);
  std::vector<size_t> rowOf(n + 1, 0), from(n + 1, 0); // 1-based; 0: none
  for (size_t row = 1; row <= n; ++row) {
    std::vector<int32_t> slack(n + 1, kFar);
    std::vector<bool> done(n + 1, false);
    size_t column = 0;
    rowOf[0] = row;
    do {
      done[column] = true;
      const size_t r = rowOf[column];
      size_t next = 0;
      for (size_t c = 1; c <= n; ++c) {
        if (done[c])
          continue;
        const int32_t reduced = -gain[r - 1][c - 1] - rowPrice[r] - columnPrice[c];
        if (reduced < slack[c]) {
          slack[c] = reduced;
          from[c] = column;
        }
        if (next == 0 || slack[c] < slack[next])
          next = c;
      }
      const int32_t step = slack[next];
      for (size_t c = 0; c <= n; ++c)
        if (done[c]) {
          rowPrice[rowOf[c]] += step;
          columnPrice[c] -= step;
        } else if (c != 0) {
          slack[c] -= step;
        }
      column = next;
    } while (rowOf[column] != 0);
    for (; column != 0; column = from[column])
      rowOf[column] = rowOf[from[column]];
  }
  std::vector<uint32_t> columnOf(n);
  for (size_t c = 1; c <= n; ++c)
    columnOf[rowOf[c] - 1] = static_cast<uint32_t>(c - 1);
  return columnOf;
}

// Orders the content of a rank so that what it had stays where it was; `current` has `had` slots.
static void placeInRank(Slots content, const int32_t *current, size_t had, int32_t *out) {
  const size_t perRank = content.size();
  std::vector<bool> kept(perRank, false);
  for (size_t slot = 0; slot < std::min(perRank, had); ++slot)
    if (const auto found = std::find(content.begin(), content.end(), current[slot]); found != content.end()) {
      out[slot] = current[slot];
      kept[slot] = true;
      content.erase(found);
    }
  for (size_t slot = 0, next = 0; slot < perRank; ++slot)
    if (!kept[slot])
      out[slot] = content[next++];
}

Slots keepPlaces(const Slots &planned, const Slots &current, const Shape &shape) {
  std::vector<Slots> fresh, old;
  for (uint32_t rank = 0; rank < shape.ranks; ++rank) {
    fresh.push_back(contentOf(planned, shape.ranks, rank));
    old.push_back(contentOf(current, shape.ranks, rank));
  }
  const uint32_t perNode = shape.ranks / shape.nodes;
  // Best ranks for each pair of a planned and a current node, then the best nodes.
  std::vector<std::vector<int32_t>> nodeGain(shape.nodes, std::vector<int32_t>(shape.nodes, 0));
  std::vector<std::vector<std::vector<uint32_t>>> rankOf(shape.nodes, std::vector<std::vector<uint32_t>>(shape.nodes));
  for (uint32_t a = 0; a < shape.nodes; ++a)
    for (uint32_t b = 0; b < shape.nodes; ++b) {
      std::vector<std::vector<int32_t>> gain(perNode, std::vector<int32_t>(perNode));
      for (uint32_t i = 0; i < perNode; ++i)
        for (uint32_t j = 0; j < perNode; ++j)
          gain[i][j] = staying(fresh[a * perNode + i], old[b * perNode + j]);
      rankOf[a][b] = assign(gain);
      for (uint32_t i = 0; i < perNode; ++i)
        nodeGain[a][b] += gain[i][rankOf[a][b][i]];
    }
  const std::vector<uint32_t> nodeOf = assign(nodeGain);
  const size_t perRank = planned.size() / shape.ranks, had = current.size() / shape.ranks;
  Slots slots(planned.size());
  for (uint32_t a = 0; a < shape.nodes; ++a)
    for (uint32_t i = 0; i < perNode; ++i) {
      const uint32_t rank = nodeOf[a] * perNode + rankOf[a][nodeOf[a]][i];
      placeInRank(fresh[a * perNode + i], current.data() + rank * had, had, slots.data() + rank * perRank);
    }
  return slots;
}

uint32_t countMoves(const Slots &planned, const Slots &current, uint32_t ranks, uint32_t rank) {
  const Slots fresh = contentOf(planned, ranks, rank);
  return static_cast<uint32_t>(fresh.size()) - static_cast<uint32_t>(staying(fresh, contentOf(current, ranks, rank)));
}

std::vector<double> rankLoads(const Slots &slots, const Loads &loads, uint32_t ranks) {
  std::vector<uint32_t> count(loads.size(), 0);
  for (int32_t expert : slots)
    if (expert >= 0)
      ++count[static_cast<size_t>(expert)];
  std::vector<double> total(ranks, 0);
  for (size_t slot = 0; slot < slots.size(); ++slot)
    if (const int32_t expert = slots[slot]; expert >= 0)
      total[slot * ranks / slots.size()] +=
          static_cast<double>(loads[static_cast<size_t>(expert)]) / count[static_cast<size_t>(expert)];
  return total;
}

} // namespace moray::tools
