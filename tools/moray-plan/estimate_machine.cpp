// Speeds of machines: two known by name, others from a JSON file.
#include "common/cli.h"
#include "moray-plan/estimate.h"

namespace moray::tools {

using Json = nlohmann::ordered_json;

// Assumptions, not measurements of ours. Peak rates of the data sheets; links as what libraries are reported to reach
// of NVLink (H800: 200 GB/s in each direction, H200: 450) and of one 400 Gb/s InfiniBand port per GPU.
static const MachineModel kMachines[] = {
    {"h800", 80e9, 3.35e12, 1979e12, 989e12, 2e-6, 160e9, 10e-6, 45e9, 25e-6},
    {"h200", 141e9, 4.8e12, 1979e12, 989e12, 2e-6, 360e9, 10e-6, 45e9, 25e-6},
};

static const struct {
  const char *name;
  double MachineModel::*value;
} kFields[] = {
    {"memory_bytes", &MachineModel::memoryBytes},
    {"memory_bytes_per_s", &MachineModel::memoryBytesPerS},
    {"fp8_flops_per_s", &MachineModel::fp8FlopsPerS},
    {"bf16_flops_per_s", &MachineModel::bf16FlopsPerS},
    {"launch_s", &MachineModel::launchS},
    {"node_bytes_per_s", &MachineModel::nodeBytesPerS},
    {"node_latency_s", &MachineModel::nodeLatencyS},
    {"net_bytes_per_s", &MachineModel::netBytesPerS},
    {"net_latency_s", &MachineModel::netLatencyS},
};

int readMachine(const std::string &name, MachineModel &machine) {
  for (const MachineModel &known : kMachines)
    if (known.name == name) {
      machine = known;
      return kExitOk;
    }
  std::string content;
  if (!readFile(name, content))
    return kExitUsage;
  const Json file = Json::parse(content, nullptr, false);
  machine.name = name;
  for (const auto &field : kFields) {
    const Json value = file.is_object() ? file.value(field.name, Json()) : Json();
    if (!value.is_number() || !(value.get<double>() > 0))
      return fail("E1012", "'" + name + "' has no positive number '" + field.name + "'",
                  "write a JSON object with all fields of `assumptions` that --json prints", kExitUsage);
    machine.*field.value = value;
  }
  return kExitOk;
}

Json describe(const MachineModel &machine) {
  Json out = {{"machine", machine.name}};
  for (const auto &field : kFields)
    out[field.name] = machine.*field.value;
  return out;
}

} // namespace moray::tools
