// A Hugging Face checkpoint directory: configuration, generation defaults, and every tensor by name whatever file holds
// it.
#ifndef MORAY_FRONTEND_CHECKPOINT_H
#define MORAY_FRONTEND_CHECKPOINT_H

#include "frontend/Safetensors.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moray::frontend {

// Defaults of generation_config.json (spec checkpoint.md 4). Absent keys keep the values below; `greedy` follows
// do_sample.
struct GenerationConfig {
  std::optional<int64_t> bos, pad;
  std::vector<int64_t> eos; // stop on any; empty when neither generation_config.json nor config.json names one
  bool greedy = true;
  double temperature = 1.0, topP = 1.0, repetitionPenalty = 1.0;
  int64_t topK = 0; // 0: off
};

// Where one tensor lies. Valid as long as its Checkpoint.
struct TensorLocation {
  uint32_t shard = 0;
  const TensorInfo *info = nullptr;
};

class Checkpoint {
public:
  // `path` is a checkpoint directory or a config.json. A directory that holds no weights at all, and any lone
  // config.json, opens without tensors (hasWeights() is false). Reads configuration, index and headers; no tensor byte.
  // Errors: E2001-E2013, E2021 (I1), E2022 (I2), E2030-E2037 (files, JSON), E2041 (only pickle files), E2042
  // (generation_config).
  static Expected<Checkpoint> open(const std::string &path, Warnings &warnings);

  const std::string &directory() const { return root; }
  const std::string &configPath() const { return configFile; }
  const std::string &configText() const { return config; }
  bool hasWeights() const { return !shards.empty(); }

  // Every tensor that the index (or the single file) names, in ascending name order.
  const std::map<std::string, TensorLocation, std::less<>> &tensors() const { return byName; }
  const TensorLocation *find(std::string_view name) const;
  const SafetensorsFile &file(const TensorLocation &tensor) const { return shards[tensor.shard]; }

  Status read(const TensorLocation &tensor, uint64_t offset, void *destination, uint64_t bytes) const;
  // Unaligned bytes of the whole tensor in a read-only mapping that lives as long as the checkpoint.
  Expected<const uint8_t *> map(const TensorLocation &tensor);

  // XXH3-64 over config.json, the index, and each shard's name, size and header: identifies the input without reading
  // weights.
  uint64_t fingerprint() const { return inputHash; }
  // The same with every byte of every shard added.
  Expected<uint64_t> fullFingerprint() const;

private:
  Status openShards(const std::string &indexFile, Warnings &warnings);
  Status readIndex(const std::string &indexFile, Warnings &warnings);
  Status openShard(const std::string &name);
  void computeFingerprint();

  std::string root, configFile, config, index;
  std::vector<std::string> shardNames;
  std::vector<SafetensorsFile> shards;
  std::map<std::string, TensorLocation, std::less<>> byName;
  uint64_t inputHash = 0;
};

// generation_config.json of the checkpoint's directory merged over bos/eos of config.json (the file need not exist).
// An id of config.json that generation_config.json lacks gives a warning; generation_config.json wins.
Expected<GenerationConfig> readGenerationConfig(const Checkpoint &checkpoint, Warnings &warnings);

} // namespace moray::frontend

#endif // MORAY_FRONTEND_CHECKPOINT_H
