// Random worlds and the brute-force oracle of exchanges between ranks.
#include "comm_world.h"
#include <algorithm>
#include <cstring>
#include <random>

namespace moray::test {

namespace {

using Random = std::mt19937;

uint32_t below(Random &random, uint32_t limit) { return static_cast<uint32_t>(random() % limit); }

Placement makePlacement(Random &random, uint32_t experts, uint32_t ranks, bool replicas) {
  Placement placement;
  rt::Status status = Placement::makeDefault(experts, ranks, placement);
  if (!replicas)
    return placement;
  const uint32_t perRank = (experts + ranks - 1) / ranks + 2;
  std::vector<int32_t> table(perRank * ranks, rt::comm::kSpareSlot);
  for (size_t slot = 0; slot < table.size(); ++slot)
    table[slot] = slot < experts          ? static_cast<int32_t>(slot)
                  : below(random, 4) != 0 ? static_cast<int32_t>(below(random, experts))
                                          : rt::comm::kSpareSlot;
  std::shuffle(table.begin(), table.end(), random);
  status = Placement::make(experts, ranks, {table.data(), table.size()}, placement);
  return placement;
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

World makeWorld(uint32_t seed, uint32_t ranks, uint32_t experts, uint32_t topK, Traffic traffic, bool replicas) {
  Random random(seed);
  World world = {ranks, experts, topK, 8 + 4 * (seed % 5), 4 + 2 * (seed % 7), {}, {}};
  world.placement = makePlacement(random, experts, ranks, replicas);
  const uint32_t loaded = below(random, ranks);
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    const uint32_t rows = rowsOf(random, traffic, rank, loaded);
    world.homes.push_back(makeHome(random, world, rank, rows, traffic, loaded));
    world.mostRows = std::max(world.mostRows, rows);
  }
  return world;
}

void applyExpert(const World &world, uint32_t expert, const uint8_t *row, uint8_t *out) {
  for (uint32_t i = 0; i < world.resultBytes; ++i)
    out[i] = static_cast<uint8_t>(row[i % world.rowBytes] * 31 + row[(i * 7 + expert) % world.rowBytes] + expert + i);
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
                          const std::vector<int32_t> &tokensR, const std::vector<int32_t> &offsetsR) {
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
  }
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

std::vector<uint8_t> expectedResults(const World &world, uint32_t rank) {
  const Home &home = world.homes[rank];
  return computeExperts(world, home.x, home.tokens, home.offsets);
}

std::string runLayer(const World &world, Communicator &communicator, int32_t layer) {
  const uint32_t rank = communicator.rank();
  const Home &home = world.homes[rank];
  std::vector<uint8_t> xr(size_t{world.ranks} * world.mostRows * world.rowBytes);
  std::vector<int32_t> tokensR(size_t{world.ranks} * world.mostRows * world.topK), offsetsR(world.experts + 1, -1);
  rt::comm::DispatchArgs args;
  args.layer = layer;
  args.rowBytes = world.rowBytes;
  args.x = home.x.data();
  args.rows = home.rows;
  args.tokens = home.tokens.data();
  args.offsets = home.offsets.data();
  args.xr = xr.data();
  args.xrRows = world.ranks * world.mostRows;
  args.tokensR = tokensR.data();
  args.tokensRCount = tokensR.size();
  args.offsetsR = offsetsR.data();
  if (rt::Status status = communicator.dispatch(args); !status.ok())
    return moray_status_message(status.get());
  if (std::string wrong = checkReceived(world, rank, xr, tokensR, offsetsR); !wrong.empty())
    return wrong;
  const std::vector<uint8_t> results = computeExperts(world, xr, tokensR, offsetsR),
                             expected = expectedResults(world, rank);
  std::vector<uint8_t> e(expected.size());
  rt::comm::CombineArgs back;
  back.layer = layer;
  back.rowBytes = world.resultBytes;
  back.er = results.data();
  back.erRows = results.size() / world.resultBytes;
  back.e = e.data();
  back.eRows = home.tokens.size();
  if (rt::Status status = communicator.combine(back); !status.ok())
    return moray_status_message(status.get());
  return e == expected ? "" : "results of rank " + std::to_string(rank);
}

std::vector<World> conformanceWorlds(uint32_t ranks) {
  std::vector<World> worlds;
  for (uint32_t seed = 0; seed < 3; ++seed)
    for (int traffic = 0; traffic < kTraffics; ++traffic)
      worlds.push_back(makeWorld(seed, ranks, 11, 3, static_cast<Traffic>(traffic), false));
  return worlds;
}

} // namespace moray::test
