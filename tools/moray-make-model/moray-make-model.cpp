// moray-make-model: writes a random checkpoint of any supported family and geometry, for tests and benchmarks.
#include "common/cli.h"
#include "common/progress.h"
#include "moray-make-model/Presets.h"
#include "moray-make-model/ShardWriter.h"

#include <cstdio>
#include <filesystem>
#include <fstream>

using namespace moray;
using namespace moray::makemodel;
namespace fs = std::filesystem;

namespace {

struct Options {
  std::string preset, output, format = "preset", tokenizer;
  std::vector<std::string> overrides;
  WriteOptions write;
  double shardGiB = 0;
  bool configOnly = false, list = false, quiet = false;
};

void addFlags(CLI::App &app, Options &options) {
  app.add_option("PRESET", options.preset, "geometry to start from (see --list)");
  app.add_option("-o,--output", options.output, "directory to create");
  app.add_option("--set", options.overrides, "KEY=VALUE of config.json, VALUE in JSON; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--format", options.format, "weights: preset, fp8, fp8-ue8m0 or bf16")
      ->check(CLI::IsMember({"preset", "fp8", "fp8-ue8m0", "bf16"}));
  app.add_option("--seed", options.write.seed, "seed of the weights (default 1)")->check(tools::wholeNumber());
  app.add_option("--shard-gib", options.shardGiB, "size of a shard in GiB (default: one file)")
      ->check(CLI::Range(1e-6, 1e6));
  app.add_flag("--sparse", options.write.sparse, "leave the large weights as holes (zeros): any size, no disk space");
  app.add_flag("--config-only", options.configOnly, "write config.json and generation_config.json alone");
  app.add_option("--tokenizer", options.tokenizer, "copy the tokenizer files of this directory");
  app.add_flag("--list", options.list, "print the presets");
  app.add_flag("-q,--quiet", options.quiet, "no progress");
}

int report(const frontend::Error &error) {
  int exit = error.code() == 1701 || error.code() == 1702 ? tools::kExitUsage
             : error.code() == 1703                       ? tools::kExitResources
             : error.code() == 1704                       ? tools::kExitInterrupted
                                                          : tools::kExitModel;
  return tools::fail(("E" + std::to_string(error.code())).c_str(), error.message(), "", exit);
}

bool writeText(const std::string &path, const std::string &text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  return static_cast<bool>(file.flush());
}

// The configuration, checked as an importer would, and its inventory.
frontend::Expected<frontend::Inventory> plan(const std::string &config, frontend::ModelConfig &model) {
  frontend::Warnings warnings;
  frontend::Expected<frontend::ModelConfig> parsed = frontend::parseModelConfig(config, "config.json", warnings);
  if (!parsed)
    return parsed.error();
  model = *parsed;
  for (const auto &[text, count] : warnings.all())
    std::fprintf(stderr, "warning: %s\n", text.c_str());
  return frontend::inventoryFromConfig(model);
}

int copyTokenizer(const Options &options) {
  bool found = false;
  for (const char *name :
       {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"}) {
    std::error_code failed;
    found |= fs::copy_file(options.tokenizer + "/" + name, options.output + "/" + name, failed);
  }
  return found ? tools::kExitOk
               : tools::fail("E1002", "no tokenizer files in '" + options.tokenizer + "'",
                             "give a checkpoint directory", tools::kExitUsage);
}

int makeModel(Options &options) {
  WeightFormat format = options.format == "fp8"         ? WeightFormat::Fp8
                        : options.format == "fp8-ue8m0" ? WeightFormat::Fp8PowerOfTwo
                        : options.format == "bf16"      ? WeightFormat::Bf16
                                                        : WeightFormat::AsPreset;
  frontend::Expected<std::string> config = makeConfig(options.preset, options.overrides, format);
  if (!config)
    return report(config.error());
  frontend::ModelConfig model;
  frontend::Expected<frontend::Inventory> inventory = plan(*config, model);
  if (!inventory)
    return report(inventory.error());
  std::error_code failed;
  fs::create_directories(options.output, failed);
  if (failed || !fs::is_empty(options.output, failed))
    return tools::fail("E1705", "'" + options.output + "' cannot be created or is not empty", "name a new directory",
                       tools::kExitUsage);
  if (!writeText(options.output + "/config.json", *config) ||
      !writeText(options.output + "/generation_config.json", makeGenerationConfig(*config)))
    return report(frontend::Error(1703, options.output + ": cannot write config.json"));
  if (!options.tokenizer.empty())
    if (int exit = copyTokenizer(options))
      return exit;
  options.write.directory = options.output;
  options.write.shardBytes = static_cast<uint64_t>(options.shardGiB * 1073741824.0);
  options.write.powerOfTwo = model.quantization && model.quantization->ue8m0;
  if (!options.configOnly) {
    tools::installSignalHandlers();
    tools::Progress progress(options.quiet);
    progress.start("writing", inventory->bytes);
    frontend::Status status = writeCheckpoint(*inventory, model.layers, options.write, [&](uint64_t done, uint64_t) {
      progress.update(done);
      return !tools::interrupted();
    });
    if (!status)
      return report(status.error());
  }
  std::printf("%s: %llu parameters, %llu tensors, %llu bytes\n", options.output.c_str(),
              static_cast<unsigned long long>(inventory->parameters),
              static_cast<unsigned long long>(inventory->tensors), static_cast<unsigned long long>(inventory->bytes));
  return tools::kExitOk;
}

} // namespace

int main(int argc, char **argv) {
  CLI::App app("Writes a random checkpoint of a supported family and geometry.", "moray-make-model");
  Options options;
  addFlags(app, options);
  int exit = 0;
  if (!tools::parseArguments(app, argc, argv, exit))
    return exit;
  if (options.list) {
    for (const PresetInfo &preset : presets())
      std::printf("%-18s %s\n", preset.name, preset.summary);
    return tools::kExitOk;
  }
  if (options.preset.empty() || options.output.empty())
    return tools::fail("E1001", "PRESET and --output are required", "see moray-make-model --help", tools::kExitUsage);
  return makeModel(options);
}
