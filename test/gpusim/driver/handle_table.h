// Handles for driver objects: numbers that are never used twice, so that stale and foreign handles are told apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>

namespace gpusim {

/// The next number; one sequence for all tables of the process. Called under the driver's lock.
inline uint64_t nextHandle() {
  static uint64_t last = uint64_t(0xC0DA) << 48; // no pointer of a program looks like this
  return last += 16;
}

/// Objects of one kind by handle, in the order of creation. `Handle` is a pointer type that is never followed.
template <typename T, typename Handle> class HandleTable {
public:
  Handle insert(std::shared_ptr<T> object) {
    Handle handle = reinterpret_cast<Handle>(nextHandle());
    objects.emplace(handle, std::move(object));
    return handle;
  }
  /// Null for a handle that was never given out or whose object is gone.
  std::shared_ptr<T> find(Handle handle) const {
    auto found = objects.find(handle);
    return found == objects.end() ? nullptr : found->second;
  }
  void erase(Handle handle) { objects.erase(handle); }
  void clear() { objects.clear(); }
  size_t size() const { return objects.size(); }
  auto begin() const { return objects.begin(); }
  auto end() const { return objects.end(); }

private:
  std::map<Handle, std::shared_ptr<T>> objects;
};

} // namespace gpusim
