// Allocates the plan's memory on the device and says where each piece lies.
#include "runtime/device/cuda/device_memory.h"
#include "runtime/artifact/checker.h"

namespace moray::rt::cuda {

namespace {

// An address for each buffer; nothing shares memory, whatever the lifetimes.
class GuardedMap : public MemoryMap {
public:
  uint8_t *buffer(Entry, uint32_t program, uint32_t index) const override { return toPointer(buffers[program][index]); }
  uint8_t *input(uint32_t id, uint32_t batch) const override { return toPointer(inputs[batch * kInputCount + id]); }
  uint8_t *cache(uint64_t layer) const override { return toPointer(caches[layer]); }
  uint8_t *weight(uint32_t index, uint32_t number) const override { return toPointer(weights[index][number]); }

  std::vector<std::vector<Address>> buffers, weights;
  std::vector<Address> inputs, caches;
};

} // namespace

DeviceMemory::~DeviceMemory() {
  for (Address address : allocations)
    driver->memFree(address);
}

Status DeviceMemory::take(uint64_t bytes, Address &address) {
  address = 0;
  if (bytes == 0)
    return {};
  MORAY_TRY(driver.check(driver->memAlloc(&address, bytes), "allocating device memory"));
  allocations.push_back(address);
  return {};
}

Status DeviceMemory::takeExchange(uint64_t bytes, Address &address) {
  if (guarded)
    return take(bytes, address);
  address = bytes ? exchangeAddress : 0;
  exchangeAddress += bytes; // aligned, as the plan's sizes are
  return {};
}

Status DeviceMemory::allocate(const Artifact &artifact, bool asGuarded, Address experts) {
  guarded = asGuarded;
  return guarded ? allocateGuarded(artifact, experts) : allocatePacked(artifact, experts);
}

Status DeviceMemory::allocatePacked(const Artifact &artifact, Address experts) {
  Address base = 0;
  MORAY_TRY(take(plan.arenaBytes(), base));
  // The same order and alignment as in the plan's total.
  auto next = [&base](uint64_t bytes) {
    const Address start = base;
    base += alignUp(bytes, schema::kPageBytes);
    return start;
  };
  const Address cache = next(plan.memory.cache), activations = next(plan.memory.activations);
  const Address scratch = next(plan.memory.scratch), io = next(plan.memory.io), weights = next(plan.arenaWeights);
  exchangeAddress = next(plan.memory.exchange);
  scratchAddresses.assign(plan.scratch.size(), scratch);
  for (uint32_t b = 0; b < plan.capacities.batches; ++b)
    liveAddresses[b] = io + b * plan.batchBytes + plan.liveOffset;
  faultAddress = io + plan.faultOffset;
  places = std::make_unique<PackedMap>(artifact, plan,
                                       PackedMap::Blocks{toPointer(activations), toPointer(io), toPointer(cache),
                                                         toPointer(weights), toPointer(experts)});
  return {};
}

Status DeviceMemory::allocateGuarded(const Artifact &artifact, Address experts) {
  auto map = std::make_unique<GuardedMap>();
  auto add = [this](std::vector<Address> &list, uint64_t bytes) {
    Address address = 0;
    MORAY_TRY(take(bytes, address));
    list.push_back(address);
    return Status();
  };
  for (const std::vector<PlannedBuffer> &program : plan.buffers) {
    map->buffers.emplace_back();
    for (const PlannedBuffer &buffer : program)
      MORAY_TRY(add(map->buffers.back(), buffer.bytes));
  }
  for (uint32_t w = 0; w < plan.gpuWeightFirst.size(); ++w) {
    const schema::Weight &weight = *artifact.metadata().weights()->Get(w);
    map->weights.emplace_back();
    for (uint32_t i = 0; i < weight.offsets()->size(); ++i) {
      const uint64_t offset = plan.weightOffset(artifact, w, i);
      if (plan.isExpertWeight(w))
        map->weights.back().push_back(offset == schema::kNoOffset ? 0 : experts + offset);
      else
        MORAY_TRY(add(map->weights.back(), offset == schema::kNoOffset ? 0 : weight.bytes()));
    }
  }
  for (uint32_t b = 0; b < plan.capacities.batches; ++b) {
    for (uint64_t bytes : plan.inputBytes)
      MORAY_TRY(add(map->inputs, bytes));
    MORAY_TRY(take(4 * sizeof(int32_t), liveAddresses[b]));
  }
  for (uint32_t layer = 0; layer < artifact.model().layers(); ++layer)
    MORAY_TRY(add(map->caches, plan.cacheLayerBytes));
  for (uint64_t bytes : plan.scratch)
    MORAY_TRY(add(scratchAddresses, bytes));
  MORAY_TRY(take(sizeof(uint32_t), faultAddress));
  places = std::move(map);
  return {};
}

} // namespace moray::rt::cuda
