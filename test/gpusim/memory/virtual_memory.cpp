// Reserved addresses and the physical memory behind them. The latter is a file, so that it can be mapped anywhere.
#include "test/gpusim/memory/global_memory.h"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>

namespace gpusim {
namespace {

// Host addresses that nothing lies at, or their end as such.
uint8_t *mapNothing(void *where, uint64_t bytes) {
  void *memory =
      mmap(where, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (where ? MAP_FIXED : 0), -1, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<uint8_t *>(memory);
}

bool mapFile(uint8_t *where, uint64_t bytes, int file, uint64_t place) {
  return mmap(where, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, off_t(place)) != MAP_FAILED;
}

uint64_t roundUp(uint64_t value, uint64_t step) { return (value + step - 1) / step * step; }

} // namespace

GlobalMemory::~GlobalMemory() {
  if (file >= 0)
    close(file);
}

uint64_t GlobalMemory::reserve(uint64_t size, uint64_t alignment, uint64_t granule) {
  std::unique_lock<std::shared_mutex> lock(mutex);
  const uint64_t base = roundUp(nextAddress, std::max(alignment, granule));
  if (size == 0 || size % granule != 0 || size > lastAddress - base - 2 * gap)
    return 0;
  auto range = std::make_unique<Allocation>();
  range->base = base;
  range->size = range->mappedBytes = size;
  range->number = allocations.size() + 1;
  range->label = "reserved range";
  range->granule = granule;
  range->accessible.resize(size / granule);
  range->bytes = mapNothing(nullptr, size);
  range->defined = mapNothing(nullptr, size);
  if (!range->bytes || !range->defined)
    return 0;
  nextAddress = roundUp(base + size + gap, GlobalMemory::alignment);
  allocations.push_back(std::move(range));
  return base;
}

bool GlobalMemory::unreserve(uint64_t address, uint64_t size) {
  std::unique_lock<std::shared_mutex> lock(mutex);
  Allocation *range = lookup(address);
  if (!range || !range->live || !range->granule || range->base != address || range->size != size ||
      !range->mappings.empty())
    return false;
  range->live = false;
  range->unmap();
  return true;
}

bool GlobalMemory::createPhysical(uint64_t handle, uint64_t size) {
  std::unique_lock<std::shared_mutex> lock(mutex);
  if (file < 0)
    file = memfd_create("gpusim", MFD_CLOEXEC);
  if (size > limit - used || ftruncate(file, off_t(fileBytes + 2 * size)) != 0)
    return false;
  physicals[handle] = {size, fileBytes, 0, false};
  fileBytes += 2 * size;
  used += size;
  return true;
}

// What nobody can reach gives its memory back.
void GlobalMemory::dropUnused(std::map<uint64_t, Physical>::iterator physical) {
  const Physical &it = physical->second;
  if (!it.released || it.mappings > 0)
    return;
  fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off_t(it.place), off_t(2 * it.size));
  used -= it.size;
  physicals.erase(physical);
}

bool GlobalMemory::releasePhysical(uint64_t handle) {
  std::unique_lock<std::shared_mutex> lock(mutex);
  auto physical = physicals.find(handle);
  if (physical == physicals.end() || physical->second.released)
    return false;
  physical->second.released = true;
  dropUnused(physical);
  return true;
}

bool GlobalMemory::map(uint64_t address, uint64_t size, uint64_t handle) {
  std::unique_lock<std::shared_mutex> lock(mutex);
  Allocation *range = lookup(address);
  auto physical = physicals.find(handle);
  if (!range || !range->live || !range->granule || size == 0 || !range->contains(address, size) ||
      physical == physicals.end() || physical->second.released || size > physical->second.size)
    return false;
  const uint64_t offset = address - range->base;
  auto next = range->mappings.lower_bound(offset);
  if (offset % range->granule != 0 || size % range->granule != 0 ||
      (next != range->mappings.end() && next->first < offset + size) ||
      (next != range->mappings.begin() && std::prev(next)->first + std::prev(next)->second.size > offset))
    return false;
  const Physical &it = physical->second;
  if (!mapFile(range->bytes + offset, size, file, it.place) ||
      !mapFile(range->defined + offset, size, file, it.place + it.size))
    return false;
  range->mappings[offset] = {size, handle};
  ++physical->second.mappings;
  return true;
}

// The range that holds whole mappings from begin to end; null if something there is missing or cut.
Allocation *GlobalMemory::wholeMappings(uint64_t address, uint64_t size) const {
  Allocation *range = lookup(address);
  if (!range || !range->live || !range->granule || size == 0 || !range->contains(address, size))
    return nullptr;
  uint64_t offset = address - range->base;
  const uint64_t end = offset + size;
  for (auto at = range->mappings.find(offset); at != range->mappings.end() && at->first == offset && offset < end; ++at)
    offset += at->second.size;
  return offset == end ? range : nullptr;
}

bool GlobalMemory::unmap(uint64_t address, uint64_t size) {
  std::unique_lock<std::shared_mutex> lock(mutex);
  Allocation *range = wholeMappings(address, size);
  if (!range)
    return false;
  const uint64_t offset = address - range->base;
  mapNothing(range->bytes + offset, size);
  mapNothing(range->defined + offset, size);
  std::fill_n(range->accessible.begin() + ptrdiff_t(offset / range->granule), size / range->granule, 0);
  for (auto at = range->mappings.find(offset); at != range->mappings.end() && at->first < offset + size;) {
    auto physical = physicals.find(at->second.handle);
    --physical->second.mappings;
    dropUnused(physical);
    at = range->mappings.erase(at);
  }
  return true;
}

bool GlobalMemory::setAccess(uint64_t address, uint64_t size, bool accessible) {
  std::unique_lock<std::shared_mutex> lock(mutex);
  Allocation *range = wholeMappings(address, size);
  if (range)
    std::fill_n(range->accessible.begin() + ptrdiff_t((address - range->base) / range->granule), size / range->granule,
                uint8_t(accessible));
  return range != nullptr;
}

size_t GlobalMemory::physicalHandles() const {
  std::shared_lock<std::shared_mutex> lock(mutex);
  return size_t(std::count_if(physicals.begin(), physicals.end(), [](const auto &it) { return !it.second.released; }));
}

} // namespace gpusim
