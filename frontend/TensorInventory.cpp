// Compares the tensors that a configuration implies with the headers of a checkpoint, before any weight is read.
#include "frontend/TensorInventory.h"

#include <algorithm>
#include <set>

namespace moray::frontend {

namespace {

constexpr const char *kWeight = ".weight";
constexpr const char *kScaleSuffixes[] = {".weight_scale_inv", ".weight_scale", ".scale"};

bool endsWith(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

// "a.b.weight" -> "a.b": the module's path.
std::string moduleOf(const std::string &tensor) {
  return endsWith(tensor, kWeight) ? tensor.substr(0, tensor.size() - 7) : tensor.substr(0, tensor.rfind('.'));
}

std::vector<uint64_t> scaleShapeOf(const std::vector<uint64_t> &shape) {
  std::vector<uint64_t> result;
  for (uint64_t dim : shape)
    result.push_back((dim + 127) / 128);
  return result;
}

uint64_t product(const std::vector<uint64_t> &shape) {
  uint64_t result = 1;
  for (uint64_t dim : shape)
    result *= dim;
  return result;
}

uint64_t countOf(const TensorSlot &slot) { return slot.experts ? slot.experts : 1; }

// Adds one list of slots to the totals. MTP copies of embedding and head are not parameters of their own.
void addTotals(const std::vector<StoredSlot> &slots, uint64_t &parameters, Inventory &inventory) {
  for (const StoredSlot &stored : slots) {
    uint64_t elements = product(stored.slot.shape) * countOf(stored.slot);
    if (!stored.slot.optional)
      parameters += elements;
    inventory.tensors += countOf(stored.slot);
    inventory.bytes += elements * dtypeBits(stored.dtype) / 8;
    if (stored.isQuantized()) {
      inventory.tensors += countOf(stored.slot);
      inventory.bytes += product(stored.scaleShape()) * countOf(stored.slot) * dtypeBits(stored.scaleDType) / 8;
    }
  }
}

void finishTotals(Inventory &inventory) {
  addTotals(inventory.model, inventory.parameters, inventory);
  for (const auto &layer : inventory.layers)
    addTotals(layer, inventory.parameters, inventory);
  for (const auto &layer : inventory.mtp)
    addTotals(layer, inventory.mtpParameters, inventory);
}

// Refuses configurations whose sizes would overflow the 64-bit sums above.
Status checkMagnitude(const ModelConfig &config) {
  double layerMax = 0;
  for (int64_t layer : {int64_t(0), config.layers - 1, config.layers})
    for (const TensorSlot &slot : mtpSlots(config, layer)) {
      double elements = static_cast<double>(countOf(slot));
      for (uint64_t dim : slot.shape)
        elements *= static_cast<double>(dim);
      layerMax += elements;
    }
  if (layerMax * static_cast<double>(config.layers + config.mtpLayers + 1) > 1e17)
    return Error::describe(2104, "config.json", "sizes whose product exceeds 10^17 parameters",
                           "a model that can exist", "check hidden_size, n_routed_experts and num_hidden_layers");
  return {};
}

// Fills an inventory from the headers of a checkpoint.
class Checker {
public:
  Checker(const ModelConfig &config, const Checkpoint &checkpoint) : config(config), checkpoint(checkpoint) {}

  Status run(Inventory &inventory) {
    if (Status status = checkStructure(); !status)
      return status;
    if (Status status = addList(modelSlots(config), 0, inventory.model); !status)
      return status;
    for (int64_t layer = 0; layer < config.layers; ++layer)
      if (Status status = addList(layerSlots(config, layer), layer, inventory.layers.emplace_back()); !status)
        return status;
    for (int64_t layer = config.layers; layer < config.layers + config.mtpLayers; ++layer)
      if (Status status = addList(mtpSlots(config, layer), layer, inventory.mtp.emplace_back()); !status)
        return status;
    if (config.quantization && quantizedTensors == 0)
      return fail(2211, "config.json: quantization_config", "no FP8 tensor in the checkpoint", "FP8 linears",
                  "remove quantization_config from a dequantised checkpoint");
    return {};
  }

  // modules_to_not_convert is informative: the stored types decide, a contradiction is worth a word (spec fp8.md 3).
  void compareWithList(const Inventory &inventory, Warnings &warnings) const {
    if (!config.quantization || config.quantization->notConverted.empty())
      return;
    for (size_t layer = 0; layer < inventory.layers.size(); ++layer)
      for (const StoredSlot &stored : inventory.layers[layer]) {
        if (stored.slot.role != TensorRole::Linear)
          continue;
        std::string module = moduleOf(tensorName(stored.slot.name, static_cast<int64_t>(layer), 0));
        if (config.quantization->excludes(module) == stored.isQuantized())
          warnings.add(
              "config.json: modules_to_not_convert and the stored types disagree about some modules, e.g. in slot " +
              stored.slot.id + "; the stored types are used");
      }
  }

  // Tensors that nothing above has explained.
  Status checkUnexplained(bool strict, Warnings &warnings) const {
    for (const auto &[name, location] : checkpoint.tensors()) {
      if (explained.count(name) || endsWith(name, "rotary_emb.inv_freq"))
        continue;
      if (config.tiedEmbeddings && name == config.tensorPrefix + "lm_head.weight")
        continue; // tied: the stored copy is ignored
      for (const char *suffix : kScaleSuffixes)
        if (endsWith(name, suffix))
          return fail(2206, where(name), "a scale whose weight is missing or not FP8", "scales beside FP8 weights only",
                      "remove the scale or restore its weight");
      if (strict)
        return fail(2202, where(name), "a tensor that this model does not have", "only the tensors of the model",
                    "remove it, or import without --strict");
      warnings.add("a tensor that this model does not have is ignored, e.g. " + name.substr(0, name.find(".layers.")) +
                   (name.find(".layers.") == std::string::npos ? "" : ".layers.*"));
    }
    return {};
  }

private:
  Error fail(int code, const std::string &at, const std::string &found, const std::string &expected,
             const std::string &fix) const {
    return Error::describe(code, at, found, expected, fix);
  }

  std::string where(const std::string &tensor) const {
    const TensorLocation *location = checkpoint.find(tensor);
    return (location ? checkpoint.file(*location).path() : checkpoint.directory()) + ": tensor '" + tensor + "'";
  }

  // Facts that both the configuration and the presence of tensors state: they must agree (spec 1).
  Status checkStructure() const {
    const std::string &prefix = config.tensorPrefix;
    const std::string layer0 = prefix + "model.layers.0.self_attn.";
    bool direct = checkpoint.find(layer0 + "q_proj.weight"), low = checkpoint.find(layer0 + "q_a_proj.weight");
    if ((config.qLoraRank > 0 && direct && !low) || (config.qLoraRank == 0 && low))
      return fail(2215, where(layer0 + (direct ? "q_proj.weight" : "q_a_proj.weight")),
                  "q_lora_rank " + std::to_string(config.qLoraRank) + " in config.json beside this tensor",
                  config.qLoraRank > 0 ? "q_a_proj and q_b_proj" : "q_proj", "correct q_lora_rank in config.json");
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      std::string mlp = prefix + "model.layers." + std::to_string(layer) + ".mlp.";
      if (!config.isMoE(layer))
        continue;
      std::string bias = mlp + "gate.e_score_correction_bias";
      if (checkpoint.find(bias) && !config.hasRouterBias())
        return fail(2213, where(bias), "a router bias, but topk_method in config.json is not noaux_tc",
                    "no such tensor", "correct topk_method");
      if (!checkpoint.find(bias) && config.hasRouterBias() && checkpoint.find(mlp + "gate.weight"))
        return fail(2213, where(bias), "no such tensor, but topk_method in config.json is noaux_tc", "the router bias",
                    "correct topk_method or restore the tensor");
      if (checkpoint.find(mlp + "experts.gate_up_proj"))
        return fail(2217, where(mlp + "experts.gate_up_proj"), "experts stacked in one tensor",
                    "one tensor per expert and projection", "convert the checkpoint back to the published layout");
    }
    if (!config.tiedEmbeddings && !checkpoint.find(prefix + "lm_head.weight"))
      return fail(2212, where(prefix + "lm_head.weight"), "no such tensor, but tie_word_embeddings is false",
                  "the output projection",
                  "set tie_word_embeddings if the model shares its embedding, or restore the tensor");
    return checkMtpPresence();
  }

  Status checkMtpPresence() const {
    std::string first = config.tensorPrefix + "model.layers." + std::to_string(config.layers) + ".";
    auto at = checkpoint.tensors().lower_bound(first);
    bool present = at != checkpoint.tensors().end() && at->first.compare(0, first.size(), first) == 0;
    if (present == (config.mtpLayers > 0))
      return {};
    return fail(2214, present ? where(at->first) : checkpoint.directory() + ": layer " + std::to_string(config.layers),
                std::string(present ? "tensors" : "no tensors") + " of layer " + std::to_string(config.layers) +
                    " beside num_hidden_layers " + std::to_string(config.layers) + " and num_nextn_predict_layers " +
                    std::to_string(config.mtpLayers),
                "multi-token-prediction layers exactly where config.json announces them",
                "correct num_nextn_predict_layers or num_hidden_layers");
  }

  Status addList(const std::vector<TensorSlot> &slots, int64_t layer, std::vector<StoredSlot> &result) {
    for (const TensorSlot &slot : slots) {
      if (slot.optional && !checkpoint.find(tensorName(slot.name, layer, 0)))
        continue;
      StoredSlot stored;
      stored.slot = slot;
      for (uint64_t expert = 0; expert < countOf(slot); ++expert)
        if (Status status = addTensor(layer, expert, stored); !status)
          return status;
      result.push_back(std::move(stored));
    }
    return {};
  }

  Status addTensor(int64_t layer, uint64_t expert, StoredSlot &stored) {
    const TensorSlot &slot = stored.slot;
    std::string name = tensorName(slot.name, layer, static_cast<int64_t>(expert));
    const TensorLocation *location = checkpoint.find(name);
    if (!location)
      return fail(2201, where(name), "no such tensor", std::string("a tensor of shape ") + shapeText(slot.shape),
                  "download the checkpoint again, or correct the sizes in config.json");
    const TensorInfo &info = *location->info;
    explained.insert(name);
    if (info.shape != slot.shape)
      return fail(2203, where(name), "shape " + shapeText(info.shape), shapeText(slot.shape),
                  "config.json and weights disagree: take both from the same release");
    if (Status status = checkDType(name, info.dtype, slot.role); !status)
      return status;
    std::string scaleTemplate;
    DType scaleDType = DType::F32;
    if (info.dtype == DType::F8E4M3)
      if (Status status = addScale(layer, expert, slot, scaleTemplate, scaleDType); !status)
        return status;
    if (expert > 0 &&
        (info.dtype != stored.dtype || scaleTemplate != stored.scaleName || scaleDType != stored.scaleDType))
      return fail(2216, where(name),
                  std::string(dtypeName(info.dtype)) + " beside " + dtypeName(stored.dtype) + " in expert 0",
                  "one type for all experts of a layer", "convert the checkpoint to one type per layer");
    stored.dtype = info.dtype;
    stored.scaleName = std::move(scaleTemplate);
    stored.scaleDType = scaleDType;
    return {};
  }

  Status checkDType(const std::string &name, DType dtype, TensorRole role) const {
    if (dtype == DType::F8E4M3) {
      if (role != TensorRole::Linear)
        return fail(2209, where(name), "FP8 on a tensor that is no linear weight", "BF16 or F32",
                    "convert the checkpoint with DeepSeek's list of quantised modules");
      if (!config.quantization)
        return fail(2210, where(name), "F8_E4M3, but config.json has no quantization_config",
                    "quantization_config with FP8", "restore quantization_config");
      return {};
    }
    if (dtype == DType::BF16 || dtype == DType::F32 || (role == TensorRole::RouterBias && dtype == DType::F16))
      return {};
    return fail(2204, where(name), dtypeName(dtype),
                role == TensorRole::Linear ? "F8_E4M3, BF16 or F32" : "BF16 or F32", "convert the checkpoint");
  }

  // The scale of an FP8 weight: any accepted spelling, exact shape (spec fp8.md 2).
  Status addScale(int64_t layer, uint64_t expert, const TensorSlot &slot, std::string &scaleTemplate,
                  DType &scaleDType) {
    ++quantizedTensors;
    std::string name = tensorName(slot.name, layer, static_cast<int64_t>(expert));
    for (const char *suffix : kScaleSuffixes) {
      std::string scale = moduleOf(name) + suffix;
      const TensorLocation *location = checkpoint.find(scale);
      if (!location)
        continue;
      const TensorInfo &info = *location->info;
      explained.insert(scale);
      bool e8m0 = info.dtype == DType::F8E8M0 && std::string_view(suffix) == ".scale";
      if (info.dtype != DType::F32 && !e8m0)
        return fail(2208, where(scale), std::string("scale dtype ") + dtypeName(info.dtype), "F32",
                    "convert the scales to F32");
      if (info.shape != scaleShapeOf(slot.shape))
        return fail(2207, where(scale), "scale shape " + shapeText(info.shape), shapeText(scaleShapeOf(slot.shape)),
                    "one scale per block of 128x128, partial blocks included");
      scaleTemplate = moduleOf(slot.name) + suffix;
      scaleDType = info.dtype;
      return {};
    }
    return fail(2205, where(name), "scale missing: an FP8 weight without " + moduleOf(name) + ".weight_scale_inv",
                "a scale of shape " + shapeText(scaleShapeOf(slot.shape)), "download the checkpoint again");
  }

  const ModelConfig &config;
  const Checkpoint &checkpoint;
  std::set<std::string, std::less<>> explained;
  uint64_t quantizedTensors = 0;
};

// The types a publisher would have written: FP8 for linears iff the configuration quantises, F32 for the router bias.
StoredSlot assumedSlot(const ModelConfig &config, const TensorSlot &slot, int64_t layer) {
  StoredSlot stored;
  stored.slot = slot;
  bool quantized = slot.role == TensorRole::Linear && config.quantization &&
                   !config.quantization->excludes(moduleOf(tensorName(slot.name, layer, 0)));
  if (quantized) {
    stored.dtype = DType::F8E4M3;
    stored.scaleName = moduleOf(slot.name) + kScaleSuffixes[0];
  } else if (slot.role == TensorRole::RouterBias) {
    stored.dtype = DType::F32;
  }
  return stored;
}

} // namespace

std::vector<uint64_t> StoredSlot::scaleShape() const { return scaleShapeOf(slot.shape); }

Expected<Inventory> inventoryFromConfig(const ModelConfig &config) {
  if (Status status = checkMagnitude(config); !status)
    return status.error();
  Inventory inventory;
  auto assume = [&](const std::vector<TensorSlot> &slots, int64_t layer, std::vector<StoredSlot> &result) {
    for (const TensorSlot &slot : slots)
      result.push_back(assumedSlot(config, slot, layer));
  };
  assume(modelSlots(config), 0, inventory.model);
  for (int64_t layer = 0; layer < config.layers; ++layer)
    assume(layerSlots(config, layer), layer, inventory.layers.emplace_back());
  for (int64_t layer = config.layers; layer < config.layers + config.mtpLayers; ++layer)
    assume(mtpSlots(config, layer), layer, inventory.mtp.emplace_back());
  finishTotals(inventory);
  return inventory;
}

Expected<Inventory> inventoryFromCheckpoint(const ModelConfig &config, const Checkpoint &checkpoint, bool strict,
                                            Warnings &warnings) {
  if (Status status = checkMagnitude(config); !status)
    return status.error();
  Inventory inventory;
  Checker checker(config, checkpoint);
  if (Status status = checker.run(inventory); !status)
    return status.error();
  if (Status status = checker.checkUnexplained(strict, warnings); !status)
    return status.error();
  checker.compareWithList(inventory, warnings);
  finishTotals(inventory);
  return inventory;
}

} // namespace moray::frontend
