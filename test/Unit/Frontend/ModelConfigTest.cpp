// config.json of every MLA family: values, derived numbers of the specification, defaults and refusals.
#include "frontend/TensorInventory.h"
#include "test/Unit/Frontend/ConfigFiles.h"

using namespace moray::frontend;
using namespace moray::test;

namespace {

void rejects(const std::string &model, const std::string &patch, int code, const std::string &text) {
  Expected<ModelConfig> config = parsePatched(model, patch);
  ASSERT_FALSE(config) << patch << " was accepted";
  EXPECT_EQ(config.error().code(), code) << config.error().text();
  EXPECT_NE(config.error().message().find(text), std::string::npos) << config.error().text();
}

void expectNear(const std::vector<float> &got, const std::vector<double> &want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_NEAR(got[i], want[i], 2e-7 * want[i] + 1e-13) << i;
}

TEST(ModelConfig, DeepseekV3) {
  Expected<ModelConfig> config = parsePatched("deepseek-v3");
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->family, Family::DeepseekV3);
  EXPECT_EQ(config->qLoraRank, 1536);
  EXPECT_EQ(config->router, RouterKind::SigmoidNoAuxTc);
  EXPECT_TRUE(config->normalizeTopK);
  EXPECT_EQ(config->routedScale, 2.5);
  EXPECT_FALSE(config->isMoE(2));
  EXPECT_TRUE(config->isMoE(3));
  EXPECT_EQ(config->mtpLayers, 1);
  ASSERT_TRUE(config->quantization);
  EXPECT_FALSE(config->quantization->ue8m0);
  EXPECT_NEAR(config->softmaxScale(), 0.135233778861, 1e-12);
  EXPECT_EQ(config->rope.tableMultiplier(), 1.0);
  EXPECT_NEAR(config->rope.yarnM(1), 1.36888794541, 1e-11);
}

TEST(ModelConfig, YarnFrequenciesOfV3) {
  expectNear(parsePatched("deepseek-v3")->rope.inverseFrequencies(64), {1,
                                                                        .749894209,
                                                                        .562341325,
                                                                        .421696503,
                                                                        .316227766,
                                                                        .237137371,
                                                                        .177827941,
                                                                        .133352143,
                                                                        .1,
                                                                        .0749894209,
                                                                        .0562341325,
                                                                        .0390069266,
                                                                        .0268793601,
                                                                        .0183781462,
                                                                        .0124479559,
                                                                        .00833450895,
                                                                        .0055,
                                                                        .00356199749,
                                                                        .00224936530,
                                                                        .00137051364,
                                                                        7.90569415e-4,
                                                                        4.14990398e-4,
                                                                        1.77827941e-4,
                                                                        3.33380358e-5,
                                                                        2.5e-5,
                                                                        1.87473552e-5,
                                                                        1.40585331e-5,
                                                                        1.05424126e-5,
                                                                        7.90569415e-6,
                                                                        5.92843426e-6,
                                                                        4.44569853e-6,
                                                                        3.33380358e-6});
}

TEST(ModelConfig, YarnTinyAndStep) {
  RopeConfig rope;
  rope.kind = RopeKind::Yarn;
  rope.factor = 4;
  rope.originalPositions = 64;
  expectNear(rope.inverseFrequencies(8), {1, 0.0625, 0.0025, 0.00025});
  Expected<ModelConfig> kimi = parsePatched("kimi-k2");
  std::vector<float> frequencies = kimi->rope.inverseFrequencies(64);
  EXPECT_NEAR(frequencies[19], std::pow(50000.0, -38.0 / 64), 1e-8); // beta 1/1: a step between pairs 19 and 20
  EXPECT_NEAR(frequencies[20], std::pow(50000.0, -40.0 / 64) / 32, 1e-9);
}

TEST(ModelConfig, Llama3Frequencies) {
  RopeConfig rope;
  rope.kind = RopeKind::Llama3;
  rope.theta = 5e5;
  rope.factor = 8;
  rope.originalPositions = 8192;
  std::vector<float> frequencies = rope.inverseFrequencies(128);
  EXPECT_NEAR(frequencies[28], std::pow(5e5, -56.0 / 128), 1e-9);
  EXPECT_NEAR(frequencies[29], .00216657076, 2e-10);
  EXPECT_NEAR(frequencies[30], .00137189357, 2e-10);
  EXPECT_NEAR(frequencies[35], 9.55621235e-5, 5e-12);
}

TEST(ModelConfig, LinearFrequencies) {
  RopeConfig rope;
  rope.kind = RopeKind::Linear;
  rope.factor = 4;
  expectNear(rope.inverseFrequencies(4), {0.25, 0.0025});
}

TEST(ModelConfig, SoftmaxScales) {
  EXPECT_NEAR(parsePatched("deepseek-v2-lite")->softmaxScale(), 0.114721386793, 1e-12);
  EXPECT_NEAR(parsePatched("kimi-k2")->softmaxScale(), 0.130860799963, 1e-12);
  EXPECT_NEAR(parsePatched("kimi-k2", R"({"rope_scaling":{"factor":64}})")->softmaxScale(), 0.144679625803, 1e-12);
  EXPECT_NEAR(parsePatched("moonlight")->softmaxScale(), 0.0721687836487, 1e-12);
}

TEST(ModelConfig, V2RouterRules) {
  Expected<ModelConfig> v2 = parsePatched("deepseek-v2.5");
  ASSERT_TRUE(v2);
  EXPECT_EQ(v2->router, RouterKind::SoftmaxGroupLimited);
  EXPECT_FALSE(v2->normalizeTopK);
  EXPECT_EQ(v2->routedScale, 16.0);
  EXPECT_FALSE(v2->hasRouterBias());
  // V2 scales only what it does not normalise; V3 does both.
  EXPECT_EQ(parsePatched("deepseek-v2.5", R"({"norm_topk_prob":true})")->routedScale, 1.0);
  Expected<ModelConfig> lite = parsePatched("deepseek-v2-lite", R"({"topk_method":"gready"})");
  ASSERT_TRUE(lite);
  EXPECT_EQ(lite->router, RouterKind::SoftmaxGreedy);
  EXPECT_EQ(lite->qLoraRank, 0);
  Expected<ModelConfig> one = parsePatched("deepseek-v3", R"({"num_experts_per_tok":1})");
  EXPECT_FALSE(one->normalizeTopK);
  EXPECT_EQ(one->routedScale, 2.5);
}

TEST(ModelConfig, MoonlightInnerNormEps) {
  Expected<ModelConfig> config = parsePatched("moonlight");
  EXPECT_EQ(config->rmsEps, 1e-5);
  EXPECT_EQ(config->innerNormEps, 1e-6);
  EXPECT_EQ(parsePatched("moonlight", R"({"inner_norm_eps":1e-5})")->innerNormEps, 1e-5);
}

TEST(ModelConfig, DefaultsByFamily) {
  const char *absent =
      R"({"scoring_func":null,"topk_method":null,"n_group":null,"topk_group":null,"norm_topk_prob":null,
    "routed_scaling_factor":null,"first_k_dense_replace":null,"moe_layer_freq":null,"rms_norm_eps":null})";
  Expected<ModelConfig> v3 = parsePatched("deepseek-v3", absent), v2 = parsePatched("deepseek-v2.5", absent);
  ASSERT_TRUE(v3 && v2);
  EXPECT_EQ(v3->router, RouterKind::SigmoidNoAuxTc);
  EXPECT_EQ(v3->firstDense, 3);
  EXPECT_EQ(v3->routedScale, 2.5);
  EXPECT_TRUE(v3->normalizeTopK);
  EXPECT_EQ(v3->groups, 1);
  EXPECT_EQ(v2->router, RouterKind::SoftmaxGreedy);
  EXPECT_EQ(v2->firstDense, 0);
  EXPECT_EQ(v2->routedScale, 1.0);
  EXPECT_FALSE(v2->normalizeTopK);
}

TEST(ModelConfig, AliasesFloatsAndForms) {
  EXPECT_EQ(parsePatched("deepseek-v3", R"({"n_routed_experts":null,"num_local_experts":256})")->experts, 256);
  EXPECT_EQ(parsePatched("deepseek-v3", R"({"n_routed_experts":null,"num_experts":256})")->experts, 256);
  EXPECT_EQ(parsePatched("deepseek-v3", R"({"hidden_size":7168.0})")->hidden, 7168);
  EXPECT_EQ(parsePatched("deepseek-v3", R"({"q_lora_rank":0})")->qLoraRank, 0);
  EXPECT_EQ(parsePatched("deepseek-v3", R"({"model_type":null})")->family, Family::DeepseekV3);
  Expected<ModelConfig> dense = parsePatched("deepseek-v3", R"({"n_routed_experts":null})");
  EXPECT_FALSE(dense->isMoE(10));
  Expected<ModelConfig> sparse = parsePatched("deepseek-v3", R"({"moe_layer_freq":2,"first_k_dense_replace":1})");
  EXPECT_FALSE(sparse->isMoE(1));
  EXPECT_TRUE(sparse->isMoE(2));
  Expected<ModelConfig> parameters =
      parsePatched("deepseek-v3", R"({"rope_scaling":null,"rope_theta":null,"rope_parameters":{
    "rope_theta":50000,"rope_type":"yarn","factor":40,"original_max_position_embeddings":4096,"mscale":1,
    "mscale_all_dim":1}})");
  ASSERT_TRUE(parameters) << parameters.error().text();
  EXPECT_EQ(parameters->rope.theta, 50000);
  EXPECT_EQ(parameters->rope.kind, RopeKind::Yarn);
  EXPECT_EQ(parsePatched("deepseek-v3", R"({"rope_scaling":{"type":"default"}})")->rope.kind, RopeKind::Default);
}

TEST(ModelConfig, YarnMultiplier) {
  auto multiplier = [](const char *patch) { return parsePatched("deepseek-v3", patch)->rope.tableMultiplier(); };
  EXPECT_EQ(multiplier(R"({"rope_scaling":{"attention_factor":1.5}})"), 1.5);
  EXPECT_NEAR(multiplier(R"({"rope_scaling":{"mscale":null,"mscale_all_dim":null}})"), 1.36888794541, 1e-11);
  EXPECT_NEAR(multiplier(R"({"rope_scaling":{"mscale":1,"mscale_all_dim":0.707}})"), 1.36888794541 / 1.26080377741,
              2e-10);
}

TEST(ModelConfig, TextCoreOfKimiK25) {
  Warnings warnings;
  nlohmann::json outer = {{"model_type", "kimi_k25"},
                          {"text_config", nlohmann::json::parse(publishedConfig("kimi-k2"))}};
  Expected<ModelConfig> config = parseModelConfig(outer.dump(), "config.json", warnings);
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->tensorPrefix, "language_model.");
  EXPECT_EQ(config->family, Family::KimiK2);
}

TEST(ModelConfig, UnknownKeysWarn) {
  Warnings warnings;
  ASSERT_TRUE(parseModelConfig(patched(publishedConfig("deepseek-v3"), R"({"my_key":1,"num_key_value_heads":8})"),
                               "config.json", warnings));
  ASSERT_EQ(warnings.all().size(), 2u);
  EXPECT_NE(warnings.all()[0].first.find("num_key_value_heads"), std::string::npos);
  EXPECT_NE(warnings.all()[1].first.find("my_key"), std::string::npos);
}

TEST(ModelConfig, Families) {
  rejects("deepseek-v3", R"({"model_type":"glm_moe_dsa"})", 2101, "glm_moe_dsa");
  rejects("deepseek-v3", R"({"model_type":null,"architectures":["X"]})", 2101, "X");
  for (const char *later : {"llama", "qwen2", "deepseek", "deepseek_v32"})
    rejects("deepseek-v3", std::string(R"({"model_type":")") + later + "\"}", 2102, "not supported yet");
}

TEST(ModelConfig, RequiredKeys) {
  for (const char *key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim",
                          "max_position_embeddings", "num_experts_per_tok", "moe_intermediate_size"})
    rejects("deepseek-v3", std::string("{\"") + key + "\":null}", 2103, key);
  rejects("deepseek-v3", R"({"hidden_size":"7168"})", 2103, "string");
  rejects("deepseek-v3", R"({"hidden_size":7168.5})", 2103, "integer");
  rejects("deepseek-v3", R"({"attention_bias":1})", 2103, "attention_bias");
}

TEST(ModelConfig, Ranges) {
  rejects("deepseek-v3", R"({"hidden_size":0})", 2104, "hidden_size");
  rejects("deepseek-v3", R"({"hidden_size":-7168})", 2104, "hidden_size");
  rejects("deepseek-v3", R"({"num_hidden_layers":1000000000000})", 2104, "num_hidden_layers");
  rejects("deepseek-v3", R"({"qk_rope_head_dim":63})", 2104, "even");
  rejects("deepseek-v3", R"({"n_group":7})", 2104, "divisor");
  rejects("deepseek-v3", R"({"topk_group":9})", 2104, "topk_group");
  rejects("deepseek-v3", R"({"num_experts_per_tok":129})", 2104, "num_experts_per_tok");
  rejects("deepseek-v3", R"({"rope_theta":0})", 2104, "rope_theta");
  rejects("deepseek-v3", R"({"rope_scaling":{"rope_type":"linear"}})", 2104, "rope_type");
}

TEST(ModelConfig, UnsupportedVariants) {
  rejects("deepseek-v3", R"({"hidden_act":"gelu"})", 2105, "gelu");
  rejects("deepseek-v3", R"({"scoring_func":"tanh"})", 2105, "tanh");
  rejects("deepseek-v3", R"({"topk_method":"random"})", 2105, "random");
  rejects("deepseek-v3", R"({"topk_method":"greedy"})", 2105, "greedy");
  rejects("deepseek-v3", R"({"rope_scaling":{"type":"dynamic"}})", 2105, "dynamic");
  rejects("deepseek-v3", R"({"rope_scaling":{"mscale":0.707,"mscale_all_dim":null}})", 2105, "mscale_all_dim");
  rejects("deepseek-v3", R"({"rope_scaling":{"factor":null}})", 2103, "factor");
  rejects("deepseek-v3", R"({"quantization_config":{"quant_method":"awq"}})", 2105, "awq");
  rejects("deepseek-v3", R"({"quantization_config":{"fmt":"e5m2"}})", 2105, "e5m2");
  rejects("deepseek-v3", R"({"quantization_config":{"activation_scheme":"static"}})", 2105, "static");
  rejects("deepseek-v3", R"({"quantization_config":{"weight_block_size":null}})", 2105, "per-tensor");
  rejects("deepseek-v3", R"({"quantization_config":{"weight_block_size":[64,128]}})", 2105, "[64,128]");
  rejects("deepseek-v3", R"({"quantization_config":{"scale_fmt":"e4m3"}})", 2105, "scale_fmt");
}

TEST(ModelConfig, NotJson) {
  Warnings warnings;
  EXPECT_EQ(parseModelConfig("{", "config.json", warnings).error().code(), 2032);
  EXPECT_EQ(parseModelConfig("[]", "config.json", warnings).error().code(), 2037);
  EXPECT_EQ(parseModelConfig(R"({"a":1,"a":2})", "config.json", warnings).error().code(), 2033);
}

// Every key with a value of every other kind: an error or a configuration whose inventory can be formed, never a crash.
TEST(ModelConfig, SurvivesOddValues) {
  nlohmann::json config = nlohmann::json::parse(publishedConfig("deepseek-v3"));
  const char *values[] = {"null",  "true", "-1",    "0",  "1",   "3", "1e300", "9223372036854775807",
                          "\"x\"", "[]",   "[1,2]", "{}", "[[]]"};
  unsigned accepted = 0;
  for (const auto &item : config.items())
    for (const char *value : values) {
      nlohmann::json odd = config;
      odd[item.key()] = nlohmann::json::parse(value);
      Warnings warnings;
      Expected<ModelConfig> parsed = parseModelConfig(odd.dump(), "config.json", warnings);
      if (parsed && parsed->layers < 100)
        accepted += static_cast<bool>(inventoryFromConfig(*parsed));
    }
  EXPECT_GT(accepted, 0u);
}

TEST(ModelConfig, ModulesToNotConvert) {
  QuantizationConfig quantization;
  quantization.notConverted = {"lm_head", "model.layers.1", "re:experts\\.[0-3]\\."};
  EXPECT_TRUE(quantization.excludes("lm_head"));
  EXPECT_TRUE(quantization.excludes("model.layers.1.mlp.up_proj"));
  EXPECT_FALSE(quantization.excludes("model.layers.11.mlp.up_proj"));
  EXPECT_TRUE(quantization.excludes("model.layers.5.mlp.experts.2.up_proj"));
  EXPECT_FALSE(quantization.excludes("model.layers.5.mlp.experts.12.up_proj"));
}

} // namespace
