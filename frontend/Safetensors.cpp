// Reads one safetensors file: file access, and the thirteen rules a header must obey.
#include "frontend/Safetensors.h"

#include "frontend/Json.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace moray::frontend {

namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::string_view kLfsLine = "version https://git-lfs.github.com/spec/v1";

struct DTypeRow {
  DType dtype;
  const char *name;
  unsigned bits;
};
constexpr DTypeRow kDTypes[] = {
    {DType::Bool, "BOOL", 8},
    {DType::F4, "F4", 4},
    {DType::F6E2M3, "F6_E2M3", 6},
    {DType::F6E3M2, "F6_E3M2", 6},
    {DType::U8, "U8", 8},
    {DType::I8, "I8", 8},
    {DType::F8E5M2, "F8_E5M2", 8},
    {DType::F8E4M3, "F8_E4M3", 8},
    {DType::F8E8M0, "F8_E8M0", 8},
    {DType::F8E4M3FNUZ, "F8_E4M3FNUZ", 8},
    {DType::F8E5M2FNUZ, "F8_E5M2FNUZ", 8},
    {DType::I16, "I16", 16},
    {DType::U16, "U16", 16},
    {DType::F16, "F16", 16},
    {DType::BF16, "BF16", 16},
    {DType::I32, "I32", 32},
    {DType::U32, "U32", 32},
    {DType::F32, "F32", 32},
    {DType::C64, "C64", 64},
    {DType::F64, "F64", 64},
    {DType::I64, "I64", 64},
    {DType::U64, "U64", 64},
};

// An error of rule S<rule>: code E20<rule>, the rule's number in the text, and the usual remedy.
Error ruleError(int rule, const std::string &where, const std::string &found, const std::string &expected) {
  return Error::describe(2000 + rule, where, found, expected + " (safetensors rule S" + std::to_string(rule) + ")",
                         "the file is damaged or incomplete: download or convert it again");
}

bool isUtf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    unsigned char lead = text[i];
    unsigned length = lead < 0x80                   ? 1
                      : lead >= 0xC2 && lead < 0xE0 ? 2
                      : lead >= 0xE0 && lead < 0xF0 ? 3
                      : lead >= 0xF0 && lead < 0xF5 ? 4
                                                    : 0;
    if (length == 0 || i + length > text.size())
      return false;
    for (unsigned k = 1; k < length; ++k)
      if ((static_cast<unsigned char>(text[i + k]) & 0xC0) != 0x80)
        return false;
    unsigned char second = length > 1 ? text[i + 1] : 0;
    if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) || (lead == 0xF0 && second < 0x90) ||
        (lead == 0xF4 && second > 0x8F))
      return false;
    i += length;
  }
  return true;
}

std::string errnoText() { return std::strerror(errno); }

// One header entry. Offsets are only copied here; rule S9 looks at all of them together.
Expected<TensorInfo> parseEntry(const std::string &where, const std::string &name, const nlohmann::json &entry) {
  if (!entry.is_object())
    return ruleError(5, where, entry.type_name(), "an object {dtype, shape, data_offsets}");
  for (const auto &item : entry.items())
    if (item.key() != "dtype" && item.key() != "shape" && item.key() != "data_offsets")
      return ruleError(6, where, "unknown key '" + item.key() + "'", "only dtype, shape and data_offsets");
  TensorInfo tensor;
  tensor.name = name;
  auto dtype = entry.find("dtype"), shape = entry.find("shape"), offsets = entry.find("data_offsets");
  if (dtype == entry.end() || !dtype->is_string())
    return ruleError(8, where, "no dtype string", "a known dtype");
  std::optional<DType> parsed = parseDType(dtype->get_ref<const std::string &>());
  if (!parsed)
    return ruleError(8, where, "dtype '" + dtype->get<std::string>() + "'", "a known dtype such as BF16 or F8_E4M3");
  tensor.dtype = *parsed;
  if (shape == entry.end() || !shape->is_array())
    return ruleError(5, where, "no shape", "an array of integers >= 0");
  for (const nlohmann::json &dim : *shape) {
    if (!dim.is_number_unsigned())
      return ruleError(5, where, "shape element " + dim.dump(), "an integer >= 0");
    tensor.shape.push_back(dim.get<uint64_t>());
  }
  if (offsets == entry.end() || !offsets->is_array() || offsets->size() != 2 || !(*offsets)[0].is_number_unsigned() ||
      !(*offsets)[1].is_number_unsigned())
    return ruleError(5, where, "no data_offsets", "an array [begin, end] of two integers >= 0");
  tensor.begin = (*offsets)[0].get<uint64_t>();
  tensor.end = (*offsets)[1].get<uint64_t>();
  return tensor;
}

// Rules S9 (its first half) to S12 of one entry.
Status checkEntry(const std::string &where, const TensorInfo &tensor) {
  if (tensor.end < tensor.begin)
    return ruleError(9, where,
                     "data_offsets [" + std::to_string(tensor.begin) + ", " + std::to_string(tensor.end) + "]",
                     "end >= begin");
  uint64_t elements = 1, bits = 0;
  bool overflow = false;
  for (uint64_t dim : tensor.shape)
    overflow |= __builtin_mul_overflow(elements, dim, &elements);
  overflow |= __builtin_mul_overflow(elements, static_cast<uint64_t>(dtypeBits(tensor.dtype)), &bits);
  if (overflow)
    return ruleError(10, where, "shape " + shapeText(tensor.shape), "a size that fits into 64 bits");
  if (bits % 8 != 0)
    return ruleError(11, where, std::to_string(bits) + " bits", "a whole number of bytes");
  if (tensor.bytes() != bits / 8)
    return ruleError(12, where, std::to_string(tensor.bytes()) + " bytes of data",
                     std::to_string(bits / 8) + " bytes for " + dtypeName(tensor.dtype) + " " +
                         shapeText(tensor.shape));
  return {};
}

// Rules S9 and S13 over all entries, which are sorted by (begin, end).
Status checkCoverage(const std::string &file, const std::vector<TensorInfo> &tensors, uint64_t dataBytes) {
  uint64_t previousEnd = 0;
  for (const TensorInfo &tensor : tensors) {
    if (tensor.begin != previousEnd)
      return ruleError(9, file + ": tensor '" + tensor.name + "'", "begin " + std::to_string(tensor.begin),
                       "begin " + std::to_string(previousEnd) + ", without a hole or an overlap");
    previousEnd = tensor.end;
  }
  if (previousEnd != dataBytes)
    return ruleError(13, file, std::to_string(dataBytes) + " bytes of data",
                     std::to_string(previousEnd) + " bytes as the header says");
  return {};
}

} // namespace

unsigned dtypeBits(DType dtype) { return kDTypes[static_cast<unsigned>(dtype)].bits; }
const char *dtypeName(DType dtype) { return kDTypes[static_cast<unsigned>(dtype)].name; }

std::optional<DType> parseDType(std::string_view name) {
  for (const DTypeRow &row : kDTypes)
    if (name == row.name)
      return row.dtype;
  return std::nullopt;
}

std::string shapeText(const std::vector<uint64_t> &shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

bool isLfsPointer(std::string_view firstBytes) { return firstBytes.substr(0, kLfsLine.size()) == kLfsLine; }

Expected<SafetensorsHeader> parseSafetensorsHeader(const std::string &file, std::string_view text, uint64_t dataBytes) {
  if (!isUtf8(text))
    return ruleError(4, file, "a header that is not valid UTF-8", "UTF-8");
  Expected<nlohmann::json> parsed = parseJson(text, file);
  if (!parsed)
    return ruleError(parsed.error().code() == kJsonDuplicateKey ? 6 : 5, file, parsed.error().message(),
                     "one JSON object with unique keys");
  if (!parsed->is_object())
    return ruleError(5, file, std::string("a JSON ") + parsed->type_name(), "one JSON object");
  SafetensorsHeader header;
  for (const auto &item : parsed->items()) {
    if (item.key() == "__metadata__") {
      if (!item.value().is_object())
        return ruleError(7, file + ": __metadata__", item.value().type_name(), "an object of strings");
      for (const auto &pair : item.value().items()) {
        if (!pair.value().is_string())
          return ruleError(7, file + ": __metadata__." + pair.key(), pair.value().type_name(), "a string");
        header.metadata.emplace_back(pair.key(), pair.value().get<std::string>());
      }
      continue;
    }
    std::string where = file + ": tensor '" + item.key() + "'";
    Expected<TensorInfo> tensor = parseEntry(where, item.key(), item.value());
    if (!tensor)
      return tensor.error();
    if (Status status = checkEntry(where, *tensor); !status)
      return status.error();
    header.tensors.push_back(std::move(*tensor));
  }
  std::sort(header.tensors.begin(), header.tensors.end(), [](const TensorInfo &a, const TensorInfo &b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  if (Status status = checkCoverage(file, header.tensors, dataBytes); !status)
    return status.error();
  return header;
}

SafetensorsFile::SafetensorsFile(SafetensorsFile &&other) noexcept { *this = std::move(other); }

SafetensorsFile &SafetensorsFile::operator=(SafetensorsFile &&other) noexcept {
  if (this == &other)
    return *this;
  close();
  filePath = std::move(other.filePath);
  header = std::move(other.header);
  byName = std::move(other.byName);
  size = other.size;
  dataOffset = other.dataOffset;
  hash = other.hash;
  descriptor = std::exchange(other.descriptor, -1);
  mapping = std::exchange(other.mapping, nullptr);
  return *this;
}

SafetensorsFile::~SafetensorsFile() { close(); }

void SafetensorsFile::close() {
  if (mapping)
    munmap(const_cast<uint8_t *>(mapping), size);
  if (descriptor >= 0)
    ::close(descriptor);
  mapping = nullptr;
  descriptor = -1;
}

// Fills `buffer` from `offset`; false on a read error or an early end of file.
static bool readAll(int descriptor, void *buffer, uint64_t bytes, uint64_t offset) {
  auto *out = static_cast<uint8_t *>(buffer);
  while (bytes > 0) {
    ssize_t got = pread(descriptor, out, std::min<uint64_t>(bytes, 1u << 30), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0)
      return false;
    out += got;
    offset += got;
    bytes -= got;
  }
  return true;
}

Expected<SafetensorsFile> SafetensorsFile::open(const std::string &path) {
  SafetensorsFile file;
  file.filePath = path;
  file.descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat info;
  if (file.descriptor < 0 || fstat(file.descriptor, &info) != 0)
    return Error::describe(2030, path, errnoText(), "a readable file", "check the path and its permissions");
  if (!S_ISREG(info.st_mode))
    return Error::describe(2030, path, "something that is not a file", "a regular file", "check the path");
  file.size = static_cast<uint64_t>(info.st_size);

  char start[64] = {};
  uint64_t startBytes = std::min<uint64_t>(sizeof start, file.size);
  if (!readAll(file.descriptor, start, startBytes, 0))
    return Error::describe(2030, path, "a read error: " + errnoText(), "a readable file", "check the disk");
  if (isLfsPointer({start, startBytes}))
    return Error::describe(2031, path, "a Git LFS pointer: large files not downloaded", "the safetensors file itself",
                           "run `git lfs pull` in the checkpoint's directory");
  if (file.size < 8)
    return ruleError(1, path, std::to_string(file.size) + " bytes", "at least 8 bytes");
  uint64_t headerBytes = 0;
  for (unsigned i = 0; i < 8; ++i)
    headerBytes |= static_cast<uint64_t>(static_cast<unsigned char>(start[i])) << (8 * i);
  if (headerBytes > kMaxHeaderBytes)
    return ruleError(2, path, "a header length of " + std::to_string(headerBytes) + " bytes", "at most 100000000");
  if (8 + headerBytes > file.size)
    return ruleError(3, path,
                     "a header of " + std::to_string(headerBytes) + " bytes in a file of " + std::to_string(file.size),
                     "a header inside the file");
  std::string text(headerBytes, '\0');
  if (!readAll(file.descriptor, text.data(), headerBytes, 8))
    return Error::describe(2030, path, "a read error: " + errnoText(), "a readable file", "check the disk");
  file.dataOffset = 8 + headerBytes;
  file.hash = XXH3_64bits(text.data(), text.size());
  Expected<SafetensorsHeader> parsed = parseSafetensorsHeader(path, text, file.size - file.dataOffset);
  if (!parsed)
    return parsed.error();
  file.header = std::move(*parsed);
  file.byName.resize(file.header.tensors.size());
  std::iota(file.byName.begin(), file.byName.end(), 0u);
  const std::vector<TensorInfo> &tensors = file.header.tensors;
  std::sort(file.byName.begin(), file.byName.end(),
            [&](uint32_t a, uint32_t b) { return tensors[a].name < tensors[b].name; });
  return file;
}

const TensorInfo *SafetensorsFile::find(std::string_view name) const {
  auto at = std::lower_bound(byName.begin(), byName.end(), name,
                             [&](uint32_t index, std::string_view key) { return header.tensors[index].name < key; });
  return at != byName.end() && header.tensors[*at].name == name ? &header.tensors[*at] : nullptr;
}

Status SafetensorsFile::read(const TensorInfo &tensor, uint64_t offset, void *destination, uint64_t bytes) const {
  std::string where = filePath + ": tensor '" + tensor.name + "'";
  if (offset > tensor.bytes() || bytes > tensor.bytes() - offset)
    return Error::describe(2040, where, "a read of " + std::to_string(bytes) + " bytes at " + std::to_string(offset),
                           "a range within its " + std::to_string(tensor.bytes()) + " bytes", "");
  if (!readAll(descriptor, destination, bytes, dataOffset + tensor.begin + offset))
    return Error::describe(2040, where, "a read error or an early end of file", "the bytes that the header promises",
                           "do not change the file while it is read");
  return {};
}

Expected<const uint8_t *> SafetensorsFile::map(const TensorInfo &tensor) {
  if (!mapping) {
    // A file cut after open() would fault on access: look at its size once more before mapping.
    struct stat info;
    if (fstat(descriptor, &info) != 0 || static_cast<uint64_t>(info.st_size) != size)
      return Error::describe(2040, filePath, "a size that changed since the header was read",
                             std::to_string(size) + " bytes", "do not change the file while it is read");
    void *address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (address == MAP_FAILED)
      return Error::describe(2040, filePath, "a failed mapping: " + errnoText(), "address space for the file", "");
    mapping = static_cast<const uint8_t *>(address);
  }
  return mapping + dataOffset + tensor.begin;
}

} // namespace moray::frontend
