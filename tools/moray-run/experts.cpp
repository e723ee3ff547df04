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

int readSwap(const RunOptions &options, const Model &model, Swap &swap) {
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
  return readPlacement(options.swap.substr(0, at), config, swap.table);
}

} // namespace moray::tools
