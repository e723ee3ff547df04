// Worlds of ranks with rows, slots and a placement, and what every rank has to see in them, by brute force.
#pragma once
#include "runtime/comm/communicator.h"
#include "runtime/comm/placement.h"
#include <string>
#include <vector>

namespace moray::test {

using rt::comm::Communicator;
using rt::comm::Placement;

enum class Traffic {
  Uniform,        // every rank has rows, experts are random
  Uneven,         // between 0 and many rows per rank
  OneRank,        // all rows go to the experts of one rank, as far as it has them
  MaximalSkew,    // one rank has all rows, and all of them choose the same experts
  TogetherOnRank, // the experts of a row live on one rank, as far as there are enough
  Idle,           // nobody has rows
};
constexpr int kTraffics = 6;

struct Home {
  std::vector<uint8_t> x;               // [rows][rowBytes]
  std::vector<int32_t> tokens, offsets; // as the permute kernel makes them
  uint32_t rows = 0;
};

struct World {
  uint32_t ranks, experts, topK, rowBytes, resultBytes;
  Placement placement;
  std::vector<Home> homes;
  uint32_t mostRows = 0;
};

// The same for the same arguments, in any process. `replicas`: a random table with two spare or repeated slots per
// rank.
World makeWorld(uint32_t seed, uint32_t ranks, uint32_t experts, uint32_t topK, Traffic traffic, bool replicas);

// What the experts compute: any function of the expert and its row. `out` has world.resultBytes.
void applyExpert(const World &world, uint32_t expert, const uint8_t *row, uint8_t *out);

// One received slot.
struct Received {
  uint32_t expert, source, token;
};
// All slots that `rank` has to receive, in canonical order.
std::vector<Received> expectedSlots(const World &world, uint32_t rank);
// Describes what differs from what has to be received; empty when nothing does.
std::string checkReceived(const World &world, uint32_t rank, const std::vector<uint8_t> &xr,
                          const std::vector<int32_t> &tokensR, const std::vector<int32_t> &offsetsR);
// Applies the experts to received slots: [offsetsR[E]][resultBytes].
std::vector<uint8_t> computeExperts(const World &world, const std::vector<uint8_t> &xr,
                                    const std::vector<int32_t> &tokensR, const std::vector<int32_t> &offsetsR);
// The results of the home's own slots, as one rank alone computes them.
std::vector<uint8_t> expectedResults(const World &world, uint32_t rank);

// One MoE layer of `rank` through a communicator; describes what is wrong, empty when all is right.
std::string runLayer(const World &world, Communicator &communicator, int32_t layer);
// What every communicator has to pass with this number of ranks. All are of one placement.
std::vector<World> conformanceWorlds(uint32_t ranks);

} // namespace moray::test
