// Chooses the GPU code of an artifact for a device and loads it.
#pragma once
#include "runtime/device/cuda/driver.h"
#include "runtime/exec/exec_plan.h"

namespace moray::rt::cuda {

// The CUDA target with the highest compute capability up to `sm`, and for each of its kernels the cubin that runs on
// `sm` (same major version, the highest minor up to it), else the newest PTX. 4026 where there is none.
Status chooseCode(const Artifact &artifact, const Driver &driver, TargetCode &code);

// Code for a plan alone: the first CUDA target. 4026 where the artifact has none.
Status anyCode(const Artifact &artifact, TargetCode &code);

// What else can be done with the artifact: its targets and a command that helps. `sm` is the device's (0: unknown).
std::string targetHint(const Artifact &artifact, unsigned sm);

class Modules {
public:
  explicit Modules(const Driver &driver) : driver(driver) {}
  ~Modules();
  Modules(const Modules &) = delete;
  Modules &operator=(const Modules &) = delete;

  // Loads all kernels of `code`; where the driver has no use for a cubin (209), its PTX is taken and `code` changed.
  // Errors: 4026, 5001, 5018, 5019.
  Status load(const Artifact &artifact, TargetCode &code);

  Function stage(size_t kernel, size_t index) const { return functions[first[kernel] + index]; }
  bool fromPtx(size_t kernel) const { return ptx[kernel]; }

private:
  Status loadImage(const Artifact &artifact, uint32_t index, Result &result);
  Status checkPtx(const Artifact &artifact, const schema::Image &image) const;
  Status loadKernel(const Artifact &artifact, TargetCode &code, uint32_t kernel);
  Status loadStage(const Artifact &artifact, const schema::Variant &variant, const schema::Stage &stage,
                   moray_string kernel);

  const Driver &driver;
  int sharedLimit = 0;             // bytes of shared memory a block can have
  std::vector<Module> modules;     // by image; null where it is not loaded
  std::vector<Function> functions; // of all kernels, stage by stage
  std::vector<size_t> first;       // by kernel
  std::vector<bool> ptx;           // by kernel
};

} // namespace moray::rt::cuda
