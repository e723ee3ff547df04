// Reads one safetensors file: a bounded, fully checked header and tensor bytes at any alignment.
#ifndef MORAY_FRONTEND_SAFETENSORS_H
#define MORAY_FRONTEND_SAFETENSORS_H

#include "frontend/Error.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moray::frontend {

// Element types a safetensors header may name. Which of them a weight may have is the tensor inventory's business.
enum class DType : uint8_t {
  Bool,
  F4,
  F6E2M3,
  F6E3M2,
  U8,
  I8,
  F8E5M2,
  F8E4M3,
  F8E8M0,
  F8E4M3FNUZ,
  F8E5M2FNUZ,
  I16,
  U16,
  F16,
  BF16,
  I32,
  U32,
  F32,
  C64,
  F64,
  I64,
  U64
};
unsigned dtypeBits(DType dtype);
const char *dtypeName(DType dtype); // as written in the header, e.g. "F8_E4M3"
std::optional<DType> parseDType(std::string_view name);

// "[2, 3]", for messages.
std::string shapeText(const std::vector<uint64_t> &shape);

struct TensorInfo {
  std::string name;
  DType dtype = DType::F32;
  std::vector<uint64_t> shape; // row-major; empty for a scalar
  uint64_t begin = 0, end = 0; // bytes, relative to the data area
  uint64_t bytes() const { return end - begin; }
  uint64_t elements() const { return bytes() * 8 / dtypeBits(dtype); }
};

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors; // ascending (begin, end, name)
  std::vector<std::pair<std::string, std::string>> metadata;
};

// Checks rules S4-S13 on the `header` bytes of a file whose data area has `dataBytes` bytes. `file` is for messages
// only.
Expected<SafetensorsHeader> parseSafetensorsHeader(const std::string &file, std::string_view header,
                                                   uint64_t dataBytes);

// True for the text that Git LFS leaves in place of a large file.
bool isLfsPointer(std::string_view firstBytes);

// An open file. Owns its descriptor and, once map() was called, a read-only mapping; both live as long as the object.
class SafetensorsFile {
public:
  // Reads and checks the header only. Errors: E2001-E2013 (rules S1-S13), E2030 (cannot read), E2031 (LFS pointer).
  static Expected<SafetensorsFile> open(const std::string &path);

  SafetensorsFile(SafetensorsFile &&other) noexcept;
  SafetensorsFile &operator=(SafetensorsFile &&other) noexcept;
  ~SafetensorsFile();

  const std::string &path() const { return filePath; }
  const std::vector<TensorInfo> &tensors() const { return header.tensors; }
  const TensorInfo *find(std::string_view name) const;
  uint64_t fileBytes() const { return size; }
  uint64_t headerHash() const { return hash; } // XXH3-64 of the header bytes

  // Copies `bytes` bytes from `offset` within the tensor; the range must lie inside it (E2040 otherwise, or on a read
  // error).
  Status read(const TensorInfo &tensor, uint64_t offset, void *destination, uint64_t bytes) const;

  // Start of the tensor in a read-only mapping of the file, at whatever alignment the file has: never cast it to a
  // wider type, copy the elements. The file must not change while the mapping is in use.
  Expected<const uint8_t *> map(const TensorInfo &tensor);

private:
  SafetensorsFile() = default;
  void close();

  std::string filePath;
  SafetensorsHeader header;
  std::vector<uint32_t> byName; // indices into header.tensors, ascending name
  uint64_t size = 0, dataOffset = 0, hash = 0;
  int descriptor = -1;
  const uint8_t *mapping = nullptr;
};

} // namespace moray::frontend

#endif // MORAY_FRONTEND_SAFETENSORS_H
