// Which rows go to which rank, in which order they arrive, and the way back: plain functions without communication.
//
// A home rank sends to each destination: its header (numbers), then for each slot the index of its row among the rows
// sent there, then the rows, each once. Everything is sorted as the home's `tokens` is: by expert, then token.
#pragma once
#include "runtime/comm/placement.h"
#include "runtime/comm/row_sums.h"

namespace moray::rt::comm {

// What a home rank sends; the lists of destination d lie at [xBegin[d], xBegin[d + 1]).
struct SendPlan {
  std::vector<uint64_t> rowBegin, slotBegin; // [ranks + 1]
  std::vector<uint32_t> rows;                // local row of each row sent: ascending, each once per destination
  // Of each destination: for its slots the index of their rows among the rows sent there, then, with gates, the gates
  // of its slots: `words` times as many numbers as slots.
  std::vector<int32_t> slotRows;
  uint32_t words = 1;               // 2: with gates
  std::vector<uint32_t> homeSlots;  // position of each slot in the home's `tokens`
  std::vector<uint32_t> counts;     // slots per expert of expertsOn(d), first of destination d at countBegin[d]
  std::vector<uint32_t> countBegin; // [ranks + 1]

  // Where gates are given: position in `tokens` of the k-th slot of each row.
  uint32_t slotsPerRow = 0;
  std::vector<uint32_t> slotOf; // [rows, slotsPerRow]

  // Of planNodes: the rows for each node, at [nodeBegin[n], nodeBegin[n + 1]).
  std::vector<uint64_t> nodeBegin;   // [nodes + 1]
  std::vector<uint32_t> nodeRows;    // local row: ascending, each once per node
  std::vector<uint32_t> indexInNode; // of each of `rows`, among the rows for its destination's node

  // Memory of planSend.
  std::vector<uint32_t> destination;   // by slot
  std::vector<int32_t> indexOf;        // [ranks][rows] index of a row among those sent to a rank, or -1
  std::vector<uint32_t> residentIndex; // [ranks]
  std::vector<uint32_t> seen;          // [rows]
  std::vector<uint64_t> next;          // [ranks]
};

// tokens [offsets[E]], offsets [E + 1]; 5013 where they are not sorted, out of range or do not begin at 0. `gates`
// [rows, K] by row and expert, or null; with gates also 5013 unless each row has K slots. Reuses the memory of `plan`.
Status planSend(const Placement &placement, uint32_t home, uint64_t rows, const int32_t *tokens, const int32_t *offsets,
                const float *gates, SendPlan &plan);
// What goes once to each node of the placement.
void planNodes(const Placement &placement, uint64_t rows, SendPlan &plan);

// What a rank receives.
struct ReceivePlan {
  std::vector<uint64_t> rowBegin, slotBegin; // [ranks + 1] by source: rows of xr, slots in the order they were sent
  std::vector<uint32_t> counts;              // [ranks][expertsOn(rank)] slots
  uint32_t words = 1;                        // of a slot, as in SendPlan
  std::vector<uint64_t> cursor;              // [ranks] of the walks below
};

struct Capacity {
  uint64_t rows, slots;
};

// `rowsFrom[s]` and `plan.counts` have been filled from the headers of all sources. 5113 where a source sends rows
// without slots or more rows than slots, 5013 where rows or slots exceed the capacity or 2^31 - 1.
Status planReceive(const Placement &placement, uint32_t rank, Span<const uint64_t> rowsFrom, const Capacity &capacity,
                   ReceivePlan &plan);

// Sorts the slots of all sources (`slotRows` at words x plan.slotBegin) into canonical order: tokensR [slots], offsetsR
// [E + 1]. 5113 where a source names a row that it did not send.
Status mergeSlots(const Placement &placement, uint32_t rank, const int32_t *slotRows, ReceivePlan &plan,
                  int32_t *tokensR, int32_t *offsetsR);

// Copies rows of `x`, in the order of `list`, to `out`.
void packRows(Span<const uint32_t> list, const uint8_t *x, uint64_t rowBytes, uint8_t *out);
// Copies results from canonical order `er` to out[s] in the order in which source s sent its slots; those of this
// rank's own slots to their places in `e`.
void packResults(const Placement &placement, uint32_t rank, const uint8_t *er, uint64_t rowBytes, ReceivePlan &plan,
                 const SendPlan &own, uint8_t *const *out, uint8_t *e);
// Copies the results that destination d returned, in the order of sending, to their places in the home's `e`.
void unpackResults(const SendPlan &plan, uint32_t destination, const uint8_t *results, uint64_t rowBytes, uint8_t *e);
// For each received row the results of its slots with their gates (words = 2), by ascending expert.
void listResults(const Placement &placement, uint32_t rank, const uint8_t *er, uint64_t rowBytes,
                 const int32_t *slotRows, ReceivePlan &plan, SumLists &lists);

} // namespace moray::rt::comm
