// Random worlds and the brute-force oracle of exchanges between ranks.
#include "comm_world.h"
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <set>

namespace moray::test {

namespace {

using Random = std::mt19937;

constexpr uint8_t kGarbage = 0xff; // a NaN in every type

uint32_t below(Random &random, uint32_t limit) { return static_cast<uint32_t>(random() % limit); }

ModelPlacement makeModel(Random &random, uint32_t experts, uint32_t ranks, uint32_t nodes, bool replicas) {
  ModelPlacement model;
  rt::Status status = ModelPlacement::makeDefault(experts, ranks, nodes, kWorldLayers, model);
  if (!replicas)
    return model;
  const size_t slots = size_t{(experts + ranks - 1) / ranks + 2} * ranks;
  std::vector<int32_t> tables;
  for (uint32_t layer = 0; layer < kWorldLayers; ++layer) {
    std::vector<int32_t> table(slots);
    for (size_t slot = 0; slot < slots; ++slot)
      table[slot] = slot < experts          ? static_cast<int32_t>(slot)
                    : below(random, 4) != 0 ? static_cast<int32_t>(below(random, experts))
                                            : rt::comm::kSpareSlot;
    std::shuffle(table.begin(), table.end(), random);
    tables.insert(tables.end(), table.begin(), table.end());
  }
  status = ModelPlacement::make(experts, ranks, nodes, kWorldLayers, {tables.data(), tables.size()}, model);
  return model;
}

uint32_t rowsOf(Random &random, Traffic traffic, uint32_t rank, uint32_t loaded) {
  switch (traffic) {
  case Traffic::Idle:
    return 0;
  case Traffic::MaximalSkew:
    return rank == loaded ? 13 : 0;
  case Traffic::Uneven:
    return below(random, 3) == 0 ? 0 : below(random, 19);
  default:
    return 1 + below(random, 7);
  }
}

// K distinct experts for a row; `preferred` first.
std::vector<uint32_t> choose(Random &random, const World &world, const std::vector<uint32_t> &preferred) {
  std::vector<uint32_t> others(world.experts), chosen = preferred;
  for (uint32_t expert = 0; expert < world.experts; ++expert)
    others[expert] = expert;
  std::shuffle(others.begin(), others.end(), random);
  for (uint32_t expert : others)
    if (std::find(chosen.begin(), chosen.end(), expert) == chosen.end())
      chosen.push_back(expert);
  chosen.resize(world.topK);
  return chosen;
}

std::vector<uint32_t> preferredExperts(Random &random, const World &world, Traffic traffic, uint32_t loaded) {
  if (traffic == Traffic::MaximalSkew) {
    std::vector<uint32_t> first(world.topK);
    for (uint32_t i = 0; i < world.topK; ++i)
      first[i] = i;
    return first;
  }
  if (traffic != Traffic::OneRank && traffic != Traffic::TogetherOnRank)
    return {};
  const auto experts = world.placement.expertsOn(traffic == Traffic::OneRank ? loaded : below(random, world.ranks));
  std::vector<uint32_t> here(experts.begin(), experts.end());
  std::shuffle(here.begin(), here.end(), random);
  return here;
}

Home makeHome(Random &random, const World &world, uint32_t rank, uint32_t rows, Traffic traffic, uint32_t loaded) {
  Home home;
  home.rows = rows;
  home.x.resize(size_t{rows} * world.rowBytes);
  for (uint8_t &byte : home.x)
    byte = static_cast<uint8_t>(random());
  for (uint32_t row = 0; row < rows; ++row) { // no two rows of the world are alike
    const uint32_t name[2] = {rank, row};
    memcpy(&home.x[size_t{row} * world.rowBytes], name, sizeof(name));
  }
  home.scales.resize(size_t{rows} * world.scaleBytes);
  for (uint8_t &byte : home.scales)
    byte = static_cast<uint8_t>(random());
  home.gates.resize(size_t{rows} * world.topK);
  for (float &gate : home.gates)
    gate = static_cast<float>(random() % 10000) / 7001 - 0.1f;
  std::vector<std::vector<int32_t>> byExpert(world.experts);
  for (uint32_t row = 0; row < rows; ++row)
    for (uint32_t expert : choose(random, world, preferredExperts(random, world, traffic, loaded)))
      byExpert[expert].push_back(static_cast<int32_t>(row));
  home.offsets.push_back(0);
  for (const std::vector<int32_t> &list : byExpert) {
    home.tokens.insert(home.tokens.end(), list.begin(), list.end());
    home.offsets.push_back(static_cast<int32_t>(home.tokens.size()));
  }
  return home;
}

} // namespace

World makeWorld(uint32_t seed, uint32_t ranks, uint32_t experts, uint32_t topK, Traffic traffic, bool replicas,
                uint32_t nodes, uint32_t salt, uint32_t rowBytes) {
  Random forModel(seed), random(seed + 7919 * salt);
  World world = {ranks,
                 experts,
                 topK,
                 rowBytes != 0 ? rowBytes : 8 + 4 * (seed % 5),
                 8 * ((seed + salt) % 3),
                 rowBytes != 0 ? rowBytes : 4 + 4 * (seed % 7),
                 seed % 2 == 0 ? schema::DType::BF16 : schema::DType::F32,
                 makeModel(forModel, experts, ranks, nodes, replicas),
                 static_cast<int32_t>((seed + salt) % kWorldLayers),
                 {},
                 {}};
  world.placement = world.model.layer(world.layer);
  const uint32_t loaded = below(random, ranks);
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    const uint32_t rows = rowsOf(random, traffic, rank, loaded);
    world.homes.push_back(makeHome(random, world, rank, rows, traffic, loaded));
    world.mostRows = std::max(world.mostRows, rows);
  }
  return world;
}

void applyExpert(const World &world, uint32_t expert, const uint8_t *row, uint8_t *out) {
  const uint32_t size = world.type == schema::DType::F32 ? 4 : 2;
  for (uint32_t i = 0; i < world.resultBytes / size; ++i) {
    const auto byte =
        static_cast<uint8_t>(row[i % world.rowBytes] * 31 + row[(i * 7 + expert) % world.rowBytes] + expert);
    const float value = static_cast<float>(byte) / 32 - 4;
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof(bits));
    bits >>= size == 2 ? 16 : 0; // nothing is lost
    memcpy(out + size_t{i} * size, &bits, size);
  }
}

std::vector<Received> expectedSlots(const World &world, uint32_t rank) {
  std::vector<Received> slots;
  for (uint32_t expert = 0; expert < world.experts; ++expert)
    for (uint32_t source = 0; source < world.ranks; ++source) {
      const Home &home = world.homes[source];
      for (int32_t slot = home.offsets[expert]; slot < home.offsets[expert + 1]; ++slot) {
        const auto token = static_cast<uint32_t>(home.tokens[static_cast<size_t>(slot)]);
        if (world.placement.rankFor(expert, source, token) == rank)
          slots.push_back({expert, source, token});
      }
    }
  return slots;
}

std::string checkReceived(const World &world, uint32_t rank, const std::vector<uint8_t> &xr,
                          const std::vector<uint8_t> &scalesR, const std::vector<int32_t> &tokensR,
                          const std::vector<int32_t> &offsetsR) {
  const std::vector<Received> slots = expectedSlots(world, rank);
  std::vector<int32_t> offsets(world.experts + 1, 0);
  std::vector<std::pair<uint32_t, uint32_t>> rows; // (source, token), each once, ascending
  for (const Received &slot : slots) {
    for (uint32_t expert = slot.expert; expert < world.experts; ++expert)
      ++offsets[expert + 1];
    rows.push_back({slot.source, slot.token});
  }
  if (offsets != offsetsR)
    return "offsets of rank " + std::to_string(rank);
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  for (size_t i = 0; i < slots.size(); ++i) {
    const std::pair<uint32_t, uint32_t> row = {slots[i].source, slots[i].token};
    const auto at = std::lower_bound(rows.begin(), rows.end(), row) - rows.begin();
    if (tokensR[i] != at)
      return "token " + std::to_string(i) + " of rank " + std::to_string(rank);
    if (memcmp(&xr[static_cast<size_t>(at) * world.rowBytes],
               &world.homes[row.first].x[size_t{row.second} * world.rowBytes], world.rowBytes) != 0)
      return "row " + std::to_string(at) + " of rank " + std::to_string(rank);
    const size_t bytes = world.scaleBytes;
    const uint8_t *scales = world.homes[row.first].scales.data() + row.second * bytes;
    if (!std::equal(scales, scales + bytes, scalesR.data() + static_cast<size_t>(at) * bytes))
      return "scales of row " + std::to_string(at) + " of rank " + std::to_string(rank);
  }
  for (size_t at = rows.size() * world.rowBytes; at < xr.size(); ++at)
    if (xr[at] != kGarbage)
      return "byte " + std::to_string(at) + " behind the rows of rank " + std::to_string(rank);
  return "";
}

std::vector<uint8_t> computeExperts(const World &world, const std::vector<uint8_t> &xr,
                                    const std::vector<int32_t> &tokensR, const std::vector<int32_t> &offsetsR) {
  std::vector<uint8_t> results(static_cast<size_t>(offsetsR.back()) * world.resultBytes);
  for (uint32_t expert = 0; expert < world.experts; ++expert)
    for (auto slot = static_cast<size_t>(offsetsR[expert]); slot < static_cast<size_t>(offsetsR[expert + 1]); ++slot)
      applyExpert(world, expert, &xr[static_cast<size_t>(tokensR[slot]) * world.rowBytes],
                  &results[slot * world.resultBytes]);
  return results;
}

// ---- what has to come back ----

static float numberAt(const World &world, const uint8_t *row, size_t i) {
  const size_t size = world.type == schema::DType::F32 ? 4 : 2;
  uint32_t bits = 0;
  memcpy(&bits, row + i * size, size);
  bits <<= size == 2 ? 16 : 0;
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

// The nearest number of the type; of two as near the one with an even last bit.
static float nearest(const World &world, float value) {
  if (world.type == schema::DType::F32 || value == 0)
    return value;
  int exponent = 0;
  const double fraction = std::frexp(static_cast<double>(value), &exponent); // 8 bits: the hidden one and 7
  return static_cast<float>(std::ldexp(std::nearbyint(std::ldexp(fraction, 8)), exponent - 8));
}

static void storeAt(const World &world, float value, uint8_t *row, size_t i) {
  const size_t size = world.type == schema::DType::F32 ? 4 : 2;
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  bits >>= size == 2 ? 16 : 0;
  memcpy(row + i * size, &bits, size);
}

namespace {

// A row's own slots, by ascending expert.
struct OwnSlot {
  uint32_t expert, rank, node;
  size_t slot;
};

std::vector<OwnSlot> slotsOf(const World &world, uint32_t home, uint32_t row) {
  const Home &h = world.homes[home];
  const uint32_t perNode = world.ranks / world.model.nodes();
  std::vector<OwnSlot> slots;
  for (uint32_t expert = 0; expert < world.experts; ++expert)
    for (auto slot = static_cast<size_t>(h.offsets[expert]); slot < static_cast<size_t>(h.offsets[expert + 1]); ++slot)
      if (h.tokens[slot] == static_cast<int32_t>(row)) {
        const uint32_t rank = world.placement.rankFor(expert, home, row);
        slots.push_back({expert, rank, rank / perNode, slot});
      }
  return slots;
}

// The sums of one row, element i: by rank, or by node.
std::vector<float> sumsOf(const World &world, const std::vector<OwnSlot> &slots, const float *gates,
                          const std::vector<uint8_t> &results, size_t i, CombineMode mode) {
  std::map<uint32_t, float> byRank, byNode;
  std::map<uint32_t, uint32_t> nodeOf;
  for (size_t k = 0; k < slots.size(); ++k) {
    const float product = gates[k] * numberAt(world, &results[slots[k].slot * world.resultBytes], i);
    const auto [sum, first] = byRank.insert({slots[k].rank, product});
    if (!first)
      sum->second += product;
    nodeOf[slots[k].rank] = slots[k].node;
  }
  for (auto &[rank, sum] : byRank) {
    sum = nearest(world, sum);
    const auto [total, first] = byNode.insert({nodeOf[rank], sum});
    if (!first)
      total->second += sum;
  }
  std::vector<float> sums;
  for (const auto &[place, sum] : mode == CombineMode::RankSum ? byRank : byNode)
    sums.push_back(nearest(world, sum));
  return sums;
}

} // namespace

Combined expectedResults(const World &world, uint32_t rank, CombineMode mode) {
  const Home &home = world.homes[rank];
  const std::vector<uint8_t> results = computeExperts(world, home.x, home.tokens, home.offsets);
  if (mode == CombineMode::Exact)
    return {results, home.gates};
  Combined combined = {std::vector<uint8_t>(results.size(), 0), std::vector<float>(home.gates.size(), 0)};
  for (uint32_t row = 0; row < home.rows; ++row) {
    const std::vector<OwnSlot> slots = slotsOf(world, rank, row);
    const float *gates = &home.gates[size_t{row} * world.topK];
    for (size_t i = 0; i < world.resultBytes / (world.type == schema::DType::F32 ? 4 : 2); ++i) {
      const std::vector<float> sums = sumsOf(world, slots, gates, results, i, mode);
      for (size_t k = 0; k < sums.size(); ++k) {
        storeAt(world, sums[k], &combined.e[slots[k].slot * world.resultBytes], i);
        combined.gates[size_t{row} * world.topK + k] = 1;
      }
    }
  }
  return combined;
}

uint64_t expectedCopiesBetweenNodes(const World &world, uint32_t rank) {
  std::set<std::pair<uint32_t, uint32_t>> copies;
  for (uint32_t row = 0; row < world.homes[rank].rows; ++row)
    for (const OwnSlot &slot : slotsOf(world, rank, row))
      if (slot.node != rank / (world.ranks / world.model.nodes()))
        copies.insert({row, slot.node});
  return copies.size();
}

// What the kernel behind combine makes of it, against sums in double.
static std::string checkTotals(const World &world, uint32_t rank, const std::vector<uint8_t> &e,
                               const std::vector<float> &gates) {
  const Combined exact = expectedResults(world, rank, CombineMode::Exact);
  const double relative = world.type == schema::DType::F32 ? 1e-6 : 1e-2;
  for (uint32_t row = 0; row < world.homes[rank].rows; ++row) {
    const std::vector<OwnSlot> slots = slotsOf(world, rank, row);
    for (size_t i = 0; i < world.resultBytes / (world.type == schema::DType::F32 ? 4 : 2); ++i) {
      double total = 0, expected = 0, size = 0;
      for (size_t k = 0; k < slots.size(); ++k) {
        const size_t gate = size_t{row} * world.topK + k, at = slots[k].slot * world.resultBytes;
        const double term = double{exact.gates[gate]} * numberAt(world, &exact.e[at], i);
        total += double{gates[gate]} * numberAt(world, &e[at], i);
        expected += term;
        size += std::fabs(term);
      }
      if (std::fabs(total - expected) > relative * size)
        return "row " + std::to_string(row) + " of rank " + std::to_string(rank) + " is " + std::to_string(total) +
               ", expected " + std::to_string(expected);
    }
  }
  return "";
}

// ---- running ----

LayerRun::LayerRun(const World &world, Communicator &communicator, uint32_t batch, CombineMode mode)
    : world(world), home(world.homes[communicator.rank()]), communicator(communicator), batch(batch), mode(mode) {
  const size_t rows = size_t{world.ranks} * world.mostRows + 1, slots = rows * world.topK;
  xr.assign(rows * world.rowBytes, kGarbage);
  scalesR.assign(rows * world.scaleBytes, kGarbage);
  er.assign(slots * world.resultBytes, kGarbage);
  e.assign((home.tokens.size() + 1) * world.resultBytes, kGarbage);
  tokensR.assign(slots, -1);
  offsetsR.assign(world.experts + 1, -1);
  gatesOut.assign(home.gates.size() + 1, -1);
}

std::string LayerRun::start() {
  rt::Status status;
  if (phase++ == 0) {
    rt::comm::DispatchArgs args;
    args.layer = world.layer;
    args.rowBytes = world.rowBytes;
    args.x = home.x.data();
    args.rows = home.rows;
    args.tokens = home.tokens.data();
    args.offsets = home.offsets.data();
    args.xr = xr.data();
    args.xrRows = xr.size() / world.rowBytes;
    args.tokensR = tokensR.data();
    args.tokensRCount = tokensR.size();
    args.offsetsR = offsetsR.data();
    args.gates = home.gates.data() ? home.gates.data() : gatesOut.data();
    args.scaleBytes = world.scaleBytes;
    args.scales = home.scales.data();
    args.scalesR = scalesR.data();
    status = communicator.startDispatch(batch, args);
  } else {
    rt::comm::CombineArgs args;
    args.layer = world.layer;
    args.rowBytes = world.resultBytes;
    args.er = er.data();
    args.erRows = er.size() / world.resultBytes;
    args.e = e.data();
    args.eRows = home.tokens.size();
    args.type = world.type;
    args.gatesOut = gatesOut.data();
    status = communicator.startCombine(batch, args);
  }
  return status.ok() ? "" : moray_status_message(status.get());
}

std::string LayerRun::finish() {
  if (rt::Status status = communicator.wait(batch); !status.ok())
    return moray_status_message(status.get());
  const uint32_t rank = communicator.rank();
  if (phase++ == 1) {
    if (std::string wrong = checkReceived(world, rank, xr, scalesR, tokensR, offsetsR); !wrong.empty())
      return wrong;
    const std::vector<uint8_t> results = computeExperts(world, xr, tokensR, offsetsR);
    std::copy(results.begin(), results.end(), er.begin());
    return "";
  }
  Combined expected = expectedResults(world, rank, mode);
  if (std::string wrong = checkTotals(world, rank, e, gatesOut); !wrong.empty())
    return wrong;
  expected.e.resize(e.size(), kGarbage);
  expected.gates.push_back(-1);
  return e == expected.e && gatesOut == expected.gates ? "" : "results of rank " + std::to_string(rank);
}

std::string runLayer(const World &world, Communicator &communicator, CombineMode mode) {
  LayerRun run(world, communicator, 0, mode);
  while (!run.done()) {
    std::string wrong = run.start();
    if (wrong.empty())
      wrong = run.finish();
    if (!wrong.empty())
      return wrong;
  }
  return "";
}

std::vector<World> conformanceWorlds(uint32_t ranks, uint32_t nodes) {
  std::vector<World> worlds;
  for (uint32_t seed = 0; seed < 4; ++seed)
    for (int traffic = 0; traffic < kTraffics; ++traffic)
      worlds.push_back(makeWorld(seed, ranks, 11, 3 + seed, static_cast<Traffic>(traffic), seed % 2 == 1, nodes));
  return worlds;
}

std::string runWorlds(const std::vector<World> &worlds, Communicator &communicator, CombineMode mode) {
  for (size_t i = 0; i < worlds.size(); ++i) {
    const World &world = worlds[i];
    const uint64_t before = communicator.counters().rowsBetweenNodes;
    communicator.beginStep(i);
    std::string wrong;
    if (rt::Status status = communicator.setPlacement(world.model); !status.ok())
      wrong = moray_status_message(status.get());
    LayerRun run(world, communicator, 0, mode);
    wrong += wrong.empty() ? run.start() : "";
    wrong += wrong.empty() ? run.finish() : "";
    if (wrong.empty() &&
        communicator.counters().rowsBetweenNodes - before != expectedCopiesBetweenNodes(world, communicator.rank()))
      wrong = "copies between nodes";
    wrong += wrong.empty() ? run.start() : "";
    wrong += wrong.empty() ? run.finish() : "";
    if (!wrong.empty())
      return wrong + " in world " + std::to_string(i);
  }
  return "";
}

std::string runInterleaved(const World &first, const World &second, Communicator &communicator, CombineMode mode,
                           uint32_t seed, uint32_t ownSeed) {
  Random shared(seed), own(ownSeed);
  const World *const worlds[] = {&first, &second};
  std::unique_ptr<LayerRun> runs[2];
  std::string wrong;
  for (int i = 0; i < 40 && wrong.empty(); ++i) {
    const uint32_t batch = below(shared, 2);
    std::unique_ptr<LayerRun> &run = runs[batch];
    if (run && run->started())
      wrong = run->finish();
    if (!run || run->done())
      run = std::make_unique<LayerRun>(*worlds[batch], communicator, batch, mode);
    wrong += wrong.empty() ? run->start() : "";
    for (uint32_t move = below(own, 4); move != 0 && wrong.empty(); --move)
      if (rt::Status status = communicator.progress(); !status.ok())
        wrong = moray_status_message(status.get());
    std::unique_ptr<LayerRun> &other = runs[below(own, 2)];
    if (wrong.empty() && other && other->started() && below(own, 3) == 0)
      wrong = other->finish();
  }
  for (std::unique_ptr<LayerRun> &run : runs)
    while (wrong.empty() && run && !run->done())
      wrong = run->started() ? run->finish() : run->start();
  return wrong;
}

} // namespace moray::test
