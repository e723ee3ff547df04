// Runs the tests: probes of the machine, prompt steps and decode steps, timed from outside the engine.
#include "moray-bench/bench.h"

#include <algorithm>
#include <chrono>

namespace moray::tools {

namespace {

constexpr int kProbeRuns = 5;
constexpr uint64_t kProbeMinNs = 50'000'000;          // a shorter run measures the start of the threads
constexpr uint64_t kProbeEnoughNs = 10 * kProbeMinNs; // on a simulator one run says enough
constexpr uint64_t kLeastProbeBytes = 1 << 20;
constexpr int kOutOfMemory = 5001;

double nowS() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// The best of several runs of one probe, per second; the number of passes grows until a run is long enough.
int probe(const Engine &engine, const std::string &name, double &perS) {
  moray_probe_options options;
  moray_probe_options_init(&options);
  moray_probe_result result = {0, 0};
  for (int runs = 0; runs < kProbeRuns;) {
    moray_status *status = moray_engine_run_probe(engine.get(), name.c_str(), &options, &result);
    if (moray_status_code(status) == kOutOfMemory) { // the model may have left little or nothing
      moray_status_free(status);
      if (options.bytes <= kLeastProbeBytes)
        return kExitOk;
      options.bytes /= 4;
      continue;
    }
    if (int code = report(status))
      return code;
    if (result.ns < kProbeMinNs && options.iterations < (uint64_t(1) << 32)) {
      options.iterations *= 4;
      continue;
    }
    perS =
        std::max(perS, 1e9 * static_cast<double>(result.work) / static_cast<double>(std::max<uint64_t>(result.ns, 1)));
    runs += result.ns < kProbeEnoughNs ? 1 : kProbeRuns;
  }
  return kExitOk;
}

// Sequences of one repetition; token ids are pseudo-random so that routing spreads as in real text.
int addSequences(const BenchTest &test, uint32_t vocab, const Engine &engine, std::vector<Sequence> &sequences) {
  moray_sequence_options options;
  moray_sequence_options_init(&options);
  options.ignore_eos = 1;
  options.prompt_only = !test.decode;
  // The first generated token comes from the prompt step, which is not measured.
  options.max_tokens = test.decode ? test.tokens + 1 : 1;
  uint32_t length = test.decode ? std::max(1u, test.depth) : test.depth + test.tokens;
  uint64_t state = 88172645463325252u;
  for (uint32_t b = 0; b < test.batch; ++b) {
    std::vector<int32_t> ids(length);
    for (int32_t &id : ids) {
      state ^= state << 13, state ^= state >> 7, state ^= state << 17;
      id = static_cast<int32_t>(state % vocab);
    }
    moray_sequence *added = nullptr;
    if (int code = report(moray_sequence_add(engine.get(), ids.data(), ids.size(), &options, &added)))
      return code;
    sequences.emplace_back(added);
  }
  return kExitOk;
}

// Bytes and flops that a test cannot avoid, per token of it.
void fillRoofline(const moray_model_config &config, const moray_target_info &target, const Machine &machine,
                  BenchResult &result) {
  const BenchTest &test = result.test;
  double elementBytes = text(target.cache_dtype) == "f32" ? 4 : 2;
  double cacheBytes = elementBytes * config.cache_width * config.layers * (test.depth + test.tokens / 2.0);
  // A step reads the weights once for all its rows. Experts that only other rows of a batch need are not counted: a
  // lower bound.
  double rowsPerStep = test.decode ? test.batch : std::max(1.0, double(test.tokens) * test.batch);
  double bytes = static_cast<double>(target.active_weight_bytes) / rowsPerStep + (test.decode ? cacheBytes : 0);
  result.bytesPerS = bytes * result.median();
  result.flopsPerS = static_cast<double>(target.active_flops) * result.median();
  result.bandwidthFraction = machine.bytesPerS > 0 ? result.bytesPerS / machine.bytesPerS : 0;
  result.computeFraction = machine.flopsPerS > 0 ? result.flopsPerS / machine.flopsPerS : 0;
}

} // namespace

int measureOnce(const BenchTest &test, uint32_t vocab, const Engine &engine, double &tokensPerS) {
  std::vector<Sequence> sequences;
  if (int code = addSequences(test, vocab, engine, sequences))
    return code;
  uint64_t unmeasured = uint64_t(test.batch) * (test.decode ? std::max(1u, test.depth) : test.depth);
  uint64_t rows = 0, measured = 0;
  double seconds = 0;
  while (true) {
    if (interrupted())
      return interruptedExit();
    moray_step_info info = {};
    double begin = nowS();
    if (int code = report(moray_engine_step(engine.get(), &info)))
      return code;
    if (rows >= unmeasured) {
      seconds += nowS() - begin;
      measured += info.rows;
    }
    rows += info.rows;
    if (info.running + info.waiting == 0)
      break;
  }
  tokensPerS = seconds > 0 ? static_cast<double>(measured) / seconds : 0;
  return kExitOk;
}

std::vector<BenchTest> listTests(const BenchOptions &options) {
  std::vector<BenchTest> tests;
  for (bool decode : {false, true})
    for (uint32_t tokens : decode ? options.generates : options.prompts)
      for (uint32_t batch : options.batches)
        for (uint32_t depth : options.depths)
          if (tokens > 0)
            tests.push_back({decode, tokens, batch, depth});
  return tests;
}

int createBenchEngine(const BenchOptions &options, const std::vector<BenchTest> &tests, const Model &model,
                      const Group &group, Engine &engine) {
  moray_engine_options engineOptions;
  moray_engine_options_init(&engineOptions);
  for (const BenchTest &test : tests) {
    // A prompt that is not measured makes the cache deep (at least one token) and gives the first generated token.
    uint32_t context = test.decode ? std::max(1u, test.depth) + test.tokens + 1 : test.depth + test.tokens;
    engineOptions.context = std::max(engineOptions.context, context);
    engineOptions.max_seqs = std::max(engineOptions.max_seqs, test.batch);
  }
  engineOptions.max_rows = std::max(options.chunk, engineOptions.max_seqs);
  engineOptions.threads = options.threads;
  engineOptions.cpu_level = options.cpuLevel.c_str();
  engineOptions.random_weights = options.randomWeights;
  engineOptions.random_weights_seed = options.seed;
  engineOptions.profile = options.kernels ? 2 : options.profile;
  engineOptions.group = group.get();
  engineOptions.overlap = options.group.overlap;
  applyDeviceFlags(options.device, engineOptions);
  return createEngine(model, engineOptions, engine);
}

int probeMachine(const Model &model, const Engine &engine, Machine &machine) {
  moray_engine_info about;
  moray_engine_query_info(engine.get(), &about);
  if (about.sm != 0)
    if (int code = probe(engine, "copy", machine.bytesPerS))
      return code;
  for (size_t i = 0; i < targetOf(model, about).kernel_count; ++i) {
    moray_kernel_info info;
    if (int code = report(moray_model_query_kernel(model.get(), about.target, i, &info)))
      return code;
    if (text(info.klass) != "probe")
      continue;
    std::string name = text(info.name);
    bool compute = name.find("fma") != std::string::npos;
    if (int code = probe(engine, name, compute ? machine.flopsPerS : machine.bytesPerS))
      return code;
  }
  return kExitOk;
}

int runTest(const BenchTest &test, const BenchOptions &options, const Model &model, const Engine &engine,
            const Machine &machine, BenchResult &result) {
  moray_model_config config;
  moray_model_query_config(model.get(), &config);
  result.test = test;
  // The first run warms caches and page tables and is not counted.
  for (uint32_t i = 0; i <= options.repetitions; ++i) {
    double tokensPerS = 0;
    if (int code = measureOnce(test, config.vocab, engine, tokensPerS))
      return code;
    if (i > 0)
      result.tokensPerS.push_back(tokensPerS);
  }
  std::sort(result.tokensPerS.begin(), result.tokensPerS.end());
  moray_engine_info info;
  moray_engine_query_info(engine.get(), &info);
  fillRoofline(config, targetOf(model, info), machine, result);
  return kExitOk;
}

} // namespace moray::tools
