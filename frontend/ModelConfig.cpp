// Reads config.json of the MLA families (spec model.md 1, 2; fp8.md 3) and refuses whatever the compiler would get
// wrong.
#include "frontend/ModelConfig.h"

#include "frontend/Json.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <regex.h>

namespace moray::frontend {

using Json = nlohmann::json;

namespace {

// Bounds far above any model that keep every product of three of them inside 63 bits.
constexpr int64_t kMaxWidth = 1 << 20, kMaxCount = 1 << 16, kMaxVocab = 1 << 24, kMaxPositions = 1 << 30;

// Reads keys of one object and keeps the first error, so that a list of reads needs one check at its end.
class Reader {
public:
  Reader(const Json &object, std::string where) : object(object), where(std::move(where)) {}

  const Json *find(const char *key) const {
    const Json *value = findMember(object, key);
    return value && !value->is_null() ? value : nullptr;
  }

  // An integer in [low, high]; floats with an integral value are accepted (40.0). Without a fallback the key is
  // required.
  int64_t integer(const char *key, int64_t low, int64_t high, std::optional<int64_t> fallback = std::nullopt) {
    double value = number(key, static_cast<double>(low), static_cast<double>(high),
                          fallback ? std::optional<double>(*fallback) : std::nullopt);
    if (value != std::floor(value))
      fail(2103, key, std::to_string(value), "an integer");
    return static_cast<int64_t>(value);
  }

  double number(const char *key, double low, double high, std::optional<double> fallback = std::nullopt) {
    const Json *value = find(key);
    if (!value) {
      if (!fallback)
        fail(2103, key, "no such key", "a number: it defines the model and has no default");
      return fallback.value_or(low);
    }
    double read = value->is_number_integer() ? static_cast<double>(value->get<int64_t>())
                  : value->is_number()       ? value->get<double>()
                                             : NAN;
    if (std::isnan(read))
      fail(2103, key, value->type_name(), "a number");
    else if (read < low || read > high)
      fail(2104, key, value->dump(), "a number from " + text(low) + " to " + text(high));
    else
      return read;
    return low;
  }

  bool boolean(const char *key, bool fallback) {
    const Json *value = find(key);
    if (value && !value->is_boolean())
      fail(2103, key, value->type_name(), "true or false");
    return value && value->is_boolean() ? value->get<bool>() : fallback;
  }

  std::string string(const char *key, const std::string &fallback) {
    const Json *value = find(key);
    if (value && !value->is_string())
      fail(2103, key, value->type_name(), "a string");
    return value && value->is_string() ? value->get<std::string>() : fallback;
  }

  void fail(int code, const char *key, const std::string &found, const std::string &expected) {
    if (!first)
      first = Error::describe(code, where + ": " + key, found, expected, "correct config.json");
  }

  Status status() const { return first ? Status(*first) : Status(); }

  const Json &object;
  std::string where;

private:
  static std::string text(double value) {
    return value == std::floor(value) && std::abs(value) < 1e15 ? std::to_string(static_cast<int64_t>(value))
                                                                : std::to_string(value);
  }
  std::optional<Error> first;
};

const char *const kIgnoredKeys[] = {
    "architectures", "attention_dropout", "auto_map",    "aux_loss_alpha",       "dtype",        "ep_size",
    "head_dim",      "initializer_range", "model_type",  "num_key_value_heads",  "pad_token_id", "pretraining_tp",
    "qk_head_dim",   "seq_aux",           "torch_dtype", "transformers_version", "use_cache",    "bos_token_id",
    "eos_token_id",  "_name_or_path"};
const char *const kReadKeys[] = {"vocab_size",
                                 "hidden_size",
                                 "intermediate_size",
                                 "num_hidden_layers",
                                 "num_attention_heads",
                                 "q_lora_rank",
                                 "kv_lora_rank",
                                 "qk_nope_head_dim",
                                 "qk_rope_head_dim",
                                 "v_head_dim",
                                 "n_routed_experts",
                                 "num_local_experts",
                                 "num_experts",
                                 "num_experts_per_tok",
                                 "moe_intermediate_size",
                                 "n_shared_experts",
                                 "first_k_dense_replace",
                                 "moe_layer_freq",
                                 "scoring_func",
                                 "topk_method",
                                 "n_group",
                                 "topk_group",
                                 "norm_topk_prob",
                                 "routed_scaling_factor",
                                 "hidden_act",
                                 "rms_norm_eps",
                                 "inner_norm_eps",
                                 "rope_theta",
                                 "rope_scaling",
                                 "rope_parameters",
                                 "rope_interleave",
                                 "max_position_embeddings",
                                 "attention_bias",
                                 "tie_word_embeddings",
                                 "num_nextn_predict_layers",
                                 "quantization_config"};

void warnUnknownKeys(const Json &config, const std::string &file, Warnings &warnings) {
  for (const auto &item : config.items()) {
    bool known = false;
    for (const char *key : kIgnoredKeys)
      known |= item.key() == key;
    for (const char *key : kReadKeys)
      known |= item.key() == key;
    if (!known)
      warnings.add(file + ": unknown key '" + item.key() + "' is ignored");
  }
}

// Dispatch on model_type, then on architectures[0] (spec model.md 1).
Expected<Family> recognizeFamily(const Json &config, const std::string &file) {
  Reader reader(config, file);
  std::string type = reader.string("model_type", "");
  const Json *architectures = reader.find("architectures");
  std::string architecture;
  if (architectures && architectures->is_array() && !architectures->empty() && architectures->front().is_string())
    architecture = architectures->front().get<std::string>();
  if (Status status = reader.status(); !status)
    return status.error();
  struct Row {
    const char *type, *architecture;
    Family family;
  };
  static const Row supported[] = {{"deepseek_v3", "DeepseekV3ForCausalLM", Family::DeepseekV3},
                                  {"deepseek_v2", "DeepseekV2ForCausalLM", Family::DeepseekV2},
                                  {"kimi_k2", "", Family::KimiK2}};
  for (const Row &row : supported)
    if (type == row.type || (type.empty() && !architecture.empty() && architecture == row.architecture))
      return row.family;
  static const Row later[] = {{"deepseek_v32", "DeepseekV32ForCausalLM", {}},
                              {"deepseek", "DeepseekForCausalLM", {}},
                              {"llama", "LlamaForCausalLM", {}},
                              {"qwen2", "Qwen2ForCausalLM", {}}};
  for (const Row &row : later)
    if (type == row.type || (type.empty() && architecture == row.architecture))
      return Error::describe(2102, file + ": model_type",
                             "'" + std::string(row.type) + "', recognised but not supported yet",
                             "deepseek_v3, deepseek_v2 or kimi_k2", "use a checkpoint of a supported family");
  return Error::describe(2101, file + ": model_type", "'" + type + "' (architecture '" + architecture + "')",
                         "deepseek_v3, deepseek_v2 or kimi_k2", "this importer knows DeepSeek-class MLA models only");
}

void readSizes(Reader &in, ModelConfig &config) {
  config.vocab = in.integer("vocab_size", 1, kMaxVocab);
  config.hidden = in.integer("hidden_size", 1, kMaxWidth);
  config.intermediate = in.integer("intermediate_size", 1, kMaxWidth);
  config.layers = in.integer("num_hidden_layers", 1, 1 << 12);
  config.heads = in.integer("num_attention_heads", 1, 1 << 12);
  config.qLoraRank = in.integer("q_lora_rank", 0, kMaxWidth, 0);
  config.kvLoraRank = in.integer("kv_lora_rank", 1, kMaxWidth);
  config.nopeDim = in.integer("qk_nope_head_dim", 1, kMaxCount);
  config.ropeDim = in.integer("qk_rope_head_dim", 2, kMaxCount);
  config.valueDim = in.integer("v_head_dim", 1, kMaxCount);
  config.maxPositions = in.integer("max_position_embeddings", 1, kMaxPositions);
  config.rmsEps = in.number("rms_norm_eps", 0, 1, 1e-6);
  config.innerNormEps = in.number("inner_norm_eps", 0, 1, 1e-6);
  config.attentionBias = in.boolean("attention_bias", false);
  config.tiedEmbeddings = in.boolean("tie_word_embeddings", false);
  config.ropeInterleaved = in.boolean("rope_interleave", true);
  config.mtpLayers = in.integer("num_nextn_predict_layers", 0, 64, 0);
  if (config.ropeDim % 2 != 0)
    in.fail(2104, "qk_rope_head_dim", std::to_string(config.ropeDim), "an even number");
  std::string act = in.string("hidden_act", "silu");
  if (act != "silu")
    in.fail(2105, "hidden_act", "'" + act + "'", "silu");
}

void readRouter(Reader &in, ModelConfig &config) {
  bool v2 = config.family == Family::DeepseekV2;
  std::string scoring = in.string("scoring_func", v2 ? "softmax" : "sigmoid");
  std::string method = in.string("topk_method", v2 ? "greedy" : "noaux_tc");
  if (method == "gready") // the misspelling of DeepSeek's first release
    method = "greedy";
  if (scoring == "sigmoid" && method == "noaux_tc")
    config.router = RouterKind::SigmoidNoAuxTc;
  else if (scoring == "softmax" && method == "greedy")
    config.router = RouterKind::SoftmaxGreedy;
  else if (scoring == "softmax" && method == "group_limited_greedy")
    config.router = RouterKind::SoftmaxGroupLimited;
  else
    in.fail(2105, "scoring_func, topk_method", "'" + scoring + "' with '" + method + "'",
            "sigmoid with noaux_tc, or softmax with greedy or group_limited_greedy");
  config.groups = in.integer("n_group", 1, kMaxCount, 1);
  config.keptGroups = in.integer("topk_group", 1, kMaxCount, 1);
  if (config.router == RouterKind::SoftmaxGreedy)
    config.groups = config.keptGroups = 1; // the greedy router does not look at groups
  config.normalizeTopK = in.boolean("norm_topk_prob", !v2);
  config.routedScale = in.number("routed_scaling_factor", 0, 1e6, v2 ? 1.0 : 2.5);
  // V2 multiplies by the factor only when it does not normalise; with one expert per token it never normalises
  // (spec 4.9.4).
  if (config.expertsPerToken == 1)
    config.normalizeTopK = false;
  if (v2 && config.normalizeTopK)
    config.routedScale = 1.0;
  if (config.experts % config.groups != 0)
    in.fail(2104, "n_group", std::to_string(config.groups),
            "a divisor of the " + std::to_string(config.experts) + " experts");
  else if (config.keptGroups > config.groups)
    in.fail(2104, "topk_group", std::to_string(config.keptGroups),
            "at most n_group = " + std::to_string(config.groups));
  else if (config.expertsPerToken > config.keptGroups * (config.experts / config.groups))
    in.fail(2104, "num_experts_per_tok", std::to_string(config.expertsPerToken),
            "at most the experts of topk_group groups, " +
                std::to_string(config.keptGroups * (config.experts / config.groups)));
}

void readExperts(Reader &in, ModelConfig &config) {
  const char *name = in.find("n_routed_experts")    ? "n_routed_experts"
                     : in.find("num_local_experts") ? "num_local_experts"
                                                    : "num_experts";
  config.experts = in.integer(name, 0, kMaxCount, 0);
  if (config.experts == 0)
    return;
  config.expertsPerToken = in.integer("num_experts_per_tok", 1, kMaxCount);
  config.expertIntermediate = in.integer("moe_intermediate_size", 1, kMaxWidth);
  config.sharedExperts = in.integer("n_shared_experts", 0, kMaxCount, 0);
  config.firstDense = in.integer("first_k_dense_replace", 0, kMaxCount, config.family == Family::DeepseekV2 ? 0 : 3);
  config.moeFrequency = in.integer("moe_layer_freq", 1, kMaxCount, 1);
  readRouter(in, config);
}

Status readRope(const Json &config, const std::string &file, RopeConfig &rope) {
  Reader outer(config, file);
  rope.theta = outer.number("rope_theta", 1.0001, 1e12, 10000.0);
  const char *key = outer.find("rope_parameters") ? "rope_parameters" : "rope_scaling";
  const Json *scaling = outer.find(key);
  if (Status status = outer.status(); !status || !scaling)
    return status;
  if (!scaling->is_object())
    return jsonTypeError(file + ": " + key, scaling, "an object or null");
  Reader in(*scaling, file + ": " + key);
  rope.theta = in.number("rope_theta", 1.0001, 1e12, rope.theta);
  std::string type = in.string("type", ""), ropeType = in.string("rope_type", type.empty() ? "default" : type);
  if (!type.empty() && type != ropeType)
    in.fail(2104, "rope_type", "'" + ropeType + "' beside type '" + type + "'", "the same value in both");
  if (ropeType == "default")
    return in.status();
  rope.factor = in.number("factor", 1e-6, 1e9);
  if (ropeType == "linear") {
    rope.kind = RopeKind::Linear;
  } else if (ropeType == "yarn") {
    rope.kind = RopeKind::Yarn;
    rope.originalPositions = in.number("original_max_position_embeddings", 1, kMaxPositions);
    rope.betaFast = in.number("beta_fast", 1e-6, 1e9, 32);
    rope.betaSlow = in.number("beta_slow", 1e-6, 1e9, 1);
    rope.mscale = in.number("mscale", 0, 1e6, 0);
    rope.mscaleAllDim = in.number("mscale_all_dim", 0, 1e6, 0);
    if (in.find("attention_factor"))
      rope.attentionFactor = in.number("attention_factor", 0, 1e6);
    rope.truncate = in.boolean("truncate", true);
    // Published implementations disagree about this combination, and no released file has it (spec 4.4.3 step 6).
    if (!rope.attentionFactor && rope.mscale != 0 && rope.mscale != 1 && rope.mscaleAllDim == 0)
      in.fail(2105, "mscale", std::to_string(rope.mscale) + " without mscale_all_dim",
              "mscale_all_dim beside it, or attention_factor");
  } else if (ropeType == "llama3") {
    rope.kind = RopeKind::Llama3;
    rope.originalPositions = in.number("original_max_position_embeddings", 1, kMaxPositions);
    rope.lowFreqFactor = in.number("low_freq_factor", 1e-6, 1e9);
    rope.highFreqFactor = in.number("high_freq_factor", 1e-6, 1e9);
    if (rope.highFreqFactor <= rope.lowFreqFactor)
      in.fail(2104, "high_freq_factor", std::to_string(rope.highFreqFactor), "more than low_freq_factor");
  } else {
    in.fail(2105, "type", "'" + ropeType + "'", "default, linear, yarn or llama3");
  }
  return in.status();
}

Status readQuantization(const Json &object, const std::string &file, std::optional<QuantizationConfig> &result) {
  const Json *value = findMember(object, "quantization_config");
  if (!value || value->is_null())
    return {};
  std::string where = file + ": quantization_config";
  if (!value->is_object())
    return jsonTypeError(where, value, "an object");
  Reader in(*value, where);
  QuantizationConfig quantization;
  auto require = [&](const char *key, const std::string &fallback, const char *wanted) {
    std::string found = in.string(key, fallback);
    if (found != wanted)
      in.fail(2105, key, "'" + found + "'", std::string("'") + wanted + "'");
  };
  require("quant_method", "", "fp8");
  require("fmt", "e4m3", "e4m3");
  require("activation_scheme", "dynamic", "dynamic");
  std::string scaleFormat = in.string("scale_fmt", "");
  quantization.ue8m0 = scaleFormat == "ue8m0";
  if (!scaleFormat.empty() && scaleFormat != "ue8m0" && scaleFormat != "float" && scaleFormat != "fp32")
    in.fail(2105, "scale_fmt", "'" + scaleFormat + "'", "ue8m0, or no such key");
  const Json *block = in.find("weight_block_size");
  bool pair = block && block->is_array() && block->size() == 2;
  for (unsigned i = 0; pair && i < 2; ++i)
    pair = (*block)[i].is_number() && (*block)[i].get<double>() == 128;
  if (!pair)
    in.fail(2105, "weight_block_size", block ? block->dump() : "no such key (per-tensor FP8)", "[128, 128]");
  const char *listKey = in.find("modules_to_not_convert") ? "modules_to_not_convert" : "ignored_layers";
  if (const Json *list = in.find(listKey)) {
    bool strings = list->is_array();
    for (size_t i = 0; strings && i < list->size(); ++i)
      strings = (*list)[i].is_string();
    if (!strings)
      in.fail(2103, listKey, list->type_name(), "a list of module names");
    else
      for (const Json &name : *list)
        quantization.notConverted.push_back(name.get<std::string>());
  }
  if (Status status = in.status(); !status)
    return status;
  result = std::move(quantization);
  return {};
}

} // namespace

bool QuantizationConfig::excludes(const std::string &module) const {
  for (const std::string &entry : notConverted) {
    if (entry.rfind("re:", 0) == 0) {
      regex_t compiled;
      if (regcomp(&compiled, entry.c_str() + 3, REG_EXTENDED | REG_NOSUB) != 0)
        continue; // informative only: an expression we cannot read excludes nothing
      bool matches = regexec(&compiled, module.c_str(), 0, nullptr, 0) == 0;
      regfree(&compiled);
      if (matches)
        return true;
      continue;
    }
    std::string path = "." + module + ".", part = "." + entry + ".";
    if (path.rfind(part, 0) == 0 ||
        (path.size() >= part.size() && path.compare(path.size() - part.size(), std::string::npos, part) == 0))
      return true;
  }
  return false;
}

Expected<ModelConfig> parseModelConfig(const std::string &text, const std::string &file, Warnings &warnings) {
  Expected<Json> parsed = parseJson(text, file);
  if (!parsed)
    return parsed.error();
  if (!parsed->is_object())
    return jsonTypeError(file, &*parsed, "an object");
  ModelConfig config;
  const Json *json = &*parsed;
  std::string where = file;
  Reader outer(*json, file);
  if (outer.string("model_type", "") == "kimi_k25") { // the text core of a multimodal checkpoint is a kimi_k2
    json = outer.find("text_config");
    if (!json || !json->is_object())
      return jsonTypeError(file + ": text_config", json, "the object that describes the text model");
    where += ": text_config";
    config.tensorPrefix = "language_model.";
  }
  Expected<Family> family = recognizeFamily(*json, where);
  if (!family)
    return family.error();
  config.family = *family;
  Reader in(*json, where);
  config.modelType = in.string("model_type", config.family == Family::DeepseekV2 ? "deepseek_v2" : "deepseek_v3");
  readSizes(in, config);
  readExperts(in, config);
  if (Status status = in.status(); !status)
    return status.error();
  if (Status status = readRope(*json, where, config.rope); !status)
    return status.error();
  if (Status status = readQuantization(*json, where, config.quantization); !status)
    return status.error();
  if (!config.quantization)
    if (Status status = readQuantization(*parsed, file, config.quantization); !status)
      return status.error();
  if (in.integer("num_key_value_heads", 0, kMaxCount, config.heads) != config.heads)
    warnings.add(where +
                 ": num_key_value_heads differs from num_attention_heads; MLA has one latent for all heads, ignored");
  warnUnknownKeys(*json, where, warnings);
  return config;
}

} // namespace moray::frontend
