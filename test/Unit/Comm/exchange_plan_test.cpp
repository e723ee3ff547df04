// Placement and exchange plans, in worlds of 1 to 64 ranks simulated in one process.
#include "comm_world.h"
#include "runtime/comm/exchange_plan.h"
#include "runtime/comm/exchange_table.h"
#include "runtime/schema/exchange_abi.h"
#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>

namespace moray::test {

using namespace rt::comm;

static std::string messageOf(const rt::Status &status) { return moray_status_message(status.get()); }

#define EXPECT_CODE(status, code, text)                                                                                \
  do {                                                                                                                 \
    const std::string message = messageOf(status);                                                                     \
    EXPECT_NE(message.find("error[" code "]"), std::string::npos) << message;                                          \
    EXPECT_NE(message.find(text), std::string::npos) << message;                                                       \
  } while (0)

TEST(PlacementTest, DefaultPutsExpertsInOrderAndFillsSpareSlots) {
  Placement placement;
  ASSERT_TRUE(Placement::makeDefault(384, 48, placement).ok());
  EXPECT_EQ(placement.slots(), 384u);
  EXPECT_EQ(placement.rankFor(383, 0, 0), 47u);
  ASSERT_TRUE(Placement::makeDefault(5, 4, placement).ok()); // 2 slots per rank: 0 1 | 2 3 | 4 0 | 1 2
  const rt::Span<const int32_t> slots = placement.slotExperts();
  EXPECT_EQ(std::vector<int32_t>(slots.begin(), slots.end()), (std::vector<int32_t>{0, 1, 2, 3, 4, 0, 1, 2}));
  EXPECT_EQ(placement.rankFor(4, 3, 9), 2u);
  EXPECT_EQ(placement.rankFor(2, 3, 0), 3u);
  EXPECT_EQ(placement.expertsOn(3).size(), 2u);
}

TEST(PlacementTest, ReplicasOfTheHomeNodeComeBeforeOthers) {
  const int32_t table[] = {0, 1, 0, 2, 2, 0, 3, 2}; // a slot per rank, two ranks per node
  Placement placement;
  ASSERT_TRUE(Placement::make(4, 8, {table, 8}, placement, 4).ok());
  EXPECT_EQ(placement.rankFor(0, 1, 0), 0u); // node 0
  EXPECT_EQ(placement.rankFor(0, 3, 1), 2u); // node 1
  EXPECT_EQ(placement.rankFor(0, 4, 1), 5u); // node 2
  EXPECT_EQ(placement.rankFor(0, 6, 0), 0u); // none on node 3: (6 + 0) mod 3
  EXPECT_EQ(placement.rankFor(0, 6, 1), 2u);
  EXPECT_EQ(placement.candidates(2, 0).size(), 3u);
  EXPECT_CODE(Placement::make(4, 8, {table, 8}, placement, 3), "E5112", "8 ranks on 3 nodes");
}

TEST(PlacementTest, TableForGpusSaysTheSame) {
  const int32_t slots[] = {0, 1, 0, 2, 2, 0, 3, 2};
  Placement placement;
  ASSERT_TRUE(Placement::make(4, 8, {slots, 8}, placement, 4).ok());
  int32_t same = 0;
  for (uint32_t home = 0; home < 8; ++home) {
    std::vector<int32_t> table;
    fillExchangeTable(placement, home, table);
    EXPECT_LE(4 * table.size(), moray_exchange_table_bytes(4, 8));
    EXPECT_EQ(home == 0 ? same = table[0] : table[0], same);
    const int32_t *first = &table[MORAY_TABLE_FIRST], *ranks = &table[moray_exchange_table_ranks(4)];
    for (uint32_t expert = 0; expert < 4; ++expert) {
      const int32_t count = first[expert + 1] - first[expert];
      for (uint32_t row = 0; row < 6; ++row)
        EXPECT_EQ(ranks[first[expert] + static_cast<int32_t>(home + row) % count],
                  static_cast<int32_t>(placement.rankFor(expert, home, row)));
      EXPECT_EQ(table[moray_exchange_table_resident(4) + expert], expert == static_cast<uint32_t>(slots[home]));
    }
  }
}

TEST(PlacementTest, EveryLayerOfAModelHasItsOwn) {
  const int32_t tables[] = {0, 1, 2, 0, 2, 1, 0, 2}, doubled[] = {0, 1, 2, 0, 2, 1, 1, 2};
  ModelPlacement placement, other;
  ASSERT_TRUE(ModelPlacement::make(3, 2, 1, 2, {tables, 8}, placement).ok());
  EXPECT_EQ(placement.layer(0).rankFor(2, 0, 0), 1u);
  EXPECT_EQ(placement.layer(1).rankFor(2, 0, 0), 0u);
  EXPECT_EQ(&placement.layer(-1), &placement.layer(0));
  EXPECT_EQ(placement.slotsPerRank(), 2u);
  EXPECT_CODE(ModelPlacement::make(3, 2, 1, 2, {doubled, 8}, other), "E5112",
              "of layer 1 has no slot for expert 0 while expert 1 has slots 1 and 2");
  EXPECT_CODE(ModelPlacement::make(3, 2, 1, 3, {tables, 8}, other), "E5112", "8 slots in 3 layers");
  ASSERT_TRUE(ModelPlacement::makeDefault(3, 2, 1, 2, other).ok());
  EXPECT_EQ(other.layers(), 2u);
  EXPECT_NE(placement.hash(), other.hash());
}

TEST(PlacementTest, ReplicasAreChosenAtHomeFirstThenInTurn) {
  const int32_t table[] = {0, 1, 0, 2, 2, 0, 0, kSpareSlot}; // expert 0 on ranks 0, 1, 2 and 3
  Placement placement;
  ASSERT_TRUE(Placement::make(3, 4, {table, 8}, placement).ok());
  for (uint32_t home = 0; home < 4; ++home)
    EXPECT_EQ(placement.rankFor(0, home, 5), home);
  EXPECT_EQ(placement.rankFor(2, 0, 0), 1u);
  EXPECT_EQ(placement.rankFor(2, 0, 1), 2u);
  EXPECT_EQ(placement.rankFor(2, 3, 0), 2u);
  const int32_t twice[] = {1, 1, 0, kSpareSlot}; // two slots on one rank are one expert there
  ASSERT_TRUE(Placement::make(2, 2, {twice, 4}, placement).ok());
  EXPECT_EQ(placement.expertsOn(0).size(), 1u);
}

TEST(PlacementTest, RefusesTablesThatMissOrInventExperts) {
  Placement placement, other;
  const int32_t missing[] = {0, 0, 2, 2}, unknown[] = {0, 1, 2, 3}, negative[] = {0, 1, 2, -2};
  EXPECT_CODE(Placement::make(3, 2, {missing, 4}, placement), "E5112", "no slot for expert 1");
  EXPECT_CODE(Placement::make(3, 2, {unknown, 4}, placement), "E5112", "slot 3 of the placement holds expert 3");
  EXPECT_CODE(Placement::make(3, 2, {negative, 4}, placement), "E5112", "holds expert -2");
  EXPECT_CODE(Placement::make(3, 3, {missing, 4}, placement), "E5112", "a multiple of the ranks");
  EXPECT_CODE(Placement::makeDefault(0, 2, placement), "E5112", "at least 1");
  EXPECT_EQ(moray_status_exit_code(Placement::makeDefault(0, 2, placement).get()), 2);
  ASSERT_TRUE(Placement::makeDefault(6, 2, placement).ok() && Placement::makeDefault(6, 3, other).ok());
  EXPECT_NE(placement.hash(), other.hash());
}

namespace {

// All ranks of a world by plain functions; bytes go from plan to plan.
struct Simulation {
  explicit Simulation(const World &world)
      : world(world), sends(world.ranks), receives(world.ranks), xr(world.ranks), results(world.ranks) {}

  std::string dispatch() {
    for (uint32_t home = 0; home < world.ranks; ++home) {
      const Home &h = world.homes[home];
      if (rt::Status s =
              planSend(world.placement, home, h.rows, h.tokens.data(), h.offsets.data(), nullptr, sends[home]);
          !s.ok())
        return messageOf(s);
    }
    for (uint32_t rank = 0; rank < world.ranks; ++rank)
      if (std::string wrong = receiveAt(rank); !wrong.empty())
        return wrong;
    return "";
  }

  std::string combine() {
    std::vector<std::vector<uint8_t>> back(world.ranks), own(world.ranks);
    for (uint32_t rank = 0; rank < world.ranks; ++rank) {
      back[rank].resize(results[rank].size());
      own[rank].resize(world.homes[rank].tokens.size() * world.resultBytes);
      std::vector<uint8_t *> out;
      for (uint32_t home = 0; home < world.ranks; ++home)
        out.push_back(back[rank].data() + receives[rank].slotBegin[home] * world.resultBytes);
      packResults(world.placement, rank, results[rank].data(), world.resultBytes, receives[rank], sends[rank],
                  out.data(), own[rank].data());
    }
    for (uint32_t home = 0; home < world.ranks; ++home) {
      const std::vector<uint8_t> expected = expectedResults(world, home, CombineMode::Exact).e;
      std::vector<uint8_t> &e = own[home];
      for (uint32_t rank = 0; rank < world.ranks; ++rank)
        if (rank != home)
          unpackResults(sends[home], rank, back[rank].data() + receives[rank].slotBegin[home] * world.resultBytes,
                        world.resultBytes, e.data());
      if (e != expected)
        return "results of rank " + std::to_string(home);
    }
    return "";
  }

private:
  // As they arrive with the rows.
  std::vector<uint8_t> scalesFor(uint32_t rank) const {
    std::vector<uint8_t> scales;
    for (uint32_t home = 0; home < world.ranks && world.scaleBytes != 0; ++home)
      for (uint64_t i = sends[home].rowBegin[rank]; i < sends[home].rowBegin[rank + 1]; ++i) {
        const uint8_t *from = &world.homes[home].scales[size_t{sends[home].rows[i]} * world.scaleBytes];
        scales.insert(scales.end(), from, from + world.scaleBytes);
      }
    return scales;
  }
  std::string receiveAt(uint32_t rank) {
    ReceivePlan &plan = receives[rank];
    std::vector<uint64_t> rowsFrom;
    std::vector<int32_t> slotRows;
    for (const SendPlan &send : sends) {
      rowsFrom.push_back(send.rowBegin[rank + 1] - send.rowBegin[rank]);
      plan.counts.insert(plan.counts.end(), send.counts.begin() + send.countBegin[rank],
                         send.counts.begin() + send.countBegin[rank + 1]);
      slotRows.insert(slotRows.end(), send.slotRows.begin() + static_cast<ptrdiff_t>(send.slotBegin[rank]),
                      send.slotRows.begin() + static_cast<ptrdiff_t>(send.slotBegin[rank + 1]));
    }
    const Capacity capacity = {uint64_t{world.ranks} * world.mostRows,
                               uint64_t{world.ranks} * world.mostRows * world.topK};
    if (rt::Status s = planReceive(world.placement, rank, {rowsFrom.data(), rowsFrom.size()}, capacity, plan); !s.ok())
      return messageOf(s);
    xr[rank].resize(plan.rowBegin[world.ranks] * world.rowBytes);
    for (uint32_t home = 0; home < world.ranks; ++home)
      packRows({sends[home].rows.data() + sends[home].rowBegin[rank], rowsFrom[home]}, world.homes[home].x.data(),
               world.rowBytes, xr[rank].data() + plan.rowBegin[home] * world.rowBytes);
    std::vector<int32_t> tokensR(plan.slotBegin[world.ranks]), offsetsR(world.experts + 1, -1);
    if (rt::Status s = mergeSlots(world.placement, rank, slotRows.data(), plan, tokensR.data(), offsetsR.data());
        !s.ok())
      return messageOf(s);
    if (std::string wrong = checkReceived(world, rank, xr[rank], scalesFor(rank), tokensR, offsetsR); !wrong.empty())
      return wrong;
    results[rank] = computeExperts(world, xr[rank], tokensR, offsetsR);
    return "";
  }

  const World &world;
  std::vector<SendPlan> sends;
  std::vector<ReceivePlan> receives;
  std::vector<std::vector<uint8_t>> xr, results;
};

} // namespace

TEST(ExchangePlanTest, EveryWorldGivesTheResultsOfOneRank) {
  uint32_t seed = 0, worlds = 0;
  for (uint32_t ranks : {1u, 2u, 3u, 4u, 5u, 7u, 8u, 16u, 20u, 33u, 48u, 64u})
    for (uint32_t experts : {4u, 8u, 13u, 64u, 160u})
      for (int traffic = 0; traffic < kTraffics; ++traffic)
        for (bool replicas : {false, true}) {
          const uint32_t topK = 1 + seed % std::min(experts, 9u);
          const World world = makeWorld(++seed, ranks, experts, topK, static_cast<Traffic>(traffic), replicas);
          Simulation simulation(world);
          ASSERT_EQ(simulation.dispatch(), "") << ranks << " ranks, " << experts << " experts, traffic " << traffic;
          ASSERT_EQ(simulation.combine(), "") << ranks << " ranks, " << experts << " experts, traffic " << traffic;
          ++worlds;
        }
  EXPECT_EQ(worlds, 720u);
}

TEST(ExchangePlanTest, RowsGoOnceToARankHoweverManyOfItsExpertsTheyNeed) {
  // Vector A of the routing specification: experts 7, 2 and 6 of 8 on 4 ranks.
  Placement placement;
  ASSERT_TRUE(Placement::makeDefault(8, 4, placement).ok());
  const int32_t tokens[] = {0, 0, 0}, offsets[] = {0, 0, 0, 1, 1, 1, 1, 2, 3};
  SendPlan plan;
  ASSERT_TRUE(planSend(placement, 0, 1, tokens, offsets, nullptr, plan).ok());
  EXPECT_EQ(plan.rows.size(), 2u);
  EXPECT_EQ(plan.slotBegin, (std::vector<uint64_t>{0, 0, 1, 1, 3}));
  EXPECT_EQ(plan.homeSlots, (std::vector<uint32_t>{0, 1, 2}));
}

TEST(ExchangePlanTest, RefusesSlotsThatBreakTheContract) {
  Placement placement;
  SendPlan plan;
  ASSERT_TRUE(Placement::makeDefault(2, 2, placement).ok());
  const int32_t good[] = {0, 1}, high[] = {0, 2}, low[] = {-1, 0};
  const int32_t offsets[] = {0, 1, 2}, late[] = {1, 1, 2}, falling[] = {0, 2, 1};
  EXPECT_TRUE(planSend(placement, 0, 2, good, offsets, nullptr, plan).ok());
  EXPECT_CODE(planSend(placement, 0, 2, high, offsets, nullptr, plan), "E5013", "slot 1 is of row 2");
  EXPECT_CODE(planSend(placement, 0, 2, low, offsets, nullptr, plan), "E5013", "slot 0 is of row -1");
  EXPECT_CODE(planSend(placement, 0, 2, good, late, nullptr, plan), "E5013", "begin at 1");
  EXPECT_CODE(planSend(placement, 0, 2, good, falling, nullptr, plan), "E5013", "expert 1 end at 1");
  const float gates[] = {1, 1};
  const int32_t twice[] = {0, 0};
  EXPECT_TRUE(planSend(placement, 0, 2, good, offsets, gates, plan).ok());
  EXPECT_CODE(planSend(placement, 0, 2, twice, offsets, gates, plan), "E5013",
              "2 slots are not spread evenly over 2 rows");
  EXPECT_CODE(planSend(placement, 0, 3, good, offsets, gates, plan), "E5013",
              "2 slots are not spread evenly over 3 rows");
}

TEST(ExchangePlanTest, RefusesCountsThatCannotBeTrueOrDoNotFit) {
  Placement placement;
  ASSERT_TRUE(Placement::makeDefault(4, 2, placement).ok());
  ReceivePlan plan;
  const auto receive = [&](std::vector<uint32_t> counts, std::vector<uint64_t> rows, Capacity capacity) {
    plan.counts = std::move(counts);
    return planReceive(placement, 1, {rows.data(), rows.size()}, capacity, plan);
  };
  EXPECT_TRUE(receive({1, 2, 0, 3}, {2, 3}, {5, 6}).ok());
  EXPECT_CODE(receive({1, 2, 0, 3}, {2, 3}, {4, 6}), "E5013", "5 rows in 6 slots");
  EXPECT_CODE(receive({1, 2, 0, 3}, {2, 3}, {5, 5}), "E5013", "more than the buffers");
  EXPECT_CODE(receive({1, 2, 0, 3}, {4, 3}, {9, 9}), "E5113", "rank 0 announces 4 rows for 3 slots");
  EXPECT_CODE(receive({0, 0, 0, 3}, {0, 0}, {9, 9}), "E5113", "rank 1 announces 0 rows");
  EXPECT_CODE(receive({UINT32_MAX, UINT32_MAX, 1, 0}, {1, 1}, {9, 9}), "E5013", "more than the buffers");
  EXPECT_CODE(receive({1, 0, UINT32_MAX, 0}, {1, UINT64_MAX}, {9, 9}), "E5113", "rank 1 announces");
  EXPECT_CODE(receive({INT32_MAX, 0, 1, 0}, {1, 1}, {9, UINT64_MAX}), "E5013", "32 bits");
  ASSERT_TRUE(receive({1, 2, 0, 3}, {2, 3}, {5, 6}).ok());
  const int32_t rows[] = {0, 1, 2, 0, 1, 2};
  int32_t tokens[6], offsets[5];
  EXPECT_CODE(mergeSlots(placement, 1, rows, plan, tokens, offsets), "E5113", "rank 0 sent a slot of its row 2");
}

} // namespace moray::test
