// Sorts rows and slots by destination, received slots into canonical order, and results back.
#include "runtime/comm/exchange_plan.h"
#include <cstring>

namespace moray::rt::comm {

static unsigned long long number(uint64_t value) { return value; }

static Status checkSlots(uint32_t experts, uint64_t rows, const int32_t *tokens, const int32_t *offsets) {
  if (offsets[0] != 0)
    return fail(kE5013, "the slots of expert 0 begin at %d, not at 0; compile the model again", offsets[0]);
  for (uint32_t expert = 0; expert < experts; ++expert)
    if (offsets[expert + 1] < offsets[expert])
      return fail(kE5013, "the slots of expert %u end at %d, before they begin at %d; compile the model again", expert,
                  offsets[expert + 1], offsets[expert]);
  for (int32_t slot = 0; slot < offsets[experts]; ++slot)
    if (tokens[slot] < 0 || static_cast<uint64_t>(tokens[slot]) >= rows)
      return fail(kE5013, "slot %d is of row %d, but the step has %llu rows; compile the model again", slot,
                  tokens[slot], number(rows));
  return {};
}

// Turns counts at [i + 1] into beginnings.
template <typename T> static void accumulate(std::vector<T> &begin) {
  for (size_t i = 1; i < begin.size(); ++i)
    begin[i] += begin[i - 1];
}

// Marks which rows go where in plan.indexOf and counts slots per destination and expert.
static void countSlots(const Placement &placement, uint32_t home, uint64_t rows, const int32_t *tokens,
                       const int32_t *offsets, SendPlan &plan) {
  plan.destination.resize(static_cast<size_t>(offsets[placement.experts()]));
  const uint32_t ranks = placement.ranks();
  plan.slotBegin.assign(ranks + size_t{1}, 0);
  plan.countBegin.assign(1, 0);
  for (uint32_t rank = 0; rank < ranks; ++rank)
    plan.countBegin.push_back(plan.countBegin.back() + static_cast<uint32_t>(placement.expertsOn(rank).size()));
  plan.counts.assign(plan.countBegin[ranks], 0);
  plan.indexOf.assign(ranks * rows, -1);
  std::vector<uint32_t> &resident = plan.residentIndex; // per rank: how many of its experts are behind us
  resident.assign(ranks, 0);
  for (uint32_t expert = 0; expert < placement.experts(); ++expert) {
    for (int32_t slot = offsets[expert]; slot < offsets[expert + 1]; ++slot) {
      const auto row = static_cast<uint64_t>(tokens[slot]);
      const uint32_t to = plan.destination[static_cast<size_t>(slot)] = placement.rankFor(expert, home, row);
      Span<const uint32_t> experts = placement.expertsOn(to);
      while (experts[resident[to]] < expert)
        ++resident[to];
      ++plan.counts[plan.countBegin[to] + resident[to]];
      ++plan.slotBegin[to + 1];
      plan.indexOf[to * rows + row] = 0;
    }
  }
  accumulate(plan.slotBegin);
}

// Finds the slots of each row; they are as many for each.
static Status listSlots(uint64_t rows, const int32_t *tokens, uint64_t slots, SendPlan &plan) {
  const uint64_t perRow = rows == 0 ? 0 : slots / rows;
  plan.slotsPerRow = static_cast<uint32_t>(perRow);
  plan.slotOf.resize(slots);
  plan.seen.assign(rows, 0);
  bool even = perRow * rows == slots;
  for (uint64_t slot = 0; even && slot < slots; ++slot) {
    const auto row = static_cast<uint64_t>(tokens[slot]);
    even = plan.seen[row] < perRow;
    if (even)
      plan.slotOf[row * perRow + plan.seen[row]++] = static_cast<uint32_t>(slot);
  }
  if (!even)
    return fail(kE5013, "%llu slots are not spread evenly over %llu rows; compile the model again", number(slots),
                number(rows));
  return {};
}

Status planSend(const Placement &placement, uint32_t home, uint64_t rows, const int32_t *tokens, const int32_t *offsets,
                const float *gates, SendPlan &plan) {
  MORAY_TRY(checkSlots(placement.experts(), rows, tokens, offsets));
  if (gates)
    MORAY_TRY(listSlots(rows, tokens, static_cast<uint64_t>(offsets[placement.experts()]), plan));
  plan.words = gates ? 2 : 1;
  const uint32_t ranks = placement.ranks();
  countSlots(placement, home, rows, tokens, offsets, plan);
  plan.rows.clear();
  plan.rowBegin.assign(1, 0);
  for (uint32_t to = 0; to < ranks; ++to) {
    for (uint64_t row = 0; row < rows; ++row)
      if (int32_t &index = plan.indexOf[to * rows + row]; index >= 0) {
        index = static_cast<int32_t>(plan.rows.size() - plan.rowBegin[to]);
        plan.rows.push_back(static_cast<uint32_t>(row));
      }
    plan.rowBegin.push_back(plan.rows.size());
  }
  const uint64_t slots = plan.slotBegin[ranks];
  plan.slotRows.resize(slots * plan.words);
  plan.homeSlots.resize(slots);
  plan.next.assign(plan.slotBegin.begin(), plan.slotBegin.end() - 1);
  plan.seen.assign(gates ? rows : 0, 0);
  for (uint64_t slot = 0; slot < slots; ++slot) {
    const auto row = static_cast<uint64_t>(tokens[slot]);
    const uint32_t to = plan.destination[slot];
    const uint64_t position = plan.next[to]++;
    int32_t *word = plan.slotRows.data() + position + plan.slotBegin[to] * (plan.words - 1);
    *word = plan.indexOf[to * rows + row];
    if (gates)
      memcpy(word + (plan.slotBegin[to + 1] - plan.slotBegin[to]), gates + row * plan.slotsPerRow + plan.seen[row]++,
             sizeof(float));
    plan.homeSlots[position] = static_cast<uint32_t>(slot);
  }
  return {};
}

void planNodes(const Placement &placement, uint64_t rows, SendPlan &plan) {
  const uint32_t perNode = placement.ranks() / placement.nodes();
  plan.nodeRows.clear();
  plan.nodeBegin.assign(1, 0);
  plan.indexInNode.resize(plan.rows.size());
  for (uint32_t node = 0; node < placement.nodes(); ++node) {
    const uint64_t begin = plan.rowBegin[node * perNode], end = plan.rowBegin[(node + 1) * perNode];
    plan.seen.assign(rows, 0);
    for (uint64_t i = begin; i < end; ++i)
      plan.seen[plan.rows[i]] = 1;
    for (uint32_t row = 0, index = 0; row < rows; ++row)
      if (plan.seen[row] != 0) {
        plan.seen[row] = index++;
        plan.nodeRows.push_back(row);
      }
    for (uint64_t i = begin; i < end; ++i)
      plan.indexInNode[i] = plan.seen[plan.rows[i]];
    plan.nodeBegin.push_back(plan.nodeRows.size());
  }
}

Status planReceive(const Placement &placement, uint32_t rank, Span<const uint64_t> rowsFrom, const Capacity &capacity,
                   ReceivePlan &plan) {
  const uint32_t ranks = placement.ranks();
  const size_t residents = placement.expertsOn(rank).size();
  plan.rowBegin.assign(1, 0);
  plan.slotBegin.assign(1, 0);
  for (uint32_t source = 0; source < ranks; ++source) {
    uint64_t slots = 0; // at most 2^32 x 2^32 / 2: no overflow
    for (size_t i = 0; i < residents; ++i)
      slots += plan.counts[source * residents + i];
    if (rowsFrom[source] > slots || (rowsFrom[source] == 0 && slots != 0))
      return fail(kE5113,
                  "rank %u announces %llu rows for %llu slots; each row has at least one slot, and each slot a row",
                  source, number(rowsFrom[source]), number(slots));
    // Compared before they are added, so that the sums stay small.
    if (slots > INT32_MAX || slots > capacity.slots - plan.slotBegin.back() ||
        rowsFrom[source] > capacity.rows - plan.rowBegin.back())
      return fail(kE5013,
                  "ranks 0 to %u send %llu rows in %llu slots, more than the buffers of the step hold (%llu rows, %llu "
                  "slots); all ranks must be started with the same limits",
                  source, number(plan.rowBegin.back() + rowsFrom[source]), number(plan.slotBegin.back() + slots),
                  number(capacity.rows), number(capacity.slots));
    plan.rowBegin.push_back(plan.rowBegin.back() + rowsFrom[source]);
    plan.slotBegin.push_back(plan.slotBegin.back() + slots);
  }
  if (plan.slotBegin.back() > INT32_MAX)
    return fail(kE5013, "%llu slots are more than an index of 32 bits counts; use fewer rows per step",
                number(plan.slotBegin.back()));
  return {};
}

// Calls `visit(source, position in the source's order, count)` for each group of slots in canonical order; the groups
// of one expert follow each other. `endOfExpert(i)` after the last group of the i-th expert of the rank.
template <typename Visit, typename End>
static void walkCanonical(const Placement &placement, uint32_t rank, ReceivePlan &plan, Visit visit, End endOfExpert) {
  const uint32_t ranks = placement.ranks();
  const size_t residents = placement.expertsOn(rank).size();
  plan.cursor.assign(plan.slotBegin.begin(), plan.slotBegin.end() - 1);
  for (size_t i = 0; i < residents; ++i) {
    for (uint32_t source = 0; source < ranks; ++source)
      if (const uint32_t count = plan.counts[source * residents + i]) {
        visit(source, plan.cursor[source], count);
        plan.cursor[source] += count;
      }
    endOfExpert(i);
  }
}

Status mergeSlots(const Placement &placement, uint32_t rank, const int32_t *slotRows, ReceivePlan &plan,
                  int32_t *tokensR, int32_t *offsetsR) {
  for (uint32_t source = 0; source < placement.ranks(); ++source) {
    const uint64_t rows = plan.rowBegin[source + 1] - plan.rowBegin[source];
    const int32_t *sent = slotRows + plan.words * plan.slotBegin[source];
    for (uint64_t i = 0; i < plan.slotBegin[source + 1] - plan.slotBegin[source]; ++i)
      if (sent[i] < 0 || static_cast<uint64_t>(sent[i]) >= rows)
        return fail(kE5113, "rank %u sent a slot of its row %d, but sent %llu rows", source, sent[i], number(rows));
  }
  const Span<const uint32_t> residents = placement.expertsOn(rank);
  int32_t written = 0, last = 0; // slots so far: of all groups, of whole experts
  uint32_t expert = 0;
  walkCanonical(
      placement, rank, plan,
      [&](uint32_t source, uint64_t position, uint32_t count) {
        const int32_t *sent = slotRows + position + (plan.words - 1) * plan.slotBegin[source];
        for (uint32_t i = 0; i < count; ++i)
          tokensR[written++] = static_cast<int32_t>(plan.rowBegin[source]) + sent[i];
      },
      [&](size_t i) {
        for (; expert <= residents[i]; ++expert)
          offsetsR[expert] = last;
        last = written;
      });
  for (; expert <= placement.experts(); ++expert)
    offsetsR[expert] = last;
  return {};
}

void packRows(Span<const uint32_t> list, const uint8_t *x, uint64_t rowBytes, uint8_t *out) {
  for (uint32_t row : list) {
    memcpy(out, x + row * rowBytes, rowBytes);
    out += rowBytes;
  }
}

void packResults(const Placement &placement, uint32_t rank, const uint8_t *er, uint64_t rowBytes, ReceivePlan &plan,
                 const SendPlan &own, uint8_t *const *out, uint8_t *e) {
  walkCanonical(
      placement, rank, plan,
      [&](uint32_t source, uint64_t position, uint32_t count) {
        if (source != rank)
          memcpy(out[source] + (position - plan.slotBegin[source]) * rowBytes, er, count * rowBytes);
        const uint64_t sent = position - plan.slotBegin[source] + own.slotBegin[rank];
        for (uint32_t i = 0; source == rank && i < count; ++i)
          memcpy(e + own.homeSlots[sent + i] * rowBytes, er + i * rowBytes, rowBytes);
        er += count * rowBytes;
      },
      [](size_t) {});
}

void listResults(const Placement &placement, uint32_t rank, const uint8_t *er, uint64_t rowBytes,
                 const int32_t *slotRows, ReceivePlan &plan, SumLists &lists) {
  lists.begin(plan.rowBegin[placement.ranks()]);
  for (uint32_t source = 0; source < placement.ranks(); ++source) {
    const int32_t *sent = slotRows + plan.words * plan.slotBegin[source];
    for (uint64_t i = 0; i < plan.slotBegin[source + 1] - plan.slotBegin[source]; ++i)
      lists.count(plan.rowBegin[source] + static_cast<uint64_t>(sent[i]));
  }
  lists.open();
  walkCanonical(
      placement, rank, plan,
      [&](uint32_t source, uint64_t position, uint32_t count) {
        const int32_t *sent = slotRows + position + plan.slotBegin[source];
        const uint64_t gates = plan.slotBegin[source + 1] - plan.slotBegin[source];
        for (uint32_t i = 0; i < count; ++i, er += rowBytes) {
          float gate;
          memcpy(&gate, sent + gates + i, sizeof(gate));
          lists.add(plan.rowBegin[source] + static_cast<uint64_t>(sent[i]), er, gate);
        }
      },
      [](size_t) {});
}

void unpackResults(const SendPlan &plan, uint32_t destination, const uint8_t *results, uint64_t rowBytes, uint8_t *e) {
  for (uint64_t i = plan.slotBegin[destination]; i < plan.slotBegin[destination + 1]; ++i, results += rowBytes)
    memcpy(e + plan.homeSlots[i] * rowBytes, results, rowBytes);
}

} // namespace moray::rt::comm
