//===- ExchangeTest.cpp - dispatch and combine between GPUs ---------------------------===//
// Worlds of simulated ranks in one process; copying blocks between buffers is the wire. What arrives must be what the
// brute-force oracle of the communicators expects. Everything beyond the live counts is garbage and must stay so.

#include "../Comm/comm_world.h"
#include "GpuRunner.h"
#include "exchange_abi.h"
#include "runtime/comm/exchange_table.h"
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>

using namespace moray::codegen;
using namespace moray::test;
using moray::rt::comm::fillExchangeTable;

namespace {
using Bytes = std::vector<uint8_t>;
constexpr uint8_t kGarbage = 0xFF; // NaN as float, -1 as index
constexpr uint32_t kLayer = 7, kStep[2] = {0x89abcdef, 3};

template <typename T> Bytes bytesOf(const T *values, size_t count, size_t capacity) {
  Bytes bytes(capacity * sizeof(T), kGarbage);
  if (count)
    std::memcpy(bytes.data(), values, count * sizeof(T));
  return bytes;
}
template <typename T> std::vector<T> valuesOf(const Bytes &bytes, size_t begin, size_t count) {
  std::vector<T> values(count);
  if (count)
    std::memcpy(values.data(), bytes.data() + begin * sizeof(T), count * sizeof(T));
  return values;
}
int32_t wordOf(const Bytes &bytes, size_t index) { return valuesOf<int32_t>(bytes, index, 1)[0]; }
void setWord(Bytes &bytes, size_t index, int32_t value) { std::memcpy(&bytes[4 * index], &value, 4); }

/// The kernels, compiled once.
std::unique_ptr<GpuRunner> gpu;

class GpuExchange : public testing::Test {
protected:
  static void SetUpTestSuite() {
    std::vector<KernelSpec> specs;
    for (const auto &kernel : exchangeKernels())
      specs.push_back(kernel.second);
    gpu = std::make_unique<GpuRunner>(specs, *findGpuTarget("cuda:sm_80"));
  }
  static void TearDownTestSuite() { gpu.reset(); }
};

/// All memory of one rank.
struct Rank {
  moray_exchange_params params;
  moray_exchange_step step;
  uint32_t rows = 0, fault = 0;
  Bytes table, loads, handle, tokens, offsets, x, scales, gates;
  Bytes sendMeta, recvMeta, sendRows, xr, sendScales, scalesR, tokensR, offsetsR;
  Bytes er, sendResults, recvResults, e, gatesOut;
};

/// A world and its ranks, and the kernels in the order of exchangeKernels().
class Exchange {
public:
  /// `slack`: rows beyond the most live ones, in every buffer.
  Exchange(const World &world, uint32_t scaleBytes, uint32_t slack);

  void plan(Rank &rank, unsigned grid) {
    run(0, rank, grid,
        {memory(rank.params), memory(rank.step), memory(rank.tokens), memory(rank.offsets), memory(rank.table),
         memory(rank.loads), memory(rank.handle), memory(rank.sendMeta), memory(rank.recvMeta)});
  }
  void pack(Rank &rank) {
    run(1, rank, moray_exchange_grid(uint64_t(world.ranks) * mostRows),
        {memory(rank.params), memory(rank.step), memory(rank.handle), memory(rank.x), memory(rank.scales),
         memory(rank.sendRows), memory(rank.sendScales), memory(rank.xr), memory(rank.scalesR)});
  }
  void check(Rank &rank) {
    run(2, rank, world.ranks,
        {memory(rank.params), memory(rank.step), memory(rank.table), memory(rank.recvMeta), memory(rank.handle)});
  }
  void merge(Rank &rank) {
    run(3, rank, world.experts,
        {memory(rank.params), memory(rank.step), memory(rank.recvMeta), memory(rank.handle), memory(rank.tokensR),
         memory(rank.offsetsR)});
  }
  void giveBack(Rank &rank) {
    run(4, rank, moray_exchange_grid(world.ranks * slots),
        {memory(rank.params), memory(rank.step), memory(rank.handle), memory(rank.er), memory(rank.sendResults),
         memory(rank.recvResults)});
  }
  void finish(Rank &rank) {
    run(5, rank, moray_exchange_grid(uint64_t(mostRows) * world.topK),
        {memory(rank.params), memory(rank.step), memory(rank.handle), memory(rank.recvResults), memory(rank.gates),
         memory(rank.e), memory(rank.gatesOut)});
  }
  void wire(Bytes Rank::*from, Bytes Rank::*to, uint64_t block) {
    for (size_t source = 0; source < ranks.size(); ++source)
      for (size_t destination = 0; block && destination < ranks.size(); ++destination)
        if (source != destination)
          std::memcpy(&(ranks[destination].*to)[source * block], &(ranks[source].*from)[destination * block], block);
  }
  void dispatch();
  void combine();

  const World &world;
  const uint32_t mostRows;
  uint64_t slots = 0, metaBytes = 0;
  std::vector<Rank> ranks;

private:
  template <typename T> static Memory memory(T &value) { return {&value, sizeof value}; }
  static Memory memory(Bytes &bytes) { return {bytes.data(), bytes.size()}; }
  void fill(Rank &rank, uint32_t number, uint32_t scaleBytes);
  void run(size_t kernel, Rank &rank, unsigned grid, const std::vector<Memory> &operands) {
    rank.fault |= gpu->run(kernel, operands, {}, {int32_t(rank.rows), 0, 0, 0}, kLayer, grid);
  }
};

Exchange::Exchange(const World &world, uint32_t scaleBytes, uint32_t slack)
    : world(world), mostRows(world.mostRows + slack), ranks(world.ranks) {
  for (uint32_t number = 0; number < world.ranks; ++number)
    fill(ranks[number], number, scaleBytes);
}

void Exchange::fill(Rank &rank, uint32_t number, uint32_t scaleBytes) {
  const Home &home = world.homes[number];
  rank.params = {int32_t(number),
                 int32_t(world.ranks),
                 int32_t(world.experts),
                 int32_t(world.topK),
                 int32_t(world.placement.slotsPerRank()),
                 int32_t(world.rowBytes),
                 int32_t(scaleBytes),
                 int32_t(world.resultBytes)};
  rank.step = {kStep[0], kStep[1], int32_t(mostRows), 0};
  rank.rows = home.rows;
  slots = moray_exchange_slots(&rank.params, mostRows);
  metaBytes = moray_exchange_meta_bytes(&rank.params, mostRows);
  std::vector<int32_t> table;
  fillExchangeTable(world.placement, number, table);
  ASSERT_LE(4 * table.size(), moray_exchange_table_bytes(world.experts, world.placement.slots()));
  rank.table = bytesOf(table.data(), table.size(), table.size());
  rank.loads = Bytes(8 * world.experts, 1);
  const size_t pairs = size_t(mostRows) * world.topK;
  rank.tokens = bytesOf(home.tokens.data(), home.tokens.size(), pairs);
  rank.offsets = bytesOf(home.offsets.data(), home.offsets.size(), home.offsets.size());
  rank.x = bytesOf(home.x.data(), home.x.size(), size_t(mostRows) * world.rowBytes);
  std::vector<uint32_t> noise(pairs + home.rows * scaleBytes);
  for (size_t i = 0; i < noise.size(); ++i)
    noise[i] = uint32_t(i + 1) * 2654435761u ^ number;
  rank.scales = bytesOf(reinterpret_cast<uint8_t *>(noise.data()), home.rows * scaleBytes, mostRows * scaleBytes);
  rank.gates = bytesOf(noise.data(), home.rows * world.topK, pairs);

  const auto garbage = [&](uint64_t block) { return Bytes(block * world.ranks, kGarbage); };
  rank.handle = Bytes(moray_exchange_handle_bytes(&rank.params, mostRows), kGarbage);
  rank.sendMeta = rank.recvMeta = garbage(metaBytes);
  rank.sendRows = rank.xr = garbage(moray_exchange_rows_bytes(&rank.params, mostRows));
  rank.sendScales = rank.scalesR = garbage(moray_exchange_scales_bytes(&rank.params, mostRows));
  rank.er = rank.sendResults = rank.recvResults = garbage(moray_exchange_results_bytes(&rank.params, mostRows));
  rank.tokensR = garbage(4 * slots);
  rank.offsetsR = Bytes(4 * (world.experts + 1), kGarbage);
  rank.e = Bytes(pairs * world.resultBytes, kGarbage);
  rank.gatesOut = Bytes(4 * pairs, kGarbage);
}

void Exchange::dispatch() {
  for (Rank &rank : ranks) {
    plan(rank, world.ranks);
    pack(rank);
  }
  wire(&Rank::sendMeta, &Rank::recvMeta, metaBytes);
  wire(&Rank::sendRows, &Rank::xr, moray_exchange_rows_bytes(&ranks[0].params, mostRows));
  wire(&Rank::sendScales, &Rank::scalesR, moray_exchange_scales_bytes(&ranks[0].params, mostRows));
  for (Rank &rank : ranks) {
    check(rank);
    merge(rank);
  }
}

void Exchange::combine() {
  for (Rank &rank : ranks)
    giveBack(rank);
  wire(&Rank::sendResults, &Rank::recvResults, moray_exchange_results_bytes(&ranks[0].params, mostRows));
  for (Rank &rank : ranks)
    finish(rank);
}

/// Whether all of bytes [begin, end) are garbage.
bool untouched(const Bytes &bytes, size_t begin, size_t end) {
  return std::all_of(bytes.begin() + begin, bytes.begin() + end, [](uint8_t byte) { return byte == kGarbage; });
}

/// What a rank received, without the gaps between sources.
struct Compact {
  Bytes xr;
  std::vector<int32_t> tokens, offsets;
};

/// Checks gaps, scales and counts on the way.
Compact compact(const Exchange &exchange, const Rank &rank) {
  Compact result;
  const World &world = exchange.world;
  const size_t rowBytes = world.rowBytes, scaleBytes = rank.params.scale_bytes, most = exchange.mostRows;
  std::vector<int32_t> begin;
  for (uint32_t source = 0; source < world.ranks; ++source) {
    const uint8_t *block = rank.xr.data() + source * most * rowBytes;
    const size_t rows = wordOf(rank.recvMeta, source * exchange.metaBytes / 4 + MORAY_META_ROWS);
    begin.push_back(int32_t(result.xr.size() / rowBytes));
    result.xr.insert(result.xr.end(), block, block + rows * rowBytes);
    EXPECT_TRUE(untouched(rank.xr, (source * most + rows) * rowBytes, (source + 1) * most * rowBytes));
    EXPECT_TRUE(untouched(rank.scalesR, (source * most + rows) * scaleBytes, (source + 1) * most * scaleBytes));
    for (size_t i = 0; i < rows; ++i) {
      uint32_t name[2]; // home and row, at the begin of each row
      std::memcpy(name, block + i * rowBytes, sizeof name);
      const Rank &home = exchange.ranks.at(name[0]);
      EXPECT_EQ(0, std::memcmp(&rank.scalesR.data()[(source * most + i) * scaleBytes],
                               home.scales.data() + name[1] * scaleBytes, scaleBytes));
    }
  }
  result.offsets = valuesOf<int32_t>(rank.offsetsR, 0, world.experts + 1);
  const auto received = size_t(result.offsets.back());
  EXPECT_EQ(result.offsets.back(), wordOf(rank.handle, MORAY_HANDLE_RECEIVED));
  for (int32_t token : valuesOf<int32_t>(rank.tokensR, 0, received))
    result.tokens.push_back(begin.at(token / most) + int32_t(token % most));
  EXPECT_TRUE(untouched(rank.tokensR, 4 * received, rank.tokensR.size()));
  return result;
}

void checkHome(const Exchange &exchange, uint32_t number) {
  const World &world = exchange.world;
  const Home &home = world.homes[number];
  const Rank &rank = exchange.ranks[number];
  const Bytes expected = expectedResults(world, number, CombineMode::Exact).e;
  EXPECT_EQ(0, std::memcmp(expected.data(), rank.e.data(), expected.size()));
  EXPECT_TRUE(untouched(rank.e, expected.size(), rank.e.size()));
  const size_t gates = size_t(home.rows) * world.topK * 4;
  EXPECT_EQ(0, std::memcmp(rank.gates.data(), rank.gatesOut.data(), gates));
  EXPECT_TRUE(untouched(rank.gatesOut, gates, rank.gatesOut.size()));
  std::vector<uint64_t> loads = valuesOf<uint64_t>(rank.loads, 0, world.experts);
  for (uint32_t expert = 0; expert < world.experts; ++expert)
    EXPECT_EQ(0x0101010101010101u + uint64_t(home.offsets[expert + 1] - home.offsets[expert]), loads[expert]);
  // What is not sent to anybody.
  const size_t own = number * exchange.metaBytes;
  EXPECT_TRUE(untouched(rank.sendMeta, own, own + exchange.metaBytes));
}

void runWorld(World world, uint32_t scaleBytes, uint32_t slack) {
  world.scaleBytes = 0; // compact compares those of this test
  Exchange exchange(world, scaleBytes, slack);
  exchange.dispatch();
  for (uint32_t number = 0; number < world.ranks; ++number) {
    Rank &rank = exchange.ranks[number];
    const Compact received = compact(exchange, rank);
    EXPECT_EQ("", checkReceived(world, number, received.xr, {}, received.tokens, received.offsets));
    const Bytes results = computeExperts(world, received.xr, received.tokens, received.offsets);
    ASSERT_LE(results.size(), rank.er.size());
    std::copy(results.begin(), results.end(), rank.er.begin());
  }
  exchange.combine();
  for (uint32_t number = 0; number < world.ranks; ++number) {
    checkHome(exchange, number);
    EXPECT_EQ(0u, exchange.ranks[number].fault);
  }
}

/// Bytes of results that words can copy.
World inWords(World world, uint32_t seed) {
  world.resultBytes = 4 * (1 + seed % 9);
  return world;
}

/// Gives rank `number` of a world so many rows with distinct experts, other than those it had.
void setRows(World &world, uint32_t number, uint32_t rows) {
  Home &home = world.homes[number];
  home = {};
  home.rows = rows;
  home.x.resize(size_t(rows) * world.rowBytes);
  std::vector<std::vector<int32_t>> byExpert(world.experts);
  for (uint32_t row = 0; row < rows; ++row) {
    const uint32_t name[2] = {number, row};
    std::memcpy(&home.x[size_t(row) * world.rowBytes], name, sizeof name);
    for (uint32_t k = 0; k < world.topK; ++k) // steps that no number of experts in use divides by
      byExpert[(row * row + number + k * 11) % world.experts].push_back(int32_t(row));
  }
  home.offsets.push_back(0);
  for (const std::vector<int32_t> &list : byExpert) {
    home.tokens.insert(home.tokens.end(), list.begin(), list.end());
    home.offsets.push_back(int32_t(home.tokens.size()));
  }
  world.mostRows = std::max(world.mostRows, rows);
}
} // namespace

TEST_F(GpuExchange, EqualsTheOracle) {
  for (uint32_t ranks : {1, 2, 3, 4, 8})
    for (int traffic = 0; traffic < kTraffics; ++traffic)
      for (bool replicas : {false, true}) {
        const uint32_t seed = ranks * 100 + uint32_t(traffic) * 10 + replicas, topK = 1 + seed % 8;
        SCOPED_TRACE("seed " + std::to_string(seed) + ", K " + std::to_string(topK));
        const World world = makeWorld(seed, ranks, 10 + seed % 9, topK, Traffic(traffic), replicas);
        runWorld(inWords(world, seed), seed % 3 * 4 * (traffic + 1), seed % 4);
      }
}

TEST_F(GpuExchange, SortsMoreThanOneBlockOfThreads) {
  World world = inWords(makeWorld(2, 2, 300, 8, Traffic::Uniform, true), 3);
  setRows(world, 0, 150);
  setRows(world, 1, 97);
  runWorld(world, 16, 0);
}

TEST_F(GpuExchange, CopiesWideRows) {
  for (uint32_t rowBytes : {2048, 7168 + 16, 2052}) {
    World world = makeWorld(3, 2, 8, 2, Traffic::Uniform, false);
    world.rowBytes = rowBytes, world.resultBytes = rowBytes + 2048;
    setRows(world, 0, 5);
    setRows(world, 1, 2);
    runWorld(world, 224, 1);
  }
}

TEST_F(GpuExchange, MergesMoreRanksThanThreads) {
  const uint32_t ranks = 300;
  World world = inWords(makeWorld(4, ranks, 320, 4, Traffic::Uneven, false), 1);
  Exchange exchange(world, 0, 0);
  Rank &first = exchange.ranks[0];
  for (uint32_t source = ranks; source-- > 0;) {
    Rank &rank = exchange.ranks[source];
    exchange.plan(rank, 1);
    const Bytes &sent = source ? rank.sendMeta : rank.recvMeta;
    std::copy(sent.begin(), sent.begin() + long(exchange.metaBytes), &first.recvMeta[source * exchange.metaBytes]);
  }
  exchange.check(first);
  exchange.merge(first);
  EXPECT_EQ(0u, first.fault);
  const std::vector<Received> expected = expectedSlots(world, 0);
  ASSERT_EQ(int32_t(expected.size()), wordOf(first.offsetsR, world.experts));
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(expected[i].source, uint32_t(wordOf(first.tokensR, i)) / exchange.mostRows);
    EXPECT_LE(wordOf(first.offsetsR, expected[i].expert), int32_t(i));
    EXPECT_GT(wordOf(first.offsetsR, expected[i].expert + 1), int32_t(i));
  }
}

TEST_F(GpuExchange, RefusesMoreRowsThanAgreed) {
  World world = inWords(makeWorld(5, 2, 8, 2, Traffic::Uniform, false), 1);
  Exchange exchange(world, 0, 0);
  Rank &rank = exchange.ranks[1];
  rank.rows = exchange.mostRows + 1;
  exchange.plan(rank, world.ranks);
  EXPECT_EQ(moray_exchange_fault(MORAY_EXCHANGE_TOO_MANY, 1, kLayer), rank.fault);
  EXPECT_EQ(0, wordOf(rank.sendMeta, MORAY_META_ROWS));
  EXPECT_EQ(0, wordOf(rank.sendMeta, MORAY_META_SLOTS));
  EXPECT_EQ(0, wordOf(rank.sendMeta, MORAY_META_OFFSETS + world.experts));
  EXPECT_EQ(0, wordOf(rank.handle, MORAY_HANDLE_HOME));
}

namespace {
/// Words of the meta block that rank 1 sent to rank 0, and what they are changed to.
struct Forgery {
  size_t word;
  int32_t value;
  uint32_t reason;
  size_t count = 1;
};

std::vector<Forgery> forgeries(const Exchange &exchange, const Rank &rank) {
  const size_t meta = exchange.metaBytes / 4, experts = exchange.world.experts;
  const auto word = [&](size_t index) { return wordOf(rank.recvMeta, meta + index); };
  std::vector<Forgery> all = {{MORAY_META_WORD_MAGIC, 0, MORAY_EXCHANGE_NO_META},
                              {MORAY_META_SOURCE, 0, MORAY_EXCHANGE_NO_META}};
  for (size_t index : {MORAY_META_LAYER, MORAY_META_STEP_LO, MORAY_META_STEP_HI, MORAY_META_RANKS, MORAY_META_EXPERTS,
                       MORAY_META_TOP, MORAY_META_SLOTS_PER_RANK, MORAY_META_ROW_BYTES, MORAY_META_SCALE_BYTES,
                       MORAY_META_RESULT_BYTES, MORAY_META_MOST_ROWS, MORAY_META_PLACEMENT})
    all.push_back({index, word(index) ^ 1, MORAY_EXCHANGE_DISAGREE});
  const size_t offsets = MORAY_META_OFFSETS, slotRows = offsets + experts + 1;
  for (auto [index, value] :
       std::initializer_list<std::pair<size_t, int32_t>>{{MORAY_META_ROWS, int32_t(exchange.mostRows) + 1},
                                                         {MORAY_META_ROWS, -1},
                                                         {MORAY_META_ROWS, 0},
                                                         {MORAY_META_ROWS, word(MORAY_META_SLOTS) + 1},
                                                         {MORAY_META_SLOTS, int32_t(exchange.slots) + 1},
                                                         {MORAY_META_SLOTS, -1},
                                                         {MORAY_META_SLOTS, word(MORAY_META_SLOTS) - 1},
                                                         {offsets, -1},
                                                         {offsets, 1},
                                                         {offsets + 1, 1 << 30},
                                                         {offsets + experts, word(MORAY_META_SLOTS) - 1},
                                                         {slotRows, word(MORAY_META_ROWS)},
                                                         {slotRows + size_t(word(MORAY_META_SLOTS)) - 1, -1}})
    all.push_back({index, value, MORAY_EXCHANGE_MALFORMED});
  all.push_back({offsets, 0, MORAY_EXCHANGE_MALFORMED, experts}); // all for the last expert, which lives on rank 1
  return all;
}
} // namespace

TEST_F(GpuExchange, CountsBadSourcesAsEmpty) {
  World world = inWords(makeWorld(6, 2, 8, 2, Traffic::Uniform, false), 1);
  setRows(world, 0, 6);
  setRows(world, 1, 9);
  Exchange exchange(world, 4, 2);
  exchange.dispatch();
  const Rank good = exchange.ranks[0];
  ASSERT_LT(0, wordOf(good.recvMeta, exchange.metaBytes / 4 + MORAY_META_SLOTS));
  setRows(world, 1, 0);
  const std::vector<Received> expected = expectedSlots(world, 0);
  for (const Forgery &forgery : forgeries(exchange, good)) {
    SCOPED_TRACE("word " + std::to_string(forgery.word) + " is " + std::to_string(forgery.value));
    Rank rank = good;
    for (size_t i = 0; i < forgery.count; ++i)
      setWord(rank.recvMeta, exchange.metaBytes / 4 + forgery.word + i, forgery.value);
    std::fill(rank.tokensR.begin(), rank.tokensR.end(), kGarbage);
    std::fill(rank.er.begin(), rank.er.end(), 1);
    exchange.check(rank);
    exchange.merge(rank);
    exchange.giveBack(rank);
    EXPECT_EQ(moray_exchange_fault(forgery.reason, 1, kLayer), rank.fault);
    EXPECT_EQ(forgery.reason, moray_exchange_fault_reason(rank.fault));
    EXPECT_EQ(1u, moray_exchange_fault_source(rank.fault));
    EXPECT_EQ(kLayer, moray_exchange_fault_layer(rank.fault));
    ASSERT_EQ(int32_t(expected.size()), wordOf(rank.offsetsR, world.experts));
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_LT(wordOf(rank.tokensR, i), int32_t(exchange.mostRows));
    EXPECT_TRUE(untouched(rank.tokensR, 4 * expected.size(), rank.tokensR.size()));
    EXPECT_TRUE(untouched(rank.sendResults, 0, rank.sendResults.size()));
  }
}
