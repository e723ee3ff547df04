// The memory of an engine on a GPU: one arena, or, to find accesses beyond a buffer, an allocation for each buffer.
#pragma once
#include "runtime/device/cuda/driver.h"
#include "runtime/exec/program.h"
#include <memory>

namespace moray::rt::cuda {

inline Address toAddress(const void *pointer) { return reinterpret_cast<uintptr_t>(pointer); }
inline uint8_t *toPointer(Address address) { return reinterpret_cast<uint8_t *>(static_cast<uintptr_t>(address)); }

class DeviceMemory {
public:
  // Both must outlive it.
  DeviceMemory(const Driver &driver, const ExecPlan &plan) : driver(driver), plan(plan) {}
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory &) = delete;
  DeviceMemory &operator=(const DeviceMemory &) = delete;

  // Allocates everything in the plan but the memory of experts, whose addresses begin at `experts`. 5001 from the
  // driver where it does not fit.
  Status allocate(const Artifact &artifact, bool guarded, Address experts);

  const MemoryMap &map() const { return *places; }
  bool isGuarded() const { return guarded; }
  Address live(uint32_t batch) const { return liveAddresses[batch]; }
  Address fault() const { return faultAddress; }
  Address scratch(size_t kernel) const { return scratchAddresses[kernel]; }

  // Takes the next piece of what the plan counts as exchange.
  Status takeExchange(uint64_t bytes, Address &address);
  // One more allocation of its own; freed with the rest.
  Status take(uint64_t bytes, Address &address);

  // Frees nothing when it is destroyed: the device may still use it.
  void abandon() { allocations.clear(); }

private:
  Status allocatePacked(const Artifact &artifact, Address experts);
  Status allocateGuarded(const Artifact &artifact, Address experts);

  const Driver &driver;
  const ExecPlan &plan;
  std::unique_ptr<MemoryMap> places;
  std::vector<Address> allocations;
  std::vector<Address> scratchAddresses; // by kernel
  Address liveAddresses[kBatches] = {};
  Address faultAddress = 0, exchangeAddress = 0; // one fault word for both micro-batches
  bool guarded = false;
};

} // namespace moray::rt::cuda
