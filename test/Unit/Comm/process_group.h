// Processes forked by a test, one per rank: what each says at its end, and when.
#pragma once
#include <functional>
#include <string>
#include <vector>

namespace moray::test {

struct RankEnd {
  std::string text;   // what the rank's function returned; empty where it was killed
  bool ended = false; // false: it was still there at the limit, and has been killed
  double seconds = 0; // from the start of the group
};

// Runs `body(rank)` in a process per rank and collects what they return. Ranks that have not ended `limitSeconds` after
// the start, or that stopped themselves, are killed. No thread may run.
std::vector<RankEnd> runRanks(uint32_t ranks, double limitSeconds, const std::function<std::string(uint32_t)> &body);

// Runs a command with its output caught; its exit code, -1 where it cannot start. Ends it after `limitSeconds`.
int runCommand(const std::string &command, double limitSeconds, std::string &output);

} // namespace moray::test
