// From recorded loads to a placement, and what is said about it.
#pragma once
#include <cstdint>
#include <string>

namespace moray::tools {

struct PlanOptions {
  std::string loads, current, output, artifact, policy = "auto";
  uint32_t ranks = 0, nodes = 1, slotsPerRank = 0, groups = 1; // slotsPerRank 0: as few as possible, or as `current`
  bool json = false;
};

/// Returns an exit code; errors (E1002, E1003, E1010, E1011) are printed.
int plan(const PlanOptions &options);

} // namespace moray::tools
