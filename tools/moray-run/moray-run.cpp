// moray-run: continues a prompt with a compiled model, or scores a text. Text goes to stdout, everything else to
// stderr.
#include "moray-run/run.h"

#include <climits>

using namespace moray::tools;

static void addPromptFlags(CLI::App &app, RunOptions &options) {
  app.add_option("MODEL", options.model, "compiled artifact (.moray)")->required();
  CLI::Option *prompt = app.add_option("-p,--prompt", options.prompt, "text to continue (default: read stdin)");
  CLI::Option *file = app.add_option("-f,--file", options.promptFile, "file with the text to continue; - is stdin");
  CLI::Option *tokens = app.add_option("--tokens", options.tokens, "token ids instead of text: 1,2,3");
  CLI::Option *score =
      app.add_option("--score", options.scoreFile, "print the perplexity of this text file instead of generating");
  prompt->excludes(file)->excludes(tokens)->excludes(score);
  file->excludes(tokens)->excludes(score);
  tokens->excludes(score);
  app.add_option("--window", options.window, "with --score: tokens of a window, BOS included (default 512)")
      ->needs(score)
      ->check(CLI::Range(2u, UINT_MAX));
  app.add_option("--logits", options.logitsFile,
                 "write float32 logits of all prompt positions [T, vocabulary] to this .npy file instead of generating")
      ->excludes(score);
  app.add_flag("--no-bos", options.noBos, "do not put the beginning-of-sentence token before the text");
}

// Flags of what is not done with --score or --logits are refused there, not ignored.
static void addGenerationFlags(CLI::App &app, RunOptions &options) {
  CLI::Option *flags[] = {
      app.add_option("-n,--max-tokens", options.maxTokens,
                     "tokens to generate (default: until an end token or the context is full)")
          ->check(CLI::Range(1u, UINT_MAX - 1)),
      app.add_option("--temp", options.temperature, "temperature; 0 is greedy (default 0)")
          ->check(numberBetween(0, 1000, true)),
      app.add_option("--top-k", options.topK, "sample among the K best tokens; 0 is off (default 0)"),
      app.add_option("--top-p", options.topP,
                     "sample among the best tokens that reach this probability; 1 is off (default 1)")
          ->check(numberBetween(0, 1, false)),
      app.add_flag("--model-sampling", options.modelSampling, "use the checkpoint's own temperature, top-k and top-p"),
      app.add_option("--seed", options.seed, "seed of sampling (default 0); equal seeds give equal texts")
          ->check(wholeNumber()),
      app.add_flag("--ignore-eos", options.ignoreEos, "go on after an end token"),
  };
  for (CLI::Option *flag : flags)
    flag->excludes("--score")->excludes("--logits");
}

static void addEngineFlags(CLI::App &app, RunOptions &options) {
  app.add_option("-t,--threads", options.threads, "worker threads (default: one per available CPU)")
      ->check(CLI::Range(1u, 1024u));
  app.add_option("-c,--context", options.context,
                 "most tokens, prompt and result together (default: 4096 or the model's maximum)")
      ->check(CLI::Range(1u, UINT_MAX));
  app.add_option("--chunk", options.chunk, "most prompt tokens of one step; changes speed and memory, never a result")
      ->check(CLI::Range(1u, 1u << 20));
  app.add_option("--cpu-level", options.cpuLevel,
                 "auto, x86-64-v3, avx512 or amx; fails where the machine or the artifact lacks it");
  addDeviceFlags(app, options.device);
  addGroupFlags(app, options.group);
  addExpertFlags(app, options);
  app.add_flag("--verify", options.verify, "hash all weights before the start");
  app.add_flag("--json", options.json, "print one JSON object: prompt ids, generated ids, text, timings");
  app.set_version_flag("--version", std::string("moray-run ") + moray_runtime_version());
}

static int run(RunOptions &options) {
  double begin = nowMs();
  Model model;
  if (int code = loadModel(options.model, options.verify, model))
    return code;
  Group group; // outlives the engine
  moray_group_info ranks = {};
  if (int code = createGroup(options.group, model, group, ranks))
    return code;
  Swap swap;
  if (int code = readSwap(options, model, ranks.ranks, swap))
    return code;
  std::vector<int32_t> prompt;
  if (options.scoreFile.empty() && ranks.rank == 0)
    if (int code = readPrompt(options, model, prompt))
      return code;

  moray_engine_options engineOptions;
  moray_engine_options_init(&engineOptions);
  engineOptions.group = group.get();
  engineOptions.overlap = options.group.overlap;
  engineOptions.threads = options.threads;
  engineOptions.context = options.context;
  engineOptions.prefill_chunk = options.chunk;
  engineOptions.cpu_level = options.cpuLevel.c_str();
  applyDeviceFlags(options.device, engineOptions);
  if (!options.logitsFile.empty())
    engineOptions.max_outs = 64; // logits of many rows per step
  Engine engine;
  moray_engine *created = nullptr;
  if (int code = reportUnlessInterrupted(moray_engine_create(model.get(), &engineOptions, &created)))
    return code;
  engine.reset(created);
  options.loadMs = nowMs() - begin;
  if (int code = reportDevice(model, engine))
    return code;
  if (ranks.rank != 0)
    return reportUnlessInterrupted(moray_group_serve(engine.get()));
  int code = !options.scoreFile.empty()   ? score(options, model, engine)
             : options.logitsFile.empty() ? generate(options, model, engine, swap, prompt)
                                          : writeLogits(options, model, engine, prompt);
  if (code == kExitOk && !options.loadsFile.empty())
    code = writeExpertLoads(options, model, engine);
  const int ended = reportUnlessInterrupted(moray_group_end(engine.get()));
  return code ? code : ended;
}

int main(int argc, char **argv) {
  RunOptions options;
  CLI::App app("Continues a prompt with a compiled model, or scores a text. The text goes to stdout, timing to stderr.",
               "moray-run");
  addPromptFlags(app, options);
  addGenerationFlags(app, options);
  addEngineFlags(app, options);
  int exitCode = kExitOk;
  if (!parseArguments(app, argc, argv, exitCode))
    return exitCode;
  options.hasPrompt = app.count("--prompt") != 0;
  options.hasTokens = app.count("--tokens") != 0;
  installSignalHandlers();
  return run(options);
}
