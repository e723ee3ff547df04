// Maps and unmaps the granules of experts. Each granule is memory of its own, as the driver unmaps only whole mappings.
#include "runtime/device/cuda/expert_memory.h"
#include <algorithm>

namespace moray::rt::cuda {

ExpertMemory::~ExpertMemory() {
  if (!base)
    return;
  const Status ignored = unmapOthers(std::vector<bool>(mapped.size()));
  driver->memUnreserve(base, plan.expertRange);
}

// Calls visit(slice, expert) for the experts of a rank, in the order of addresses within a tensor.
template <typename Visit>
void ExpertMemory::visitSlices(const comm::ModelPlacement &placement, uint32_t of, Visit visit) const {
  for (uint32_t w = 0; w < plan.expertBytes.size(); ++w) {
    const uint64_t bytes = plan.expertBytes[w];
    const uint32_t tensors = bytes ? artifact.metadata().weights()->Get(w)->offsets()->size() : 0;
    for (uint32_t layer = 0; layer < tensors; ++layer) {
      const uint64_t offset = plan.weightOffset(artifact, w, layer);
      if (offset == schema::kNoOffset)
        continue;
      for (uint32_t expert : placement.layer(static_cast<int32_t>(layer)).expertsOn(of))
        visit(ExpertSlice{w, layer, expert * bytes, bytes, offset + expert * bytes}, expert);
    }
  }
}

std::vector<bool> ExpertMemory::granulesOf(const comm::ModelPlacement &placement, uint32_t of) const {
  const uint64_t granule = plan.capacities.granule;
  std::vector<bool> used(granule ? plan.expertRange / granule : 0);
  visitSlices(placement, of, [&](const ExpertSlice &slice, uint32_t) {
    for (uint64_t at = slice.offset / granule; at * granule < slice.offset + slice.bytes; ++at)
      used[at] = true;
  });
  return used;
}

uint64_t ExpertMemory::bytesOf(const comm::ModelPlacement &placement, uint32_t of) const {
  const std::vector<bool> used = granulesOf(placement, of);
  return plan.capacities.granule * static_cast<uint64_t>(std::count(used.begin(), used.end(), true));
}

Status ExpertMemory::reserve() {
  mapped.resize(plan.expertRange / plan.capacities.granule);
  return driver.check(driver->memReserve(&base, plan.expertRange, plan.capacities.granule, 0, 0),
                      "reserving addresses for experts");
}

bool ExpertMemory::isResident(uint32_t layer, uint32_t expert) const {
  if (!current)
    return false;
  const Span<const uint32_t> experts = current->layer(static_cast<int32_t>(layer)).expertsOn(rank);
  return std::binary_search(experts.begin(), experts.end(), expert);
}

// Memory behind the granules [first, last), which have none.
Status ExpertMemory::map(size_t first, size_t last) {
  const char *what = "mapping memory for experts";
  const MemoryProperties properties = driver.memoryProperties();
  const MemoryAccess access = {properties.location, kAccessReadWrite};
  const uint64_t granule = plan.capacities.granule;
  for (size_t at = first; at < last; ++at) {
    PhysicalMemory memory = 0;
    MORAY_TRY(driver.check(driver->memCreate(&memory, granule, &properties, 0), what));
    const Result result = driver->memMap(base + at * granule, granule, 0, memory, 0);
    driver->memRelease(memory); // it goes with its mapping
    MORAY_TRY(driver.check(result, what));
    mapped[at] = true;
  }
  return driver.check(driver->memSetAccess(base + first * granule, (last - first) * granule, &access, 1), what);
}

Status ExpertMemory::unmapOthers(const std::vector<bool> &kept) {
  const uint64_t granule = plan.capacities.granule;
  for (size_t at = 0; at < mapped.size(); ++at) {
    if (!mapped[at] || kept[at])
      continue;
    MORAY_TRY(driver.check(driver->memUnmap(base + at * granule, granule), "unmapping memory of experts"));
    mapped[at] = false;
  }
  return {};
}

Status ExpertMemory::mapMissing(const std::vector<bool> &used) {
  for (size_t at = 0; at < used.size(); ++at) {
    const size_t first = at;
    while (at < used.size() && used[at] && !mapped[at])
      ++at;
    if (at > first)
      MORAY_TRY(map(first, at));
  }
  return {};
}

Status ExpertMemory::prepare(const comm::ModelPlacement &next, uint32_t of) {
  rank = of;
  missing.clear();
  wanted = std::make_unique<comm::ModelPlacement>(next);
  if (Status status = mapMissing(granulesOf(next, rank)); !status.ok()) {
    const Status ignored = unmapOthers(current ? granulesOf(*current, rank) : std::vector<bool>(mapped.size()));
    return status;
  }
  visitSlices(next, rank, [this](const ExpertSlice &slice, uint32_t expert) {
    if (!isResident(slice.number, expert))
      missing.push_back(slice);
  });
  return {};
}

Status ExpertMemory::commit() {
  current = std::move(wanted);
  missing.clear();
  return unmapOthers(granulesOf(*current, rank));
}

} // namespace moray::rt::cuda
