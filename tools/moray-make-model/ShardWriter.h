// Writes a random checkpoint tensor by tensor: memory stays at one band of rows whatever the size of the model.
#pragma once
#include "frontend/TensorInventory.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace moray::makemodel {

struct WriteOptions {
  std::string directory;
  uint64_t seed = 1;
  uint64_t shardBytes = 0; // 0: one file; else a new file before a tensor that would exceed it
  bool sparse = false;     // large weights become holes (zeros); norms, biases and scales are written
  bool powerOfTwo = false; // ue8m0 scales
};

/// Writes model.safetensors, or the shards and model.safetensors.index.json. `progress(done, total)` is told the bytes
/// after each tensor; writing stops when it returns false. Errors: E1703 (cannot write), E1704 (stopped). Files of a
/// failed run are removed.
frontend::Status writeCheckpoint(const frontend::Inventory &inventory, int64_t mainLayers, const WriteOptions &options,
                                 const std::function<bool(uint64_t, uint64_t)> &progress);

} // namespace moray::makemodel
