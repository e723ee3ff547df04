// Prints results as a Markdown table in llama-bench's style or as one JSON object, and the kernel profile.
#include "moray-bench/bench.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace moray::tools {

static std::string testName(const BenchTest &test) {
  std::string name = (test.decode ? "tg" : "pp") + std::to_string(test.tokens);
  return test.depth ? name + " @ d" + std::to_string(test.depth) : name;
}

// Which limit is nearer, and how near: "read 61 %" or "fma 27 %".
static std::string nearestLimit(const BenchResult &result) {
  if (result.bandwidthFraction == 0 && result.computeFraction == 0)
    return "no probes";
  bool bandwidth = result.bandwidthFraction >= result.computeFraction;
  char line[32];
  std::snprintf(line, sizeof line, "%s %.0f %%", bandwidth ? "read" : "fma",
                100 * (bandwidth ? result.bandwidthFraction : result.computeFraction));
  return line;
}

void printMarkdown(const BenchOptions &options, const Model &model, const Engine &engine, const Machine &machine,
                   const std::vector<BenchResult> &results) {
  moray_model_config config;
  moray_model_query_config(model.get(), &config);
  moray_engine_info info;
  moray_engine_query_info(engine.get(), &info);
  size_t index = 0;
  moray_target_info target = targetOf(model, engine, index);
  std::printf("| model | numerics | params | level | threads | batch | test | t/s (median) | spread | GB/s | GFLOP/s | "
              "roofline |\n");
  std::printf("|---|---|---:|---|---:|---:|---|---:|---:|---:|---:|---:|\n");
  for (const BenchResult &result : results)
    std::printf("| %s | %s | %.2f M | %s | %u | %u | %s | %.2f | %.1f %% | %.2f | %.2f | %s |\n",
                text(config.family).c_str(), text(target.numerics).c_str(),
                static_cast<double>(config.parameters) / 1e6, text(info.cpu_level).c_str(), info.threads,
                result.test.batch, testName(result.test).c_str(), result.median(), 100 * result.spread(),
                result.bytesPerS / 1e9, result.flopsPerS / 1e9, nearestLimit(result).c_str());
  std::printf(
      "\nmachine (probe kernels of this artifact, same run): read %.2f GB/s, fma %.2f GFLOP/s; %u repetitions\n",
      machine.bytesPerS / 1e9, machine.flopsPerS / 1e9, options.repetitions);
  std::printf("one token: %.2f MB of weights, %.2f MFLOP\n", static_cast<double>(target.active_weight_bytes) / 1e6,
              static_cast<double>(target.active_flops) / 1e6);
}

void printJson(const BenchOptions &options, const Model &model, const Engine &engine, const Machine &machine,
               const std::vector<BenchResult> &results) {
  moray_model_config config;
  moray_model_query_config(model.get(), &config);
  moray_engine_info info;
  moray_engine_query_info(engine.get(), &info);
  size_t index = 0;
  moray_target_info target = targetOf(model, engine, index);
  nlohmann::ordered_json object = {{"schema", "moray.bench/1"},
                                   {"model", options.model},
                                   {"family", text(config.family)},
                                   {"numerics", text(target.numerics)},
                                   {"parameters", config.parameters},
                                   {"active_weight_bytes", target.active_weight_bytes},
                                   {"active_flops", target.active_flops},
                                   {"cpu_level", text(info.cpu_level)},
                                   {"threads", info.threads},
                                   {"memory_bytes", info.memory.total},
                                   {"repetitions", options.repetitions}};
  object["machine"] = {{"read_bytes_per_s", machine.bytesPerS}, {"fma_flops_per_s", machine.flopsPerS}};
  object["results"] = nlohmann::ordered_json::array();
  for (const BenchResult &result : results) {
    const BenchTest &test = result.test;
    nlohmann::ordered_json line = {{"test", testName(test)},
                                   {"n_prompt", test.decode ? 0 : test.tokens},
                                   {"n_gen", test.decode ? test.tokens : 0},
                                   {"batch", test.batch},
                                   {"depth", test.depth},
                                   {"tokens_per_s", result.median()},
                                   {"spread", result.spread()},
                                   {"samples", result.tokensPerS},
                                   {"bytes_per_s", result.bytesPerS},
                                   {"flops_per_s", result.flopsPerS},
                                   {"read_fraction", result.bandwidthFraction},
                                   {"fma_fraction", result.computeFraction}};
    object["results"].push_back(line);
  }
  std::printf("%s\n", object.dump(2).c_str());
}

int printProfile(const Model &model, const Engine &engine) {
  struct Line {
    std::string name;
    uint64_t launches, ns;
  };
  std::vector<Line> lines;
  uint64_t total = 0;
  size_t target = 0;
  moray_target_info of = targetOf(model, engine, target);
  for (size_t i = 0; i < of.kernel_count; ++i) {
    moray_kernel_info info;
    moray_kernel_profile profile;
    if (int code = report(moray_model_query_kernel(model.get(), target, i, &info)))
      return code;
    if (int code = report(moray_engine_query_kernel_profile(engine.get(), i, &profile)))
      return code;
    total += profile.ns;
    if (profile.launches)
      lines.push_back({text(info.klass) + " " + text(info.name), profile.launches, profile.ns});
  }
  std::sort(lines.begin(), lines.end(), [](const Line &a, const Line &b) { return a.ns > b.ns; });
  for (const Line &line : lines)
    std::fprintf(stderr, "%5.1f %% %10.3f ms %9llu launches %10.2f us  %s\n",
                 100.0 * line.ns / std::max<uint64_t>(total, 1), line.ns / 1e6,
                 static_cast<unsigned long long>(line.launches), line.ns / 1e3 / line.launches, line.name.c_str());
  return kExitOk;
}

} // namespace moray::tools
