// Reads weight bytes as the type the IR declares and refuses values that no model may contain.
#ifndef MORAY_FRONTEND_WEIGHTREADER_H
#define MORAY_FRONTEND_WEIGHTREADER_H

#include "frontend/TensorInventory.h"

namespace moray::frontend {

// Checks a tensor's bytes as they stream by, in pieces of whole elements.
class ValueScanner {
public:
  enum class Kind {
    Weight,     // BF16, F16 or F32: finite; F8E4M3: no NaN code
    Scale,      // F32 or F8E8M0: finite and positive
    PowerScale, // as Scale; values that are no power of two are counted (spec fp8.md 11: a warning, not an error)
  };
  // `where` names file and tensor; `columns` is the row length used to name a position [i, j]; `first` is the element
  // at which the first piece starts.
  ValueScanner(std::string where, DType dtype, Kind kind, uint64_t columns, uint64_t first = 0)
      : where(std::move(where)), dtype(dtype), kind(kind), columns(columns ? columns : 1), position(first) {}

  // `bytes` may be unaligned. Errors: E2301 NaN code, E2302 weight not finite, E2303 scale not positive and finite.
  Status scan(const uint8_t *data, uint64_t bytes);
  uint64_t notPowersOfTwo() const { return oddScales; }

private:
  Status scanCodes(const uint8_t *data, uint64_t count);
  Status scanScales(const uint8_t *data, uint64_t count);
  Status scanFloats(const uint8_t *data, uint64_t count);
  Error at(int code, uint64_t index, const std::string &found, const std::string &expected) const;

  std::string where;
  DType dtype;
  Kind kind;
  uint64_t columns, position, oddScales = 0;
};

// Type in which the IR declares a stored tensor: as stored, but F16 and F8E8M0 become F32.
DType declaredDType(DType stored);

// Reads tensors by name, scans them, and widens what declaredDType widens. Keeps no data; not for concurrent use.
class WeightReader {
public:
  // `ue8m0`: scales should be powers of two; those that are not give one warning per tensor.
  WeightReader(const Checkpoint &checkpoint, bool ue8m0, Warnings &warnings)
      : checkpoint(checkpoint), ue8m0(ue8m0), warnings(warnings) {}

  // Element bytes [first, first + count) of the tensor, as declaredDType(stored), little endian, into `out`. Errors:
  // E2201 (no such tensor), E2040 (range, read error), E2301-E2303.
  Status read(const std::string &tensor, uint64_t first, uint64_t count, uint8_t *out);
  // The whole tensor.
  Expected<std::vector<uint8_t>> read(const std::string &tensor);

private:
  const Checkpoint &checkpoint;
  bool ue8m0;
  Warnings &warnings;
};

} // namespace moray::frontend

#endif // MORAY_FRONTEND_WEIGHTREADER_H
