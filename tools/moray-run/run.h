// The parts of moray-run: its options, and one function per thing it can do.
#pragma once
#include "common/cli.h"
#include "common/device_flags.h"
#include "common/group_flags.h"
#include "common/runtime_handles.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moray::tools {

struct RunOptions {
  DeviceFlags device;
  GroupFlags group;
  std::string model, prompt, promptFile, tokens, scoreFile, logitsFile, cpuLevel = "auto";
  std::string loadsFile, swap; // swap: FILE@STEP
  bool hasPrompt = false, hasTokens = false, modelSampling = false, json = false, ignoreEos = false, verify = false,
       noBos = false;
  uint32_t maxTokens = 0; // 0: until the context is full
  uint32_t topK = 0, threads = 0, context = 0, chunk = 0, window = 512;
  float temperature = 0, topP = 1;
  uint64_t seed = 0;
  double loadMs = 0; // until the engine is ready
};

/// Milliseconds of a steady clock.
double nowMs();

/// Token ids of `text`; `bos` is one of MORAY_BOS_*. Returns an exit code, errors are printed.
int tokenize(const Model &model, const std::string &text, int bos, std::vector<int32_t> &ids);
/// The prompt's ids from --tokens, -p, -f or stdin.
int readPrompt(const RunOptions &options, const Model &model, std::vector<int32_t> &ids);

/// The flags of what follows.
void addExpertFlags(CLI::App &app, RunOptions &options);

/// Writes how often each expert was chosen to options.loadsFile.
int writeExpertLoads(const RunOptions &options, const Model &model, const Engine &engine);

/// The placement that the ranks shall change to while they generate.
struct Swap {
  uint64_t step = 0; // 0: none
  PlacementTable table;
};
/// For a group of `ranks`; also checks that a step has experts on ranks where the options need it.
int readSwap(const RunOptions &options, const Model &model, uint32_t ranks, Swap &swap);

/// Continues the prompt: streams text (or collects one JSON object).
int generate(const RunOptions &options, const Model &model, const Engine &engine, const Swap &swap,
             const std::vector<int32_t> &prompt);

/// Writes the logits of all prompt positions, [T, vocabulary] float32.
int writeLogits(const RunOptions &options, const Model &model, const Engine &engine,
                const std::vector<int32_t> &prompt);

/// Prints the perplexity of a text. The ids of the text (without BOS) are cut into windows of `window` - 1 tokens, each
/// is put after one BOS, and every token after BOS is scored. Without a BOS the first token of a window is not scored.
int score(const RunOptions &options, const Model &model, const Engine &engine);

} // namespace moray::tools
