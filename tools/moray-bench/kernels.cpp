// Times each kernel of an artifact inside real steps, so that its inputs are those of the model, and prints the tables.
#include "moray-bench/bench.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace moray::tools {

static int collectKernels(uint64_t steps, const Model &model, const Engine &engine, KernelTable &table) {
  moray_engine_info about;
  moray_engine_query_info(engine.get(), &about);
  for (size_t i = 0; i < targetOf(model, about).kernel_count; ++i) {
    moray_kernel_info info;
    moray_kernel_profile profile;
    if (int code = report(moray_model_query_kernel(model.get(), about.target, i, &info)))
      return code;
    if (int code = report(moray_engine_query_kernel_profile(engine.get(), i, &profile)))
      return code;
    if (profile.launches == 0)
      continue;
    double seconds = static_cast<double>(std::max<uint64_t>(profile.median_ns, 1)) / 1e9;
    table.kernels.push_back({text(info.klass), text(info.name),
                             static_cast<double>(profile.launches) / static_cast<double>(std::max<uint64_t>(steps, 1)),
                             seconds, static_cast<double>(profile.bytes) / seconds,
                             static_cast<double>(profile.flops) / seconds});
  }
  return kExitOk;
}

int runKernels(const BenchTest &test, const BenchOptions &options, const Model &model, const Engine &engine,
               KernelTable &table) {
  moray_model_config config;
  moray_model_query_config(model.get(), &config);
  moray_statistics before, after;
  double ignored = 0;
  if (int code = measureOnce(test, config.vocab, engine, ignored)) // warms up
    return code;
  moray_engine_reset_profile(engine.get());
  moray_engine_query_statistics(engine.get(), &before);
  for (uint32_t i = 0; i < options.repetitions; ++i)
    if (int code = measureOnce(test, config.vocab, engine, ignored))
      return code;
  moray_engine_query_statistics(engine.get(), &after);
  table.test = test;
  return collectKernels(after.steps - before.steps, model, engine, table);
}

static double fraction(double value, double peak) { return peak > 0 ? value / peak : 0; }

// A rate and its fraction of a peak; "-" where there is no model.
static std::string rate(double value, double unit, double peak) {
  char out[48];
  if (value <= 0)
    return "-";
  if (peak > 0)
    std::snprintf(out, sizeof out, "%.2f (%.0f %%)", value / unit, 100 * value / peak);
  else
    std::snprintf(out, sizeof out, "%.2f", value / unit);
  return out;
}

static double stepUs(const KernelTable &table) {
  double sum = 0;
  for (const KernelResult &kernel : table.kernels)
    sum += kernel.launchesPerStep * kernel.medianS * 1e6;
  return sum;
}

static void printTable(const Machine &machine, const KernelTable &table) {
  std::printf("%s, batch %u\n| class | kernel | launches/step | median us | GB/s | GFLOP/s |\n"
              "|---|---|---:|---:|---:|---:|\n",
              testName(table.test).c_str(), table.test.batch);
  for (const KernelResult &kernel : table.kernels)
    std::printf("| %s | %s | %.2f | %.2f | %s | %s |\n", kernel.klass.c_str(), kernel.name.c_str(),
                kernel.launchesPerStep, kernel.medianS * 1e6, rate(kernel.bytesPerS, 1e9, machine.bytesPerS).c_str(),
                rate(kernel.flopsPerS, 1e9, machine.flopsPerS).c_str());
  std::printf("sum of the kernels of a step: %.2f us\n\n", stepUs(table));
}

static void printObject(const BenchOptions &options, const Machine &machine, const std::vector<KernelTable> &tables) {
  nlohmann::ordered_json object = {{"schema", "moray.bench-kernels/1"}, {"model", options.model}};
  object["machine"] = {{"read_bytes_per_s", machine.bytesPerS}, {"fma_flops_per_s", machine.flopsPerS}};
  object["results"] = nlohmann::ordered_json::array();
  for (const KernelTable &table : tables) {
    nlohmann::ordered_json result = {
        {"test", testName(table.test)}, {"batch", table.test.batch}, {"sum_us_per_step", stepUs(table)}};
    for (const KernelResult &kernel : table.kernels)
      result["kernels"].push_back({{"class", kernel.klass},
                                   {"name", kernel.name},
                                   {"launches_per_step", kernel.launchesPerStep},
                                   {"median_us", kernel.medianS * 1e6},
                                   {"bytes_per_s", kernel.bytesPerS},
                                   {"flops_per_s", kernel.flopsPerS},
                                   {"read_fraction", fraction(kernel.bytesPerS, machine.bytesPerS)},
                                   {"fma_fraction", fraction(kernel.flopsPerS, machine.flopsPerS)}});
    object["results"].push_back(result);
  }
  std::printf("%s\n", object.dump(2).c_str());
}

void printKernels(const BenchOptions &options, const Machine &machine, const std::vector<KernelTable> &tables) {
  if (options.output == "json") {
    printObject(options, machine, tables);
    return;
  }
  for (const KernelTable &table : tables)
    printTable(machine, table);
  std::printf("machine (same run): read %.2f GB/s, fma %.2f GFLOP/s; rates in brackets are fractions of these\n",
              machine.bytesPerS / 1e9, machine.flopsPerS / 1e9);
}

} // namespace moray::tools
