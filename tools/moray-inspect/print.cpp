// Renders the description of an artifact as text.
#include "moray-inspect/inspect.h"

#include <cstdio>

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
                key == "batch" || key == "context" ? value.dump().c_str() : bytesText(value).c_str());
}

static void printKernels(const Json &kernels) {
  std::printf("kernels (%zu)\n  %-13s %8s  %-44s %s\n", kernels.size(), "class", "launches", "name", "code per level");
  for (const Json &kernel : kernels) {
    std::string variants;
    for (const Json &variant : kernel["variants"])
      variants += variant["level"].get<std::string>() + " " + bytesText(variant["code_bytes"]) + " (" +
                  variant["config"].get<std::string>() + ")  ";
    std::printf("  %-13s %8llu  %-44s %s\n", kernel["class"].get<std::string>().c_str(),
                static_cast<unsigned long long>(kernel["launches_per_step"].get<uint64_t>()),
                kernel["name"].get<std::string>().c_str(), variants.c_str());
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
  std::printf("programs\n");
  for (const Json &program : description["programs"])
    std::printf("  %-8s %-20s %4llu commands, %5llu launches, %3llu buffers\n",
                program["kind"].get<std::string>().c_str(), program["name"].get<std::string>().c_str(),
                static_cast<unsigned long long>(program["commands"].get<uint64_t>()),
                static_cast<unsigned long long>(program["launches"].get<uint64_t>()),
                static_cast<unsigned long long>(program["buffers"].get<uint64_t>()));
  printKernels(description["kernels"]);
  printWeights(description["weights"]);
  printBytes("memory", description["memory"]);
}

} // namespace moray::tools
