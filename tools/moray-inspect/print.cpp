// Renders the description of an artifact as text.
#include "moray-inspect/inspect.h"

#include <cstdio>
#include <map>

namespace moray::tools {

using Json = nlohmann::ordered_json;

// 1234567 -> "1.23 MB"; decimal units, as disks and vendors count.
static std::string bytesText(const Json &value) {
  double bytes = value.get<double>();
  const char *units[] = {"B", "KB", "MB", "GB", "TB"};
  int unit = 0;
  while (bytes >= 1000 && unit < 4)
    bytes /= 1000, ++unit;
  char out[32];
  std::snprintf(out, sizeof out, unit ? "%.2f %s" : "%.0f %s", bytes, units[unit]);
  return out;
}

static std::string joined(const Json &list, const char *separator) {
  std::string out;
  for (const Json &item : list)
    out += (out.empty() ? "" : separator) + (item.is_string() ? item.get<std::string>() : item.dump());
  return out;
}

static void printMap(const char *title, const Json &map) {
  std::printf("%s\n", title);
  for (const auto &[key, value] : map.items()) {
    std::string shown = value.is_string()  ? value.get<std::string>()
                        : value.is_array() ? joined(value, " ")
                                           : value.dump();
    std::printf("  %-20s %s\n", key.c_str(), shown.c_str());
  }
}

static void printBytes(const char *title, const Json &map) {
  std::printf("%s\n", title);
  for (const auto &[key, value] : map.items())
    std::printf("  %-20s %s\n", key.c_str(),
                key == "device"                      ? value.get<std::string>().c_str()
                : key == "batch" || key == "context" ? value.dump().c_str()
                                                     : bytesText(value).c_str());
}

static unsigned long long number(const Json &value) { return value.get<unsigned long long>(); }

static void printTarget(const Json &target) {
  std::printf("target %s\n", target["name"].get<std::string>().c_str());
  std::printf("  %-20s %s%s, cache %s\n", "numerics", target["numerics"].get<std::string>().c_str(),
              target["deterministic"].get<bool>() ? ", deterministic" : "",
              target["cache_dtype"].get<std::string>().c_str());
  std::printf("  %-20s %s of weights, %.2f MFLOP\n", "one token", bytesText(target["active_weight_bytes"]).c_str(),
              target["active_flops"].get<double>() / 1e6);
  std::map<std::string, unsigned> kinds; // of code: x86, ptx, cubin
  for (const Json &kernel : target["kernels"])
    for (const Json &variant : kernel["variants"])
      ++kinds[variant["kind"].get<std::string>()];
  std::string code;
  for (const auto &[kind, count] : kinds)
    code += ", " + std::to_string(count) + " " + kind;
  std::printf("  %-20s %zu, %s of code%s\n", "kernels", target["kernels"].size(),
              bytesText(target["code_bytes"]).c_str(), code.c_str());
  for (const Json &program : target["programs"])
    std::printf("  %-12s %-20s %4llu commands, %5llu launches, %3llu buffers\n",
                program["kind"].get<std::string>().c_str(), program["name"].get<std::string>().c_str(),
                number(program["commands"]), number(program["launches"]), number(program["buffers"]));
}

// "x86-64-v3", "ptx 7.0 sm_80" or "cubin sm_86".
static std::string machineOf(const Json &variant) {
  if (variant.contains("level"))
    return variant["level"].get<std::string>();
  const unsigned version = variant["ptx_version"].get<unsigned>();
  const std::string kind = variant["kind"].get<std::string>();
  return kind + (kind == "ptx" ? " " + std::to_string(version / 10) + "." + std::to_string(version % 10) : "") +
         " sm_" + std::to_string(variant["sm"].get<unsigned>());
}

static void printVariant(const Json &variant) {
  std::printf("    %-14s %10s  %s\n", machineOf(variant).c_str(), bytesText(variant["code_bytes"]).c_str(),
              variant["config"].get<std::string>().c_str());
  if (!variant.contains("stages"))
    return;
  for (const Json &stage : variant["stages"]) {
    const unsigned registers = stage["registers"].get<unsigned>();
    std::printf("      %-40s %4llu threads, %s registers, shared %llu static + %llu dynamic\n",
                stage["entry"].get<std::string>().c_str(), number(stage["threads"]),
                registers ? std::to_string(registers).c_str() : "?", number(stage["static_shared"]),
                number(stage["dynamic_shared"]));
  }
}

void printKernels(const Json &description) {
  for (const Json &target : description["targets"]) {
    std::printf("target %s: kernels (%zu)\n", target["name"].get<std::string>().c_str(), target["kernels"].size());
    for (const Json &kernel : target["kernels"]) {
      std::printf("  %s: %s, %llu operands, %llu launches per step\n", kernel["name"].get<std::string>().c_str(),
                  kernel["class"].get<std::string>().c_str(), number(kernel["operands"]),
                  number(kernel["launches_per_step"]));
      for (const Json &variant : kernel["variants"])
        printVariant(variant);
    }
  }
}

static void printWeights(const Json &weights) {
  std::printf("weights (%zu)\n  %-7s %8s %12s  %-20s %s\n", weights.size(), "dtype", "tensors", "bytes", "shape",
              "name");
  for (const Json &weight : weights)
    std::printf("  %-7s %8llu %12s  %-20s %s\n", weight["dtype"].get<std::string>().c_str(),
                static_cast<unsigned long long>(weight["tensors"].get<uint64_t>()), bytesText(weight["bytes"]).c_str(),
                joined(weight["dims"], "x").c_str(), weight["name"].get<std::string>().c_str());
}

void printText(const Json &description) {
  printBytes("file", description["file"]);
  printMap("config", description["config"]);
  printMap("provenance", description["provenance"]);
  for (const Json &target : description["targets"])
    printTarget(target);
  printWeights(description["weights"]);
  printBytes("memory", description["memory"]);
}

} // namespace moray::tools
