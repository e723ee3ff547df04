// The device's global memory: allocations in an address space of their own, with gaps, quarantine and initialised
// bytes.
#ifndef GPUSIM_MEMORY_GLOBAL_MEMORY_H
#define GPUSIM_MEMORY_GLOBAL_MEMORY_H

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <shared_mutex>
#include <string>
#include <vector>

namespace gpusim {

/// Part of a reserved range that physical memory is mapped to.
struct Mapping {
  uint64_t size = 0;
  uint64_t handle = 0; // of the physical memory
};

/// One range of device memory. It outlives its release (as a tombstone without bytes), so a stale pointer can be named.
struct Allocation {
  uint64_t base = 0;
  uint64_t size = 0;          // in bytes, as asked for
  uint64_t number = 0;        // 1, 2, ... in the order of allocation
  std::string label;          // "allocation" or what the caller named it, e.g. "global counters"
  bool live = true;           // false after release
  bool constant = false;      // kernels may not write it
  uint8_t *bytes = nullptr;   // host memory; null after release
  uint8_t *defined = nullptr; // one byte per byte: 0 = never written, 1 = written
  uint64_t mappedBytes = 0;   // length of each of the two host mappings
  // Of reserved ranges:
  uint64_t granule = 0;                 // 0: an ordinary allocation
  std::map<uint64_t, Mapping> mappings; // by offset
  std::vector<uint8_t> accessible;      // by granule

  Allocation() = default;
  Allocation(const Allocation &) = delete;
  Allocation &operator=(const Allocation &) = delete;
  ~Allocation() { unmap(); }

  bool contains(uint64_t address, uint64_t length) const {
    return address - base <= size && length <= size - (address - base);
  }
  /// Whether all of a range inside of it may be accessed.
  bool isAccessible(uint64_t address, uint64_t length) const {
    if (granule == 0)
      return true;
    for (uint64_t at = (address - base) / granule; length && at <= (address - base + length - 1) / granule; ++at)
      if (!accessible[at])
        return false;
    return true;
  }
  /// Gives the host memory back.
  void unmap();
};

enum class AccessKind { Inside, Null, OutOfBounds, UseAfterFree };

/// Where a range of device memory lies on the host. Both pointers are null unless `kind` is Inside.
struct HostRange {
  AccessKind kind = AccessKind::OutOfBounds;
  uint8_t *bytes = nullptr;
  uint8_t *defined = nullptr;
  bool constant = false; // kernels may not write it
};

/// All allocations of one device. Lookups may run on many threads at once, also beside allocate and release; the bytes
/// themselves are not locked, as on a GPU. Writers of bytes set the `defined` bytes as well.
class GlobalMemory {
public:
  /// The first address handed out. No object of this process can lie there, so a host pointer is never taken for one.
  static constexpr uint64_t firstAddress = 0x10000000000;
  static constexpr uint64_t lastAddress = 0x1ffffffffff;
  static constexpr uint64_t alignment = 512;
  /// At least so many unmapped bytes follow every allocation.
  static constexpr uint64_t gap = 64 << 10;

  /// `limit`: total device memory in bytes.
  explicit GlobalMemory(uint64_t limit = uint64_t(8) << 30);
  ~GlobalMemory();
  GlobalMemory(const GlobalMemory &) = delete;
  GlobalMemory &operator=(const GlobalMemory &) = delete;

  /// Returns an address aligned to `alignment`, never one used before; 0 when the limit does not allow `size` bytes.
  /// All bytes are undefined; up to 1 MiB they hold 0xCB. `size` must not be 0.
  uint64_t allocate(uint64_t size, const std::string &label = "allocation");
  /// Releases the allocation that begins at `address`; false if none does or it was released before.
  bool release(uint64_t address);
  /// Marks the live allocation that begins at `address` as constant memory; before anybody resolves it.
  void makeConstant(uint64_t address);

  // Virtual memory. Addresses and sizes are multiples of the granule, a power of two of at least 4096; false or 0 is an
  // invalid value, unless said otherwise.

  /// A range of addresses without memory, aligned to `alignment` and the granule.
  uint64_t reserve(uint64_t size, uint64_t alignment, uint64_t granule);
  /// Ends a whole reservation without mappings.
  bool unreserve(uint64_t address, uint64_t size);
  /// Undefined memory without an address, known by `handle`; false when the limit does not allow it.
  bool createPhysical(uint64_t handle, uint64_t size);
  /// Its memory goes when nothing is mapped to it any more.
  bool releasePhysical(uint64_t handle);
  /// Maps the first `size` bytes where nothing is mapped. They cannot be accessed yet.
  bool map(uint64_t address, uint64_t size, uint64_t handle);
  /// The range must consist of whole mappings, here and in setAccess.
  bool unmap(uint64_t address, uint64_t size);
  bool setAccess(uint64_t address, uint64_t size, bool accessible);
  /// Created and not released.
  size_t physicalHandles() const;

  /// The host bytes of [address, address + size), which must lie in one live allocation. The fast path of every access.
  HostRange resolve(uint64_t address, uint64_t size) const;
  /// A sentence about a range: its allocation, or the nearest one and the distance to it.
  std::string describe(uint64_t address, uint64_t size) const;
  /// The live or released allocation that holds `address`, or null. Valid as long as this object.
  const Allocation *find(uint64_t address) const;
  /// True for each address that this class could hand out, mapped or not.
  static bool isDeviceAddress(uint64_t address) { return address >= firstAddress && address <= lastAddress; }

  uint64_t limitBytes() const { return limit; }
  uint64_t usedBytes() const;
  /// Live allocations in the order they were made.
  std::vector<const Allocation *> liveAllocations() const;

private:
  struct Physical {
    uint64_t size = 0;
    uint64_t place = 0; // in the file: bytes, then which of them are defined
    unsigned mappings = 0;
    bool released = false;
  };

  void dropUnused(std::map<uint64_t, Physical>::iterator physical);
  Allocation *wholeMappings(uint64_t address, uint64_t size) const;
  Allocation *lookup(uint64_t address) const;
  const Allocation *nearest(uint64_t address) const;

  const uint64_t serial; // tells instances apart in the threads' caches
  uint64_t limit;
  uint64_t used = 0;
  uint64_t nextAddress = firstAddress;
  mutable std::shared_mutex mutex;                      // guards the list, `used` and `nextAddress`
  std::vector<std::unique_ptr<Allocation>> allocations; // by ascending base; never shrinks
  std::map<uint64_t, Physical> physicals;               // by handle, while released or not in use
  int file = -1;                                        // all physical memory, without a name
  uint64_t fileBytes = 0;
};

} // namespace gpusim

#endif // GPUSIM_MEMORY_GLOBAL_MEMORY_H
