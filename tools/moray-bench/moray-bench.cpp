// moray-bench: measures prompt and decode speed of an artifact and the limits of the machine in the same run.
#include "moray-bench/bench.h"

#include <cstdio>

using namespace moray::tools;

static constexpr uint32_t kMostTokens = 1u << 24; // longer than any context; sums of a few stay far below 2^32

static void addFlags(CLI::App &app, BenchOptions &options) {
  app.add_option("MODEL", options.model, "compiled artifact (.moray)")->required();
  app.add_option("-p,--n-prompt", options.prompts, "prompt tokens, a list; 0 leaves the test out (default 512)")
      ->delimiter(',')
      ->check(CLI::Range(0u, kMostTokens));
  app.add_option("-n,--n-gen", options.generates, "tokens to generate, a list; 0 leaves the test out (default 128)")
      ->delimiter(',')
      ->check(CLI::Range(0u, kMostTokens));
  app.add_option("-b,--batch", options.batches, "sequences at once, a list (default 1)")
      ->delimiter(',')
      ->check(CLI::Range(1u, 1024u));
  app.add_option("-d,--depth", options.depths, "tokens in the cache before the test starts, a list (default 0)")
      ->delimiter(',')
      ->check(CLI::Range(0u, kMostTokens));
  app.add_option("-r,--repetitions", options.repetitions, "measurements of each test (default 5)")
      ->check(CLI::Range(1u, 1000u));
  app.add_option("-t,--threads", options.threads, "worker threads (default: one per available CPU)")
      ->check(CLI::Range(1u, 1024u));
  app.add_option("--chunk", options.chunk, "most prompt tokens of one step (default 512)")
      ->check(CLI::Range(1u, 1u << 20));
  app.add_option("--cpu-level", options.cpuLevel, "auto, x86-64-v3, avx512 or amx");
  app.add_option("--random-weights", options.seed, "fill the weights of a --weights=none artifact from this seed")
      ->check(wholeNumber());
  app.add_flag("--profile", options.profile, "time of each kernel on stderr (costs a clock read per launch)");
  app.add_flag("--kernels", options.kernels,
               "instead of whole steps, each kernel alone: GB/s, GFLOP/s, fraction of the measured peaks")
      ->excludes("--profile");
  addDeviceFlags(app, options.device);
  addGroupFlags(app, options.group);
  app.add_option("-o,--output", options.output, "md or json (default md)")->check(CLI::IsMember({"md", "json"}));
  app.set_version_flag("--version", std::string("moray-bench ") + moray_runtime_version());
}

static int benchKernels(const BenchOptions &options, const std::vector<BenchTest> &tests, const Model &model,
                        const Engine &engine, const Machine &machine) {
  std::vector<KernelTable> tables(tests.size());
  for (size_t i = 0; i < tests.size(); ++i)
    if (int code = runKernels(tests[i], options, model, engine, tables[i]))
      return code;
  printKernels(options, machine, tables);
  return flushOut();
}

static int benchSteps(const BenchOptions &options, const std::vector<BenchTest> &tests, const Model &model,
                      const Engine &engine, const Machine &machine) {
  std::vector<BenchResult> results;
  for (const BenchTest &test : tests) {
    results.emplace_back();
    if (int code = runTest(test, options, model, engine, machine, results.back()))
      return code;
  }
  (options.output == "json" ? printJson : printMarkdown)(options, model, engine, machine, results);
  if (int code = flushOut())
    return code;
  return options.profile ? printProfile(model, engine) : kExitOk;
}

static int run(const BenchOptions &options) {
  std::vector<BenchTest> tests = listTests(options);
  if (tests.empty())
    return fail("E1006", "no test is left", "give -p or -n a number above 0", kExitUsage);
  Model model;
  if (int code = loadModel(options.model, /*verifyWeights=*/false, model))
    return code;
  Group group; // outlives the engine
  moray_group_info ranks = {};
  if (int code = createGroup(options.group, model, group, ranks))
    return code;
  Engine engine;
  if (int code = createBenchEngine(options, tests, model, group, engine))
    return code;
  if (int code = reportDevice(model, engine))
    return code;
  if (ranks.rank != 0)
    return report(moray_group_serve(engine.get()));
  Machine machine;
  if (ranks.ranks == 1) // several ranks share a machine, or have several
    if (int code = probeMachine(model, engine, machine))
      return code;

  return options.kernels ? benchKernels(options, tests, model, engine, machine)
                         : benchSteps(options, tests, model, engine, machine);
}

int main(int argc, char **argv) {
  BenchOptions options;
  CLI::App app(
      "Measures prompt (pp) and generation (tg) speed, and how much of the machine's bandwidth and arithmetic it is.",
      "moray-bench");
  addFlags(app, options);
  int exitCode = kExitOk;
  if (!parseArguments(app, argc, argv, exitCode))
    return exitCode;
  options.randomWeights = app.count("--random-weights") != 0;
  installSignalHandlers();
  return run(options);
}
