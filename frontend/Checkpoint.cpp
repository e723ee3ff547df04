// Opens a checkpoint directory: picks index or single file, checks rules I1-I5, and locates every tensor.
#include "frontend/Checkpoint.h"

#include "frontend/Json.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace moray::frontend {

namespace fs = std::filesystem;
using Json = nlohmann::json;

namespace {

bool exists(const std::string &path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool endsWith(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

// Rule I1, the part that needs no file system.
bool isPlainShardName(const std::string &name) {
  return endsWith(name, ".safetensors") && name.find_first_of(std::string("/\\\0", 3)) == std::string::npos &&
         name.find("..") == std::string::npos;
}

// The first pickle file of a directory, if it has one: named in the error about missing safetensors.
std::string findPickleFile(const std::string &directory) {
  std::error_code ignored;
  std::set<std::string> found;
  for (fs::directory_iterator it(directory, ignored), end; it != end; it.increment(ignored)) {
    std::string name = it->path().filename().string();
    if (endsWith(name, ".bin") || endsWith(name, ".pt") || endsWith(name, ".pth"))
      found.insert(name);
  }
  return found.empty() ? "" : *found.begin();
}

// A hash that depends on the boundaries of its pieces.
class Hasher {
public:
  Hasher() { XXH3_64bits_reset(&state); }
  void add(uint64_t value) { XXH3_64bits_update(&state, &value, sizeof value); }
  void add(std::string_view bytes) {
    add(static_cast<uint64_t>(bytes.size()));
    XXH3_64bits_update(&state, bytes.data(), bytes.size());
  }
  uint64_t digest() const { return XXH3_64bits_digest(&state); }

private:
  XXH3_state_t state;
};

// A token id or a list of ids under `key`; empty when absent or null.
Expected<std::vector<int64_t>> tokenIds(const Json &object, const char *key, const std::string &where) {
  std::vector<int64_t> ids;
  const Json *value = findMember(object, key);
  if (!value || value->is_null())
    return ids;
  Json single = Json::array({*value});
  for (const Json &id : value->is_array() ? *value : single) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0)
      return Error::describe(2042, where + "." + key, id.dump(), "a token id >= 0 or a list of them",
                             "correct the file");
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

// A number under `key` within [low, high]; absent or null keeps `value`.
Status numberInRange(const Json &object, const char *key, const std::string &where, double low, double high,
                     double &value) {
  Expected<double> read = doubleMember(object, key, where, value);
  if (!read)
    return read.error();
  if (!(*read >= low && *read <= high))
    return Error::describe(2042, where + "." + key, std::to_string(*read),
                           "a number from " + std::to_string(low) + " to " + std::to_string(high), "correct the file");
  value = *read;
  return {};
}

Status readSamplingKeys(const Json &json, const std::string &file, GenerationConfig &result) {
  Expected<bool> doSample = boolMember(json, "do_sample", file, false);
  if (!doSample)
    return doSample.error();
  result.greedy = !*doSample;
  double topK = 0;
  for (Status status : {numberInRange(json, "temperature", file, 0, 1e6, result.temperature),
                        numberInRange(json, "top_p", file, 0, 1, result.topP),
                        numberInRange(json, "repetition_penalty", file, 1e-6, 1e6, result.repetitionPenalty),
                        numberInRange(json, "top_k", file, 0, 2147483647, topK)})
    if (!status)
      return status;
  result.topK = static_cast<int64_t>(topK);
  return {};
}

} // namespace

Status Checkpoint::openShard(const std::string &name) {
  Expected<SafetensorsFile> file = SafetensorsFile::open(root + "/" + name);
  if (!file)
    return file.error();
  shardNames.push_back(name);
  shards.push_back(std::move(*file));
  return {};
}

Status Checkpoint::readIndex(const std::string &indexFile, Warnings &warnings) {
  Expected<std::string> text = readTextFile(indexFile);
  if (!text)
    return text.error();
  index = *text;
  Expected<Json> json = parseJson(index, indexFile);
  if (!json)
    return json.error();
  const Json *map = findMember(*json, "weight_map");
  if (!map || !map->is_object())
    return jsonTypeError(indexFile + ": weight_map", map, "an object from tensor names to file names");
  std::set<std::string> names;
  for (const auto &item : map->items()) {
    std::string where = indexFile + ": weight_map['" + item.key() + "']";
    if (!item.value().is_string())
      return jsonTypeError(where, &item.value(), "a file name");
    const std::string &name = item.value().get_ref<const std::string &>();
    if (!isPlainShardName(name))
      return Error::describe(2021, where, "'" + name + "'", "a plain file name ending in .safetensors (index rule I1)",
                             "correct the index");
    if (!exists(root + "/" + name))
      return Error::describe(2021, where, "'" + name + "', which does not exist",
                             "a file in the same directory (index rule I1)", "download the missing file");
    names.insert(name);
  }
  for (const std::string &name : names)
    if (Status status = openShard(name); !status)
      return status;
  uint64_t total = 0;
  for (const auto &item : map->items()) {
    const std::string &name = item.value().get_ref<const std::string &>();
    auto shard =
        static_cast<uint32_t>(std::lower_bound(shardNames.begin(), shardNames.end(), name) - shardNames.begin());
    const TensorInfo *info = shards[shard].find(item.key());
    if (!info)
      return Error::describe(2022, indexFile + ": weight_map['" + item.key() + "']", "no such tensor in " + name,
                             "a tensor of that file (index rule I2)", "download or convert index and files together");
    byName[item.key()] = {shard, info};
    total += info->bytes();
  }
  const Json *metadata = findMember(*json, "metadata");
  const Json *size = metadata ? findMember(*metadata, "total_size") : nullptr;
  if (size && (!size->is_number_unsigned() || size->get<uint64_t>() != total))
    warnings.add(indexFile + ": metadata.total_size is " + size->dump() + ", the tensors have " +
                 std::to_string(total) + " bytes (index rule I5)");
  return {};
}

Status Checkpoint::openShards(const std::string &indexFile, Warnings &warnings) {
  std::string single = root + "/model.safetensors";
  if (exists(indexFile)) {
    if (Status status = readIndex(indexFile, warnings); !status)
      return status;
    for (size_t shard = 0; shard < shards.size(); ++shard)
      for (const TensorInfo &info : shards[shard].tensors()) {
        auto known = byName.find(info.name);
        if (known == byName.end())
          warnings.add(shards[shard].path() + ": tensor '" + info.name +
                       "' is not in the index, ignored (index rule I3)");
        else if (known->second.shard != shard)
          warnings.add(shards[shard].path() + ": tensor '" + info.name + "' is taken from " +
                       shardNames[known->second.shard] + ", as the index says (index rule I4)");
      }
    return {};
  }
  if (exists(single)) {
    if (Status status = openShard("model.safetensors"); !status)
      return status;
    for (const TensorInfo &info : shards[0].tensors())
      byName[info.name] = {0, &info};
    return {};
  }
  std::string pickle = findPickleFile(root);
  if (!pickle.empty())
    return Error::describe(
        2041, root, "only pickle weights such as " + pickle, "model.safetensors or model.safetensors.index.json",
        "pickle files run code when they are read and are never loaded: convert them to safetensors");
  return {};
}

void Checkpoint::computeFingerprint() {
  Hasher hasher;
  hasher.add(std::string_view(config));
  hasher.add(std::string_view(index));
  for (size_t i = 0; i < shards.size(); ++i) {
    hasher.add(std::string_view(shardNames[i]));
    hasher.add(shards[i].fileBytes());
    hasher.add(shards[i].headerHash());
  }
  inputHash = hasher.digest();
}

Expected<Checkpoint> Checkpoint::open(const std::string &path, Warnings &warnings) {
  std::error_code ignored;
  Checkpoint checkpoint;
  bool isDirectory = fs::is_directory(path, ignored);
  checkpoint.configFile = isDirectory ? path + "/config.json" : path;
  fs::path parent = fs::path(path).parent_path();
  checkpoint.root = isDirectory ? path : parent.empty() ? "." : parent.string();
  if (!exists(checkpoint.configFile))
    return Error::describe(2030, path, "no config.json", "a Hugging Face checkpoint directory or a config.json",
                           "check the path");
  Expected<std::string> text = readTextFile(checkpoint.configFile);
  if (!text)
    return text.error();
  checkpoint.config = std::move(*text);
  if (isDirectory)
    if (Status status = checkpoint.openShards(path + "/model.safetensors.index.json", warnings); !status)
      return status.error();
  checkpoint.computeFingerprint();
  return checkpoint;
}

const TensorLocation *Checkpoint::find(std::string_view name) const {
  auto at = byName.find(name);
  return at == byName.end() ? nullptr : &at->second;
}

Status Checkpoint::read(const TensorLocation &tensor, uint64_t offset, void *destination, uint64_t bytes) const {
  return shards[tensor.shard].read(*tensor.info, offset, destination, bytes);
}

Expected<const uint8_t *> Checkpoint::map(const TensorLocation &tensor) {
  return shards[tensor.shard].map(*tensor.info);
}

Expected<uint64_t> Checkpoint::fullFingerprint() const {
  Hasher hasher;
  hasher.add(inputHash);
  std::vector<char> buffer(1 << 22);
  for (const SafetensorsFile &shard : shards)
    for (const TensorInfo &info : shard.tensors())
      for (uint64_t offset = 0; offset < info.bytes(); offset += buffer.size()) {
        uint64_t bytes = std::min<uint64_t>(buffer.size(), info.bytes() - offset);
        if (Status status = shard.read(info, offset, buffer.data(), bytes); !status)
          return status.error();
        hasher.add(std::string_view(buffer.data(), bytes));
      }
  return hasher.digest();
}

Expected<GenerationConfig> readGenerationConfig(const Checkpoint &checkpoint, Warnings &warnings) {
  Expected<Json> config = parseJson(checkpoint.configText(), checkpoint.configPath());
  if (!config)
    return config.error();
  std::string file = checkpoint.directory() + "/generation_config.json";
  Json generation = Json::object();
  if (exists(file)) {
    Expected<Json> read = readJsonFile(file);
    if (!read)
      return read.error();
    if (!read->is_object())
      return jsonTypeError(file, &*read, "an object");
    generation = std::move(*read);
  }
  GenerationConfig result;
  auto take = [&](const char *key) -> Expected<std::vector<int64_t>> {
    Expected<std::vector<int64_t>> own = tokenIds(generation, key, file);
    Expected<std::vector<int64_t>> base = tokenIds(*config, key, checkpoint.configPath());
    if (!own || !base)
      return own ? base : own;
    // A list that adds ids is usual (end of turn beside end of text); one that lacks the id of config.json is not.
    for (int64_t id : *base)
      if (!own->empty() && std::find(own->begin(), own->end(), id) == own->end())
        warnings.add(file + ": " + key + " lacks " + std::to_string(id) +
                     " of config.json; generation_config.json is used");
    return own->empty() ? base : own;
  };
  Expected<std::vector<int64_t>> bos = take("bos_token_id"), eos = take("eos_token_id"), pad = take("pad_token_id");
  for (const auto *ids : {&bos, &eos, &pad})
    if (!*ids)
      return ids->error();
  if (!(*bos).empty())
    result.bos = (*bos).front();
  if (!(*pad).empty())
    result.pad = (*pad).front();
  result.eos = std::move(*eos);
  if (Status status = readSamplingKeys(generation, file, result); !status)
    return status.error();
  return result;
}

} // namespace moray::frontend
