// Seeded random values for every tensor of an inventory, in the format the configuration asks for.
#pragma once
#include "frontend/TensorInventory.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moray::makemodel {

/// Normal values that depend only on (seed, tensor name, element index): neither sharding nor order changes a weight.
class RandomStream {
public:
  RandomStream(uint64_t seed, const std::string &tensor);
  /// Elements [first, first + count): mean 0, standard deviation 1, within +-3.5.
  void fill(uint64_t first, uint64_t count, float *out) const;

private:
  uint64_t key;
};

/// Mean and standard deviation that keep activations of a deep random model near 1.
struct Distribution {
  float mean, deviation;
};
Distribution distributionOf(const frontend::TensorSlot &slot);

/// bf16 of a finite value, to nearest even.
uint16_t roundToBf16(float value);

/// Rows [first, first + rows) of a [*, columns] weight.
std::vector<float> randomRows(const RandomStream &stream, Distribution distribution, uint64_t first, uint64_t rows,
                              uint64_t columns);

/// Quantises a band of at most 128 rows in blocks of 128 columns (spec fp8.md 7): codes row-major, one scale per block.
void quantizeBand(const std::vector<float> &band, uint64_t columns, bool powerOfTwo, uint8_t *codes, float *scales);

} // namespace moray::makemodel
