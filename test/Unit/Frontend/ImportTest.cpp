// The module of every golden checkpoint: it verifies, has one layer program per kind, and names weights that exist.
#include "frontend/Import.h"

#include "dialects/LM/LM.h"
#include "test/Unit/Frontend/ConfigFiles.h"

using namespace moray;
using namespace moray::frontend;
using namespace moray::test;

namespace {

class ImportTest : public testing::Test {
protected:
  Expected<ImportedModel> import(const std::string &path, const ImportOptions &options = {}) {
    return importModel(context, path, options, warnings);
  }
  static ImportOptions weightsNeeded() {
    ImportOptions options;
    options.needWeights = true;
    return options;
  }
  static unsigned layersOf(ImportedModel &model) {
    auto layers = model.module->getOps<lm::LayerOp>();
    return static_cast<unsigned>(std::distance(layers.begin(), layers.end()));
  }

  mlir::MLIRContext context;
  Warnings warnings;
};

TEST_F(ImportTest, GoldenCheckpointsResolveEveryWeight) {
  for (const char *name :
       {"v3-tiny-fp8", "v3-tiny-ue8m0", "v3-tiny-bf16", "v2-tiny", "v2-lite-tiny", "moonlight-tiny", "kimi-tiny-fp8"}) {
    Expected<ImportedModel> model = import(goldenDir(name), weightsNeeded());
    ASSERT_TRUE(model) << model.error().text();
    EXPECT_EQ(layersOf(*model), 2u) << name;
    for (lm::WeightOp weight : model->module->getOps<lm::WeightOp>()) {
      std::string source = weight.getSource()->str();
      int64_t layer = source.find("layers.{l}.mlp.") == std::string::npos || weight.getSymName().starts_with("dense")
                          ? 0
                          : model->config.layers - 1;
      const TensorLocation *tensor = model->checkpoint->find(tensorName(source, layer, 0));
      ASSERT_NE(tensor, nullptr) << name << " " << source;
      auto shape = weight.getTensorType().getShape().take_back(tensor->info->shape.size());
      EXPECT_TRUE(std::equal(shape.begin(), shape.end(), tensor->info->shape.begin(), tensor->info->shape.end()))
          << source;
    }
  }
}

TEST_F(ImportTest, PublishedConfigurationsWithoutWeights) {
  for (const char *name : {"deepseek-v3", "deepseek-v2.5", "deepseek-v2-lite", "moonlight", "kimi-k2"}) {
    std::string path = std::string(MORAY_SOURCE_DIR) + "/test/Frontend/Inputs/" + name;
    Expected<ImportedModel> directory = import(path), file = import(path + "/config.json");
    ASSERT_TRUE(directory) << directory.error().text();
    ASSERT_TRUE(file) << file.error().text();
    EXPECT_EQ(layersOf(*directory), 2u);
    EXPECT_EQ(directory->tokenizer, nullptr);
    EXPECT_EQ(import(path, weightsNeeded()).error().code(), 2043);
  }
}

TEST_F(ImportTest, ModelAttribute) {
  Expected<ImportedModel> model = import(goldenDir("kimi-tiny-fp8"));
  ASSERT_TRUE(model);
  auto facts = (*model->module)->getAttrOfType<mlir::DictionaryAttr>(kModelAttr);
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts.getAs<mlir::StringAttr>("family").getValue(), "kimi_k2");
  EXPECT_EQ(facts.getAs<mlir::IntegerAttr>("vocab").getInt(), 512);
  EXPECT_EQ(facts.getAs<mlir::DenseI64ArrayAttr>("eos").asArrayRef(), (llvm::ArrayRef<int64_t>{1, 2}));
  EXPECT_EQ(facts.getAs<mlir::FloatAttr>("temperature").getValueAsDouble(), 0.0);
  EXPECT_EQ(facts.getAs<mlir::IntegerAttr>("cache_width").getInt(), 576);
  EXPECT_EQ(facts.getAs<mlir::IntegerAttr>("parameters").getInt(), static_cast<int64_t>(model->inventory.parameters));
}

TEST_F(ImportTest, TokenIdsBeyondTheVocabularyAreDropped) {
  TempDir dir;
  dir.write("config.json", patched(readAll(goldenDir("v3-tiny-bf16") + "/config.json"),
                                   R"({"bos_token_id":512,"eos_token_id":[511,600]})"));
  Expected<ImportedModel> model = import(dir.path);
  ASSERT_TRUE(model) << model.error().text();
  EXPECT_FALSE(model->generation.bos);
  EXPECT_EQ(model->generation.eos, (std::vector<int64_t>{511}));
  auto facts = (*model->module)->getAttrOfType<mlir::DictionaryAttr>(kModelAttr);
  EXPECT_EQ(facts.getAs<mlir::IntegerAttr>("bos").getInt(), -1);
}

TEST_F(ImportTest, LayersWithOtherTypesAreAnotherKind) {
  TempDir dir;
  dir.write("config.json", patched(readAll(goldenDir("v3-tiny-fp8") + "/config.json"),
                                   R"({"quantization_config":{"modules_to_not_convert":["model.layers.2"]}})"));
  Expected<ImportedModel> model = import(dir.path);
  ASSERT_TRUE(model) << model.error().text();
  EXPECT_EQ(layersOf(*model), 3u); // dense, moe, moe1
  EXPECT_TRUE(model->module->lookupSymbol("moe1.q_a"));
  EXPECT_FALSE(model->module->lookupSymbol("moe1.q_a.s"));
  unsigned calls = 0;
  model->module->walk([&](lm::CallOp) { ++calls; });
  EXPECT_EQ(calls, 4u); // layers 0 | 1 | 2 | 3
}

TEST_F(ImportTest, InnerNormEps) {
  ImportOptions options;
  options.innerNormEps = 1e-5;
  auto smallest = [](ImportedModel &model) {
    double eps = 1;
    model.module->walk([&](lm::RmsNormOp norm) { eps = std::min(eps, norm.getEps().convertToDouble()); });
    return eps;
  };
  Expected<ImportedModel> standard = import(goldenDir("moonlight-tiny")),
                          other = import(goldenDir("moonlight-tiny"), options);
  EXPECT_NEAR(smallest(*standard), 1e-6, 1e-12);
  EXPECT_NEAR(smallest(*other), 1e-5, 1e-11);
}

TEST_F(ImportTest, TiedEmbeddingsAndBiases) {
  TempDir dir;
  dir.write(
      "config.json",
      patched(readAll(goldenDir("v3-tiny-bf16") + "/config.json"),
              R"({"tie_word_embeddings":true,"attention_bias":true,"rope_interleave":false,"n_shared_experts":null})"));
  Expected<ImportedModel> model = import(dir.path);
  ASSERT_TRUE(model) << model.error().text();
  EXPECT_FALSE(model->module->lookupSymbol("head"));
  for (const char *symbol : {"moe.q_a_bias", "moe.kv_a_bias", "moe.o_bias"})
    EXPECT_TRUE(model->module->lookupSymbol(symbol)) << symbol;
  EXPECT_FALSE(model->module->lookupSymbol("moe.shared_gate"));
}

TEST_F(ImportTest, EveryLayerCountGivesTheSameProgramSize) {
  TempDir dir;
  auto operations = [&](int layers) {
    dir.write("config.json",
              patched(publishedConfig("deepseek-v3"), "{\"num_hidden_layers\":" + std::to_string(layers) + "}"));
    Expected<ImportedModel> model = import(dir.path);
    unsigned count = 0;
    model->module->walk([&](mlir::Operation *) { ++count; });
    return count;
  };
  EXPECT_EQ(operations(6), operations(61));
}

TEST_F(ImportTest, SpeedOfTheFullModel) {
  auto start = std::chrono::steady_clock::now();
  ASSERT_TRUE(import(std::string(MORAY_SOURCE_DIR) + "/test/Frontend/Inputs/deepseek-v3"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

} // namespace
