// Reads and writes placements and loads as JSON.
#include "common/placement_file.h"
#include "common/cli.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

namespace moray::tools {

using Json = nlohmann::ordered_json;

namespace {

constexpr uint64_t kMostNumber = uint64_t{1} << 20; // of experts, ranks, layers and slots
constexpr uint64_t kMostLoad = uint64_t{1} << 48;

// What is wrong with a file; kept until it is printed.
struct Reader {
  const std::string &path;
  std::string problem;

  bool wrong(const std::string &what) {
    if (problem.empty())
      problem = what;
    return false;
  }
  bool number(const Json &object, const char *key, uint64_t least, uint64_t most, uint64_t &value) {
    const auto found = object.is_object() ? object.find(key) : object.end();
    if (found == object.end() || !found->is_number_unsigned())
      return wrong(std::string("it has no whole number '") + key + "'");
    value = found->get<uint64_t>();
    if (value < least || value > most)
      return wrong(std::string("'") + key + "' is " + std::to_string(value) + ", expected " + std::to_string(least) +
                   " to " + std::to_string(most));
    return true;
  }
  bool small(const Json &object, const char *key, uint32_t least, uint32_t &value) {
    uint64_t wide = 0;
    const bool good = number(object, key, least, kMostNumber, wide);
    value = static_cast<uint32_t>(wide);
    return good;
  }
  bool open(const char *schema, Json &json) {
    std::string text;
    if (!readFile(path, text)) {
      problem = " "; // it has been printed
      return false;
    }
    try {
      json = Json::parse(text);
    } catch (const Json::parse_error &error) {
      return wrong("it is no JSON after byte " + std::to_string(std::max<size_t>(error.byte, 1) - 1) + " of " +
                   std::to_string(text.size()) + "; it may have been cut");
    }
    if (!json.is_object() || json.value("schema", Json()) != schema)
      return wrong(std::string("it is no JSON object with \"schema\": \"") + schema + "\"" +
                   (json.is_object() && json.contains("schema") ? ", but with " + json["schema"].dump() : ""));
    return json.contains("layers") && json["layers"].is_array() && !json["layers"].empty() ? true
                                                                                           : wrong("it has no layers");
  }
  // `add(layer, values)` for each layer, which must be new.
  template <typename T, typename Add> bool layers(const Json &json, const char *key, uint64_t most, Add add) {
    for (const Json &entry : json["layers"]) {
      uint32_t layer = 0;
      if (!small(entry, "layer", 0, layer))
        return false;
      const std::string name = "layer " + std::to_string(layer);
      std::vector<T> values;
      const auto found = entry.find(key);
      if (found == entry.end() || !found->is_array() || found->size() > kMostNumber)
        return wrong(name + " has no list '" + key + "'");
      for (const Json &value : *found) {
        if (!value.is_number_unsigned() || value.get<uint64_t>() > most)
          return wrong(name + ": entry " + std::to_string(values.size()) + " of '" + key + "' is " + value.dump() +
                       ", expected a whole number from 0 to " + std::to_string(most));
        values.push_back(static_cast<T>(value.get<uint64_t>()));
      }
      if (!add(layer, name, std::move(values)))
        return false;
    }
    return true;
  }
  int end(const char *fix) {
    if (problem.empty())
      return kExitOk;
    return problem == " " ? kExitUsage : fail("E1010", "'" + path + "': " + problem, fix, kExitUsage);
  }
};

int writeText(const std::string &path, const std::string &text) {
  std::FILE *file = std::fopen(path.c_str(), "w");
  bool good = file && std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if (file && std::fclose(file) != 0)
    good = false;
  return good ? int(kExitOk)
              : fail("E1003", "cannot write '" + path + "': " + std::strerror(errno),
                     "check the folder and the free space", kExitResources);
}

// The head of the object on one line, then one line per layer.
template <typename Layers>
int writeLayers(const std::string &path, const Json &head, const char *key, const Layers &layers) {
  std::string text = head.dump();
  text.back() = ',';
  text += " \"layers\": [";
  const char *separator = "\n";
  for (const auto &[layer, values] : layers) {
    text += separator + Json{{"layer", layer}, {key, values}}.dump();
    separator = ",\n";
  }
  return writeText(path, text + "\n]}\n");
}

} // namespace

int readPlacement(const std::string &path, PlacementFile &file) {
  Reader reader = {path, ""};
  Json json;
  if (reader.open("moray.placement/1", json) && reader.small(json, "experts", 1, file.experts) &&
      reader.small(json, "ranks", 1, file.ranks) && reader.small(json, "nodes", 1, file.nodes))
    reader.layers<int32_t>(
        json, "slots", file.experts - 1, [&](uint32_t layer, const std::string &name, std::vector<int32_t> slots) {
          if (slots.empty() || slots.size() % file.ranks != 0)
            return reader.wrong(name + " has " + std::to_string(slots.size()) + " slots, expected a multiple of the " +
                                std::to_string(file.ranks) + " ranks");
          if (!file.layers.empty() && slots.size() != file.layers.begin()->second.size())
            return reader.wrong(name + " has " + std::to_string(slots.size()) + " slots, layer " +
                                std::to_string(file.layers.begin()->first) + " has " +
                                std::to_string(file.layers.begin()->second.size()));
          std::vector<size_t> slotOf(file.experts, SIZE_MAX);
          std::string doubled;
          for (size_t slot = 0; slot < slots.size(); ++slot) {
            size_t &first = slotOf[static_cast<size_t>(slots[slot])];
            if (first == SIZE_MAX)
              first = slot;
            else if (doubled.empty())
              doubled = ", while expert " + std::to_string(slots[slot]) + " has slots " + std::to_string(first) +
                        " and " + std::to_string(slot);
          }
          for (uint32_t expert = 0; expert < file.experts; ++expert)
            if (slotOf[expert] == SIZE_MAX)
              return reader.wrong(name + " has no slot for expert " + std::to_string(expert) + doubled);
          return file.layers.emplace(layer, std::move(slots)).second || reader.wrong(name + " is there twice");
        });
  return reader.end("make it with moray-plan");
}

int readPlacement(const std::string &path, const moray_model_config &model, PlacementTable &table) {
  PlacementFile file;
  if (int code = readPlacement(path, file))
    return code;
  const auto wrong = [&](const std::string &what) {
    return fail("E1010", "'" + path + "' " + what, "make a placement for this model with moray-plan", kExitUsage);
  };
  if (file.experts != model.experts)
    return wrong("places " + std::to_string(file.experts) + " experts, the model has " + std::to_string(model.experts));
  const uint32_t first = model.first_expert_layer;
  for (uint32_t layer = first; layer < model.layers; ++layer)
    if (!file.layers.count(layer))
      return wrong("has no layer " + std::to_string(layer) + ", the model has experts in layers " +
                   std::to_string(first) + " to " + std::to_string(model.layers - 1));
  for (const auto &layer : file.layers)
    if (layer.first < first || layer.first >= model.layers)
      return wrong("has layer " + std::to_string(layer.first) + ", the model has experts in layers " +
                   std::to_string(first) + " to " + std::to_string(model.layers - 1));
  for (uint32_t layer = 0; layer < model.layers; ++layer) {
    const std::vector<int32_t> &slots = file.layers.at(std::max(layer, first));
    table.slots.insert(table.slots.end(), slots.begin(), slots.end());
  }
  table.placement = {file.experts, file.ranks, file.nodes, model.layers, file.slotsPerRank(), table.slots.data()};
  return kExitOk;
}

int readLoads(const std::string &path, LoadsFile &file) {
  Reader reader = {path, ""};
  Json json;
  uint64_t perToken = 0;
  if (reader.open("moray.loads/1", json) && reader.small(json, "experts", 1, file.experts) &&
      reader.number(json, "experts_per_token", 1, file.experts, perToken))
    reader.layers<uint64_t>(
        json, "loads", kMostLoad, [&](uint32_t layer, const std::string &name, std::vector<uint64_t> loads) {
          if (loads.size() != file.experts)
            return reader.wrong(name + " has " + std::to_string(loads.size()) +
                                " loads, expected one for each of the " + std::to_string(file.experts) + " experts");
          return file.layers.emplace(layer, std::move(loads)).second || reader.wrong(name + " is there twice");
        });
  file.expertsPerToken = static_cast<uint32_t>(perToken);
  return reader.end("record it with moray-run --record-loads");
}

int writePlacement(const std::string &path, const PlacementFile &file) {
  return writeLayers(
      path, {{"schema", "moray.placement/1"}, {"experts", file.experts}, {"ranks", file.ranks}, {"nodes", file.nodes}},
      "slots", file.layers);
}

int writeLoads(const std::string &path, const LoadsFile &file) {
  return writeLayers(
      path, {{"schema", "moray.loads/1"}, {"experts", file.experts}, {"experts_per_token", file.expertsPerToken}},
      "loads", file.layers);
}

} // namespace moray::tools
