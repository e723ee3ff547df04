// Implements the NumPy writer: magic, version, padded header text, then the raw rows.
#include "common/npy.h"

#include <cstdio>

namespace moray::tools {

bool writeNpy(const std::string &path, const float *values, uint64_t rows, uint64_t columns) {
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(rows) + ", " +
                       std::to_string(columns) + "), }";
  // Magic, version and length take 10 bytes; the data starts at a multiple of 64.
  header.append(63 - (10 + header.size()) % 64, ' ');
  header.push_back('\n');
  std::string start("\x93NUMPY\x01\x00", 8);
  start.push_back(static_cast<char>(header.size() & 0xff));
  start.push_back(static_cast<char>(header.size() >> 8));

  std::FILE *file = std::fopen(path.c_str(), "wb");
  if (!file)
    return false;
  bool good = std::fwrite(start.data(), 1, start.size(), file) == start.size() &&
              std::fwrite(header.data(), 1, header.size(), file) == header.size() &&
              std::fwrite(values, sizeof(float) * columns, rows, file) == rows;
  return (std::fclose(file) == 0) && good;
}

} // namespace moray::tools
