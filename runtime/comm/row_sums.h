// Weighted sums of rows, as ranks and nodes return them where results are not sent one by one.
#pragma once
#include "runtime/comm/communicator.h"
#include <vector>

namespace moray::rt::comm {

// What is summed into each row: rows [first[i], first[i + 1]) with their gates, in this order.
struct SumLists {
  std::vector<uint64_t> first;
  std::vector<const uint8_t *> rows;
  std::vector<float> gates;

  // Filling: begin, count() for each element, open, then add() for each element in the order of summation.
  void begin(uint64_t sums) { first.assign(sums + 2, 0); }
  void count(uint64_t sum) { ++first[sum + 2]; }
  void open();
  void add(uint64_t sum, const uint8_t *row, float gate) {
    const uint64_t at = first[sum + 1]++;
    rows[at] = row;
    gates[at] = gate;
  }
};

// out = sum of gate * row over list `sum`: products and sums in f32, rounded to `type` (F32 or BF16, to nearest even).
void sumRows(const SumLists &lists, uint64_t sum, schema::DType type, uint64_t rowBytes, uint8_t *out);

} // namespace moray::rt::comm
