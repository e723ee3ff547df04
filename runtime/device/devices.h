// Chooses the device, the target and the code of an engine. A device that was asked for is used or refused, never
// replaced by another.
#pragma once
#include "runtime/device/options.h"
#include "runtime/exec/executor.h"
#include <memory>

namespace moray::rt {

// Plans, allocates, loads code and weights. Errors: 4022 to 4026, 5001, 5008, 5010, 5015 to 5021.
Status createExecutor(const Artifact &artifact, const EngineSetup &setup, const moray_engine_options &options,
                      std::unique_ptr<Executor> &executor);

// The plan alone. It touches no GPU (`available` is 0 then) and needs no machine that could run the artifact.
Status planMemory(const Artifact &artifact, const EngineSetup &setup, moray_memory_plan &memory);

} // namespace moray::rt
