// Sizes of a deployment from config.json alone, in exact integers.
#include "moray-plan/estimate.h"
#include "common/cli.h"

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <sys/stat.h>

namespace moray::tools {

using Json = nlohmann::ordered_json;

void addEstimateFlags(CLI::App &app, EstimateOptions &options) {
  const CLI::Range count(1u, 1u << 20);
  CLI::Option *config = app.add_option("--estimate", options.config,
                                       "config.json of a model (or its folder): print experts, memory and traffic per "
                                       "rank, and with --artifact the time of a step")
                            ->excludes("--loads")
                            ->excludes("--groups")
                            ->excludes("--policy")
                            ->excludes("--current")
                            ->excludes("--output");
  const auto add = [&](const char *name, auto &value, const char *text) {
    return app.add_option(name, value, text)->needs(config);
  };
  add("--shared", options.shared, "shared experts: replicated (default) on all ranks, or routed like other experts")
      ->check(CLI::IsMember({"replicated", "routed"}));
  add("--attention-tp", options.attentionTp, "ranks that share the attention weights of a layer (default 1)")
      ->check(count);
  add("--exchange", options.exchange,
      "direct: a row goes to each rank; node-first: once to each node; auto (default): node-first for prefill")
      ->check(CLI::IsMember({"auto", "direct", "node-first"}));
  add("--combine", options.combine, "what comes back: exact (default), rank_sum or node_sum")
      ->check(CLI::IsMember({"exact", "rank_sum", "node_sum"}));
  add("--phase", options.phase, "decode (default) or prefill")->check(CLI::IsMember({"decode", "prefill"}));
  add("--rows", options.rows, "rows of a rank in one step (default 128)")->check(count);
  add("--context", options.context, "tokens in the cache of each sequence (default: 4096 or the model's maximum)")
      ->check(count);
  add("--target", options.target, "with --artifact: target to walk (default: the first one for GPUs, else the first)")
      ->needs("--artifact");
  add("--machine", options.machine, "h800 (default), h200, or a JSON file with the same fields as --json prints");
  add("--kernel-times", options.kernelTimes,
      "with --artifact: medians of `moray-bench --kernels -o json` in place of bytes and flops")
      ->needs("--artifact");
}

uint64_t ModelShape::matrix(uint64_t rows, uint64_t columns) const {
  const uint64_t blocks = (rows + 127) / 128 * ((columns + 127) / 128);
  return fp8 ? rows * columns + blocks * sizeof(float) : 2 * rows * columns;
}

namespace {

int readShape(std::string path, ModelShape &shape) {
  struct stat about = {};
  if (stat(path.c_str(), &about) == 0 && S_ISDIR(about.st_mode))
    path += "/config.json";
  std::string text;
  if (!readFile(path, text))
    return kExitUsage;
  const Json config = Json::parse(text, nullptr, false);
  std::string wrong;
  const auto number = [&](const char *name, uint64_t &value, bool needed = true) {
    const auto found = config.find(name);
    const bool there = found != config.end() && !found->is_null();
    if (there && found->is_number_unsigned() && *found < (uint64_t{1} << 32))
      value = *found;
    else if (there || needed)
      wrong = name;
  };
  if (!config.is_object())
    return fail("E1012", "'" + path + "' is no JSON object", "give the config.json of a checkpoint", kExitModel);
  number("hidden_size", shape.hidden);
  number("num_hidden_layers", shape.layers);
  number("first_k_dense_replace", shape.denseLayers);
  number("n_routed_experts", shape.experts);
  number("num_experts_per_tok", shape.expertsPerToken);
  number("n_shared_experts", shape.sharedExperts, false);
  number("n_group", shape.groups, false);
  number("topk_group", shape.groupsPerToken, false);
  number("moe_intermediate_size", shape.expertWidth);
  number("intermediate_size", shape.denseWidth);
  number("vocab_size", shape.vocab);
  number("num_attention_heads", shape.heads);
  number("q_lora_rank", shape.qRank, false);
  number("kv_lora_rank", shape.kvRank);
  number("qk_nope_head_dim", shape.nope);
  number("qk_rope_head_dim", shape.rope);
  number("v_head_dim", shape.value);
  number("max_position_embeddings", shape.maxContext, false);
  number("num_nextn_predict_layers", shape.mtpLayers, false);
  shape.tied = config.value("tie_word_embeddings", Json(false)) == true;
  const auto quantized = config.find("quantization_config");
  shape.fp8 = quantized != config.end() && quantized->is_object() && quantized->value("quant_method", Json()) == "fp8";
  if (wrong.empty() && (shape.denseLayers > shape.layers || shape.experts < shape.expertsPerToken))
    wrong = shape.denseLayers > shape.layers ? "first_k_dense_replace" : "num_experts_per_tok";
  if (!wrong.empty())
    return fail("E1012", "'" + path + "' has no usable '" + wrong + "'",
                "give the config.json of a DeepSeek-class model with experts", kExitModel);
  return kExitOk;
}

// Probability that at least one of `chosen` among `all` is one of `mine`.
double reached(double mine, double all, double chosen) {
  double none = 1;
  for (double i = 0; i < chosen; ++i)
    none *= std::max(0.0, all - mine - i) / (all - i);
  return 1 - none;
}

TokenTraffic trafficOf(const ModelShape &shape, double ranks, double nodes, double experts, double perToken) {
  const double perNode = ranks / nodes, touched = ranks * reached(experts / ranks, experts, perToken);
  TokenTraffic traffic;
  traffic.ranksOnNode = touched * (perNode - 1) / ranks;
  traffic.ranksElsewhere = touched * (ranks - perNode) / ranks;
  // Groups live on one node each: a token reaches as many nodes as it may choose groups.
  double nodesTouched = nodes * reached(experts / nodes, experts, perToken);
  if (std::fmod(static_cast<double>(shape.groups), nodes) == 0)
    nodesTouched = std::min(nodesTouched, static_cast<double>(shape.groupsPerToken));
  traffic.nodesElsewhere = nodesTouched * (nodes - 1) / nodes;
  traffic.slotsOnNode = perToken * (perNode - 1) / ranks;
  traffic.slotsElsewhere = perToken * (ranks - perNode) / ranks;
  return traffic;
}

uint64_t attentionBytes(const ModelShape &s) {
  const uint64_t head = s.nope + s.rope;
  const uint64_t q =
      s.qRank ? s.matrix(s.qRank, s.hidden) + s.matrix(s.heads * head, s.qRank) : s.matrix(s.heads * head, s.hidden);
  return q + s.matrix(s.kvRank + s.rope, s.hidden) + s.matrix(s.heads * (s.nope + s.value), s.kvRank) +
         s.matrix(s.hidden, s.heads * s.value);
}

uint64_t attentionParameters(ModelShape s) {
  s.fp8 = false;
  return attentionBytes(s) / 2;
}

Json memoryOf(const ModelShape &s, uint64_t slots, bool sharedReplicated, uint64_t attentionTp) {
  const uint64_t expert = 2 * s.matrix(s.expertWidth, s.hidden) + s.matrix(s.hidden, s.expertWidth);
  const uint64_t shared = s.sharedExperts ? 2 * s.matrix(s.sharedExperts * s.expertWidth, s.hidden) +
                                                s.matrix(s.hidden, s.sharedExperts * s.expertWidth)
                                          : 0;
  const uint64_t dense = 2 * s.matrix(s.denseWidth, s.hidden) + s.matrix(s.hidden, s.denseWidth);
  const uint64_t embedding = 2 * s.vocab * s.hidden;
  Json memory;
  memory["expert_bytes"] = expert;
  memory["slot_bytes"] = expert * s.moeLayers();
  memory["routed_bytes"] = expert * s.moeLayers() * slots;
  memory["shared_bytes"] = sharedReplicated ? shared * s.moeLayers() : 0;
  memory["attention_parameters_per_layer"] = attentionParameters(s);
  memory["attention_bytes"] = attentionBytes(s) * s.layers / attentionTp;
  memory["dense_mlp_bytes"] = dense * s.denseLayers;
  memory["router_bytes"] = 2 * s.experts * s.hidden * s.moeLayers();
  memory["embedding_bytes"] = embedding;
  memory["head_bytes"] = s.tied ? 0 : embedding;
  uint64_t total = 0;
  for (const char *part : {"routed_bytes", "shared_bytes", "attention_bytes", "dense_mlp_bytes", "router_bytes",
                           "embedding_bytes", "head_bytes"})
    total += memory[part].get<uint64_t>();
  memory["total_bytes"] = total;
  return memory;
}

void printSizes(const Json &out) {
  const Json &experts = out["experts"], &memory = out["memory_per_rank"], &token = out["bytes_per_token_and_layer"];
  const auto gb = [&](const char *name) { return memory[name].get<double>() / 1e9; };
  const auto whole = [](const Json &value) { return value.get<uint64_t>(); };
  std::printf("experts    %" PRIu64 " routed on %" PRIu64 " ranks of %" PRIu64 " nodes: %" PRIu64 " per rank, %" PRIu64
              " slots, %" PRIu64 " for replicas%s; shared expert %s\n",
              whole(experts["routed"]), whole(out["ranks"]), whole(out["nodes"]), whole(experts["per_rank"]),
              whole(experts["slots"]), whole(experts["spare_slots"]),
              experts["shared"] == "routed" ? " and the shared expert" : "",
              experts["shared"].get<std::string>().c_str());
  std::printf(
      "memory     %.2f GB per rank: routed experts %.2f (%.2f per slot), shared %.2f, attention %.2f, dense MLP "
      "%.2f, router %.2f, embedding %.2f, head %.2f\n",
      gb("total_bytes"), gb("routed_bytes"), gb("slot_bytes"), gb("shared_bytes"), gb("attention_bytes"),
      gb("dense_mlp_bytes"), gb("router_bytes"), gb("embedding_bytes"), gb("head_bytes"));
  const uint64_t cache = whole(out["cache_bytes_per_token"]);
  std::printf("cache      %" PRIu64 " bytes per token, %" PRIu64 " with MTP; %" PRIu64
              " tokens fit beside the weights\n",
              cache, cache + whole(out["mtp_cache_bytes_per_token"]), whole(out["cache_tokens_that_fit"]));
  std::printf("per token and layer, at most: dispatch %" PRIu64 " x %" PRIu64 " B, combine %" PRIu64 " x %" PRIu64
              " B; a row reaches %" PRIu64 " nodes\n",
              whole(token["most_copies"]), whole(token["dispatch_row"]), whole(token["most_copies"]),
              whole(token["combine_row"]), whole(token["most_nodes"]));
}

int misfit(const std::string &what, const std::string &fix) { return fail("E1012", what, fix, kExitUsage); }

} // namespace

int estimate(const PlanOptions &plan, EstimateOptions options) {
  ModelShape shape;
  MachineModel machine;
  if (int code = readShape(options.config, shape))
    return code;
  if (options.context == 0)
    options.context = static_cast<uint32_t>(std::clamp<uint64_t>(shape.maxContext, 1, 4096));
  if (int code = readMachine(options.machine, machine))
    return code;
  const bool replicated = options.shared == "replicated" || shape.sharedExperts == 0;
  const uint64_t ranks = plan.ranks ? plan.ranks : 1;
  const uint64_t experts = shape.experts + !replicated, perToken = shape.expertsPerToken + !replicated;
  const uint64_t perRank = plan.slotsPerRank ? plan.slotsPerRank : (experts + ranks - 1) / ranks;
  if (ranks % plan.nodes != 0)
    return misfit(std::to_string(ranks) + " ranks cannot be divided equally among " + std::to_string(plan.nodes) +
                      " nodes",
                  "choose --ranks as a multiple of --nodes");
  if (perRank * ranks < experts)
    return misfit(std::to_string(perRank * ranks) + " slots are too few for " + std::to_string(experts) + " experts",
                  "give at least --slots-per-rank=" + std::to_string((experts + ranks - 1) / ranks));
  if (ranks % options.attentionTp != 0 || shape.heads % options.attentionTp != 0)
    return misfit("attention of " + std::to_string(shape.heads) + " heads on " + std::to_string(ranks) +
                      " ranks cannot be divided equally among " + std::to_string(options.attentionTp) + " ranks",
                  "choose --attention-tp as a divisor of the heads and of --ranks");
  Json out = {{"schema", "moray.estimate/1"}, {"ranks", ranks}, {"nodes", plan.nodes}};
  out["experts"] = {{"routed", shape.experts},
                    {"per_rank", perRank},
                    {"slots", perRank * ranks},
                    {"spare_slots", perRank * ranks - shape.experts},
                    {"shared", shape.sharedExperts ? options.shared : "none"}};
  out["memory_per_rank"] = memoryOf(shape, perRank, replicated, options.attentionTp);
  const uint64_t cacheLayer = 2 * (shape.kvRank + shape.rope);
  out["cache_bytes_per_token"] = cacheLayer * shape.layers;
  out["mtp_cache_bytes_per_token"] = cacheLayer * shape.mtpLayers;
  const bool limited = shape.groups > 1 && shape.groups % plan.nodes == 0;
  out["bytes_per_token_and_layer"] = {
      {"dispatch_row", shape.fp8 ? shape.hidden + shape.hidden / 128 * sizeof(float) : 2 * shape.hidden},
      {"combine_row", 2 * shape.hidden},
      {"most_copies", std::min(perToken, ranks)},
      {"most_nodes", std::min<uint64_t>({plan.nodes, perToken, limited ? shape.groupsPerToken : perToken})}};
  const TokenTraffic traffic = trafficOf(shape, static_cast<double>(ranks), plan.nodes, static_cast<double>(experts),
                                         static_cast<double>(perToken));
  out["average_per_token_and_layer"] = {{"ranks_on_node", traffic.ranksOnNode},
                                        {"ranks_elsewhere", traffic.ranksElsewhere},
                                        {"nodes_elsewhere", traffic.nodesElsewhere}};
  out["assumptions"] = describe(machine);
  const double room = machine.memoryBytes - out["memory_per_rank"]["total_bytes"].get<double>();
  out["cache_tokens_that_fit"] =
      static_cast<uint64_t>(std::clamp(room / out["cache_bytes_per_token"].get<double>(), 0.0, 1e15));
  if (!plan.json)
    printSizes(out);
  if (!plan.artifact.empty())
    if (int code = estimateStep(plan, options, shape, machine, traffic, out))
      return code;
  if (plan.json)
    std::printf("%s\n", out.dump(2).c_str());
  return flushOut();
}

} // namespace moray::tools
