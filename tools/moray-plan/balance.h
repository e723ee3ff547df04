// Where experts and their replicas shall live so that ranks are loaded evenly, given how often each expert was chosen.
#pragma once
#include <cstdint>
#include <vector>

namespace moray::tools {

using Loads = std::vector<uint64_t>; // by logical expert, each at most kMostLoad
using Slots = std::vector<int32_t>;  // by physical slot: its expert; slot p lives on rank p / (slots / ranks)
constexpr uint64_t kMostLoad = uint64_t{1} << 48;

// ranks is a multiple of nodes, slots of ranks, experts of groups; slots >= experts. Hierarchical balancing needs a
// number of groups that is a multiple of the nodes: then a group and all its replicas stay on one node.
struct Shape {
  uint32_t ranks = 1, nodes = 1, groups = 1, slots = 0;
};

/// The greedy hierarchical policy: groups onto nodes, replicas inside of nodes, replicas onto ranks. The global policy
/// is the same with one group and one node. Deterministic: all comparisons are of integers, ties go to the lowest
/// index.
Slots balance(const Loads &loads, const Shape &shape);

/// Puts `count` items into `packs` packs of equally many: heaviest first, each into the lightest pack with room.
/// Returns the items of each pack in order of arrival. With as many packs as items, item i goes to pack i.
std::vector<std::vector<uint32_t>> pack(const std::vector<unsigned __int128> &weights, uint32_t packs);

/// The item of each of `slots` slots: all items once, then one more of the item with the largest load per replica.
std::vector<uint32_t> replicate(const Loads &loads, uint32_t slots);

/// Gives the contents of ranks to other ranks of the same node, and those of nodes to other nodes, so that as many
/// slots as possible hold what they hold in `current` (the best assignment, by the Hungarian method), and inside of a
/// rank keeps what stays in its slot. The balance does not change. `current` may have another number of slots per rank.
Slots keepPlaces(const Slots &planned, const Slots &current, const Shape &shape);

/// Slots of `rank` whose expert no slot of the rank has in `current`: weights that it has to get.
uint32_t countMoves(const Slots &planned, const Slots &current, uint32_t ranks, uint32_t rank);

/// What each rank computes if the replicas of an expert share its load evenly.
std::vector<double> rankLoads(const Slots &slots, const Loads &loads, uint32_t ranks);

} // namespace moray::tools
