// The parts of moray-bench: what is measured, how, and how it is printed.
#pragma once
#include "common/cli.h"
#include "common/device_flags.h"
#include "common/group_flags.h"
#include "common/runtime_handles.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moray::tools {

struct BenchOptions {
  std::string model, output = "md", cpuLevel = "auto";
  std::vector<uint32_t> prompts{512}, generates{128}, batches{1}, depths{0};
  uint32_t threads = 0, chunk = 512, repetitions = 5;
  bool randomWeights = false, profile = false, kernels = false;
  DeviceFlags device;
  GroupFlags group;
  uint64_t seed = 0;
};

/// What the machine reached in probes: kernels of the artifact, on a GPU also a copy; 0 where there is no probe
/// or no memory for one.
struct Machine {
  double bytesPerS = 0, flopsPerS = 0;
};

/// One line of the table. A prompt test reads `tokens` prompt tokens of each of `batch` sequences after `depth` earlier
/// ones, a generation test (`decode`) makes `tokens` steps of one token per sequence.
struct BenchTest {
  bool decode;
  uint32_t tokens, batch, depth;
};

struct BenchResult {
  BenchTest test;
  std::vector<double> tokensPerS; // one value per repetition, ascending
  /// Necessary traffic and arithmetic per second at the median, and their fraction of what the probes reached.
  double bytesPerS = 0, flopsPerS = 0, bandwidthFraction = 0, computeFraction = 0;

  double median() const { return tokensPerS[tokensPerS.size() / 2]; }
  double spread() const { return (tokensPerS.back() - tokensPerS.front()) / median(); }
};

/// The tests that the options ask for, llama-bench's order: prompts, then generation.
std::vector<BenchTest> listTests(const BenchOptions &options);

/// An engine that is large enough for all tests.
int createBenchEngine(const BenchOptions &options, const std::vector<BenchTest> &tests, const Model &model,
                      const Group &group, Engine &engine);

int probeMachine(const Model &model, const Engine &engine, Machine &machine);
/// Runs a test once; the steps after its `depth` are measured.
int measureOnce(const BenchTest &test, uint32_t vocab, const Engine &engine, double &tokensPerS);

int runTest(const BenchTest &test, const BenchOptions &options, const Model &model, const Engine &engine,
            const Machine &machine, BenchResult &result);

void printMarkdown(const BenchOptions &options, const Model &model, const Engine &engine, const Machine &machine,
                   const std::vector<BenchResult> &results);
void printJson(const BenchOptions &options, const Model &model, const Engine &engine, const Machine &machine,
               const std::vector<BenchResult> &results);
std::string testName(const BenchTest &test);
/// One kernel of a test: timed alone inside real steps, on a GPU with a flushed L2 cache before each launch.
struct KernelResult {
  std::string klass, name;
  double launchesPerStep, medianS;
  /// By the runtime's model of a launch; 0 where it has none.
  double bytesPerS, flopsPerS;
};
struct KernelTable {
  BenchTest test;
  std::vector<KernelResult> kernels;
};

/// Times all kernels in one test. Needs an engine made with BenchOptions::kernels.
int runKernels(const BenchTest &test, const BenchOptions &options, const Model &model, const Engine &engine,
               KernelTable &table);
/// Their times, rates and fractions of what the machine reached, as Markdown tables or one JSON object.
void printKernels(const BenchOptions &options, const Machine &machine, const std::vector<KernelTable> &tables);

/// Time of each kernel over the whole run, most expensive first (needs BenchOptions::profile), on stderr.
int printProfile(const Model &model, const Engine &engine);

} // namespace moray::tools
