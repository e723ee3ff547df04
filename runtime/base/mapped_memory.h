// Memory from the operating system: files mapped for reading or executing, and zeroed anonymous memory.
#pragma once
#include "runtime/base/span.h"
#include "runtime/base/status.h"
#include <utility>

namespace moray::rt {

// Owns one mapping. Movable; unmapped on destruction.
class Mapping {
public:
  Mapping() = default;
  Mapping(void *address, size_t bytes) : start(address), length(bytes) {}
  Mapping(Mapping &&other) noexcept
      : start(std::exchange(other.start, nullptr)), length(std::exchange(other.length, 0)) {}
  Mapping &operator=(Mapping &&other) noexcept {
    std::swap(start, other.start);
    std::swap(length, other.length);
    return *this;
  }
  ~Mapping();

  uint8_t *data() const { return static_cast<uint8_t *>(start); }
  size_t size() const { return length; }

private:
  void *start = nullptr;
  size_t length = 0;
};

// A file that is open for reading and mapped as a whole.
class MappedFile {
public:
  MappedFile() = default;
  MappedFile(MappedFile &&other) noexcept
      : descriptor(std::exchange(other.descriptor, -1)), mapping(std::move(other.mapping)) {}
  MappedFile &operator=(MappedFile &&other) noexcept {
    std::swap(descriptor, other.descriptor);
    mapping = std::move(other.mapping);
    return *this;
  }
  ~MappedFile();

  // 4001: the file cannot be opened or mapped, or is no regular file. An empty file is opened and has size 0.
  Status open(const char *path);
  // Maps [offset, offset + size) as code; offset is page aligned. 5015 where the system forbids it.
  Status mapExecutable(uint64_t offset, uint64_t size, Mapping &code) const;
  Bytes bytes() const { return {mapping.data(), mapping.size()}; }

private:
  int descriptor = -1;
  Mapping mapping;
};

// Zeroed pages, huge ones where the system has them; false when there is no memory.
bool allocatePages(uint64_t bytes, Mapping &memory);

// Bytes that can be allocated now: what /proc/meminfo calls available, less where a limit of the process says so.
uint64_t availableMemory();

} // namespace moray::rt
