// Residency of experts on the simulated GPU: each rank holds, counts and uploads its own, before and after a move.
#include "runtime/device/cuda/upload.h"
#include "runtime/exec/exec_plan.h"
#include "runtime_test.h"
#include <cstdlib>
#include <cstring>

using namespace moray::test;
using namespace moray::rt;
using namespace moray::rt::cuda;
namespace schema = moray::schema;

namespace {

constexpr uint64_t kPage = 4096;
constexpr uint32_t kExperts = 8;
constexpr uint64_t kRow = 4032, kExpertBytes = 3 * kRow; // no multiple of a page

// Makes the layer weight of the toy one of experts, and every step distributed.
ToyArtifact expertToy() {
  ToyArtifact toy;
  toy.addCudaTarget();
  toy.metadata.model->experts = kExperts;
  toy.metadata.model->experts_per_token = 1;
  auto &weight = *toy.metadata.weights[1];
  weight.dims = {kExperts, 3, 1000};
  weight.row_pitch = kRow;
  weight.bytes = kExperts * kExpertBytes;
  for (uint64_t &offset : weight.offsets) {
    offset = toy.weights.size();
    for (uint64_t i = 0; i < weight.bytes; ++i)
      toy.weights.push_back(static_cast<uint8_t>(i / kExpertBytes * 31 + i % 251 + offset));
  }
  schema::TargetT &target = toy.target(1);
  for (const auto &program : target.programs)
    for (const auto &command : program->commands)
      for (const schema::Arg &arg : command->args)
        if (arg.kind() == schema::ArgKind::Weight && arg.index() == 1)
          target.kernels[command->target]->klass = schema::KernelClass::GroupedGemm;
  target.programs.push_back(std::make_unique<schema::ProgramT>(*target.programs[0]));
  target.programs.back()->kind = schema::ProgramKind::StepDist;
  return toy;
}

#define ASSERT_DONE(call)                                                                                              \
  do {                                                                                                                 \
    const Status done = (call);                                                                                        \
    ASSERT_TRUE(done.ok()) << moray_status_message(done.get());                                                        \
  } while (false)

// One rank with its own driver handle; all ranks of the test share the simulated device.
class ExpertMemoryTest : public testing::Test {
protected:
  void SetUp() override {
    setenv("MORAY_GPUSIM_GRANULARITY", "4K", 1);
    ASSERT_DONE(Artifact::load(file.path(), artifact));
    ASSERT_DONE(driver.open(MORAY_GPUSIM, 0, false, {}));
    ASSERT_DONE(driver.granularity(granule));
    ASSERT_EQ(granule, kPage);
  }

  Status makePlan(uint32_t ranks, ExecPlan &plan) {
    TargetCode code;
    code.index = 1;
    code.target = artifact.metadata().targets()->Get(1);
    for (const schema::Kernel *kernel : *code.target->kernels())
      code.variants.push_back(kernel->variants()->Get(0));
    Capacities capacities = {8, 4, 4, 2, 8, 1};
    capacities.ranks = ranks;
    capacities.distributed = true;
    capacities.granule = granule;
    return ExecPlan::make(artifact, std::move(code), capacities, plan);
  }

  // A slice per call.
  Status uploadAll(const ExpertMemory &experts, uint64_t &uploaded, uint32_t threads) {
    for (size_t next = 0; next < experts.fresh().size();)
      MORAY_TRY(uploadExperts(driver, artifact, experts, {false, 0, threads}, 1, next, uploaded));
    return {};
  }

  // Whether the bytes of an expert lie where kernels look for them.
  bool holds(const MemoryMap &map, uint32_t layer, uint32_t expert) {
    std::vector<uint8_t> bytes(kExpertBytes);
    const uint8_t *stored = artifact.section(MORAY_SECTION_WEIGHTS).data() +
                            artifact.metadata().weights()->Get(1)->offsets()->Get(layer) + expert * kExpertBytes;
    return driver->memcpyDtoHAsync(bytes.data(), toAddress(map.weight(1, layer)) + expert * kExpertBytes, kExpertBytes,
                                   nullptr) == kSuccess &&
           driver->streamSynchronize(nullptr) == kSuccess && memcmp(bytes.data(), stored, kExpertBytes) == 0;
  }

  const TempFile file{expertToy().serialize()};
  Artifact artifact;
  Driver driver;
  uint64_t granule = 0;
};

} // namespace

TEST_F(ExpertMemoryTest, RanksHoldTheirExperts) {
  for (uint32_t ranks : {1u, 2u, 4u})
    for (uint32_t rank = 0; rank < ranks; ++rank)
      for (bool guarded : {false, true}) {
        ExecPlan plan;
        ASSERT_DONE(makePlan(ranks, plan));
        EXPECT_EQ(plan.expertRange == 0, ranks == 1) << "one rank holds everything, as without a group";
        comm::ModelPlacement placement;
        ASSERT_DONE(comm::ModelPlacement::makeDefault(kExperts, ranks, 1, 3, placement));
        ExpertMemory experts(driver, artifact, plan);
        DeviceMemory memory(driver, plan);
        plan.setExpertMemory(experts.bytesOf(placement, rank));
        if (plan.expertRange)
          ASSERT_DONE(experts.reserve());
        ASSERT_DONE(memory.allocate(artifact, guarded, experts.address()));
        uint64_t uploaded = 0;
        ASSERT_DONE(uploadWeights(driver, artifact, plan, memory, {false, 0, 2}, uploaded));
        if (plan.expertRange) {
          ASSERT_DONE(experts.prepare(placement, rank));
          ASSERT_DONE(uploadAll(experts, uploaded, 2));
          ASSERT_DONE(experts.commit());
        }
        const uint64_t others = artifact.metadata().weights()->Get(0)->bytes(),
                       own = 3 * kExperts / ranks * kExpertBytes;
        EXPECT_EQ(uploaded, others + own);
        // Each layer's part begins and ends in a page that it may waste.
        EXPECT_GE(plan.memory.weights, others + own);
        EXPECT_LE(plan.memory.weights, alignUp(others, 256) + own + 3 * 2 * kPage);
        for (uint32_t layer = 0; layer < 3; ++layer)
          for (uint32_t expert = rank * kExperts / ranks; expert < (rank + 1) * kExperts / ranks; ++expert)
            EXPECT_TRUE(holds(memory.map(), layer, expert)) << layer << " " << expert;
      }
}

TEST_F(ExpertMemoryTest, MovesKeepWhatStays) {
  ExecPlan plan;
  ASSERT_DONE(makePlan(2, plan));
  // Rank 0 gives experts 0 and 2 of layer 1 for 4 and 7; other layers stay.
  std::vector<int32_t> before, after;
  for (int layer = 0; layer < 3; ++layer)
    for (int32_t expert = 0; expert < 8; ++expert) {
      before.push_back(expert);
      after.push_back(layer == 1 && expert == 0   ? 4
                      : layer == 1 && expert == 2 ? 7
                      : layer == 1 && expert == 4 ? 0
                      : layer == 1 && expert == 7 ? 2
                                                  : expert);
    }
  comm::ModelPlacement first, second;
  ASSERT_DONE(comm::ModelPlacement::make(kExperts, 2, 1, 3, {before.data(), before.size()}, first));
  ASSERT_DONE(comm::ModelPlacement::make(kExperts, 2, 1, 3, {after.data(), after.size()}, second));
  ExpertMemory experts(driver, artifact, plan);
  DeviceMemory memory(driver, plan);
  ASSERT_DONE(experts.reserve());
  ASSERT_DONE(memory.allocate(artifact, false, experts.address()));
  uint64_t uploaded = 0;
  size_t freeAtFirst = 0, freeBetween = 0, freeAtEnd = 0, total = 0;
  ASSERT_DONE(experts.prepare(first, 0));
  ASSERT_DONE(uploadAll(experts, uploaded, 1));
  ASSERT_DONE(experts.commit());
  ASSERT_EQ(driver->memGetInfo(&freeAtFirst, &total), kSuccess);
  EXPECT_EQ(uploaded, 12 * kExpertBytes);
  ASSERT_DONE(experts.prepare(second, 0));
  EXPECT_EQ(experts.fresh().size(), 2u);
  ASSERT_DONE(uploadAll(experts, uploaded, 1));
  EXPECT_EQ(uploaded, 14 * kExpertBytes) << "only what moved was read";
  EXPECT_TRUE(holds(memory.map(), 1, 0)) << "the old placement works until the swap";
  ASSERT_EQ(driver->memGetInfo(&freeBetween, &total), kSuccess);
  ASSERT_DONE(experts.commit());
  ASSERT_EQ(driver->memGetInfo(&freeAtEnd, &total), kSuccess);
  EXPECT_LT(freeBetween, freeAtFirst);
  EXPECT_GT(freeAtEnd, freeBetween);
  EXPECT_EQ(total - freeAtEnd, experts.bytesOf(second, 0) + plan.arenaBytes());
  for (uint32_t expert : {1u, 3u, 4u, 7u})
    EXPECT_TRUE(holds(memory.map(), 1, expert)) << expert;
  EXPECT_NE(driver->memsetD8Async(experts.address() + plan.weightOffset(artifact, 1, 1) + kPage, 0, 1, nullptr),
            kSuccess)
      << "expert 0 has left";
}

TEST_F(ExpertMemoryTest, FailureLeavesThePlacement) {
  ExecPlan plan;
  ASSERT_DONE(makePlan(2, plan));
  comm::ModelPlacement placement;
  ASSERT_DONE(comm::ModelPlacement::makeDefault(kExperts, 2, 1, 3, placement));
  ExpertMemory experts(driver, artifact, plan);
  ASSERT_DONE(experts.reserve());
  size_t free = 0, total = 0;
  Address filler = 0;
  ASSERT_EQ(driver->memGetInfo(&free, &total), kSuccess);
  ASSERT_EQ(driver->memAlloc(&filler, free - 3 * kPage), kSuccess);
  const Status status = experts.prepare(placement, 0);
  EXPECT_EQ(moray_status_code(status.get()), kE5001);
  size_t after = 0;
  ASSERT_EQ(driver->memGetInfo(&after, &total), kSuccess);
  EXPECT_EQ(after, 3 * kPage) << "what was mapped before the failure is given back";
  EXPECT_EQ(driver->memFree(filler), kSuccess);
}
