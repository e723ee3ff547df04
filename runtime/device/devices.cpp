// The only place that knows all devices.
#include "runtime/device/devices.h"
#include "runtime/device/cpu/cpu_code.h"
#include "runtime/device/cpu/cpu_executor.h"
#include "runtime/device/cuda/cuda_executor.h"

namespace moray::rt {

static Status createCpu(const Artifact &artifact, const EngineSetup &setup, const moray_engine_options &options,
                        std::unique_ptr<Executor> &executor) {
  TargetCode code;
  schema::CpuLevel level = {};
  MORAY_TRY(chooseCpuCode(artifact, setup.cpuLevel, code, level));
  ExecPlan plan;
  MORAY_TRY(ExecPlan::make(artifact, std::move(code), setup.capacities, plan));
  auto made = std::make_unique<CpuExecutor>(artifact, std::move(plan), level);
  MORAY_TRY(made->create(options));
  executor = std::move(made);
  return {};
}

Status createExecutor(const Artifact &artifact, const EngineSetup &setup, const moray_engine_options &options,
                      std::unique_ptr<Executor> &executor) {
  return setup.device.cuda ? cuda::createExecutor(artifact, setup, options, executor)
                           : createCpu(artifact, setup, options, executor);
}

Status planMemory(const Artifact &artifact, const EngineSetup &setup, moray_memory_plan &memory) {
  TargetCode code;
  if (setup.device.cuda) {
    MORAY_TRY(cuda::anyCode(artifact, code));
  } else {
    schema::CpuLevel level = {};
    Status status = chooseCpuCode(artifact, setup.cpuLevel, code, level);
    if (!status.ok() && (moray_status_code(status.get()) != kE4022 || !anyCpuCode(artifact, code)))
      return status;
  }
  ExecPlan plan;
  MORAY_TRY(ExecPlan::make(artifact, std::move(code), setup.capacities, plan));
  memory = plan.memory;
  memory.available = setup.device.cuda ? 0 : availableMemory();
  return {};
}

} // namespace moray::rt
