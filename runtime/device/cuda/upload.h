// Copies the weights of an artifact to a GPU, reading the file while the device copies.
#pragma once
#include "runtime/device/cuda/device_memory.h"
#include "runtime/device/cuda/expert_memory.h"

namespace moray::rt::cuda {

struct UploadSource {
  bool random;      // instead of the weights of the artifact
  uint64_t seed;    // of random weights
  uint32_t threads; // that read the file or make numbers
};

// Copies every weight that the plan's target uses, but those of single experts, through two pinned buffers and waits.
// Adds the bytes to `uploaded`. Errors: 5001, 5010, 5020, 5021.
Status uploadWeights(const Driver &driver, const Artifact &artifact, const ExecPlan &plan, const DeviceMemory &memory,
                     const UploadSource &source, uint64_t &uploaded);
// The same for what a rank's experts lack (ExpertMemory::fresh), from slice `next` on, which it advances; ends with the
// slice that makes it `most` bytes or more.
Status uploadExperts(const Driver &driver, const Artifact &artifact, const ExpertMemory &memory,
                     const UploadSource &source, uint64_t most, size_t &next, uint64_t &uploaded);

} // namespace moray::rt::cuda
