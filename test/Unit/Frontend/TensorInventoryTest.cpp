// Parameter totals of published models, the golden checkpoints, and every disagreement between configuration and
// tensors.
#include "frontend/TensorInventory.h"

#include "test/Unit/Frontend/ConfigFiles.h"

#include <algorithm>

using namespace moray::frontend;
using namespace moray::test;

namespace {

Inventory published(const std::string &model) {
  Expected<ModelConfig> config = parsePatched(model);
  EXPECT_TRUE(config) << model;
  Expected<Inventory> inventory = inventoryFromConfig(*config);
  EXPECT_TRUE(inventory) << model;
  return *inventory;
}

TEST(TensorInventory, PublishedTotals) {
  Inventory v3 = published("deepseek-v3");
  EXPECT_EQ(v3.tensors, 91991u);
  EXPECT_EQ(v3.bytes, 688574839360u);
  EXPECT_EQ(v3.parameters, 671026419200u);
  EXPECT_EQ(v3.mtpParameters, 11610068224u);
  EXPECT_EQ(published("deepseek-v2-lite").parameters, 15706484224u);
  EXPECT_EQ(published("deepseek-v2.5").parameters, 235741434880u);
  EXPECT_EQ(published("moonlight").parameters, 15960110208u);
  EXPECT_EQ(published("kimi-k2").parameters, 1026408232448u);
}

TEST(TensorInventory, QuantizedModulesOfV3) {
  Inventory v3 = published("deepseek-v3");
  uint64_t quantized = 0;
  for (const auto &layer : v3.layers)
    for (const StoredSlot &slot : layer)
      quantized += slot.isQuantized() ? std::max<uint64_t>(slot.slot.experts, 1) : 0;
  EXPECT_EQ(quantized, 45032u);
  for (const StoredSlot &slot : v3.layers[3])
    if (slot.slot.id == "kv_a")
      EXPECT_EQ(slot.scaleShape(), (std::vector<uint64_t>{5, 56}));
}

TEST(TensorInventory, RefusesAbsurdSizes) {
  Expected<ModelConfig> config =
      parsePatched("deepseek-v3", R"({"hidden_size":1048576,"moe_intermediate_size":1048576})");
  ASSERT_TRUE(config);
  EXPECT_EQ(inventoryFromConfig(*config).error().code(), 2104);
}

TEST(TensorInventory, GoldenCheckpoints) {
  for (const char *model :
       {"v3-tiny-fp8", "v3-tiny-ue8m0", "v3-tiny-bf16", "v2-tiny", "v2-lite-tiny", "moonlight-tiny", "kimi-tiny-fp8"}) {
    Warnings warnings;
    Expected<Checkpoint> checkpoint = Checkpoint::open(goldenDir(model), warnings);
    ASSERT_TRUE(checkpoint) << checkpoint.error().text();
    Expected<ModelConfig> config = parseModelConfig(checkpoint->configText(), checkpoint->configPath(), warnings);
    ASSERT_TRUE(config) << config.error().text();
    Expected<Inventory> inventory = inventoryFromCheckpoint(*config, *checkpoint, /*strict=*/true, warnings);
    ASSERT_TRUE(inventory) << inventory.error().text();
    EXPECT_EQ(inventory->tensors, checkpoint->tensors().size()) << model;
    EXPECT_EQ(inventory->layers.size(), static_cast<size_t>(config->layers));
    EXPECT_TRUE(warnings.all().empty()) << model << ": " << warnings.all()[0].first;
    Expected<Inventory> assumed = inventoryFromConfig(*config);
    EXPECT_EQ(assumed->parameters, inventory->parameters) << model;
  }
}

// Changes one thing in the header of a small quantised checkpoint and expects one error.
class InventoryMutation : public testing::Test {
protected:
  void SetUp() override {
    std::string bytes = readAll(goldenDir("v3-tiny-ue8m0") + "/model.safetensors");
    uint64_t length = 0;
    for (unsigned i = 0; i < 8; ++i)
      length |= static_cast<uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
    header = nlohmann::json::parse(bytes.substr(8, length));
    config = readAll(goldenDir("v3-tiny-ue8m0") + "/config.json");
  }

  void remove(const std::string &name) { header.erase(name); }
  void add(const std::string &name, const std::string &dtype, std::vector<uint64_t> shape) {
    header[name] = {{"dtype", dtype}, {"shape", shape}};
  }

  // Writes headers with fresh offsets over a file of holes.
  Expected<Inventory> check(bool strict = true) {
    uint64_t offset = 0;
    for (auto &item : header.items()) {
      if (item.key() == "__metadata__")
        continue;
      uint64_t bytes = dtypeBits(*parseDType(item.value()["dtype"].get<std::string>())) / 8;
      for (uint64_t dim : item.value()["shape"])
        bytes *= dim;
      item.value()["data_offsets"] = {offset, offset + bytes};
      offset += bytes;
    }
    std::string path = dir.write("model.safetensors", safetensors(header.dump(), ""));
    std::filesystem::resize_file(path, std::filesystem::file_size(path) + offset);
    dir.write("config.json", config);
    Expected<Checkpoint> checkpoint = Checkpoint::open(dir.path, warnings);
    if (!checkpoint)
      return checkpoint.error();
    Expected<ModelConfig> parsed = parseModelConfig(config, "config.json", warnings);
    if (!parsed)
      return parsed.error();
    return inventoryFromCheckpoint(*parsed, *checkpoint, strict, warnings);
  }
  void rejects(int code, const std::string &text) {
    Expected<Inventory> inventory = check();
    ASSERT_FALSE(inventory) << "accepted";
    EXPECT_EQ(inventory.error().code(), code) << inventory.error().text();
    EXPECT_NE(inventory.error().message().find(text), std::string::npos) << inventory.error().text();
  }

  TempDir dir;
  nlohmann::json header;
  std::string config;
  Warnings warnings;
  const std::string layer = "model.layers.1.", q_a = layer + "self_attn.q_a_proj.weight";
};

TEST_F(InventoryMutation, UnchangedIsAccepted) { EXPECT_TRUE(check()); }

TEST_F(InventoryMutation, MissingTensor) {
  remove(layer + "mlp.experts.5.up_proj.weight");
  remove(layer + "mlp.experts.5.up_proj.weight_scale_inv");
  rejects(2201, "experts.5.up_proj");
}

TEST_F(InventoryMutation, UnexplainedTensor) {
  add("model.layers.0.surprise", "BF16", {4});
  rejects(2202, "surprise");
  EXPECT_TRUE(check(/*strict=*/false));
  EXPECT_EQ(warnings.all().size(), 1u);
}

TEST_F(InventoryMutation, RotaryTableIsIgnored) {
  add("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", {16});
  EXPECT_TRUE(check());
}

TEST_F(InventoryMutation, WrongShape) {
  add("model.norm.weight", "BF16", {321});
  rejects(2203, "[321]");
}

TEST_F(InventoryMutation, WrongDType) {
  add("model.norm.weight", "I32", {320});
  rejects(2204, "I32");
  add("model.norm.weight", "F16", {320});
  rejects(2204, "F16");
}

TEST_F(InventoryMutation, ScaleMissing) {
  remove(q_a + "_scale_inv");
  rejects(2205, "scale missing");
}

TEST_F(InventoryMutation, ScaleWithoutCodes) {
  add(q_a, "BF16", {96, 320});
  rejects(2206, "q_a_proj.weight_scale_inv");
}

TEST_F(InventoryMutation, ScaleShape) {
  add(q_a + "_scale_inv", "F32", {1, 2});
  rejects(2207, "[1, 3]");
}

TEST_F(InventoryMutation, ScaleDType) {
  add(q_a + "_scale_inv", "BF16", {1, 3});
  rejects(2208, "BF16");
}

TEST_F(InventoryMutation, OtherScaleNames) {
  remove(q_a + "_scale_inv");
  add(q_a + "_scale", "F32", {1, 3});
  EXPECT_TRUE(check());
  remove(q_a + "_scale");
  add(layer + "self_attn.q_a_proj.scale", "F8_E8M0", {1, 3});
  EXPECT_TRUE(check());
}

TEST_F(InventoryMutation, Fp8OnNorm) {
  add("model.norm.weight", "F8_E4M3", {320});
  rejects(2209, "model.norm.weight");
}

TEST_F(InventoryMutation, Fp8WithoutConfig) {
  config = patched(config, R"({"quantization_config":null})");
  rejects(2210, "quantization_config");
}

TEST_F(InventoryMutation, ConfigWithoutFp8) {
  std::vector<std::string> scales;
  for (auto &item : header.items()) {
    if (item.key().find("_scale_inv") != std::string::npos)
      scales.push_back(item.key());
    else if (item.key() != "__metadata__" && item.value()["dtype"] == "F8_E4M3")
      item.value()["dtype"] = "BF16";
  }
  for (const std::string &name : scales)
    remove(name);
  rejects(2211, "quantization_config");
}

TEST_F(InventoryMutation, HeadAndTying) {
  remove("lm_head.weight");
  rejects(2212, "tie_word_embeddings");
  config = patched(config, R"({"tie_word_embeddings":true})");
  EXPECT_TRUE(check());
  add("lm_head.weight", "BF16", {640, 320}); // ignored when tied
  EXPECT_TRUE(check());
}

TEST_F(InventoryMutation, RouterBias) {
  remove(layer + "mlp.gate.e_score_correction_bias");
  rejects(2213, "noaux_tc");
  add(layer + "mlp.gate.e_score_correction_bias", "F16", {8});
  EXPECT_TRUE(check());
  config = patched(config, R"({"scoring_func":"softmax","topk_method":"group_limited_greedy"})");
  rejects(2213, "not noaux_tc");
}

TEST_F(InventoryMutation, MtpPresence) {
  add("model.layers.3.enorm.weight", "BF16", {320});
  rejects(2214, "layer 3");
  remove("model.layers.3.enorm.weight");
  config = patched(config, R"({"num_nextn_predict_layers":1})");
  rejects(2214, "no tensors of layer 3");
}

TEST_F(InventoryMutation, QueryRank) {
  config = patched(config, R"({"q_lora_rank":null})");
  rejects(2215, "q_lora_rank");
}

TEST_F(InventoryMutation, MixedExperts) {
  add(layer + "mlp.experts.2.up_proj.weight", "BF16", {64, 320});
  remove(layer + "mlp.experts.2.up_proj.weight_scale_inv");
  rejects(2216, "experts.2.up_proj");
}

TEST_F(InventoryMutation, StackedExperts) {
  add(layer + "mlp.experts.gate_up_proj", "BF16", {8, 128, 320});
  rejects(2217, "stacked");
}

TEST_F(InventoryMutation, ListOfUnconvertedModulesIsInformative) {
  config = patched(config, R"({"quantization_config":{"modules_to_not_convert":["model.layers.1.self_attn.o_proj"]}})");
  ASSERT_TRUE(check());
  ASSERT_EQ(warnings.all().size(), 1u);
  EXPECT_NE(warnings.all()[0].first.find("slot o"), std::string::npos) << warnings.all()[0].first;
}

TEST_F(InventoryMutation, OneLayerMayStayUnquantized) {
  for (const char *name : {"gate", "up"}) {
    add("model.layers.0.mlp." + std::string(name) + "_proj.weight", "BF16", {448, 320});
    remove("model.layers.0.mlp." + std::string(name) + "_proj.weight_scale_inv");
  }
  Expected<Inventory> inventory = check();
  ASSERT_TRUE(inventory) << inventory.error().text();
  for (const StoredSlot &slot : inventory->layers[0])
    if (slot.slot.id == "gate")
      EXPECT_FALSE(slot.isQuantized());
}

} // namespace
