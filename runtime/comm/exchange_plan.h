// Which rows go to which rank, in which order they arrive, and the way back: plain functions without communication.
//
// A home rank sends to each destination: its header (numbers), then for each slot the index of its row among the rows
// sent there, then the rows, each once. Everything is sorted as the home's `tokens` is: by expert, then token.
#pragma once
#include "runtime/comm/placement.h"

namespace moray::rt::comm {

// What a home rank sends; the lists of destination d lie at [xBegin[d], xBegin[d + 1]).
struct SendPlan {
  std::vector<uint64_t> rowBegin, slotBegin; // [ranks + 1]
  std::vector<uint32_t> rows;                // local row of each row sent: ascending, each once per destination
  std::vector<int32_t> slotRows;             // index of each slot's row among the rows sent to the same destination
  std::vector<uint32_t> homeSlots;           // position of each slot in the home's `tokens`
  std::vector<uint32_t> counts;     // slots per expert of expertsOn(d), first of destination d at countBegin[d]
  std::vector<uint32_t> countBegin; // [ranks + 1]

  // Memory of planSend.
  std::vector<int32_t> indexOf;        // [ranks][rows] index of a row among those sent to a rank, or -1
  std::vector<uint32_t> residentIndex; // [ranks]
  std::vector<uint64_t> next;          // [ranks]
};

// tokens [offsets[E]], offsets [E + 1]; 5013 where they are not sorted, out of range or do not begin at 0. Reuses the
// memory of `plan`.
Status planSend(const Placement &placement, uint32_t home, uint64_t rows, const int32_t *tokens, const int32_t *offsets,
                SendPlan &plan);

// What a rank receives.
struct ReceivePlan {
  std::vector<uint64_t> rowBegin, slotBegin; // [ranks + 1] by source: rows of xr, slots in the order they were sent
  std::vector<uint32_t> counts;              // [ranks][expertsOn(rank)] slots
  std::vector<uint64_t> cursor;              // [ranks] of the walks below
};

struct Capacity {
  uint64_t rows, slots;
};

// `rowsFrom[s]` and `plan.counts` have been filled from the headers of all sources. 5113 where a source sends rows
// without slots or more rows than slots, 5013 where rows or slots exceed the capacity or 2^31 - 1.
Status planReceive(const Placement &placement, uint32_t rank, Span<const uint64_t> rowsFrom, const Capacity &capacity,
                   ReceivePlan &plan);

// Sorts the slots of all sources (`slotRows` at plan.slotBegin) into canonical order: tokensR [slots], offsetsR [E +
// 1]. 5113 where a source names a row that it did not send.
Status mergeSlots(const Placement &placement, uint32_t rank, const int32_t *slotRows, ReceivePlan &plan,
                  int32_t *tokensR, int32_t *offsetsR);

// Copies the rows of `x` that go to destination d, in order, to `out`.
void packRows(const SendPlan &plan, uint32_t destination, const uint8_t *x, uint64_t rowBytes, uint8_t *out);
// Copies results from canonical order `er` to the order in which source `s` sent its slots, at plan.slotBegin[s] of
// out.
void packResults(const Placement &placement, uint32_t rank, const uint8_t *er, uint64_t rowBytes, ReceivePlan &plan,
                 uint8_t *out);
// Copies the results that destination d returned, in the order of sending, to their places in the home's `e`.
void unpackResults(const SendPlan &plan, uint32_t destination, const uint8_t *results, uint64_t rowBytes, uint8_t *e);

} // namespace moray::rt::comm
