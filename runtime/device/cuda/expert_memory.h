// Memory for the experts that live on this rank: addresses for all experts of all layers, memory behind those it holds.
// Kernels keep the indices of all experts; a rank receives rows only for its own.
#pragma once
#include "runtime/comm/placement.h"
#include "runtime/device/cuda/driver.h"
#include "runtime/exec/exec_plan.h"

namespace moray::rt::cuda {

// What one expert has in one tensor.
struct ExpertSlice {
  uint32_t weight, number;
  uint64_t begin, bytes; // in the tensor
  uint64_t offset;       // in the range of addresses
};

class ExpertMemory {
public:
  // All must outlive it.
  ExpertMemory(const Driver &driver, const Artifact &artifact, const ExecPlan &plan)
      : driver(driver), artifact(artifact), plan(plan) {}
  ~ExpertMemory();
  ExpertMemory(const ExpertMemory &) = delete;
  ExpertMemory &operator=(const ExpertMemory &) = delete;

  // The bytes that a placement takes on a rank, whole granules.
  uint64_t bytesOf(const comm::ModelPlacement &placement, uint32_t rank) const;
  // Takes the addresses. 5001, 5021 from the driver, here and below.
  Status reserve();
  Address address() const { return base; }

  // The way to another placement: prepare maps what its experts lack, beside what is in use; fresh() are the slices to
  // be filled; commit, once no work uses the old placement, unmaps what only that needed. Begins with no experts. After
  // a failed prepare another one may follow.
  Status prepare(const comm::ModelPlacement &next, uint32_t rank);
  const std::vector<ExpertSlice> &fresh() const { return missing; }
  Status commit();

  // Leaves everything as it is: the device may still use it.
  void abandon() { base = 0; }

private:
  template <typename Visit> void visitSlices(const comm::ModelPlacement &placement, uint32_t rank, Visit visit) const;
  std::vector<bool> granulesOf(const comm::ModelPlacement &placement, uint32_t rank) const;
  bool isResident(uint32_t layer, uint32_t expert) const;
  Status mapMissing(const std::vector<bool> &used);
  Status map(size_t first, size_t last);
  Status unmapOthers(const std::vector<bool> &kept);

  const Driver &driver;
  const Artifact &artifact;
  const ExecPlan &plan;
  Address base = 0;
  std::vector<bool> mapped; // by granule
  std::vector<ExpertSlice> missing;
  std::unique_ptr<const comm::ModelPlacement> current, wanted;
  uint32_t rank = 0;
};

} // namespace moray::rt::cuda
