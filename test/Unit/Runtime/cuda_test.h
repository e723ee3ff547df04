// What the tests of the CUDA device share.
#pragma once
#include "fake_cuda.h"
#include "runtime_test.h"

namespace moray::test {

// Every test starts with a fresh machine and leaves nothing behind.
class Cuda : public testing::Test {
protected:
  void SetUp() override { fakeCuda() = FakeCuda(); }
  void TearDown() override {
    EXPECT_EQ(fakeCuda().alive, 0);
    EXPECT_EQ(fakeCuda().allocated, 0u);
  }
};

inline ToyArtifact cudaToy(uint32_t sm = 80) {
  ToyArtifact toy;
  toy.addCudaTarget(sm);
  return toy;
}

inline moray_engine_options cudaOptions(uint32_t seqs = 1, uint32_t rows = 0) {
  moray_engine_options options = engineOptions(seqs, rows);
  options.device = "cuda";
  options.cuda_library = MORAY_FAKE_CUDA;
  return options;
}

inline std::vector<int32_t> prompt(size_t size, int32_t first = 3) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < size; ++i)
    ids.push_back((first + static_cast<int32_t>(i) * 7) % TOY_VOCAB);
  return ids;
}

// Creates an engine and destroys it.
inline moray_status *createStatus(const ToyModel &model, const moray_engine_options &options) {
  moray_engine *engine = nullptr;
  moray_status *status = moray_engine_create(model.get(), &options, &engine);
  if (!status)
    moray_engine_destroy(engine);
  return status;
}

} // namespace moray::test
