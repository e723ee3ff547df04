// Plans shards and offsets, writes the headers, then streams the values to their places.
#include "moray-make-model/ShardWriter.h"

#include "moray-make-model/RandomWeights.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace moray::makemodel {

using namespace frontend;
using Json = nlohmann::json;

namespace {

// One tensor of the plan; `scales` is the index of its scale tensor, or -1.
struct PlannedTensor {
  std::string name;
  DType dtype;
  std::vector<uint64_t> shape;
  const TensorSlot *slot; // null for a scale: it is written together with its codes
  int64_t scales = -1;
  size_t shard = 0;
  uint64_t begin = 0;

  uint64_t bytes() const {
    uint64_t result = dtypeBits(dtype) / 8;
    for (uint64_t dim : shape)
      result *= dim;
    return result;
  }
};

Error writeError(const std::string &path) {
  return Error::describe(1703, path, std::strerror(errno), "a writable file", "check path, permissions and free space");
}

class Writer {
public:
  Writer(const Inventory &inventory, int64_t mainLayers, const WriteOptions &options) : options(options) {
    addList(inventory.model, 0);
    for (size_t layer = 0; layer < inventory.layers.size(); ++layer)
      addList(inventory.layers[layer], static_cast<int64_t>(layer));
    for (size_t layer = 0; layer < inventory.mtp.size(); ++layer)
      addList(inventory.mtp[layer], mainLayers + static_cast<int64_t>(layer));
    assignShards();
  }
  ~Writer() {
    for (int file : files)
      ::close(file);
    for (const std::string &path : created)
      ::unlink(path.c_str());
  }

  Status run(const std::function<bool(uint64_t, uint64_t)> &progress) {
    for (size_t shard = 0; shard < shardBytes.size(); ++shard)
      if (Status status = createShard(shard); !status)
        return status;
    uint64_t done = 0, total = 0;
    for (const PlannedTensor &tensor : tensors)
      total += tensor.bytes();
    for (const PlannedTensor &tensor : tensors) {
      if (tensor.slot)
        if (Status status = writeTensor(tensor); !status)
          return status;
      done += tensor.bytes();
      if (!progress(done, total))
        return Error(1704, "stopped before the checkpoint was complete; its files were removed");
    }
    if (Status status = writeIndex(total); !status)
      return status;
    created.clear(); // complete: keep the files
    return {};
  }

private:
  void addList(const std::vector<StoredSlot> &slots, int64_t layer) {
    for (const StoredSlot &stored : slots)
      for (uint64_t expert = 0; expert < std::max<uint64_t>(stored.slot.experts, 1); ++expert) {
        auto name = [&](const std::string &text) { return tensorName(text, layer, static_cast<int64_t>(expert)); };
        tensors.push_back({name(stored.slot.name), stored.dtype, stored.slot.shape, &stored.slot});
        if (stored.isQuantized()) {
          tensors.back().scales = static_cast<int64_t>(tensors.size());
          tensors.push_back({name(stored.scaleName), DType::F32, stored.scaleShape(), nullptr});
        }
      }
  }

  void assignShards() {
    shardBytes.push_back(0);
    for (PlannedTensor &tensor : tensors) {
      if (options.shardBytes && shardBytes.back() > 0 && shardBytes.back() + tensor.bytes() > options.shardBytes)
        shardBytes.push_back(0);
      tensor.shard = shardBytes.size() - 1;
      tensor.begin = shardBytes.back();
      shardBytes.back() += tensor.bytes();
    }
  }

  std::string shardName(size_t shard) const {
    if (shardBytes.size() == 1 && !options.shardBytes)
      return "model.safetensors";
    char name[64];
    std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", shard + 1, shardBytes.size());
    return name;
  }

  Status createShard(size_t shard) {
    Json header = {{"__metadata__", {{"format", "pt"}}}};
    for (const PlannedTensor &tensor : tensors)
      if (tensor.shard == shard)
        header[tensor.name] = {{"dtype", dtypeName(tensor.dtype)},
                               {"shape", tensor.shape},
                               {"data_offsets", {tensor.begin, tensor.begin + tensor.bytes()}}};
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');
    std::string path = options.directory + "/" + shardName(shard), start(8, '\0');
    for (unsigned i = 0; i < 8; ++i)
      start[i] = static_cast<char>(text.size() >> (8 * i));
    int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (file < 0)
      return writeError(path);
    files.push_back(file);
    created.push_back(path);
    dataOffsets.push_back(8 + text.size());
    if (::ftruncate(file, static_cast<off_t>(8 + text.size() + shardBytes[shard])) != 0)
      return writeError(path);
    start += text;
    return writeAt(shard, 0, start.data(), start.size());
  }

  // `offset` counts from the start of the file.
  Status writeAt(size_t shard, uint64_t offset, const void *data, uint64_t bytes) {
    const char *at = static_cast<const char *>(data);
    while (bytes > 0) {
      ssize_t wrote = ::pwrite(files[shard], at, bytes, static_cast<off_t>(offset));
      if (wrote < 0 && errno == EINTR)
        continue;
      if (wrote <= 0)
        return writeError(created[shard]);
      at += wrote;
      offset += wrote;
      bytes -= wrote;
    }
    return {};
  }
  Status writeData(const PlannedTensor &tensor, uint64_t offset, const void *data, uint64_t bytes) {
    return writeAt(tensor.shard, dataOffsets[tensor.shard] + tensor.begin + offset, data, bytes);
  }

  Status writeTensor(const PlannedTensor &tensor) {
    const uint64_t columns = tensor.shape.back(), rows = tensor.shape.size() == 1 ? 1 : tensor.shape[0];
    const bool hole = options.sparse && tensor.shape.size() > 1;
    if (hole)
      return tensor.scales < 0 ? Status() : writeUnitScales(tensors[tensor.scales]);
    // The copies inside an MTP layer equal the tensors they are copies of.
    const std::string &id = tensor.slot->id;
    RandomStream stream(options.seed, id == "mtp_embed"  ? "model.embed_tokens.weight"
                                      : id == "mtp_head" ? "lm_head.weight"
                                                         : tensor.name);
    for (uint64_t row = 0; row < rows; row += 128) {
      std::vector<float> band =
          randomRows(stream, distributionOf(*tensor.slot), row, std::min<uint64_t>(128, rows - row), columns);
      if (Status status = writeBand(tensor, band, row * columns); !status)
        return status;
    }
    return {};
  }

  Status writeBand(const PlannedTensor &tensor, const std::vector<float> &band, uint64_t firstElement) {
    const uint64_t columns = tensor.shape.back(), scaleColumns = (columns + 127) / 128;
    if (tensor.dtype == DType::F32)
      return writeData(tensor, firstElement * 4, band.data(), band.size() * 4);
    if (tensor.dtype == DType::BF16) {
      std::vector<uint16_t> rounded(band.size());
      for (size_t i = 0; i < band.size(); ++i)
        rounded[i] = roundToBf16(band[i]);
      return writeData(tensor, firstElement * 2, rounded.data(), rounded.size() * 2);
    }
    std::vector<uint8_t> codes(band.size());
    std::vector<float> scales(scaleColumns);
    quantizeBand(band, columns, options.powerOfTwo, codes.data(), scales.data());
    if (Status status = writeData(tensor, firstElement, codes.data(), codes.size()); !status)
      return status;
    uint64_t scaleRow = firstElement / columns / 128;
    return writeData(tensors[tensor.scales], scaleRow * scaleColumns * 4, scales.data(), scaleColumns * 4);
  }

  Status writeUnitScales(const PlannedTensor &scales) {
    std::vector<float> ones(scales.bytes() / 4, 1.0f);
    return writeData(scales, 0, ones.data(), scales.bytes());
  }

  Status writeIndex(uint64_t total) {
    if (!options.shardBytes)
      return {};
    Json index = {{"metadata", {{"total_size", total}}}, {"weight_map", Json::object()}};
    for (const PlannedTensor &tensor : tensors)
      index["weight_map"][tensor.name] = shardName(tensor.shard);
    std::string path = options.directory + "/model.safetensors.index.json", text = index.dump(1) + "\n";
    FILE *file = std::fopen(path.c_str(), "wbx");
    if (!file)
      return writeError(path);
    created.push_back(path);
    bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
    return std::fclose(file) == 0 && written ? Status() : Status(writeError(path));
  }

  const WriteOptions &options;
  std::vector<PlannedTensor> tensors;
  std::vector<uint64_t> shardBytes, dataOffsets;
  std::vector<int> files;
  std::vector<std::string> created; // removed again unless the run completes
};

} // namespace

Status writeCheckpoint(const Inventory &inventory, int64_t mainLayers, const WriteOptions &options,
                       const std::function<bool(uint64_t, uint64_t)> &progress) {
  return Writer(inventory, mainLayers, options).run(progress);
}

} // namespace moray::makemodel
