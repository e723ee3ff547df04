// What moray-run does with experts: records how often each was chosen, and moves them while it generates.
#include "moray-run/run.h"

#include <algorithm>

namespace moray::tools {

void addExpertFlags(CLI::App &app, RunOptions &options) {
  app.add_option("--record-loads", options.loadsFile,
                 "write how often each expert was chosen to this file, for moray-plan");
  app.add_option("--swap-placement", options.swap,
                 "FILE@STEP: change to this placement while generating, from this step on as soon as all ranks have "
                 "its weights; changes no token")
      ->excludes("--score")
      ->excludes("--logits");
}

int writeExpertLoads(const RunOptions &options, const Model &model, const Engine &engine) {
  moray_model_config config;
  moray_model_query_config(model.get(), &config);
  std::vector<uint64_t> loads(size_t{config.layers} * config.experts);
  if (int code = report(moray_engine_expert_loads(engine.get(), loads.data())))
    return code;
  LoadsFile file;
  file.experts = config.experts;
  file.expertsPerToken = config.experts_per_token;
  for (uint32_t layer = config.first_expert_layer; layer < config.layers; ++layer) {
    const auto begin = loads.begin() + static_cast<std::ptrdiff_t>(size_t{layer} * config.experts);
    file.layers[layer].assign(begin, begin + config.experts);
  }
  return writeLoads(options.loadsFile, file);
}

int readSwap(const RunOptions &options, const Model &model, uint32_t ranks, Swap &swap) {
  if (ranks == 1 && !options.group.forceDist && !(options.loadsFile.empty() && options.swap.empty()))
    return fail("E1011",
                std::string(options.swap.empty() ? "--record-loads" : "--swap-placement") +
                    " needs the distributed program, one process runs without",
                "add --force-dist, or start several ranks with mpirun", kExitUsage);
  if (options.swap.empty())
    return kExitOk;
  const size_t at = options.swap.rfind('@');
  const std::string step = at == std::string::npos ? "" : options.swap.substr(at + 1);
  if (step.empty() || step.size() > 9 || step.find_first_not_of("0123456789") != std::string::npos ||
      (swap.step = std::stoul(step)) == 0)
    return fail("E1011", "--swap-placement is '" + options.swap + "', expected FILE@STEP with a step from 1 on",
                "for example --swap-placement=placement.json@8", kExitUsage);
  moray_model_config config;
  moray_model_query_config(model.get(), &config);
  const std::string path = options.swap.substr(0, at);
  if (int code = readPlacement(path, config, swap.table))
    return code;
  if (swap.table.placement.ranks != ranks)
    return fail("E1011",
                "'" + path + "' is for " + std::to_string(swap.table.placement.ranks) + " ranks, this job has " +
                    std::to_string(ranks),
                "make a placement for these ranks with moray-plan", kExitUsage);
  return kExitOk;
}

} // namespace moray::tools
