// Allocation, lookup and naming of device addresses.
#include "test/gpusim/memory/global_memory.h"

#include <algorithm>
#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <sys/mman.h>

namespace gpusim {
namespace {

uint64_t roundUp(uint64_t value, uint64_t step) { return (value + step - 1) / step * step; }

// What a thread accessed last; nearly every access of a warp hits the same buffer as the one before or the one before
// that.
struct CacheEntry {
  uint64_t serial = 0;
  Allocation *allocation = nullptr;
};
constexpr size_t cacheEntries = 4;
// The static model spares a call per access; a loaded library may have so few bytes of it.
__attribute__((tls_model("initial-exec"))) thread_local CacheEntry cache[cacheEntries];
__attribute__((tls_model("initial-exec"))) thread_local size_t cacheNext = 0;

uint8_t *mapZeroed(uint64_t bytes) {
  void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<uint8_t *>(memory);
}

uint64_t nextSerial() {
  static std::atomic<uint64_t> counter{0};
  return ++counter;
}

std::string nameOf(const Allocation &allocation) {
  char text[160];
  snprintf(text, sizeof text, "%.60s #%" PRIu64 ", %" PRIu64 " bytes at 0x%" PRIx64, allocation.label.c_str(),
           allocation.number, allocation.size, allocation.base);
  return text;
}

} // namespace

void Allocation::unmap() {
  if (bytes)
    munmap(bytes, mappedBytes);
  if (defined)
    munmap(defined, mappedBytes);
  bytes = nullptr;
  defined = nullptr;
}

GlobalMemory::GlobalMemory(uint64_t limit) : serial(nextSerial()), limit(limit) {}

uint64_t GlobalMemory::allocate(uint64_t size, const std::string &label) {
  std::unique_lock<std::shared_mutex> lock(mutex);
  if (size == 0 || size > limit - used || size > lastAddress - nextAddress - 2 * gap)
    return 0;
  auto allocation = std::make_unique<Allocation>();
  allocation->base = nextAddress;
  allocation->size = size;
  allocation->number = allocations.size() + 1;
  allocation->label = label;
  allocation->mappedBytes = roundUp(size, 4096);
  allocation->bytes = mapZeroed(allocation->mappedBytes);
  allocation->defined = mapZeroed(allocation->mappedBytes);
  if (!allocation->bytes || !allocation->defined)
    return 0;
  // Zeros would hide a missing initialisation where reports are off; large buffers stay untouched to cost no memory.
  if (size <= (1 << 20))
    memset(allocation->bytes, 0xCB, size);
  nextAddress = roundUp(nextAddress + size + gap, alignment);
  used += size;
  allocations.push_back(std::move(allocation));
  return allocations.back()->base;
}

bool GlobalMemory::release(uint64_t address) {
  std::unique_lock<std::shared_mutex> lock(mutex);
  Allocation *allocation = lookup(address);
  if (!allocation || allocation->granule || !allocation->live || allocation->base != address)
    return false;
  allocation->live = false;
  used -= allocation->size;
  allocation->unmap();
  return true;
}

void GlobalMemory::makeConstant(uint64_t address) {
  std::unique_lock<std::shared_mutex> lock(mutex);
  if (Allocation *allocation = lookup(address))
    allocation->constant = true;
}

// The allocation with the largest base that is not above `address`, if the address lies inside it. The caller has the
// lock.
Allocation *GlobalMemory::lookup(uint64_t address) const {
  auto above = std::upper_bound(allocations.begin(), allocations.end(), address,
                                [](uint64_t value, const auto &entry) { return value < entry->base; });
  if (above == allocations.begin())
    return nullptr;
  Allocation *below = std::prev(above)->get();
  return address - below->base < below->size ? below : nullptr;
}

HostRange GlobalMemory::resolve(uint64_t address, uint64_t size) const {
  for (const CacheEntry &entry : cache) {
    if (entry.serial != serial || !entry.allocation->live || !entry.allocation->contains(address, size) ||
        !entry.allocation->isAccessible(address, size))
      continue;
    uint64_t offset = address - entry.allocation->base;
    return {AccessKind::Inside, entry.allocation->bytes + offset, entry.allocation->defined + offset,
            entry.allocation->constant};
  }
  std::shared_lock<std::shared_mutex> lock(mutex);
  Allocation *allocation = lookup(address);
  if (!allocation)
    return {address < 4096 ? AccessKind::Null : AccessKind::OutOfBounds};
  if (!allocation->live)
    return {AccessKind::UseAfterFree};
  if (!allocation->contains(address, size) || !allocation->isAccessible(address, size))
    return {AccessKind::OutOfBounds};
  cache[cacheNext++ % cacheEntries] = {serial, allocation};
  uint64_t offset = address - allocation->base;
  return {AccessKind::Inside, allocation->bytes + offset, allocation->defined + offset, allocation->constant};
}

const Allocation *GlobalMemory::find(uint64_t address) const {
  std::shared_lock<std::shared_mutex> lock(mutex);
  return lookup(address);
}

// The allocation whose first or last byte is closest to an address that lies in none. The caller has the lock.
const Allocation *GlobalMemory::nearest(uint64_t address) const {
  auto above = std::upper_bound(allocations.begin(), allocations.end(), address,
                                [](uint64_t value, const auto &entry) { return value < entry->base; });
  const Allocation *after = above == allocations.end() ? nullptr : above->get();
  const Allocation *before = above == allocations.begin() ? nullptr : std::prev(above)->get();
  if (!before || !after)
    return before ? before : after;
  return after->base - address < address - (before->base + before->size) ? after : before;
}

std::string GlobalMemory::describe(uint64_t address, uint64_t size) const {
  std::shared_lock<std::shared_mutex> lock(mutex);
  char text[256];
  if (const Allocation *inside = lookup(address)) {
    uint64_t offset = address - inside->base;
    if (!inside->live)
      snprintf(text, sizeof text, "byte %" PRIu64 " of the released %s", offset, nameOf(*inside).c_str());
    else if (!inside->contains(address, size))
      snprintf(text, sizeof text, "%" PRIu64 " bytes from byte %" PRIu64 " cross the end of %s", size, offset,
               nameOf(*inside).c_str());
    else
      snprintf(text, sizeof text, "byte %" PRIu64 " of %s%s", offset, nameOf(*inside).c_str(),
               inside->isAccessible(address, size) ? "" : ", where no memory is mapped or accessible");
    return text;
  }
  const Allocation *close = address < 4096 ? nullptr : nearest(address);
  if (!close)
    return address < 4096 ? "a null pointer" : "no allocation exists";
  const char *state = close->live ? "" : "released ";
  constexpr uint64_t far = uint64_t(1) << 32;
  if (!isDeviceAddress(address) && (address - firstAddress + far > lastAddress - firstAddress + 2 * far))
    return "not in device memory: a host pointer or a wrong sum?";
  if (address < close->base)
    snprintf(text, sizeof text, "%" PRIu64 " bytes before the %s%s", close->base - address, state,
             nameOf(*close).c_str());
  else
    snprintf(text, sizeof text, "%" PRIu64 " bytes past the end of the %s%s", address - close->base - close->size,
             state, nameOf(*close).c_str());
  return text;
}

uint64_t GlobalMemory::usedBytes() const {
  std::shared_lock<std::shared_mutex> lock(mutex);
  return used;
}

std::vector<const Allocation *> GlobalMemory::liveAllocations() const {
  std::shared_lock<std::shared_mutex> lock(mutex);
  std::vector<const Allocation *> live;
  for (const auto &allocation : allocations)
    if (allocation->live)
      live.push_back(allocation.get());
  return live;
}

} // namespace gpusim
