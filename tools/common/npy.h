// Writes a float32 matrix as a NumPy file.
#pragma once
#include <cstdint>
#include <string>

namespace moray::tools {

/// Writes `values` [rows, columns] to `path` (.npy 1.0, C order, little endian). Returns false with errno set when a
/// byte did not reach the file.
bool writeNpy(const std::string &path, const float *values, uint64_t rows, uint64_t columns);

} // namespace moray::tools
