// The CUDA device on a scripted driver: steps, graphs, arenas, choice of code, memory.
#include "cuda_test.h"

using namespace moray::test;
namespace schema = moray::schema;

namespace {

std::string toString(moray_string text) { return {text.data, text.size}; }

} // namespace

TEST_F(Cuda, GeneratesLikeTheOracleInEveryMode) {
  const ToyModel model(cudaToy());
  for (const char *arena : {"packed", "guarded"})
    for (int graphs : {0, 1})
      for (uint32_t chunk : {1u, 3u, 64u}) {
        moray_engine_options options = cudaOptions(5, 32);
        options.arena = arena;
        options.cuda_graphs = graphs;
        options.prefill_chunk = chunk;
        ToyEngine engine(model, options);
        std::vector<moray_sequence *> sequences;
        for (int i = 0; i < 7; ++i) // two more than places
          sequences.push_back(
              engine.add(prompt(static_cast<size_t>(5 + 3 * i), i), greedy(static_cast<uint32_t>(4 + i))));
        engine.run();
        for (int i = 0; i < 7; ++i)
          EXPECT_EQ(tokensOf(sequences[static_cast<size_t>(i)]),
                    toyGenerate(prompt(static_cast<size_t>(5 + 3 * i), i), static_cast<size_t>(4 + i)))
              << arena << graphs << chunk;
        EXPECT_EQ(fakeCuda().graphLaunches != 0, graphs != 0);
        fakeCuda().graphLaunches = 0;
      }
}

TEST_F(Cuda, LogitsAndScoresComeBack) {
  const ToyModel model(cudaToy());
  moray_engine_options options = cudaOptions(1, 8);
  options.max_outs = 3;
  ToyEngine engine(model, options);
  const std::vector<int32_t> ids = prompt(13);
  std::vector<float> logits(ids.size() * TOY_VOCAB, 1), scores(ids.size() - 1, 1);
  EXPECT_OK(moray_engine_logits(engine, ids.data(), ids.size(), logits.data()));
  EXPECT_OK(moray_engine_score(engine, ids.data(), ids.size(), scores.data()));
  for (size_t i = 0; i < ids.size(); ++i) {
    const int32_t best = toyNext({ids.begin(), ids.begin() + static_cast<long>(i) + 1});
    EXPECT_EQ(logits[i * TOY_VOCAB + static_cast<size_t>(best)], 0.0f);
    if (i < scores.size())
      EXPECT_EQ(scores[i], -0.25f * static_cast<float>(std::abs(best - ids[i + 1])));
  }
}

TEST_F(Cuda, ADecodeStepIsOneGraphAndOneWait) {
  const ToyModel model(cudaToy());
  ToyEngine engine(model, cudaOptions(5, 32));
  moray_engine_info info;
  moray_engine_query_info(engine, &info);
  EXPECT_EQ(toString(info.device), "Fake GPU");
  EXPECT_EQ(info.sm, 80u);
  EXPECT_EQ(info.target, 1u);
  ASSERT_EQ(info.bucket_count, 4u); // 1, 2, 4, 5
  for (int i = 0; i < 3; ++i)
    engine.add(prompt(4, i), greedy(6));
  engine.step(); // prompts
  engine.step(); // captures the graph of 4
  moray_bucket_info bucket;
  EXPECT_OK(moray_engine_query_bucket(engine, 2, &bucket));
  EXPECT_EQ(bucket.seqs, 4u);
  // Embedding, append and two stages of attention per layer, logits, sampling; the copy is no kernel.
  EXPECT_EQ(bucket.launches, 1u + 3u * TOY_LAYERS + 1u + 1u);
  EXPECT_OK(moray_engine_query_bucket(engine, 3, &bucket));
  EXPECT_EQ(bucket.seqs, 5u);
  EXPECT_EQ(bucket.launches, 0u); // not captured
  EXPECT_FAILS(moray_engine_query_bucket(engine, 4, &bucket), "E5002", "bucket 4");
  const FakeCuda before = fakeCuda();
  engine.step();
  EXPECT_EQ(fakeCuda().graphLaunches, before.graphLaunches + 1);
  EXPECT_EQ(fakeCuda().synchronisations, before.synchronisations + 1);
  EXPECT_EQ(fakeCuda().uploads, before.uploads + 2); // inputs, page table
  moray_statistics statistics;
  moray_engine_query_statistics(engine, &statistics);
  EXPECT_EQ(statistics.launches, fakeCuda().launches);
  EXPECT_EQ(statistics.barriers, 3u);
}

TEST_F(Cuda, MemoryIsWhatThePlanSays) {
  const ToyModel model(cudaToy());
  const moray_engine_options options = cudaOptions(4, 32);
  moray_memory_plan plan;
  EXPECT_OK(moray_model_query_memory(model.get(), &options, &plan));
  EXPECT_EQ(plan.weights, 256u + TOY_LAYERS * 256u); // each at a multiple of 256
  EXPECT_EQ(plan.scratch, 1280u);                    // counters, a word per row
  EXPECT_EQ(plan.available, 0u);                     // no device was asked
  ToyEngine engine(model, options);
  EXPECT_EQ(fakeCuda().allocated, plan.total);
  moray_engine_info info;
  moray_engine_query_info(engine, &info);
  EXPECT_EQ(info.memory.available, fakeCuda().memory);
}

TEST_F(Cuda, RefusesWhatDoesNotFitBeforeItAllocates) {
  const ToyModel model(cudaToy());
  fakeCuda().memory = 24000;
  EXPECT_FAILS(createStatus(model, cudaOptions(16, 64)), "E5001", "have                  24000");
  EXPECT_OK(createStatus(model, cudaOptions(1, 1))); // a smaller one works
}

TEST_F(Cuda, WeightsThatTheTargetDoesNotUseStayInTheFile) {
  ToyArtifact toy = cudaToy();
  auto unused = std::make_unique<schema::WeightT>(*toy.metadata.weights[0]);
  unused->name = toy.name("unused");
  toy.metadata.weights.push_back(std::move(unused));
  const ToyModel model(toy);
  const moray_engine_options options = cudaOptions();
  moray_memory_plan plan;
  EXPECT_OK(moray_model_query_memory(model.get(), &options, &plan));
  EXPECT_EQ(plan.weights, 256u + TOY_LAYERS * 256u);
}

TEST_F(Cuda, RandomWeightsAreThoseOfTheCpu) {
  ToyArtifact toy = cudaToy();
  toy.metadata.weights_embedded = false;
  toy.weights.clear();
  const ToyModel model(toy);
  std::vector<float> logits[3];
  for (int i = 0; i < 3; ++i) {
    moray_engine_options options = i == 0 ? engineOptions() : cudaOptions();
    options.arena = i == 2 ? "guarded" : "packed";
    options.random_weights = 1;
    options.random_weights_seed = 7;
    ToyEngine engine(model, options);
    logits[i].resize(4 * TOY_VOCAB);
    EXPECT_OK(moray_engine_logits(engine, prompt(4).data(), 4, logits[i].data()));
  }
  EXPECT_EQ(logits[0], logits[1]);
  EXPECT_EQ(logits[0], logits[2]);
}

// ---- choice of code ----

TEST_F(Cuda, TakesTheNewestTargetThatTheDeviceRuns) {
  ToyArtifact toy = cudaToy();
  toy.addCudaTarget(89);
  const ToyModel model(toy);
  for (const auto &[sm, target] : {std::pair<int, size_t>{80, 1}, {86, 1}, {89, 2}, {90, 2}}) {
    fakeCuda().sm = sm;
    ToyEngine engine(model, cudaOptions());
    moray_engine_info info;
    moray_engine_query_info(engine, &info);
    EXPECT_EQ(info.target, target) << sm;
  }
}

TEST_F(Cuda, PrefersCubinsOfTheSameMajorVersion) {
  ToyArtifact toy = cudaToy();
  toy.addCubin(1, 80);
  toy.addCubin(1, 86);
  const ToyModel model(toy);
  for (const auto &[sm, variant] : {std::pair<int, size_t>{80, 1}, {86, 2}, {87, 2}, {89, 2}, {90, 0}}) {
    fakeCuda().sm = sm;
    ToyEngine engine(model, cudaOptions());
    moray_code_info code;
    EXPECT_OK(moray_engine_query_code(engine, 2, &code));
    EXPECT_EQ(code.variant, variant) << sm;
    EXPECT_EQ(code.from_ptx, variant == 0) << sm;
    EXPECT_FAILS(moray_engine_query_code(engine, 6, &code), "E5002", "kernel 6");
  }
}

TEST_F(Cuda, TakesThePtxWhereTheDriverHasNoUseForTheCubin) {
  ToyArtifact toy = cudaToy();
  toy.addCubin(1, 80);
  const ToyModel model(toy);
  fakeCuda().refuseCubins = true;
  ToyEngine engine(model, cudaOptions());
  moray_code_info code;
  EXPECT_OK(moray_engine_query_code(engine, 2, &code));
  EXPECT_EQ(code.variant, 0u);
  EXPECT_EQ(code.from_ptx, 1);
  moray_sequence *sequence = engine.add(prompt(5), greedy(4));
  engine.run();
  EXPECT_EQ(tokensOf(sequence), toyGenerate(prompt(5), 4));
}

TEST_F(Cuda, OldDriversRunCubinsOfNewPtx) {
  ToyArtifact toy = cudaToy();
  toy.metadata.images[2]->ptx_version = 84;
  std::string text(reinterpret_cast<const char *>(toy.code.data()) + toy.metadata.images[2]->offset,
                   toy.metadata.images[2]->size);
  text.replace(text.find("7.0"), 3, "8.4");
  toy.setImage(2, text);
  fakeCuda().driverVersion = 12030;
  EXPECT_FAILS(createStatus(ToyModel(toy), cudaOptions()), "E5018",
               "version 8.4, which needs a driver of CUDA 12.4, this one is of 12.3");
  toy.addCubin(1, 80);
  EXPECT_OK(createStatus(ToyModel(toy), cudaOptions()));
}

TEST_F(Cuda, ProfilesEachKernel) {
  const ToyModel model(cudaToy());
  for (int profile : {1, 2}) {
    moray_engine_options options = cudaOptions(2, 16);
    options.profile = profile;
    ToyEngine engine(model, options);
    moray_sequence *sequence = engine.add(prompt(5), greedy(4));
    engine.run();
    EXPECT_EQ(tokensOf(sequence), toyGenerate(prompt(5), 4));
    moray_kernel_profile attend;
    EXPECT_OK(moray_engine_query_kernel_profile(engine, 2, &attend));
    EXPECT_EQ(attend.launches, 4u * TOY_LAYERS);
    EXPECT_EQ(attend.median_ns, 250000u);
    EXPECT_EQ(attend.ns, attend.launches * 250000u);
    EXPECT_GT(attend.bytes, 0u);
    moray_engine_reset_profile(engine);
    EXPECT_OK(moray_engine_query_kernel_profile(engine, 2, &attend));
    EXPECT_EQ(attend.launches, 0u);
  }
}

TEST_F(Cuda, ProbesCopyBandwidth) {
  const ToyModel model(cudaToy());
  ToyEngine engine(model, cudaOptions());
  moray_probe_options options;
  moray_probe_options_init(&options);
  options.bytes = 1 << 20;
  options.iterations = 3;
  moray_probe_result result;
  EXPECT_OK(moray_engine_run_probe(engine, "copy", &options, &result));
  EXPECT_EQ(result.work, uint64_t{6} << 20);
  EXPECT_FAILS(moray_engine_run_probe(engine, "probe_read", &options, &result), "E5009",
               "no probe kernel 'probe_read'");
  options.bytes = uint64_t{2} << 30;
  EXPECT_FAILS(moray_engine_run_probe(engine, "copy", &options, &result), "E5001", "no memory left");
}
