// The files that moray-run and moray-plan share: placements of experts, and how often experts were chosen.
#pragma once
#include "moray/runtime.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace moray::tools {

/// `moray.placement/1`: for each layer with experts the expert of every physical slot; slot p lives on rank
/// p / (slots / ranks), rank r on node r * nodes / ranks.
struct PlacementFile {
  uint32_t experts = 0, ranks = 0, nodes = 1;
  std::map<uint32_t, std::vector<int32_t>> layers; // all of the same size, a multiple of ranks
  uint32_t slotsPerRank() const { return static_cast<uint32_t>(layers.begin()->second.size() / ranks); }
};

/// A placement as the runtime takes it.
struct PlacementTable {
  moray_placement placement = {};
  std::vector<int32_t> slots; // layers without experts hold what the first layer with experts does
};

/// `moray.loads/1`: tokens that chose each expert, by layer.
struct LoadsFile {
  uint32_t experts = 0, expertsPerToken = 0;
  std::map<uint32_t, std::vector<uint64_t>> layers; // [experts] each
};

/// Return an exit code; errors (E1002, E1003, E1010) are printed. Read checks that the numbers fit each other, at least
/// one layer, every layer once, experts below `experts`, no layer without one of them; not that a model has them.
int readPlacement(const std::string &path, PlacementFile &file);
/// Reads a placement for `model`: E1010 also where its experts or layers are not those of the model.
int readPlacement(const std::string &path, const moray_model_config &model, PlacementTable &table);
int readLoads(const std::string &path, LoadsFile &file);
/// One line per layer.
int writePlacement(const std::string &path, const PlacementFile &file);
int writeLoads(const std::string &path, const LoadsFile &file);

} // namespace moray::tools
