// An array of plain elements that grows by malloc and reports when memory runs out, as the runtime has no exceptions.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>

namespace moray::rt {

template <typename T> class GrowingArray {
  static_assert(std::is_trivially_copyable_v<T>, "elements are moved by realloc");

public:
  GrowingArray() = default;
  GrowingArray(const GrowingArray &) = delete;
  GrowingArray &operator=(const GrowingArray &) = delete;
  ~GrowingArray() { free(elements); }

  T *data() { return elements; }
  const T *data() const { return elements; }
  size_t size() const { return count; }
  bool empty() const { return count == 0; }
  T &operator[](size_t i) { return elements[i]; }
  const T &operator[](size_t i) const { return elements[i]; }
  T *begin() { return elements; }
  T *end() { return elements + count; }
  const T *begin() const { return elements; }
  const T *end() const { return elements + count; }

  void clear() { count = 0; }
  void popBack() { --count; }
  void truncate(size_t size) { count = size; } // size <= size()

  // False: out of memory, nothing changed.
  [[nodiscard]] bool reserve(size_t wanted) {
    if (wanted <= capacity)
      return true;
    size_t larger = wanted > capacity * 2 ? wanted : capacity * 2;
    if (larger > SIZE_MAX / sizeof(T))
      return false;
    T *moved = static_cast<T *>(realloc(static_cast<void *>(elements), larger * sizeof(T)));
    if (!moved)
      return false;
    elements = moved;
    capacity = larger;
    return true;
  }
  [[nodiscard]] bool append(const T &value) {
    T copy = value; // may be an element of this array
    if (!reserve(count + 1))
      return false;
    elements[count++] = copy;
    return true;
  }
  [[nodiscard]] bool append(const T *values, size_t size) {
    if (!reserve(count + size))
      return false;
    if (size)
      memcpy(static_cast<void *>(elements + count), values, size * sizeof(T));
    count += size;
    return true;
  }
  [[nodiscard]] bool assignZero(size_t size) {
    if (!reserve(size))
      return false;
    if (size)
      memset(static_cast<void *>(elements), 0, size * sizeof(T));
    count = size;
    return true;
  }
  void swap(GrowingArray &other) {
    T *otherElements = other.elements;
    size_t otherCount = other.count, otherCapacity = other.capacity;
    other.elements = elements, other.count = count, other.capacity = capacity;
    elements = otherElements, count = otherCount, capacity = otherCapacity;
  }

private:
  T *elements = nullptr;
  size_t count = 0, capacity = 0;
};

} // namespace moray::rt
