// The presets as differences: every configuration starts from one base per family.
#include "moray-make-model/Presets.h"

#include "frontend/Json.h"

#include <nlohmann/json.hpp>

namespace moray::makemodel {

using Json = nlohmann::json;
using frontend::Error;
using frontend::Expected;

namespace {

// Keys that all small models share; sizes with partial 128-blocks in both directions.
const char *const kTinyBase =
    R"({"attention_bias":false,"attention_dropout":0.0,"bos_token_id":0,"eos_token_id":1,"hidden_act":"silu",
 "hidden_size":160,"initializer_range":0.02,"intermediate_size":320,"kv_lora_rank":96,"max_position_embeddings":1280,
 "first_k_dense_replace":1,"moe_intermediate_size":144,"moe_layer_freq":1,"n_routed_experts":16,"n_shared_experts":1,
 "num_attention_heads":4,"num_experts_per_tok":4,"num_hidden_layers":4,"num_nextn_predict_layers":0,"q_lora_rank":160,
 "qk_nope_head_dim":32,"qk_rope_head_dim":16,"rms_norm_eps":1e-06,"rope_theta":10000,
 "rope_scaling":{"beta_fast":32,"beta_slow":1,
 "factor":40,"mscale":1.0,"mscale_all_dim":1.0,"original_max_position_embeddings":32,"type":"yarn"},
 "tie_word_embeddings":false,
 "torch_dtype":"bfloat16","use_cache":true,"v_head_dim":48,"vocab_size":512})";
const char *const kV3 =
    R"({"architectures":["DeepseekV3ForCausalLM"],"model_type":"deepseek_v3","scoring_func":"sigmoid",
 "topk_method":"noaux_tc","norm_topk_prob":true,"routed_scaling_factor":2.5,"n_group":4,"topk_group":2})";
const char *const kV2 =
    R"({"architectures":["DeepseekV2ForCausalLM"],"model_type":"deepseek_v2","scoring_func":"softmax",
 "topk_method":"group_limited_greedy","norm_topk_prob":false,"routed_scaling_factor":16.0,"n_group":8,"topk_group":3,
 "n_shared_experts":2,"rope_scaling":{"mscale":0.707,"mscale_all_dim":0.707}})";
const char *const kFp8 =
    R"({"activation_scheme":"dynamic","fmt":"e4m3","quant_method":"fp8","weight_block_size":[128,128]})";
// Full-size heads of all published models.
const char *const kFullHeads = R"({"kv_lora_rank":512,"qk_nope_head_dim":128,"qk_rope_head_dim":64,"v_head_dim":128,
 "rope_scaling":{"original_max_position_embeddings":4096}})";

struct Preset {
  PresetInfo info;
  bool v2, quantized, fullHeads;
  const char *difference;
};

const Preset kPresets[] = {
    {{"v3-tiny", "DeepSeek-V3 in small: FP8, q_lora, YaRN, groups, one MTP layer"},
     false,
     true,
     false,
     R"({"num_nextn_predict_layers":1})"},
    {{"v2-tiny", "DeepSeek-V2 in small: BF16, group-limited softmax router"}, true, false, false, "{}"},
    {{"v2-lite-tiny", "DeepSeek-V2-Lite in small: BF16, greedy router, no q_lora"},
     true,
     false,
     false,
     R"({"topk_method":"greedy","routed_scaling_factor":1.0,"n_group":1,"topk_group":1,"q_lora_rank":null})"},
    {{"moonlight-tiny", "Moonlight in small: BF16, no q_lora, no YaRN, eps 1e-5"},
     false,
     false,
     false,
     R"({"q_lora_rank":null,"rope_scaling":null,"rope_theta":50000.0,"n_group":1,"topk_group":1,"rms_norm_eps":1e-05,
       "routed_scaling_factor":2.446,"n_shared_experts":2})"},
    {{"kimi-tiny", "Kimi-K2 in small: FP8, full-size heads, no groups"},
     false,
     true,
     true,
     R"({"model_type":"kimi_k2","n_group":1,"topk_group":1,"rope_theta":50000.0,"routed_scaling_factor":2.827,
     "hidden_size":256,
       "num_attention_heads":2,"rope_scaling":{"factor":32.0,"beta_fast":1.0,"beta_slow":1.0}})"},
    {{"s", "the benchmark geometry: FP8, hidden 1024, 8 layers, 32 experts top-4, about 0.5 GB"},
     false,
     true,
     true,
     R"({"hidden_size":1024,"num_hidden_layers":8,"first_k_dense_replace":1,"intermediate_size":4096,
     "num_attention_heads":16,
       "q_lora_rank":384,"n_routed_experts":32,"num_experts_per_tok":4,"n_shared_experts":1,"moe_intermediate_size":512,
       "vocab_size":32768,"max_position_embeddings":16384,"n_group":4,"topk_group":2})"},
    {{"deepseek-v3", "the published geometry, 671 billion parameters: use --config-only or --sparse"},
     false,
     true,
     true,
     R"({"vocab_size":129280,"hidden_size":7168,"num_hidden_layers":61,"num_attention_heads":128,
     "intermediate_size":18432,
       "moe_intermediate_size":2048,"q_lora_rank":1536,"n_routed_experts":256,"num_experts_per_tok":8,"n_group":8,
       "topk_group":4,
       "first_k_dense_replace":3,"num_nextn_predict_layers":1,"max_position_embeddings":163840})"},
    {{"kimi-k2", "the published geometry, 1026 billion parameters: use --config-only or --sparse"},
     false,
     true,
     true,
     R"({"model_type":"kimi_k2","vocab_size":163840,"hidden_size":7168,"num_hidden_layers":61,"num_attention_heads":64,
       "intermediate_size":18432,"moe_intermediate_size":2048,"q_lora_rank":1536,"n_routed_experts":384,
       "num_experts_per_tok":8,
       "n_group":1,"topk_group":1,"routed_scaling_factor":2.827,"rope_theta":50000.0,"max_position_embeddings":131072,
       "bos_token_id":163584,"eos_token_id":163585,"rope_scaling":{"factor":32.0,"beta_fast":1.0,"beta_slow":1.0}})"},
    {{"moonlight", "the published geometry, 16 billion parameters"},
     false,
     false,
     true,
     R"({"vocab_size":163840,"hidden_size":2048,"num_hidden_layers":27,"num_attention_heads":16,
     "intermediate_size":11264,
       "moe_intermediate_size":1408,"q_lora_rank":null,"n_routed_experts":64,"num_experts_per_tok":6,
       "n_shared_experts":2,
       "n_group":1,"topk_group":1,"routed_scaling_factor":2.446,"rope_theta":50000.0,"rope_scaling":null,
       "max_position_embeddings":8192,"rms_norm_eps":1e-05,"bos_token_id":163584,"eos_token_id":163585})"},
    {{"deepseek-v2.5", "the published geometry, 236 billion parameters: use --config-only or --sparse"},
     true,
     false,
     true,
     R"({"vocab_size":102400,"hidden_size":5120,"num_hidden_layers":60,"num_attention_heads":128,
     "intermediate_size":12288,
       "moe_intermediate_size":1536,"q_lora_rank":1536,"n_routed_experts":160,"num_experts_per_tok":6,
       "max_position_embeddings":163840,"bos_token_id":100000,"eos_token_id":100001,
       "rope_scaling":{"mscale":1.0,"mscale_all_dim":1.0}})"},
    {{"deepseek-v2-lite", "the published geometry, 16 billion parameters"},
     true,
     false,
     true,
     R"({"vocab_size":102400,"hidden_size":2048,"num_hidden_layers":27,"num_attention_heads":16,
     "intermediate_size":10944,
       "moe_intermediate_size":1408,"q_lora_rank":null,"n_routed_experts":64,"num_experts_per_tok":6,
       "topk_method":"greedy",
       "routed_scaling_factor":1.0,"n_group":1,"topk_group":1,"max_position_embeddings":163840,"bos_token_id":100000,
       "eos_token_id":100001})"},
};

// RFC 7386 with our own literals: they always parse.
void merge(Json &target, const char *patch) {
  target.merge_patch(Json::parse(patch, nullptr, /*allow_exceptions=*/false));
}

} // namespace

const std::vector<PresetInfo> &presets() {
  static const std::vector<PresetInfo> list = [] {
    std::vector<PresetInfo> infos;
    for (const Preset &preset : kPresets)
      infos.push_back(preset.info);
    return infos;
  }();
  return list;
}

Expected<std::string> makeConfig(const std::string &name, const std::vector<std::string> &overrides,
                                 WeightFormat format) {
  const Preset *preset = nullptr;
  for (const Preset &candidate : kPresets)
    if (name == candidate.info.name)
      preset = &candidate;
  if (!preset)
    return Error::describe(1701, "preset", "'" + name + "'", "one of the names that --list prints", "see --list");
  Json config = Json::parse(kTinyBase, nullptr, /*allow_exceptions=*/false);
  merge(config, preset->v2 ? kV2 : kV3);
  if (preset->fullHeads)
    merge(config, kFullHeads);
  merge(config, preset->difference);
  if (format == WeightFormat::AsPreset ? preset->quantized : format != WeightFormat::Bf16)
    config["quantization_config"] = Json::parse(kFp8, nullptr, /*allow_exceptions=*/false);
  if (format == WeightFormat::Fp8PowerOfTwo)
    config["quantization_config"]["scale_fmt"] = "ue8m0";
  for (const std::string &text : overrides) {
    size_t equals = text.find('=');
    if (equals == 0 || equals == std::string::npos)
      return Error::describe(1702, "--set", "'" + text + "'", "KEY=VALUE", "for example --set hidden_size=1024");
    Expected<Json> value = frontend::parseJson(text.substr(equals + 1), "--set " + text);
    if (!value)
      return Error(1702, value.error().message());
    config[text.substr(0, equals)] = *value;
  }
  config["num_key_value_heads"] = config["num_attention_heads"];
  return config.dump(1) + "\n";
}

std::string makeGenerationConfig(const std::string &text) {
  Json config = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  Json generation = {{"do_sample", true}, {"temperature", 0.6}, {"top_p", 0.95}};
  for (const char *key : {"bos_token_id", "eos_token_id"})
    if (config.contains(key))
      generation[key] = config[key];
  return generation.dump(1) + "\n";
}

} // namespace moray::makemodel
