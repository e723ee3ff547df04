// Engine options with every default resolved and checked against the model.
#pragma once
#include "runtime/exec/exec_plan.h"

namespace moray::rt {

namespace comm {
class ModelPlacement;
}

// Where an engine runs.
struct DeviceChoice {
  bool cuda = false;
  uint32_t ordinal = 0; // of the GPU
  bool wraps = false;   // the ordinal counts ranks: modulo the GPUs of this host
  bool guarded = false; // an allocation per buffer
};

struct EngineSetup {
  Capacities capacities;
  uint32_t context, prefillChunk;
  const char *cpuLevel;
  DeviceChoice device;
  const moray_group *group;              // null: one process
  const comm::ModelPlacement *placement; // of the group, once it has been joined; null: all experts are here
};

// 5002 for a struct of another size, 5008 for values out of range.
Status resolveOptions(const Artifact &artifact, const moray_engine_options &options, EngineSetup &setup);

} // namespace moray::rt
