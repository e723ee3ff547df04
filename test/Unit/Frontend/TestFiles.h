// Temporary directories and hand-made checkpoint files for the frontend's tests.
#ifndef MORAY_TEST_UNIT_FRONTEND_TESTFILES_H
#define MORAY_TEST_UNIT_FRONTEND_TESTFILES_H

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <string_view>
#include <unistd.h>

namespace moray::test {

// A directory that disappears with the object.
class TempDir {
public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "moray-frontend-XXXXXX").string();
    if (char *made = mkdtemp(pattern.data()))
      path = made;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  TempDir(const TempDir &) = delete;

  std::string write(const std::string &name, std::string_view bytes) const {
    std::ofstream(path + "/" + name, std::ios::binary) << bytes;
    return path + "/" + name;
  }
  std::string path;
};

// A safetensors file with a header length that need not be true.
inline std::string safetensors(std::string_view header, std::string_view data, uint64_t length) {
  std::string bytes;
  for (unsigned i = 0; i < 8; ++i)
    bytes.push_back(static_cast<char>(length >> (8 * i)));
  return bytes.append(header).append(data);
}
inline std::string safetensors(std::string_view header, std::string_view data) {
  return safetensors(header, data, header.size());
}

inline std::string readAll(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::string goldenDir(const std::string &model) {
  return std::string(MORAY_SOURCE_DIR) + "/test/golden/" + model;
}

} // namespace moray::test

#endif // MORAY_TEST_UNIT_FRONTEND_TESTFILES_H
