// Sums of rows in blocks that stay in the first cache; loops that a compiler makes vectors of.
#include "runtime/comm/row_sums.h"
#include "artifact_generated.h"
#include <algorithm>
#include <cstring>

namespace moray::rt::comm {

namespace {

constexpr uint64_t kBlock = 1024; // elements

void widen(const uint8_t *from, uint64_t count, schema::DType type, float *to) {
  if (type == schema::DType::F32) {
    memcpy(to, from, count * sizeof(float));
    return;
  }
  for (uint64_t i = 0; i < count; ++i) {
    uint16_t half;
    memcpy(&half, from + 2 * i, sizeof(half));
    const uint32_t bits = uint32_t{half} << 16;
    memcpy(to + i, &bits, sizeof(bits));
  }
}

void narrow(const float *from, uint64_t count, schema::DType type, uint8_t *to) {
  if (type == schema::DType::F32) {
    memcpy(to, from, count * sizeof(float));
    return;
  }
  for (uint64_t i = 0; i < count; ++i) {
    uint32_t bits;
    memcpy(&bits, from + i, sizeof(bits));
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, quiet = bits >> 16 | 0x40;
    const auto half = static_cast<uint16_t>(from[i] == from[i] ? rounded : quiet);
    memcpy(to + 2 * i, &half, sizeof(half));
  }
}

} // namespace

void SumLists::open() {
  for (size_t i = 1; i < first.size(); ++i)
    first[i] += first[i - 1];
  rows.resize(first.back());
  gates.resize(first.back());
}

void sumRows(const SumLists &lists, uint64_t sum, schema::DType type, uint64_t rowBytes, uint8_t *out) {
  const uint64_t size = type == schema::DType::F32 ? 4 : 2, elements = rowBytes / size;
  float total[kBlock], row[kBlock];
  for (uint64_t begin = 0; begin < elements; begin += kBlock) {
    const uint64_t count = std::min(kBlock, elements - begin);
    if (lists.first[sum] == lists.first[sum + 1])
      std::fill_n(total, count, 0.0f);
    for (uint64_t i = lists.first[sum]; i < lists.first[sum + 1]; ++i) {
      const float gate = lists.gates[i];
      widen(lists.rows[i] + begin * size, count, type, row);
      // A product of its own, so that it is rounded everywhere before it is added.
      for (uint64_t j = 0; j < count; ++j)
        row[j] *= gate;
      if (i == lists.first[sum])
        memcpy(total, row, count * sizeof(float));
      else
        for (uint64_t j = 0; j < count; ++j)
          total[j] += row[j];
    }
    narrow(total, count, type, out + begin * size);
  }
}

} // namespace moray::rt::comm
