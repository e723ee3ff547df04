// Tests the balancing of experts: published examples, invariants on random loads, and few moves.
#include "moray-plan/balance.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <numeric>
#include <random>
#include <set>

using namespace moray::tools;

namespace {

const Loads kFirst = {90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86},
            kSecond = {20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27};

TEST(Balance, PublishedExamples) {
  const Shape shape = {8, 2, 4, 16};
  EXPECT_EQ(balance(kFirst, shape), (Slots{5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1}));
  EXPECT_EQ(balance(kSecond, shape), (Slots{7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1}));
  EXPECT_EQ(rankLoads(balance(kFirst, shape), kFirst, 8),
            (std::vector<double>{121.5, 86.5, 125, 113, 147.5, 131.5, 156, 152}));
}

TEST(Balance, GlobalWhereNodesDoNotDivideTheGroups) {
  const Slots expected = {10, 6, 10, 7, 0, 2, 11, 4, 5, 9, 5, 4, 8, 3, 1, 1};
  EXPECT_EQ(balance(kFirst, {8, 3, 4, 16}), expected);
  EXPECT_EQ(balance(kFirst, {8, 1, 1, 16}), expected);
  const std::vector<uint32_t> replicas = replicate(kFirst, 16);
  EXPECT_EQ(std::vector<uint32_t>(replicas.begin() + 12, replicas.end()), (std::vector<uint32_t>{10, 5, 1, 4}));
}

TEST(Balance, ComparesFractionsExactly) {
  // 2^48 and 2^48 - 1 are alike in single precision.
  EXPECT_EQ(replicate({kMostLoad - 1, kMostLoad}, 3).back(), 1u);
  EXPECT_EQ(replicate({kMostLoad, kMostLoad}, 3).back(), 0u);
}

struct Case {
  Shape shape;
  Loads loads;
};

Case randomCase(std::mt19937 &random) {
  const auto below = [&](uint32_t limit) { return static_cast<uint32_t>(random() % limit); };
  Case c;
  c.shape.nodes = 1 + below(4);
  c.shape.ranks = c.shape.nodes * (1 + below(5));
  c.shape.groups = 1 + below(6);
  const uint32_t experts = c.shape.groups * (1 + below(9));
  c.shape.slots = c.shape.ranks * ((experts + c.shape.ranks - 1) / c.shape.ranks + below(4));
  const uint32_t kind = below(5), limit = kind == 0 ? 1 : kind == 1 ? 3 : 1u << (1 + below(30)); // zeros, ties, spread
  for (uint32_t i = 0; i < experts; ++i)
    c.loads.push_back(below(limit));
  if (kind == 4)
    c.loads[below(experts)] = kMostLoad; // one huge expert
  return c;
}

// Replication by its definition: the load per replica of no expert exceeds, one replica ago, what any other has now.
// (The latest replica went to a largest load / count.) Compared as fractions.
void checkReplication(const Case &c, const std::map<int32_t, uint32_t> &count, const std::set<int32_t> &together) {
  for (int32_t a : together)
    for (int32_t b : together)
      if (count.at(a) > 1) {
        const auto before = static_cast<unsigned __int128>(c.loads[a]) * count.at(b);
        const auto now = static_cast<unsigned __int128>(c.loads[b]) * (count.at(a) - 1);
        ASSERT_TRUE(before >= now) << "expert " << a << " was replicated before expert " << b;
      }
}

void checkInvariants(const Case &c, const Slots &slots) {
  ASSERT_EQ(slots.size(), c.shape.slots); // so every rank has slots / ranks
  const bool hierarchical = c.shape.groups % c.shape.nodes == 0;
  const uint32_t nodes = hierarchical ? c.shape.nodes : 1;
  const auto groupSize = static_cast<int32_t>(c.loads.size() / c.shape.groups);
  std::map<int32_t, uint32_t> count;
  std::map<int32_t, std::set<size_t>> nodesOfGroup;
  std::vector<std::set<int32_t>> onNode(nodes);
  for (size_t p = 0; p < slots.size(); ++p) {
    ASSERT_GE(slots[p], 0);
    ASSERT_LT(static_cast<size_t>(slots[p]), c.loads.size());
    ++count[slots[p]];
    onNode[p * nodes / slots.size()].insert(slots[p]);
    nodesOfGroup[slots[p] / groupSize].insert(p * nodes / slots.size());
  }
  ASSERT_EQ(count.size(), c.loads.size()); // every expert has a slot
  for (const auto &[group, where] : nodesOfGroup)
    ASSERT_TRUE(nodes == 1 || where.size() == 1) << "group " << group << " is on several nodes";
  for (const std::set<int32_t> &together : onNode)
    checkReplication(c, count, together);
}

TEST(Balance, InvariantsOnRandomLoads) {
  std::mt19937 random(1);
  for (int i = 0; i < 10000 && !testing::Test::HasFatalFailure(); ++i) {
    const Case c = randomCase(random);
    SCOPED_TRACE(i);
    const Slots slots = balance(c.loads, c.shape);
    checkInvariants(c, slots);
    ASSERT_EQ(slots, balance(c.loads, c.shape));
  }
}

std::multiset<std::multiset<int32_t>> contents(const Slots &slots, size_t begin, size_t end, size_t perRank) {
  std::multiset<std::multiset<int32_t>> ranks;
  for (size_t p = begin; p < end; p += perRank)
    ranks.insert(std::multiset<int32_t>(slots.begin() + p, slots.begin() + p + perRank));
  return ranks;
}

uint32_t allMoves(const Slots &planned, const Slots &current, uint32_t ranks) {
  uint32_t moves = 0;
  for (uint32_t rank = 0; rank < ranks; ++rank)
    moves += countMoves(planned, current, ranks, rank);
  return moves;
}

// The fewest moves of any order of ranks, one node.
uint32_t fewestMoves(const Slots &planned, const Slots &current, uint32_t ranks) {
  std::vector<uint32_t> order(ranks);
  std::iota(order.begin(), order.end(), 0u);
  const size_t perRank = planned.size() / ranks;
  uint32_t least = UINT32_MAX;
  do {
    Slots slots;
    for (uint32_t rank : order)
      slots.insert(slots.end(), planned.begin() + rank * perRank, planned.begin() + (rank + 1) * perRank);
    least = std::min(least, allMoves(slots, current, ranks));
  } while (std::next_permutation(order.begin(), order.end()));
  return least;
}

TEST(Balance, MovesAsLittleAsAnyOrderOfRanks) {
  std::mt19937 random(2);
  for (int i = 0; i < 300; ++i) {
    Shape shape = {2 + static_cast<uint32_t>(random() % 4), 1, 1, 0};
    shape.slots = shape.ranks * (20 / shape.ranks + 1 + static_cast<uint32_t>(random() % 3));
    Loads before(20), after;
    for (uint64_t &load : before)
      load = random() % 1000;
    after = before;
    for (int j = 0; j < 6; ++j)
      after[random() % 20] = random() % 1000;
    const Slots current = balance(before, shape), planned = balance(after, shape),
                kept = keepPlaces(planned, current, shape);
    const size_t perRank = shape.slots / shape.ranks;
    EXPECT_EQ(contents(kept, 0, shape.slots, perRank), contents(planned, 0, shape.slots, perRank));
    EXPECT_EQ(allMoves(kept, current, shape.ranks), fewestMoves(planned, current, shape.ranks));
    EXPECT_EQ(keepPlaces(current, current, shape), current);
  }
}

TEST(Balance, NodesKeepTheirContents) {
  const Shape shape = {8, 2, 4, 16};
  const Slots current = balance(kFirst, shape), planned = balance(kSecond, shape);
  const Slots kept = keepPlaces(planned, current, shape);
  std::set<std::multiset<std::multiset<int32_t>>> a, b;
  for (size_t node : {0, 1}) {
    a.insert(contents(planned, node * 8, node * 8 + 8, 2));
    b.insert(contents(kept, node * 8, node * 8 + 8, 2));
  }
  EXPECT_EQ(a, b);
  EXPECT_LE(allMoves(kept, current, 8), allMoves(planned, current, 8));
}

} // namespace
