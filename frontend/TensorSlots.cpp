// Lists the tensors of a model by structure (spec model.md 3.1); knows nothing of files.
#include "frontend/TensorInventory.h"

namespace moray::frontend {

namespace {

// Collects the slots of one layer or of the model.
class SlotList {
public:
  explicit SlotList(std::string prefix) : prefix(std::move(prefix)) {}

  void add(const char *id, const std::string &name, std::vector<uint64_t> shape, TensorRole role = TensorRole::Plain,
           uint64_t experts = 0) {
    slots.push_back({id, prefix + name, std::move(shape), role, experts, false});
  }
  void linear(const char *id, const std::string &name, uint64_t out, uint64_t in, uint64_t experts = 0) {
    add(id, name, {out, in}, TensorRole::Linear, experts);
  }
  // gate, up and down of one SwiGLU MLP; their ids are gate, up, down between `before` and `after`.
  void mlp(const std::string &before, const std::string &after, const std::string &name, uint64_t width,
           uint64_t hidden, uint64_t experts = 0) {
    linear((before + "gate" + after).c_str(), name + "gate_proj.weight", width, hidden, experts);
    linear((before + "up" + after).c_str(), name + "up_proj.weight", width, hidden, experts);
    linear((before + "down" + after).c_str(), name + "down_proj.weight", hidden, width, experts);
  }

  std::vector<TensorSlot> slots;

private:
  std::string prefix;
};

void addAttention(const ModelConfig &config, SlotList &list) {
  const uint64_t hidden = config.hidden, q = config.qLoraRank, queries = config.heads * config.qkDim();
  const std::string attn = "self_attn.";
  if (q > 0) {
    list.linear("q_a", attn + "q_a_proj.weight", q, hidden);
    if (config.attentionBias)
      list.add("q_a_bias", attn + "q_a_proj.bias", {q}, TensorRole::Bias);
    list.add("q_a_norm", attn + "q_a_layernorm.weight", {q});
    list.linear("q_b", attn + "q_b_proj.weight", queries, q);
  } else {
    list.linear("q", attn + "q_proj.weight", queries, hidden);
  }
  const uint64_t latent = config.kvLoraRank, cache = config.cacheWidth();
  list.linear("kv_a", attn + "kv_a_proj_with_mqa.weight", cache, hidden);
  if (config.attentionBias)
    list.add("kv_a_bias", attn + "kv_a_proj_with_mqa.bias", {cache}, TensorRole::Bias);
  list.add("kv_a_norm", attn + "kv_a_layernorm.weight", {latent});
  list.linear("kv_b", attn + "kv_b_proj.weight", config.heads * (config.nopeDim + config.valueDim), latent);
  list.linear("o", attn + "o_proj.weight", hidden, config.heads * config.valueDim);
  if (config.attentionBias)
    list.add("o_bias", attn + "o_proj.bias", {hidden}, TensorRole::Bias);
}

void addFeedForward(const ModelConfig &config, int64_t layer, SlotList &list) {
  const uint64_t hidden = config.hidden, experts = config.experts;
  if (!config.isMoE(layer)) {
    list.mlp("", "", "mlp.", config.intermediate, hidden);
    return;
  }
  list.add("router", "mlp.gate.weight", {experts, hidden});
  if (config.hasRouterBias())
    list.add("router_bias", "mlp.gate.e_score_correction_bias", {experts}, TensorRole::RouterBias);
  list.mlp("", "_e", "mlp.experts.{e}.", config.expertIntermediate, hidden, experts);
  if (config.sharedExperts > 0)
    list.mlp("shared_", "", "mlp.shared_experts.", config.sharedExperts * config.expertIntermediate, hidden);
}

} // namespace

std::vector<TensorSlot> modelSlots(const ModelConfig &config) {
  const uint64_t vocab = config.vocab, hidden = config.hidden;
  SlotList list(config.tensorPrefix);
  list.add("embed", "model.embed_tokens.weight", {vocab, hidden});
  list.add("norm", "model.norm.weight", {hidden});
  if (!config.tiedEmbeddings)
    list.add("head", "lm_head.weight", {vocab, hidden});
  return std::move(list.slots);
}

std::vector<TensorSlot> layerSlots(const ModelConfig &config, int64_t layer) {
  const uint64_t hidden = config.hidden;
  SlotList list(config.tensorPrefix + "model.layers.{l}.");
  list.add("in_norm", "input_layernorm.weight", {hidden});
  addAttention(config, list);
  list.add("post_norm", "post_attention_layernorm.weight", {hidden});
  addFeedForward(config, layer, list);
  return std::move(list.slots);
}

std::vector<TensorSlot> mtpSlots(const ModelConfig &config, int64_t layer) {
  const uint64_t vocab = config.vocab, hidden = config.hidden;
  SlotList list(config.tensorPrefix + "model.layers.{l}.");
  list.add("mtp_embed_norm", "enorm.weight", {hidden});
  list.add("mtp_hidden_norm", "hnorm.weight", {hidden});
  list.add("mtp_project", "eh_proj.weight", {hidden, 2 * hidden});
  list.add("mtp_norm", "shared_head.norm.weight", {hidden});
  list.add("mtp_embed", "embed_tokens.weight", {vocab, hidden});
  list.add("mtp_head", "shared_head.head.weight", {vocab, hidden});
  list.slots[list.slots.size() - 2].optional = list.slots.back().optional = true;
  std::vector<TensorSlot> slots = layerSlots(config, layer);
  slots.insert(slots.end(), list.slots.begin(), list.slots.end());
  return slots;
}

std::string tensorName(const std::string &nameTemplate, int64_t layer, int64_t expert) {
  std::string name = nameTemplate;
  for (auto [key, value] : {std::pair{"{l}", layer}, std::pair{"{e}", expert}})
    if (size_t at = name.find(key); at != std::string::npos)
      name.replace(at, 3, std::to_string(value));
  return name;
}

} // namespace moray::frontend
