// The toy model through the PTX simulator: both arenas, graphs and single launches, each with the oracle's tokens, the
// same bits and without a report.
#include "cuda_test.h"
#include <cstdlib>
#include <dlfcn.h>

using namespace moray::test;

namespace {

class Gpusim : public testing::Test {
protected:
  // Loaded once more, to ask for its findings.
  static uint64_t reports() {
    void *library = dlopen(MORAY_GPUSIM, RTLD_NOW | RTLD_LOCAL);
    void *count = library ? dlsym(library, "moray_gpusim_report_count") : nullptr;
    if (!count) {
      ADD_FAILURE() << "the simulator cannot be asked: " << dlerror();
      return 0;
    }
    return reinterpret_cast<uint64_t (*)()>(count)();
  }

  static moray_engine_options options(uint32_t seqs, uint32_t rows) {
    moray_engine_options result = engineOptions(seqs, rows);
    result.device = "cuda";
    result.cuda_library = MORAY_GPUSIM;
    return result;
  }
};

} // namespace

TEST_F(Gpusim, GeneratesLikeTheOracleInEveryMode) {
  const uint64_t before = reports();
  const ToyModel model(cudaToy());
  std::vector<std::vector<float>> first;
  for (const char *arena : {"guarded", "packed"})
    for (int graphs : {0, 1})
      for (uint32_t chunk : {3u, 64u}) {
        moray_engine_options configured = options(5, 32);
        configured.arena = arena;
        configured.cuda_graphs = graphs;
        configured.prefill_chunk = chunk;
        ToyEngine engine(model, configured);
        std::vector<moray_sequence *> sequences;
        std::vector<std::vector<float>> logits(6, std::vector<float>(24 * TOY_VOCAB));
        for (size_t i = 0; i < 6;
             ++i) { // one more than places; they end one by one, so every bucket is met, also partly full
          moray_sequence_options request = greedy(static_cast<uint32_t>(3 + i));
          request.logits = logits[i].data();
          request.logits_rows = 24;
          sequences.push_back(engine.add(prompt(5 + 2 * i, static_cast<int32_t>(i)), request));
        }
        engine.run();
        for (size_t i = 0; i < 6; ++i)
          EXPECT_EQ(tokensOf(sequences[i]), toyGenerate(prompt(5 + 2 * i, static_cast<int32_t>(i)), 3 + i))
              << arena << graphs << chunk;
        first = first.empty() ? logits : first;
        EXPECT_EQ(logits, first) << arena << graphs << chunk;
      }
  EXPECT_EQ(reports(), before);
}

TEST_F(Gpusim, LogitsScoresAndFaults) {
  ToyArtifact toy = cudaToy();
  toy.layerWeight(1)[1] = toyFirstKey(17);
  const ToyModel model(toy);
  const uint64_t before = reports();
  for (const char *arena : {"guarded", "packed"}) {
    moray_engine_options configured = options(1, 8);
    configured.arena = arena;
    ToyEngine engine(model, configured);
    const std::vector<int32_t> ids = prompt(11);
    std::vector<float> logits(ids.size() * TOY_VOCAB, 1), scores(ids.size() - 1, 1);
    EXPECT_OK(moray_engine_logits(engine, ids.data(), ids.size(), logits.data()));
    EXPECT_OK(moray_engine_score(engine, ids.data(), ids.size(), scores.data()));
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const int32_t best = toyNext({ids.begin(), ids.begin() + static_cast<long>(i) + 1});
      EXPECT_EQ(logits[i * TOY_VOCAB + static_cast<size_t>(best)], 0.0f);
      EXPECT_EQ(scores[i], -0.25f * static_cast<float>(std::abs(best - ids[i + 1])));
    }
    engine.add({17, 1, 2}, greedy(3));
    EXPECT_FAILS(moray_engine_step(engine, nullptr), "E5007", "NumericError: a kernel of layer 1");
  }
  EXPECT_EQ(reports(), before);
}

// A cubin is nothing that it can execute.
TEST_F(Gpusim, CubinsFallBackToPtx) {
  ToyArtifact toy = cudaToy();
  toy.addCubin(1, 80);
  const ToyModel model(toy);
  ToyEngine engine(model, options(1, 8));
  moray_code_info code;
  EXPECT_OK(moray_engine_query_code(engine, 0, &code));
  EXPECT_EQ(code.from_ptx, 1);
}

// Last, as the device is lost after it: a store beyond shared memory becomes a launch error that names the kernel.
TEST_F(Gpusim, ReportsBecomeDeviceFaults) {
  ToyArtifact toy = cudaToy();
  toy.target(1).kernels[2]->variants[0]->stages[0]->dynamic_shared = 4;
  const ToyModel model(toy);
  moray_engine_options configured = options(1, 8);
  configured.cuda_sync = 1;
  ToyEngine engine(model, configured);
  engine.add(prompt(7), greedy(3));
  EXPECT_FAILS(moray_engine_step(engine, nullptr), "E5020",
               "launching kernel 'attend' of layer 0, stage 0 ('toy_attend_sum'), step 1");
  engine.add(prompt(7), greedy(3));
  EXPECT_FAILS(moray_engine_step(engine, nullptr), "E5022", "step 1");
}
