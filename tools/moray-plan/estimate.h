// What a deployment takes: experts, memory and bytes between ranks from a model's config.json, and the time of a step
// from the commands of its artifact.
#pragma once
#include "moray-plan/plan.h"
#include <nlohmann/json.hpp>
#include <string>

namespace CLI {
class App;
}

namespace moray::tools {

struct EstimateOptions {
  std::string config, machine = "h800", kernelTimes, target, phase = "decode";
  std::string exchange = "auto", combine = "exact", shared = "replicated";
  uint32_t attentionTp = 1, rows = 128, context = 0; // context 0: 4096 or the model's maximum
};

void addEstimateFlags(CLI::App &app, EstimateOptions &options);

/// What config.json says, as far as it decides sizes.
struct ModelShape {
  uint64_t hidden = 0, layers = 0, denseLayers = 0, experts = 0, expertsPerToken = 0, sharedExperts = 0, groups = 1,
           groupsPerToken = 1, maxContext = 4096;
  uint64_t expertWidth = 0, denseWidth = 0, vocab = 0, heads = 0, qRank = 0, kvRank = 0, nope = 0, rope = 0, value = 0;
  uint64_t mtpLayers = 0;
  bool fp8 = false, tied = false;
  uint64_t moeLayers() const { return layers - denseLayers; }
  /// Bytes of a matrix as the checkpoint stores it: BF16, or FP8 with one float32 scale per block of 128 x 128.
  uint64_t matrix(uint64_t rows, uint64_t columns) const;
};

/// Shares of a token's work per MoE layer. `ranks` and `nodes`: other ones that get its row, on average, if its experts
/// are chosen independently; slots: selections that leave the rank.
struct TokenTraffic {
  double ranksOnNode = 0, ranksElsewhere = 0, nodesElsewhere = 0, slotsOnNode = 0, slotsElsewhere = 0;
};

/// Speeds that an estimate assumes; a file may give each of them.
struct MachineModel {
  std::string name;
  double memoryBytes, memoryBytesPerS, fp8FlopsPerS, bf16FlopsPerS, launchS;
  double nodeBytesPerS, nodeLatencyS, netBytesPerS, netLatencyS; // of one rank, in one direction
};

int readMachine(const std::string &name, MachineModel &machine);
nlohmann::ordered_json describe(const MachineModel &machine);

/// Walks the distributed step programs of the artifact; adds "step" to `out`.
int estimateStep(const PlanOptions &plan, const EstimateOptions &options, const ModelShape &shape,
                 const MachineModel &machine, const TokenTraffic &traffic, nlohmann::ordered_json &out);

/// Returns an exit code; errors (E1002, E1012) are printed.
int estimate(const PlanOptions &plan, EstimateOptions options);

} // namespace moray::tools
