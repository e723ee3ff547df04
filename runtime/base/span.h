// A view of contiguous elements; owns nothing.
#pragma once
#include <cstddef>
#include <cstdint>

namespace moray::rt {

template <typename T> class Span {
public:
  Span() = default;
  Span(T *data, size_t size) : first(data), count(size) {}

  T *data() const { return first; }
  size_t size() const { return count; }
  bool empty() const { return count == 0; }
  T &operator[](size_t i) const { return first[i]; }
  T *begin() const { return first; }
  T *end() const { return first + count; }

private:
  T *first = nullptr;
  size_t count = 0;
};

using Bytes = Span<const uint8_t>;

// Whether [offset, offset + size) lies inside [0, limit), without overflow.
constexpr bool inRange(uint64_t offset, uint64_t size, uint64_t limit) {
  return offset <= limit && size <= limit - offset;
}

constexpr uint64_t alignUp(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

} // namespace moray::rt
