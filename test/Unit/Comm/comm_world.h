// Worlds of ranks with rows, slots and a placement, and what every rank has to see in them, by brute force.
#pragma once
#include "artifact_generated.h"
#include "runtime/comm/communicator.h"
#include "runtime/comm/placement.h"
#include <string>
#include <vector>

namespace moray::test {

using rt::comm::CombineMode;
using rt::comm::Communicator;
using rt::comm::ModelPlacement;
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
  std::vector<uint8_t> x, scales;       // [rows][rowBytes], [rows][scaleBytes]
  std::vector<int32_t> tokens, offsets; // as the permute kernel makes them
  std::vector<float> gates;             // [rows][topK]
  uint32_t rows = 0;
};

struct World {
  uint32_t ranks, experts, topK, rowBytes, scaleBytes, resultBytes;
  schema::DType type; // of results
  ModelPlacement model;
  int32_t layer;       // of this world in the model
  Placement placement; // of this layer
  std::vector<Home> homes;
  uint32_t mostRows = 0;
};

constexpr uint32_t kWorldLayers = 3;

// The same for the same arguments, in any process. `replicas`: random tables with two spare or repeated slots per rank,
// another one in each layer. Worlds that differ in `salt` and `traffic` alone have one model. `rowBytes` 0: a few.
World makeWorld(uint32_t seed, uint32_t ranks, uint32_t experts, uint32_t topK, Traffic traffic, bool replicas,
                uint32_t nodes = 1, uint32_t salt = 0, uint32_t rowBytes = 0);

// What the experts compute: any function of the expert and its row, with numbers that both types hold. `out` has
// world.resultBytes.
void applyExpert(const World &world, uint32_t expert, const uint8_t *row, uint8_t *out);

// One received slot.
struct Received {
  uint32_t expert, source, token;
};
// All slots that `rank` has to receive, in canonical order.
std::vector<Received> expectedSlots(const World &world, uint32_t rank);
// Describes what differs from what has to be received; empty when nothing does. `scalesR` as `xr`.
std::string checkReceived(const World &world, uint32_t rank, const std::vector<uint8_t> &xr,
                          const std::vector<uint8_t> &scalesR, const std::vector<int32_t> &tokensR,
                          const std::vector<int32_t> &offsetsR);
// Applies the experts to received slots: [offsetsR[E]][resultBytes].
std::vector<uint8_t> computeExperts(const World &world, const std::vector<uint8_t> &xr,
                                    const std::vector<int32_t> &tokensR, const std::vector<int32_t> &offsetsR);
// What combine has to return to `rank`: with Exact the results of its own slots, as one rank alone computes them.
struct Combined {
  std::vector<uint8_t> e;
  std::vector<float> gates;
};
Combined expectedResults(const World &world, uint32_t rank, CombineMode mode);
// How many copies of rows have to leave the node of `rank` in its dispatch: one per row and other node that needs it.
uint64_t expectedCopiesBetweenNodes(const World &world, uint32_t rank);

// One MoE layer of a rank through a communicator; all buffers have more than they need, full of garbage.
class LayerRun {
public:
  LayerRun(const World &world, Communicator &communicator, uint32_t batch, CombineMode mode);
  // Starts the dispatch, then the combine. Both describe what is wrong, empty when all is right.
  std::string start();
  // Waits for what was started and checks it.
  std::string finish();
  bool started() const { return phase % 2 == 1; }
  bool done() const { return phase == 4; }

private:
  const World &world;
  const Home &home;
  Communicator &communicator;
  const uint32_t batch;
  const CombineMode mode;
  int phase = 0;
  std::vector<uint8_t> xr, scalesR, er, e;
  std::vector<int32_t> tokensR, offsetsR;
  std::vector<float> gatesOut;
};
std::string runLayer(const World &world, Communicator &communicator, CombineMode mode = CombineMode::Exact);
// What every communicator has to pass with this number of ranks; before each, its model is set.
std::vector<World> conformanceWorlds(uint32_t ranks, uint32_t nodes = 1);
std::string runWorlds(const std::vector<World> &worlds, Communicator &communicator, CombineMode mode);
// Many layers of two micro-batches, `seed` decides in which order, `ownSeed` when to wait and to make progress; the
// worlds have one model.
std::string runInterleaved(const World &first, const World &second, Communicator &communicator, CombineMode mode,
                           uint32_t seed, uint32_t ownSeed);

} // namespace moray::test
