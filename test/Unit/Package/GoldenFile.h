// Reads tensors of the golden operator vectors.
#ifndef MORAY_TEST_UNIT_PACKAGE_GOLDENFILE_H
#define MORAY_TEST_UNIT_PACKAGE_GOLDENFILE_H

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace moray::test {

class GoldenFile {
public:
  explicit GoldenFile(const std::string &path) {
    std::ifstream stream(path, std::ios::binary);
    uint64_t length = 0;
    stream.read(reinterpret_cast<char *>(&length), sizeof length);
    std::string text(length, ' ');
    stream.read(text.data(), static_cast<std::streamsize>(length));
    header = nlohmann::json::parse(text);
    bytes.assign(std::istreambuf_iterator<char>(stream), {});
  }
  template <typename T> std::vector<T> get(const std::string &name) const {
    const auto &range = header.at(name).at("data_offsets");
    std::vector<T> values((range[1].get<size_t>() - range[0].get<size_t>()) / sizeof(T));
    std::memcpy(values.data(), bytes.data() + range[0].get<size_t>(), values.size() * sizeof(T));
    return values;
  }

private:
  nlohmann::json header;
  std::string bytes;
};

} // namespace moray::test

#endif
