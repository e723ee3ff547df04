// The engine on the toy model, against an oracle that knows nothing of pages, batches and chunks.
#include "runtime_test.h"
#include <cmath>

using namespace moray::test;
namespace schema = moray::schema;

namespace {

std::vector<int32_t> prompt(size_t size, int32_t first = 3) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < size; ++i)
    ids.push_back((first + static_cast<int32_t>(i) * 7) % TOY_VOCAB);
  return ids;
}

moray_engine_options chunked(uint32_t chunk, uint32_t rows, uint32_t threads) {
  moray_engine_options options = engineOptions(4, rows, threads);
  options.prefill_chunk = chunk;
  return options;
}

} // namespace

TEST(Engine, GeneratesLikeTheOracle) {
  const ToyModel model;
  ToyEngine engine(model);
  moray_sequence *sequence = engine.add(prompt(9), greedy(12));
  engine.run();
  moray_finish finish;
  EXPECT_EQ(tokensOf(sequence, &finish), toyGenerate(prompt(9), 12));
  EXPECT_EQ(finish, MORAY_FINISH_MAX_TOKENS);
  moray_sequence_info info;
  moray_sequence_query_info(sequence, &info);
  EXPECT_EQ(info.prompt_tokens, 9u);
  EXPECT_EQ(info.generated_tokens, 12u);
  EXPECT_GT(info.first_token_ns, 0u);
  EXPECT_GE(info.last_token_ns, info.first_token_ns);
}

TEST(Engine, ChunksRowsAndThreadsChangeNothing) {
  const ToyModel model;
  for (uint32_t chunk : {1u, 3u, 4u, 64u})
    for (uint32_t rows : {4u, 5u, 32u})
      for (uint32_t threads : {1u, 2u, 3u}) {
        ToyEngine engine(model, chunked(chunk, rows, threads));
        std::vector<moray_sequence *> sequences;
        for (int i = 0; i < 6; ++i) // two more than places
          sequences.push_back(engine.add(prompt(5 + 3 * i, i), greedy(4 + i)));
        engine.run();
        for (int i = 0; i < 6; ++i)
          EXPECT_EQ(tokensOf(sequences[i]), toyGenerate(prompt(5 + 3 * i, i), 4 + i))
              << chunk << " " << rows << " " << threads;
      }
}

TEST(Engine, SequencesJoinAndLeaveBetweenSteps) {
  const ToyModel model;
  ToyEngine engine(model, engineOptions(2, 16));
  moray_sequence *first = engine.add(prompt(6), greedy(20));
  moray_step_info info = engine.step();
  EXPECT_EQ(info.rows, 6u);
  EXPECT_EQ(info.outs, 1u);
  moray_sequence *second = engine.add(prompt(4, 11), greedy(3));
  moray_sequence *third = engine.add(prompt(4, 12), greedy(3));
  info = engine.step();
  EXPECT_EQ(info.decode_rows, 1u);
  EXPECT_EQ(info.rows, 5u);
  EXPECT_EQ(info.waiting, 1u); // no place for the third
  moray_sequence_cancel(second);
  info = engine.step();
  EXPECT_EQ(info.rows, 5u);
  engine.run();
  moray_finish finish;
  EXPECT_EQ(tokensOf(first), toyGenerate(prompt(6), 20));
  EXPECT_EQ(tokensOf(second, &finish).size(), 1u);
  EXPECT_EQ(finish, MORAY_FINISH_CANCELLED);
  EXPECT_EQ(tokensOf(third), toyGenerate(prompt(4, 12), 3));
  moray_sequence_release(first);
  moray_sequence_cancel(second);
  moray_sequence_release(second);
}

TEST(Engine, TokensArriveAsTheyAreMade) {
  const ToyModel model;
  ToyEngine engine(model);
  moray_sequence *sequence = engine.add(prompt(3), greedy(3));
  const std::vector<int32_t> expected = toyGenerate(prompt(3), 3);
  for (int32_t token : expected) {
    engine.step();
    int32_t ids[2];
    size_t count = 0;
    moray_finish finish;
    moray_sequence_poll(sequence, ids, 0, &count, &finish);
    EXPECT_EQ(count, 0u);
    EXPECT_EQ(finish, MORAY_FINISH_NONE); // not all tokens are taken
    moray_sequence_poll(sequence, ids, 2, &count, &finish);
    ASSERT_EQ(count, 1u);
    EXPECT_EQ(ids[0], token);
  }
  EXPECT_EQ(engine.step().rows, 0u);
}

TEST(Engine, StopsAtEosAndAtTheEndOfTheContext) {
  const std::vector<int32_t> expected = toyGenerate(prompt(8), 56);
  ToyArtifact toy;
  toy.metadata.model->eos = {expected[5], expected[9]};
  size_t end = 0;
  while (expected[end] != expected[5] && expected[end] != expected[9])
    ++end;
  const ToyModel model(toy);
  ToyEngine engine(model, engineOptions(2));
  moray_sequence_options options = greedy(UINT32_MAX);
  moray_sequence *ignoring = engine.add(prompt(8), options);
  options.ignore_eos = 0;
  moray_sequence *stopping = engine.add(prompt(8), options);
  engine.run();
  moray_finish finish;
  EXPECT_EQ(tokensOf(ignoring, &finish), expected); // a context of 64
  EXPECT_EQ(finish, MORAY_FINISH_CONTEXT);
  EXPECT_EQ(tokensOf(stopping, &finish),
            std::vector<int32_t>(expected.begin(), expected.begin() + static_cast<long>(end) + 1));
  EXPECT_EQ(finish, MORAY_FINISH_EOS);
}

TEST(Engine, PagesAreReusedAndWaitedFor) {
  const ToyModel model;
  moray_engine_options options = engineOptions(4, 16);
  options.cache_tokens = 32; // 8 pages
  ToyEngine engine(model, options);
  std::vector<moray_sequence *> sequences;
  for (int i = 0; i < 9; ++i)
    sequences.push_back(engine.add(prompt(8, i), greedy(9))); // 4 pages each
  EXPECT_EQ(engine.step().running, 2u);
  engine.run();
  for (int i = 0; i < 9; ++i)
    EXPECT_EQ(tokensOf(sequences[static_cast<size_t>(i)]), toyGenerate(prompt(8, i), 9)) << i;
}

TEST(Engine, LogitsOfAllPositions) {
  const ToyModel model;
  for (uint32_t outs : {1u, 3u, 32u}) {
    moray_engine_options options = engineOptions(1, 8, 2);
    options.max_outs = outs;
    ToyEngine engine(model, options);
    const std::vector<int32_t> ids = prompt(13);
    std::vector<float> logits(ids.size() * TOY_VOCAB, 1);
    EXPECT_OK(moray_engine_logits(engine, ids.data(), ids.size(), logits.data()));
    for (size_t i = 0; i < ids.size(); ++i)
      EXPECT_EQ(
          logits[i * TOY_VOCAB + static_cast<size_t>(toyNext({ids.begin(), ids.begin() + static_cast<long>(i) + 1}))],
          0.0f);
  }
}

TEST(Engine, LogitsOfGeneratedPositions) {
  const ToyModel model;
  ToyEngine engine(model);
  const std::vector<int32_t> ids = prompt(5);
  std::vector<float> logits(7 * TOY_VOCAB, 1);
  moray_sequence_options options = greedy(4);
  options.logits = logits.data();
  options.logits_rows = 7;
  moray_sequence *sequence = engine.add(ids, options);
  engine.run();
  const std::vector<int32_t> tokens = tokensOf(sequence);
  for (size_t i = 0; i < 3; ++i)
    EXPECT_EQ(logits[(4 + i) * TOY_VOCAB + static_cast<size_t>(tokens[i])], 0.0f);
}

TEST(Engine, ScoresAText) {
  const ToyModel model;
  ToyEngine engine(model, engineOptions(2, 4));
  const std::vector<int32_t> ids = prompt(11);
  std::vector<float> scores(ids.size() - 1, 1);
  EXPECT_OK(moray_engine_score(engine, ids.data(), ids.size(), scores.data()));
  for (size_t i = 0; i + 1 < ids.size(); ++i) {
    const int32_t best = toyNext({ids.begin(), ids.begin() + static_cast<long>(i) + 1});
    EXPECT_EQ(scores[i], -0.25f * static_cast<float>(std::abs(best - ids[i + 1])));
  }
}

TEST(Engine, SamplingDependsOnSeedAndPositionAlone) {
  const ToyModel model;
  moray_sequence_options options = greedy(6);
  options.temperature = 2;
  options.seed = 5;
  std::vector<int32_t> alone;
  {
    ToyEngine engine(model);
    moray_sequence *sequence = engine.add(prompt(4), options);
    engine.run();
    alone = tokensOf(sequence);
  }
  for (uint32_t i = 0; i < 6; ++i)
    EXPECT_EQ(static_cast<uint64_t>(alone[i]), (5 * 6364136223846793005u + 4 + i) % TOY_VOCAB);
  ToyEngine engine(model, engineOptions(3, 8));
  engine.add(prompt(6, 2), greedy(6));
  engine.step();
  moray_sequence *sequence = engine.add(prompt(4), options);
  engine.run();
  EXPECT_EQ(tokensOf(sequence), alone);
}

TEST(Engine, FaultNamesLayerAndKernelAndSparesOthers) {
  ToyArtifact toy;
  toy.layerWeight(1)[1] = toyFirstKey(17);
  const ToyModel model(toy);
  for (uint32_t threads : {1u, 2u}) {
    ToyEngine engine(model, engineOptions(2, 16, threads));
    moray_sequence *bad = engine.add({17, 1, 2}, greedy(3));
    EXPECT_FAILS(moray_engine_step(engine, nullptr), "E5007", "NumericError: kernel 'attend' of layer 1");
    moray_finish finish;
    EXPECT_TRUE(tokensOf(bad, &finish).empty());
    EXPECT_EQ(finish, MORAY_FINISH_FAILED);
    moray_sequence *good = engine.add(prompt(5), greedy(3));
    engine.run();
    EXPECT_EQ(tokensOf(good), toyGenerate(prompt(5), 3));
  }
}

TEST(Engine, RefusesBadRequests) {
  const ToyModel model;
  ToyEngine engine(model);
  moray_sequence *sequence = nullptr;
  auto add = [&](std::vector<int32_t> ids, const moray_sequence_options &options) {
    return moray_sequence_add(engine, ids.data(), ids.size(), &options, &sequence);
  };
  EXPECT_FAILS(add({}, greedy(1)), "E5003", "empty");
  EXPECT_FAILS(add({1, TOY_VOCAB}, greedy(1)), "E5004", "token 1 of the prompt has id 64, expected 0 to 63");
  EXPECT_FAILS(add({-1}, greedy(1)), "E5004", "id -1");
  EXPECT_FAILS(add(prompt(64), greedy(1)), "E5005", "64 tokens, the context of 64 has room for 63");
  EXPECT_FAILS(add({1}, greedy(0)), "E5006", "max_tokens is 0");
  moray_sequence_options options = greedy(1);
  options.temperature = -1;
  EXPECT_FAILS(add({1}, options), "E5006", "temperature is -1");
  options = greedy(1);
  options.top_p = 1.5f;
  EXPECT_FAILS(add({1}, options), "E5006", "top_p is 1.5");
  options.struct_size = 3;
  EXPECT_FAILS(add({1}, options), "E5002", "struct_size");
  EXPECT_EQ(engine.step().rows, 0u);
}

TEST(Engine, RefusesWhatTheCacheCannotHold) {
  const ToyModel model;
  moray_engine_options options = engineOptions();
  options.cache_tokens = 8;
  ToyEngine engine(model, options);
  const std::vector<int32_t> ids = prompt(9);
  moray_sequence *sequence = nullptr;
  const moray_sequence_options request = greedy(1);
  EXPECT_FAILS(moray_sequence_add(engine, ids.data(), ids.size(), &request, &sequence), "E5005", "cache pages");
}

TEST(Engine, RefusesImpossibleOptions) {
  const ToyModel model;
  moray_engine *engine = nullptr;
  auto create = [&](auto change) {
    moray_engine_options options = engineOptions();
    change(options);
    return moray_engine_create(model.get(), &options, &engine);
  };
  EXPECT_FAILS(create([](auto &o) { o.context = 257; }), "E5008", "context of 257");
  EXPECT_FAILS(create([](auto &o) { o.max_rows = 129; }), "E5008", "129 rows of a step");
  EXPECT_FAILS(create([](auto &o) { o.max_seqs = 17; }), "E5008", "17 sequences");
  EXPECT_FAILS(create([](auto &o) { o.max_seqs = 4, o.max_rows = 2; }), "E5008", "too few");
  EXPECT_FAILS(create([](auto &o) { o.threads = 5000; }), "E5008", "threads");
  EXPECT_FAILS(create([](auto &o) { o.cpu_level = "sse9"; }), "E4023", "sse9");
  EXPECT_FAILS(create([](auto &o) { o.cpu_level = "amx"; }), "E4022", "no kernels for CPU level amx");
  EXPECT_FAILS(create([](auto &o) { o.struct_size = 1; }), "E5002", "struct_size");
}

TEST(Engine, LevelsAreChosenAndForced) {
  const ToyModel model;
  const std::string best = moray_runtime_cpu_level();
  if (best == "none")
    GTEST_SKIP() << "this machine lacks x86-64-v3";
  for (const char *level : {"auto", "x86-64-v3", "avx512"}) {
    moray_engine_options options = engineOptions();
    options.cpu_level = level;
    if (std::string(level) == "avx512" && best == "x86-64-v3") {
      moray_engine *engine = nullptr;
      EXPECT_FAILS(moray_engine_create(model.get(), &options, &engine), "E4022", "this machine cannot execute");
      continue;
    }
    ToyEngine engine(model, options);
    moray_engine_info info;
    moray_engine_query_info(engine, &info);
    const std::string chosen(info.cpu_level.data, info.cpu_level.size);
    EXPECT_EQ(chosen, std::string(level) != "auto" ? level : best == "amx" ? "avx512" : best);
    moray_sequence *sequence = engine.add(prompt(4), greedy(4));
    engine.run();
    EXPECT_EQ(tokensOf(sequence), toyGenerate(prompt(4), 4));
  }
}

TEST(Engine, MemoryPlanIsExactAndCheckedBeforeAllocation) {
  ToyArtifact toy;
  toy.metadata.symbols_max.assign(schema::kSymbolCount, INT32_MAX);
  toy.metadata.model->cache_width = 1 << 20;
  const ToyModel model(toy);
  moray_engine_options options = engineOptions(2, 16);
  moray_memory_plan plan;
  EXPECT_OK(moray_model_query_memory(model.get(), &options, &plan));
  EXPECT_EQ(plan.cache, uint64_t{TOY_LAYERS} * 2 * 64 * (1 << 20) * 4);
  // Both buffers of the step are live at the copy; the layer's is in a frame of its own.
  EXPECT_EQ(plan.activations, 3u * 64);
  EXPECT_GT(plan.total, plan.cache);
  options.cache_tokens = uint64_t{1} << 30;
  moray_engine *engine = nullptr;
  EXPECT_FAILS(moray_engine_create(model.get(), &options, &engine), "E5001", "have");
  options.cache_tokens = uint64_t{1} << 31;
  options.max_rows = 1u << 31;
  EXPECT_FAILS(moray_engine_create(model.get(), &options, &engine), "E5008", "allows 1 to 2147483647");
}

TEST(Engine, ArtifactsWithoutSampleOrScoreProgram) {
  ToyArtifact toy;
  toy.target().programs.resize(2);
  const ToyModel model(toy);
  ToyEngine engine(model);
  moray_sequence *sequence = nullptr;
  const int32_t ids[] = {1, 2};
  const moray_sequence_options options = greedy(1);
  EXPECT_FAILS(moray_sequence_add(engine, ids, 2, &options, &sequence), "E5012", "no sample program");
  float score = 0;
  EXPECT_FAILS(moray_engine_score(engine, ids, 2, &score), "E5012", "no score program");
  std::vector<float> logits(2 * TOY_VOCAB);
  EXPECT_OK(moray_engine_logits(engine, ids, 2, logits.data()));
}

TEST(Engine, SampledTokensAreChecked) {
  const ToyModel model;
  ToyEngine engine(model);
  moray_sequence_options options = greedy(1);
  options.top_k = 999; // the toy sampler then draws a token that does not exist
  engine.add(prompt(2), options);
  EXPECT_FAILS(moray_engine_step(engine, nullptr), "E5013", "drew token 64");
}

TEST(Engine, ScratchBeyondItsPlanIsRefused) {
  ToyArtifact toy;
  // Falls with the number of rows, so the plan for the largest step does not bound it.
  toy.target().kernels[0]->variants[0]->scratch_bytes = toy.target().kernels[0]->variants[1]->scratch_bytes = {
      {schema::ExprOpKind::Const, 1u << 20}, {schema::ExprOpKind::Symbol, 5}, {schema::ExprOpKind::CeilDiv, 0}};
  const ToyModel model(toy);
  ToyEngine engine(model, engineOptions(1, 128));
  engine.add(prompt(2), greedy(1));
  EXPECT_FAILS(moray_engine_step(engine, nullptr), "E5013", "scratch");
}

TEST(Engine, RandomWeightsAreReproducible) {
  ToyArtifact toy;
  toy.metadata.weights_embedded = false;
  toy.weights.clear();
  const ToyModel model(toy);
  moray_engine_options options = engineOptions();
  moray_engine *refused = nullptr;
  EXPECT_FAILS(moray_engine_create(model.get(), &options, &refused), "E4024", "--weights=none");
  std::vector<float> logits[3];
  for (int i = 0; i < 3; ++i) {
    options.random_weights = 1;
    options.random_weights_seed = i == 2 ? 8 : 7;
    options.threads = static_cast<uint32_t>(1 + i);
    ToyEngine engine(model, options);
    logits[i].resize(4 * TOY_VOCAB);
    EXPECT_OK(moray_engine_logits(engine, prompt(4).data(), 4, logits[i].data()));
  }
  EXPECT_EQ(logits[0], logits[1]);
  EXPECT_NE(logits[0], logits[2]);
}

TEST(Engine, ProbesMeasure) {
  const ToyModel model;
  ToyEngine engine(model, engineOptions(1, 0, 2));
  moray_probe_options options;
  moray_probe_options_init(&options);
  options.bytes = 1 << 20;
  options.iterations = 3;
  moray_probe_result result;
  EXPECT_OK(moray_engine_run_probe(engine, "probe_read", &options, &result));
  EXPECT_EQ(result.work, uint64_t{3} << 20);
  EXPECT_GT(result.ns, 0u);
  EXPECT_FAILS(moray_engine_run_probe(engine, "embed", &options, &result), "E5009", "embed");
  options.iterations = 0;
  EXPECT_FAILS(moray_engine_run_probe(engine, "probe_read", &options, &result), "E5002", "iterations");
}

TEST(Engine, StatisticsAndKernelTimes) {
  const ToyModel model;
  moray_engine_options options = engineOptions();
  options.profile = 1;
  ToyEngine engine(model, options);
  engine.add(prompt(5), greedy(4));
  engine.run();
  moray_statistics statistics;
  moray_engine_query_statistics(engine, &statistics);
  EXPECT_EQ(statistics.steps, 4u);
  EXPECT_EQ(statistics.prompt_rows, 5u);
  EXPECT_EQ(statistics.decode_rows, 3u);
  EXPECT_EQ(statistics.sampled_tokens, 4u);
  EXPECT_EQ(statistics.launches, 4u * (3 + 2 * TOY_LAYERS + 1));
  moray_kernel_profile profile;
  EXPECT_OK(moray_engine_query_kernel_profile(engine, 2, &profile));
  EXPECT_EQ(profile.launches, 4u * TOY_LAYERS);
  EXPECT_GT(profile.ns, 0u);
  EXPECT_GT(profile.median_ns, 0u);
  EXPECT_GT(profile.bytes, 0u);
  EXPECT_FAILS(moray_engine_query_kernel_profile(engine, 7, &profile), "E5002", "kernel 7");
}
