// moray-inspect: shows what an artifact holds, where it came from and how much memory an engine would take.
#include "moray-inspect/inspect.h"

#include <cstdio>

using namespace moray::tools;

int main(int argc, char **argv) {
  std::string path;
  bool json = false, verify = false, kernels = false;
  moray_engine_options options;
  moray_engine_options_init(&options);
  CLI::App app(
      "Shows an artifact: configuration, targets, kernels, weights, origin, and the memory an engine would need.",
      "moray-inspect");
  app.add_option("MODEL", path, "compiled artifact (.moray)")->required();
  app.add_option("-b,--batch", options.max_seqs, "memory plan for this many sequences at once (default 1)")
      ->check(CLI::Range(1u, 65536u));
  app.add_option("-c,--context", options.context,
                 "memory plan for this many tokens per sequence (default: as moray-run)")
      ->check(CLI::Range(1u, UINT32_MAX));
  app.add_option("--chunk", options.max_rows, "memory plan for this many rows per step (default 256)")
      ->check(CLI::Range(1u, 1u << 20));
  app.add_option("-t,--threads", options.threads,
                 "memory plan for this many worker threads (default: one per available CPU)")
      ->check(CLI::Range(1u, 1024u));
  app.add_flag("--kernels", kernels, "the code of every kernel for every target, instead of the rest");
  app.add_flag("--verify", verify, "hash every weight");
  app.add_flag("--json", json, "print one JSON object");
  app.set_version_flag("--version", std::string("moray-inspect ") + moray_runtime_version());
  int exitCode = kExitOk;
  if (!parseArguments(app, argc, argv, exitCode))
    return exitCode;

  Model model;
  if (int code = loadModel(path, verify, model))
    return code;
  nlohmann::ordered_json description;
  if (int code = describe(model, options, description))
    return code;
  if (json)
    std::printf("%s\n", description.dump(2).c_str());
  else if (kernels)
    printKernels(description);
  else
    printText(description);
  return flushOut();
}
