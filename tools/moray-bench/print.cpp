// Prints results as a Markdown table in llama-bench's style or as one JSON object, and the kernel profile.
#include "moray-bench/bench.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace moray::tools {

std::string testName(const BenchTest &test) {
  std::string name = (test.decode ? "tg" : "pp") + std::to_string(test.tokens);
  return test.depth ? name + " @ d" + std::to_string(test.depth) : name;
}

// "avx512", "sm_90".
static std::string level(const moray_engine_info &info) {
  return info.sm ? "sm_" + std::to_string(info.sm) : text(info.cpu_level);
}

// The graphs of decode steps that have run: {sequences, kernels}.
static std::vector<moray_bucket_info> capturedGraphs(const Engine &engine, const moray_engine_info &info) {
  std::vector<moray_bucket_info> graphs;
  for (size_t i = 0; i < info.bucket_count; ++i) {
    moray_bucket_info bucket = {0, 0};
    moray_status_free(moray_engine_query_bucket(engine.get(), i, &bucket)); // it exists
    if (bucket.launches)
      graphs.push_back(bucket);
  }
  return graphs;
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
  moray_target_info target = targetOf(model, info);
  std::printf("| model | numerics | params | level | threads | batch | test | t/s (median) | spread | GB/s | GFLOP/s | "
              "roofline |\n");
  std::printf("|---|---|---:|---|---:|---:|---|---:|---:|---:|---:|---:|\n");
  for (const BenchResult &result : results)
    std::printf("| %s | %s | %.2f M | %s | %u | %u | %s | %.2f | %.1f %% | %.2f | %.2f | %s |\n",
                text(config.family).c_str(), text(target.numerics).c_str(),
                static_cast<double>(config.parameters) / 1e6, level(info).c_str(), info.sm ? 0 : info.threads,
                result.test.batch, testName(result.test).c_str(), result.median(), 100 * result.spread(),
                result.bytesPerS / 1e9, result.flopsPerS / 1e9, nearestLimit(result).c_str());
  std::printf("\nmachine (%s, same run): read %.2f GB/s, fma %.2f GFLOP/s; %u repetitions\n",
              info.sm ? "probe kernels of this artifact and the driver's copy" : "probe kernels of this artifact",
              machine.bytesPerS / 1e9, machine.flopsPerS / 1e9, options.repetitions);
  for (const moray_bucket_info &graph : capturedGraphs(engine, info))
    std::printf("decode graph of up to %u sequences: %zu kernels\n", graph.seqs, graph.launches);
  std::printf("one token: %.2f MB of weights, %.2f MFLOP\n", static_cast<double>(target.active_weight_bytes) / 1e6,
              static_cast<double>(target.active_flops) / 1e6);
}

void printJson(const BenchOptions &options, const Model &model, const Engine &engine, const Machine &machine,
               const std::vector<BenchResult> &results) {
  moray_model_config config;
  moray_model_query_config(model.get(), &config);
  moray_engine_info info;
  moray_engine_query_info(engine.get(), &info);
  moray_target_info target = targetOf(model, info);
  nlohmann::ordered_json object = {{"schema", "moray.bench/1"},
                                   {"model", options.model},
                                   {"family", text(config.family)},
                                   {"numerics", text(target.numerics)},
                                   {"parameters", config.parameters},
                                   {"active_weight_bytes", target.active_weight_bytes},
                                   {"active_flops", target.active_flops},
                                   {"device", text(info.device)},
                                   {"target", text(target.name)},
                                   {"level", level(info)},
                                   {"threads", info.sm ? 0 : info.threads},
                                   {"memory_bytes", info.memory.total},
                                   {"repetitions", options.repetitions}};
  object["machine"] = {{"read_bytes_per_s", machine.bytesPerS}, {"fma_flops_per_s", machine.flopsPerS}};
  object["graphs"] = nlohmann::ordered_json::array();
  for (const moray_bucket_info &graph : capturedGraphs(engine, info))
    object["graphs"].push_back({{"seqs", graph.seqs}, {"kernels", graph.launches}});
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
  moray_engine_info about;
  moray_engine_query_info(engine.get(), &about);
  for (size_t i = 0; i < targetOf(model, about).kernel_count; ++i) {
    moray_kernel_info info;
    moray_kernel_profile profile;
    if (int code = report(moray_model_query_kernel(model.get(), about.target, i, &info)))
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
