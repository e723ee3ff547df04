// Plans every layer, then measures balance, moves, memory and traffic.
#include "moray-plan/plan.h"
#include "common/cli.h"
#include "common/placement_file.h"
#include "common/runtime_handles.h"
#include "moray-plan/balance.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace moray::tools {

namespace {

// Beyond these, planning takes minutes: it grows with the cube of the ranks, as the matching of old and new ranks does.
constexpr uint32_t kMostRanks = 1024;
constexpr uint32_t kMostSlots = 65536; // of a layer

// Most and mean over the layers of one number per layer.
struct Spread {
  double worst = 0, sum = 0;
  uint32_t worstLayer = 0, layers = 0;
  void add(uint32_t layer, double value) {
    if (layers++ == 0 || value > worst) {
      worst = value;
      worstLayer = layer;
    }
    sum += value;
  }
  double mean() const { return sum / layers; }
};

// Per token and layer, with tokens spread evenly over the ranks. Rows go once to a rank, however many of its experts
// they need; their number assumes that a token's experts are chosen independently.
struct Traffic {
  double selectionsOffRank = 0, selectionsOffNode = 0, rowsOffRank = 0, rowsOffNode = 0;
};

struct Report {
  Shape shape;
  std::string policy;
  Spread before, after;
  uint64_t slots = 0, moves = 0, movesUnlabelled = 0, mostMovesOfRank = 0;
  Traffic traffic;
};

// max / mean of the ranks' loads; 1 where there is none.
double imbalance(const std::vector<double> &loads) {
  double most = 0, sum = 0;
  for (double load : loads) {
    most = std::max(most, load);
    sum += load;
  }
  return sum > 0 ? most * static_cast<double>(loads.size()) / sum : 1;
}

Slots defaultSlots(uint32_t experts, uint32_t ranks) {
  Slots slots((experts + ranks - 1) / ranks * ranks);
  for (size_t slot = 0; slot < slots.size(); ++slot)
    slots[slot] = static_cast<int32_t>(slot % experts);
  return slots;
}

// Adds the traffic of one home rank: as the runtime chooses replicas, on the home rank, else on its node, else
// anywhere.
void addHome(const std::vector<std::vector<uint32_t>> &ranksOf, const Loads &loads, double total, const Shape &shape,
             uint32_t home, uint32_t perToken, Traffic &traffic) {
  const uint32_t perNode = shape.ranks / shape.nodes, node = home / perNode;
  std::vector<double> toRank(shape.ranks, 0), toNode(shape.nodes, 0);
  for (size_t expert = 0; expert < loads.size(); ++expert) {
    const std::vector<uint32_t> &all = ranksOf[expert];
    const double share = static_cast<double>(loads[expert]) / total;
    if (std::binary_search(all.begin(), all.end(), home))
      continue;
    std::vector<uint32_t> near;
    std::copy_if(all.begin(), all.end(), std::back_inserter(near), [&](uint32_t r) { return r / perNode == node; });
    const std::vector<uint32_t> &from = near.empty() ? all : near;
    for (uint32_t rank : from)
      toRank[rank] += share / static_cast<double>(from.size());
  }
  for (uint32_t rank = 0; rank < shape.ranks; ++rank) {
    traffic.selectionsOffRank += perToken * toRank[rank];
    traffic.rowsOffRank += 1 - std::pow(1 - toRank[rank], perToken);
    if (rank / perNode != node)
      toNode[rank / perNode] += toRank[rank];
  }
  for (double share : toNode) {
    traffic.selectionsOffNode += perToken * share;
    traffic.rowsOffNode += 1 - std::pow(1 - share, perToken);
  }
}

void addTraffic(const Slots &slots, const Loads &loads, const Shape &shape, uint32_t perToken, double weight,
                Traffic &sum) {
  double total = 0;
  for (uint64_t load : loads)
    total += static_cast<double>(load);
  if (total == 0)
    return;
  std::vector<std::vector<uint32_t>> ranksOf(loads.size()); // ascending
  for (size_t slot = 0; slot < slots.size(); ++slot)
    ranksOf[static_cast<size_t>(slots[slot])].push_back(static_cast<uint32_t>(slot * shape.ranks / slots.size()));
  Traffic layer;
  for (uint32_t home = 0; home < shape.ranks; ++home)
    addHome(ranksOf, loads, total, shape, home, perToken, layer);
  weight /= shape.ranks;
  sum.selectionsOffRank += layer.selectionsOffRank * weight;
  sum.selectionsOffNode += layer.selectionsOffNode * weight;
  sum.rowsOffRank += layer.rowsOffRank * weight;
  sum.rowsOffNode += layer.rowsOffNode * weight;
}

int misfit(const std::string &what, const std::string &fix) { return fail("E1011", what, fix, kExitUsage); }

std::string named(uint64_t count, const char *what) { return std::to_string(count) + " " + what; }

int checkCurrent(const PlanOptions &options, const LoadsFile &loads, const PlacementFile &current) {
  if (current.experts != loads.experts || current.ranks != options.ranks)
    return misfit("'" + options.current + "' places " + named(current.experts, "experts on ") +
                      named(current.ranks, "ranks, but ") + named(loads.experts, "experts shall live on ") +
                      named(options.ranks, "ranks"),
                  "give the placement in use of the same model and ranks, or none");
  for (const auto &layer : loads.layers)
    if (!current.layers.count(layer.first))
      return misfit("'" + options.current + "' has no layer " + std::to_string(layer.first) + ", '" + options.loads +
                        "' has",
                    "give files of the same model");
  return kExitOk;
}

int chooseShape(const PlanOptions &options, const LoadsFile &loads, const PlacementFile *current, Report &report) {
  const uint32_t ranks = options.ranks, experts = loads.experts;
  uint32_t perRank = options.slotsPerRank;
  if (perRank == 0)
    perRank = current ? current->slotsPerRank() : (experts + ranks - 1) / ranks;
  if (uint64_t{perRank} * ranks < experts)
    return misfit(named(perRank, "slots on each of ") + named(ranks, "ranks are too few for ") +
                      named(experts, "experts"),
                  "give at least --slots-per-rank=" + std::to_string((experts + ranks - 1) / ranks));
  if (ranks > kMostRanks || uint64_t{perRank} * ranks > kMostSlots)
    return misfit(named(uint64_t{perRank} * ranks, "slots per layer on ") +
                      named(ranks, "ranks are too many, expected up to ") + named(kMostSlots, "slots on ") +
                      named(kMostRanks, "ranks"),
                  "choose a smaller --ranks or --slots-per-rank");
  if (ranks % options.nodes != 0)
    return misfit(named(ranks, "ranks cannot be divided equally among ") + named(options.nodes, "nodes"),
                  "choose --ranks as a multiple of --nodes");
  if (experts % options.groups != 0)
    return misfit(named(experts, "experts cannot be divided into ") + named(options.groups, "groups"),
                  "give n_group of config.json");
  const bool divides = options.groups % options.nodes == 0;
  if (options.policy == "hierarchical" && !divides)
    return misfit("the hierarchical policy cannot divide " + named(options.groups, "groups among ") +
                      named(options.nodes, "nodes"),
                  "use --policy=global, or a number of nodes that divides the groups");
  // On one node the policies differ in the order of experts alone.
  const bool global = options.policy == "global" || !divides || (options.policy == "auto" && options.nodes == 1);
  report.policy = global ? "global" : "hierarchical";
  report.shape = {ranks, options.nodes, global ? 1 : options.groups, perRank * ranks};
  return kExitOk;
}

// Plans all layers.
void planLayers(const LoadsFile &loads, const PlacementFile *current, Report &report, PlacementFile &placement) {
  const Shape &shape = report.shape;
  // What may change places: ranks of a node; under the global policy all.
  Shape policy = shape;
  if (report.policy == "global")
    policy.nodes = 1;
  std::vector<uint64_t> movesOfRank(shape.ranks, 0);
  for (const auto &[layer, layerLoads] : loads.layers) {
    const Slots before = current ? current->layers.at(layer) : defaultSlots(loads.experts, shape.ranks);
    const Slots planned = balance(layerLoads, policy);
    const Slots slots = keepPlaces(planned, before, policy);
    report.before.add(layer, imbalance(rankLoads(before, layerLoads, shape.ranks)));
    report.after.add(layer, imbalance(rankLoads(slots, layerLoads, shape.ranks)));
    report.slots += slots.size();
    for (uint32_t rank = 0; rank < shape.ranks; ++rank) {
      movesOfRank[rank] += countMoves(slots, before, shape.ranks, rank);
      report.movesUnlabelled += countMoves(planned, before, shape.ranks, rank);
    }
    addTraffic(slots, layerLoads, shape, loads.expertsPerToken, 1.0 / static_cast<double>(loads.layers.size()),
               report.traffic);
    placement.layers[layer] = slots;
  }
  for (uint64_t moves : movesOfRank) {
    report.moves += moves;
    report.mostMovesOfRank = std::max(report.mostMovesOfRank, moves);
  }
  placement.experts = loads.experts;
  placement.ranks = shape.ranks;
  placement.nodes = shape.nodes;
}

struct Bytes {
  uint64_t expert = 0, row = 0, replicated = 0; // of one expert in one layer, of a row of activations
};

int readArtifact(const std::string &path, const LoadsFile &loads, Bytes &bytes) {
  Model model;
  if (int code = loadModel(path, /*verifyWeights=*/false, model))
    return code;
  moray_model_config config;
  moray_model_query_config(model.get(), &config);
  const uint32_t layers = config.layers - config.first_expert_layer;
  if (config.experts != loads.experts || layers != loads.layers.size())
    return misfit("'" + path + "' has " + named(config.experts, "experts in ") +
                      named(layers, "layers, the loads are of ") + named(loads.experts, "experts in ") +
                      named(loads.layers.size(), "layers"),
                  "give the artifact that the loads were recorded with");
  bytes.expert = config.expert_bytes;
  bytes.row = uint64_t{2} * config.hidden;
  bytes.replicated = config.weight_bytes - config.expert_bytes * config.experts * layers;
  return kExitOk;
}

nlohmann::ordered_json describe(const Report &report, const LoadsFile &loads, const Bytes &bytes) {
  const auto spread = [](const Spread &s) {
    return nlohmann::ordered_json{{"worst", s.worst}, {"worst_layer", s.worstLayer}, {"mean", s.mean()}};
  };
  const Traffic &t = report.traffic;
  const uint64_t perRank = report.shape.slots / report.shape.ranks;
  nlohmann::ordered_json object = {
      {"schema", "moray.plan/1"},
      {"experts", loads.experts},
      {"layers", loads.layers.size()},
      {"ranks", report.shape.ranks},
      {"nodes", report.shape.nodes},
      {"slots_per_rank", perRank},
      {"policy", report.policy},
      {"max_over_mean_rank_load", {{"before", spread(report.before)}, {"after", spread(report.after)}}},
      {"moves",
       {{"slots", report.slots},
        {"moved", report.moves},
        {"moved_without_relabelling", report.movesUnlabelled},
        {"most_of_a_rank", report.mostMovesOfRank}}},
      {"per_token_and_layer",
       {{"experts_on_other_ranks", t.selectionsOffRank},
        {"experts_on_other_nodes", t.selectionsOffNode},
        {"rows_to_other_ranks", t.rowsOffRank},
        {"rows_to_other_nodes", t.rowsOffNode}}}};
  if (bytes.expert != 0) {
    const uint64_t experts = perRank * loads.layers.size() * bytes.expert;
    object["bytes"] = {{"one_expert", bytes.expert},
                       {"experts_of_a_rank", experts},
                       {"replicated_on_every_rank", bytes.replicated},
                       {"weights_of_a_rank", experts + bytes.replicated},
                       {"moved_to_a_rank_at_most", report.mostMovesOfRank * bytes.expert},
                       {"dispatch_per_token_and_layer", t.rowsOffRank * static_cast<double>(bytes.row)},
                       {"combine_per_token_and_layer", t.selectionsOffRank * static_cast<double>(bytes.row)}};
  }
  return object;
}

void printReport(const Report &report, const LoadsFile &loads, const Bytes &bytes) {
  const Shape &shape = report.shape;
  const uint32_t perRank = shape.slots / shape.ranks;
  std::printf("%u experts in %zu layers on %u ranks, %u nodes: %u slots per rank, %u replicas, %s policy\n",
              loads.experts, loads.layers.size(), shape.ranks, shape.nodes, perRank, shape.slots - loads.experts,
              report.policy.c_str());
  for (const auto &[name, spread] :
       {std::pair<const char *, const Spread &>("before", report.before), {"after", report.after}})
    std::printf("load, most / mean of the ranks, %-6s  worst %.3f (layer %u), mean %.3f\n", name, spread.worst,
                spread.worstLayer, spread.mean());
  std::printf("moves                                   %llu of %llu slots, at most %llu to one rank (%llu without "
              "relabelling)\n",
              static_cast<unsigned long long>(report.moves), static_cast<unsigned long long>(report.slots),
              static_cast<unsigned long long>(report.mostMovesOfRank),
              static_cast<unsigned long long>(report.movesUnlabelled));
  const Traffic &t = report.traffic;
  std::printf("of %u experts per token and layer        %.2f on other ranks, %.2f on other nodes\n",
              loads.expertsPerToken, t.selectionsOffRank, t.selectionsOffNode);
  std::printf("rows per token and layer                %.2f to other ranks, %.2f to other nodes\n", t.rowsOffRank,
              t.rowsOffNode);
  if (bytes.expert == 0)
    return;
  const double experts = static_cast<double>(bytes.expert) * perRank * static_cast<double>(loads.layers.size());
  std::printf("weights per rank                        %.2f MB of experts, %.2f MB replicated\n", experts / 1e6,
              static_cast<double>(bytes.replicated) / 1e6);
  std::printf("bytes per token and layer               %.0f sent to experts, %.0f returned\n",
              t.rowsOffRank * static_cast<double>(bytes.row), t.selectionsOffRank * static_cast<double>(bytes.row));
}

} // namespace

int plan(const PlanOptions &options) {
  if (options.loads.empty() || options.ranks == 0)
    return misfit(options.loads.empty() ? "no file of loads was given" : "the number of ranks was not given",
                  "moray-plan --loads FILE --ranks R; see moray-plan --help");
  LoadsFile loads;
  if (int code = readLoads(options.loads, loads))
    return code;
  PlacementFile current, placement;
  if (!options.current.empty()) {
    if (int code = readPlacement(options.current, current))
      return code;
    if (int code = checkCurrent(options, loads, current))
      return code;
  }
  const PlacementFile *inUse = options.current.empty() ? nullptr : &current;
  Report report;
  if (int code = chooseShape(options, loads, inUse, report))
    return code;
  Bytes bytes;
  if (!options.artifact.empty())
    if (int code = readArtifact(options.artifact, loads, bytes))
      return code;
  planLayers(loads, inUse, report, placement);
  if (!options.output.empty())
    if (int code = writePlacement(options.output, placement))
      return code;
  if (options.json)
    std::printf("%s\n", describe(report, loads, bytes).dump(2).c_str());
  else
    printReport(report, loads, bytes);
  return flushOut();
}

} // namespace moray::tools
