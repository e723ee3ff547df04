// Where experts live: which logical expert each physical slot holds, and on which rank a (row, expert) is computed.
#pragma once
#include "runtime/base/span.h"
#include "runtime/base/status.h"
#include <cstdint>
#include <memory>
#include <vector>

namespace moray::rt::comm {

// A slot that holds no expert.
constexpr int32_t kSpareSlot = -1;

// Slots P = slotsPerRank x ranks; slot p lives on rank p / slotsPerRank, rank r on node r * nodes / ranks. Immutable
// once built; any thread may read it.
class Placement {
public:
  // The default: slotsPerRank = ceil(experts / ranks), slot p holds expert p; the slots behind the last expert hold
  // further replicas of experts 0, 1, ..., which is what balancing does with equal loads. 5112 unless there are experts
  // and ranks, and the nodes have equally many ranks.
  static Status makeDefault(uint32_t experts, uint32_t ranks, Placement &placement, uint32_t nodes = 1);
  // From a table: `slotExperts[p]` is a logical expert or kSpareSlot; an expert may have several slots. 5112 where the
  // size is no multiple of the ranks, an expert is unknown or has no slot; names `layer` unless it is negative.
  static Status make(uint32_t experts, uint32_t ranks, Span<const int32_t> slotExperts, Placement &placement,
                     uint32_t nodes = 1, int32_t layer = -1);

  uint32_t experts() const { return expertCount; }
  uint32_t ranks() const { return rankCount; }
  uint32_t nodes() const { return nodeCount; }
  uint32_t slots() const { return static_cast<uint32_t>(table.size()); }
  uint32_t slotsPerRank() const { return slots() / rankCount; }
  // By slot: its expert or kSpareSlot.
  Span<const int32_t> slotExperts() const { return {table.data(), table.size()}; }

  // Ranks among which rows of rank `home` find `expert`, one entry per slot, ascending: home alone where the expert has
  // a slot there, else those of its node, else all.
  Span<const uint32_t> candidates(uint32_t expert, uint32_t home) const;
  // The rank that computes `expert` for row `row` of rank `home`: candidate (home + row) mod their number. A function
  // of its arguments alone.
  uint32_t rankFor(uint32_t expert, uint32_t home, uint64_t row) const {
    const Span<const uint32_t> from = candidates(expert, home);
    return from[(home + row) % from.size()];
  }
  // Logical experts that have a slot on `rank`: ascending, each once.
  Span<const uint32_t> expertsOn(uint32_t rank) const;
  // A number that equal placements share; part of the handshake's plan.
  uint64_t hash() const;

private:
  Status index(int32_t layer);

  uint32_t expertCount = 0, rankCount = 0, nodeCount = 1;
  std::vector<int32_t> table;          // by slot
  std::vector<uint32_t> homes;         // ranks of an expert's slots, ascending; first of expert e at homeBegin[e]
  std::vector<uint32_t> homeBegin;     // [experts + 1]
  std::vector<uint32_t> residents;     // experts of a rank; first of rank r at residentBegin[r]
  std::vector<uint32_t> residentBegin; // [ranks + 1]
};

// One placement for every layer of a model, all with the same number of slots. Cheap to copy, immutable once built.
class ModelPlacement {
public:
  ModelPlacement() = default;
  // The same in every layer.
  ModelPlacement(const Placement &placement)
      : tables(std::make_shared<const std::vector<Placement>>(1, placement)), layerCount(1) {}
  // Placement::makeDefault in every layer.
  static Status makeDefault(uint32_t experts, uint32_t ranks, uint32_t nodes, uint32_t layers,
                            ModelPlacement &placement);
  // From tables [layers][P]; 5112 as Placement::make, naming the layer.
  static Status make(uint32_t experts, uint32_t ranks, uint32_t nodes, uint32_t layers, Span<const int32_t> slotExperts,
                     ModelPlacement &placement);

  // Layers that the model does not have (-1: outside of layers) have the placement of layer 0.
  const Placement &layer(int32_t layer) const {
    const auto at = static_cast<size_t>(layer);
    return (*tables)[layer < 0 || at >= tables->size() ? 0 : at];
  }
  uint32_t experts() const { return layer(0).experts(); }
  uint32_t ranks() const { return layer(0).ranks(); }
  uint32_t nodes() const { return layer(0).nodes(); }
  uint32_t layers() const { return layerCount; }
  uint32_t slotsPerRank() const { return layer(0).slotsPerRank(); }
  uint64_t hash() const;

private:
  std::shared_ptr<const std::vector<Placement>> tables; // of all layers, or one for all
  uint32_t layerCount = 0;
};

} // namespace moray::rt::comm
