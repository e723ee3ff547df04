// Steps of two micro-batches: how sequences are split, what is bound, and that nothing changes.
#include "runtime/engine/batcher.h"
#include "runtime_test.h"
#include <random>

using namespace moray::test;
using namespace moray::schema;
using namespace moray::rt;

namespace {

ToyArtifact withOverlap() {
  ToyArtifact toy;
  toy.addExperts();
  toy.addOverlap();
  return toy;
}

class ForcedGroup {
public:
  ForcedGroup() {
    moray_group_options options;
    moray_group_options_init(&options);
    options.force_dist = 1;
    EXPECT_OK(moray_group_create(&options, &group));
  }
  ~ForcedGroup() { moray_group_destroy(group); }
  const moray_group *get() const { return group; }

private:
  moray_group *group = nullptr;
};

// Tokens, logits and log-probabilities of sequences that join late, in the order of addition.
struct Results {
  std::vector<std::vector<int32_t>> tokens;
  std::vector<float> values;
  bool operator==(const Results &other) const { return tokens == other.tokens && values == other.values; }
};

Results generate(const ToyModel &model, const moray_group *group, int overlap, uint32_t threads, uint32_t seed) {
  moray_engine_options options = engineOptions(4, 8, threads);
  options.max_outs = 6;
  options.prefill_chunk = 5;
  options.group = group;
  options.overlap = overlap;
  ToyEngine engine(model, options);
  std::mt19937 random(seed);
  const size_t count = 1 + random() % 7, rows = 24;
  Results results;
  results.values.resize(count * rows * (TOY_VOCAB + 1));
  std::vector<moray_sequence *> sequences;
  for (size_t i = 0; i < count; ++i) {
    std::vector<int32_t> prompt(1 + random() % 17);
    for (int32_t &id : prompt)
      id = static_cast<int32_t>(random() % TOY_VOCAB);
    moray_sequence_options sequence = greedy(1 + random() % 12);
    sequence.prompt_only = random() % 4 == 0;
    sequence.temperature = random() % 3 == 0 ? 2 : 0;
    sequence.seed = random();
    float *values = results.values.data() + i * rows * (TOY_VOCAB + 1);
    if (random() % 2 == 0) {
      sequence.logits = values;
      sequence.logits_rows = rows;
    }
    if (random() % 2 == 0)
      sequence.log_probs = values + rows * TOY_VOCAB;
    sequences.push_back(engine.add(prompt, sequence));
    for (size_t steps = random() % 4; steps > 0; --steps)
      engine.step();
  }
  engine.run();
  for (moray_sequence *sequence : sequences)
    results.tokens.push_back(tokensOf(sequence));
  return results;
}

moray_status *create(const ToyModel &model, const moray_engine_options &options) {
  moray_engine *engine = nullptr;
  moray_status *status = moray_engine_create(model.get(), &options, &engine);
  moray_engine_destroy(engine);
  return status;
}

// Sequences by the rows that they have left to compute; decoding ones have one.
struct Waiting {
  explicit Waiting(const std::vector<int> &rows) {
    for (int count : rows) {
      moray_sequence sequence;
      sequence.promptTokens = static_cast<size_t>(std::abs(count));
      sequence.tokens.resize(sequence.promptTokens + (count < 0));
      sequence.computed = count < 0 ? sequence.promptTokens : 0; // negative: decodes
      sequences.push_back(sequence);
    }
    for (moray_sequence &sequence : sequences)
      running.push_back(&sequence);
  }
  std::vector<moray_sequence> sequences;
  std::vector<moray_sequence *> running;
};

// "0:5 1:3": micro-batch and rows of the sequences of a step, in their order.
std::string split(Batcher &batcher, const std::vector<int> &rows) {
  Waiting waiting(rows);
  batcher.build({waiting.running.data(), waiting.running.size()});
  std::string text;
  for (const BatchEntry &entry : batcher.sequences())
    text += (text.empty() ? "" : " ") + std::to_string(entry.batch) + ":" + std::to_string(entry.rows);
  return text;
}

Batcher makeBatcher(uint64_t rows, uint64_t outs, uint32_t batches) {
  Capacities capacities = {};
  capacities.rows = rows;
  capacities.seqs = 8;
  capacities.outs = outs;
  capacities.batches = batches;
  Batcher batcher;
  batcher.reset(capacities, 5, TOY_PAGE);
  return batcher;
}

} // namespace

TEST(Overlap, SplitsByRowsWholeSequencesAtATime) {
  Batcher one = makeBatcher(8, 8, 1), two = makeBatcher(8, 8, 2);
  EXPECT_EQ(split(one, {3, 4, 5}), "0:3 0:4 0:1");
  EXPECT_EQ(split(two, {3, 4, 5}), "0:3 1:4 0:5");
  EXPECT_EQ(split(two, {9}), "0:5") << "one stays empty";
  EXPECT_EQ(two.live(1)[MORAY_LIVE_ROWS], 0);
  EXPECT_EQ(split(two, {4, -1, 2, -1, -1}), "0:1 1:1 0:1 1:4 0:2") << "decoding sequences come first";
  EXPECT_EQ(two.live(0)[MORAY_LIVE_DECODE_ROWS], 2);
  EXPECT_EQ(two.live(1)[MORAY_LIVE_DECODE_ROWS], 1);
  EXPECT_EQ(two.live(1)[MORAY_LIVE_ROWS], 5);
  EXPECT_EQ(two.live(1)[MORAY_LIVE_SEQS], 2);
  EXPECT_EQ(split(two, {5, 5, 5, 5, 5}), "0:5 1:5 0:3 1:3") << "each is full at its own rows";
  Batcher narrow = makeBatcher(8, 1, 2);
  EXPECT_EQ(split(narrow, {-1, -1, -1}), "0:1 1:1") << "outs are used up";
  EXPECT_EQ(split(narrow, {}), "");
}

TEST(Overlap, ChangesNothing) {
  const ToyModel model(withOverlap());
  const ForcedGroup group;
  for (uint32_t seed = 0; seed < 40; ++seed) {
    const Results expected = generate(model, nullptr, MORAY_OVERLAP_OFF, 1, seed);
    for (uint32_t threads : {1u, 2u, 3u})
      EXPECT_TRUE(generate(model, group.get(), MORAY_OVERLAP_ON, threads, seed) == expected)
          << "seed " << seed << ", " << threads << " threads";
  }
}

TEST(Overlap, RunsSampleAndScoreWhereThereAreOuts) {
  const ToyModel model(withOverlap());
  const ForcedGroup group;
  moray_engine_options options = engineOptions(4, 16);
  options.group = group.get();
  options.overlap = MORAY_OVERLAP_ON;
  ToyEngine engine(model, options);
  auto launches = [&] {
    moray_statistics statistics;
    moray_engine_query_statistics(engine, &statistics);
    return statistics.launches;
  };
  engine.add({1, 2}, greedy(2));
  engine.step();
  // Both micro-batches: embed, copy, 2, 9, 9 (waits count), logits; one of them samples.
  EXPECT_EQ(launches(), 2u * 23 + 1);
  engine.add({3}, greedy(1));
  const uint64_t before = launches();
  const moray_step_info info = engine.step();
  EXPECT_EQ(launches() - before, 2u * 23 + 2);
  EXPECT_EQ(info.rows, 2u);
  EXPECT_EQ(info.decode_rows, 1u);
  EXPECT_EQ(info.outs, 2u);
}

TEST(Overlap, CountsTheMemoryOfBoth) {
  const ToyModel model(withOverlap());
  const ForcedGroup group;
  moray_engine_options options = engineOptions(4, 16);
  options.group = group.get();
  moray_memory_plan one, two;
  EXPECT_OK(moray_model_query_memory(model.get(), &options, &one));
  options.overlap = MORAY_OVERLAP_ON;
  EXPECT_OK(moray_model_query_memory(model.get(), &options, &two));
  EXPECT_EQ(two.io, 2 * one.io);
  EXPECT_EQ(two.cache, one.cache);
  EXPECT_GT(two.commands, 2 * one.commands);
}

TEST(Overlap, FaultOfEitherMicroBatchEndsTheStep) {
  ToyArtifact toy = withOverlap();
  toy.layerWeight(1)[1] = toyFirstKey(7);
  const ToyModel model(toy);
  const ForcedGroup group;
  moray_engine_options options = engineOptions(2, 16, 2);
  options.group = group.get();
  options.overlap = MORAY_OVERLAP_ON;
  ToyEngine engine(model, options);
  engine.add({1, 2, 3, 4}, greedy(3));
  engine.add({7, 1}, greedy(3));
  EXPECT_FAILS(moray_engine_step(engine, nullptr), "E5007", "kernel 'attend' of layer 1");
}

TEST(Overlap, RefusesWhatItCannotDo) {
  const ForcedGroup group;
  moray_engine_options options = engineOptions();
  options.overlap = MORAY_OVERLAP_ON;
  const ToyModel model(withOverlap());
  EXPECT_FAILS(create(model, options), "E5008", "in one process, which sends no rows");
  options.group = group.get();
  EXPECT_OK(create(model, options));
  ToyArtifact without;
  without.addExperts();
  const ToyModel dist(without);
  EXPECT_FAILS(create(dist, options), "E5012", "target 'cpu' has no step of two micro-batches");
  options.overlap = MORAY_OVERLAP_AUTO;
  EXPECT_OK(create(dist, options));
  options.overlap = 3;
  EXPECT_FAILS(create(model, options), "E5002", "overlap is 3");
}
