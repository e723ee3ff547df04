// The flags that choose a device, the same in every tool that runs a model.
#pragma once
#include "common/cli.h"
#include "common/runtime_handles.h"

#include <cstdio>
#include <string>

namespace moray::tools {

struct DeviceFlags {
  std::string device = "cpu", cudaLibrary, arena = "packed";
  bool sync = false, noGraphs = false;

  bool onGpu() const { return device != "cpu"; }
};

inline void addDeviceFlags(CLI::App &app, DeviceFlags &flags) {
  CLI::Option *device =
      app.add_option("--device", flags.device, "cpu (default), cuda or cuda:N; never another device than asked for");
  app.add_option("--cuda-library", flags.cudaLibrary, "path of the CUDA driver library (default: libcuda.so.1)")
      ->needs(device);
  app.add_option("--arena", flags.arena,
                 "GPU memory: packed (default), or guarded: an allocation per buffer, for tests")
      ->needs(device)
      ->check(CLI::IsMember({"packed", "guarded"}));
  app.add_flag("--cuda-sync", flags.sync, "wait after each launch, so that a device fault names its kernel")
      ->needs(device);
  app.add_flag("--no-cuda-graphs", flags.noGraphs, "launch the kernels of decode steps one by one")->needs(device);
}

/// The strings of `flags` must outlive the creation of the engine.
inline void applyDeviceFlags(const DeviceFlags &flags, moray_engine_options &options) {
  options.device = flags.device.c_str();
  options.cuda_library = flags.cudaLibrary.empty() ? nullptr : flags.cudaLibrary.c_str();
  options.arena = flags.arena.c_str();
  options.cuda_sync = flags.sync;
  options.cuda_graphs = !flags.noGraphs;
}

/// The target that the engine runs.
inline moray_target_info targetOf(const Model &model, const moray_engine_info &info) {
  moray_target_info target = {};
  moray_status_free(moray_model_query_target(model.get(), info.target, &target)); // the engine's own target exists
  return target;
}

/// Says on stderr which device and which code were taken; nothing on a CPU.
inline int reportDevice(const Model &model, const Engine &engine) {
  moray_engine_info info;
  moray_engine_query_info(engine.get(), &info);
  if (info.sm == 0)
    return kExitOk;
  const moray_target_info target = targetOf(model, info);
  size_t fromPtx = 0;
  for (size_t k = 0; k < target.kernel_count; ++k) {
    moray_code_info code;
    if (int exitCode = report(moray_engine_query_code(engine.get(), k, &code)))
      return exitCode;
    fromPtx += code.from_ptx != 0;
  }
  std::fprintf(stderr, "device: %s (sm_%u), target %s, %zu kernels: %zu cubins, %zu PTX compiled by the driver\n",
               text(info.device).c_str(), info.sm, text(target.name).c_str(), target.kernel_count,
               target.kernel_count - fromPtx, fromPtx);
  return kExitOk;
}

} // namespace moray::tools
