// Copies the weights of an artifact to a GPU, reading the file while the device copies.
#pragma once
#include "runtime/device/cuda/device_memory.h"

namespace moray::rt::cuda {

struct UploadSource {
  bool random;      // instead of the weights of the artifact
  uint64_t seed;    // of random weights
  uint32_t threads; // that read the file or make numbers
};

// Copies every weight that the plan's target uses through two pinned buffers and waits. Errors: 5001, 5010, 5020, 5021.
Status uploadWeights(const Driver &driver, const Artifact &artifact, const ExecPlan &plan, const DeviceMemory &memory,
                     const UploadSource &source);

} // namespace moray::rt::cuda
