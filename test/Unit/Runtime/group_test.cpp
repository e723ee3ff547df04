// Groups of one rank: distributed steps through the C API, and what a group refuses. Groups of several ranks are tested
// end to end (E2E/groups.test).
#include "runtime_test.h"
#include <cstdlib>

using namespace moray::test;
using namespace moray::schema;

namespace {

ToyArtifact withExperts() {
  ToyArtifact toy;
  toy.addExperts();
  return toy;
}

class ToyGroup {
public:
  explicit ToyGroup(bool forceDist) {
    moray_group_options options;
    moray_group_options_init(&options);
    options.force_dist = forceDist;
    EXPECT_OK(moray_group_create(&options, &group));
  }
  ~ToyGroup() { moray_group_destroy(group); }
  const moray_group *get() const { return group; }

private:
  moray_group *group = nullptr;
};

// Greedy tokens of three sequences that share steps.
std::vector<std::vector<int32_t>> generate(const ToyModel &model, const moray_group *group, uint32_t threads) {
  moray_engine_options options = engineOptions(2, 8, threads);
  options.group = group;
  ToyEngine engine(model, options);
  std::vector<moray_sequence *> sequences;
  for (const std::vector<int32_t> &prompt : {std::vector<int32_t>{1, 2, 3}, {9}, {5, 60, 7, 7, 7, 8, 1, 2, 3, 4, 5}})
    sequences.push_back(engine.add(prompt, greedy(12)));
  engine.run();
  std::vector<std::vector<int32_t>> tokens;
  for (moray_sequence *sequence : sequences)
    tokens.push_back(tokensOf(sequence));
  return tokens;
}

moray_status *create(const ToyModel &model, moray_engine_options options) {
  moray_engine *engine = nullptr;
  moray_status *status = moray_engine_create(model.get(), &options, &engine);
  moray_engine_destroy(engine);
  return status;
}

} // namespace

TEST(Group, DistributedStepOfOneRankComputesTheSame) {
  const ToyModel model(withExperts());
  const ToyGroup dist(true), local(false);
  const std::vector<std::vector<int32_t>> expected = generate(model, nullptr, 1);
  EXPECT_EQ(expected[2].size(), 12u);
  for (uint32_t threads : {1u, 3u}) {
    EXPECT_EQ(generate(model, dist.get(), threads), expected);
    EXPECT_EQ(generate(model, local.get(), threads), expected);
  }
}

TEST(Group, OneRankRunsTheLocalStepUnlessForced) {
  const ToyModel model(withExperts());
  const ToyGroup dist(true), local(false);
  for (const ToyGroup *group : {&local, &dist}) {
    moray_engine_options options = engineOptions();
    options.group = group->get();
    ToyEngine engine(model, options);
    engine.add({1}, greedy(1));
    engine.run();
    moray_statistics statistics;
    moray_engine_query_statistics(engine, &statistics);
    // Step: embed, copy, 2, 5, 5, logits; each layer with experts has two collectives more. Then sample.
    EXPECT_EQ(statistics.launches, group == &dist ? 20u : 16u);
  }
}

TEST(Group, TellsItsRanks) {
  const ToyGroup group(false);
  moray_group_info info = {};
  moray_group_query_info(group.get(), &info);
  EXPECT_EQ(info.rank, 0u);
  EXPECT_EQ(info.ranks, 1u);
  EXPECT_EQ(std::string(info.launcher.data, info.launcher.size), "none");
}

TEST(Group, FaultNamesKernelAndLayer) {
  ToyArtifact toy = withExperts();
  toy.layerWeight(1)[1] = toyFirstKey(7);
  const ToyModel model(toy);
  const ToyGroup dist(true);
  moray_engine_options options = engineOptions();
  options.group = dist.get();
  ToyEngine engine(model, options);
  engine.add({7, 1}, greedy(3));
  EXPECT_FAILS(moray_engine_step(engine, nullptr), "E5007", "kernel 'attend' of layer 1");
}

TEST(Group, RefusesWhatItCannotDo) {
  moray_group *group = nullptr;
  moray_group_options options;
  moray_group_options_init(&options);
  options.comm = "pigeons";
  EXPECT_FAILS(moray_group_create(&options, &group), "E5002", "communicator 'pigeons'");
  options.comm = "self";
  options.deadline_ms = 0;
  EXPECT_FAILS(moray_group_create(&options, &group), "E5002", "deadline is 0 ms");
  moray_group_options_init(&options);
  options.struct_size = 1;
  EXPECT_FAILS(moray_group_create(&options, &group), "E5002", "moray_group_options has struct_size 1");
  moray_group_options_init(&options);
  const std::string longName(1000, 'x');
  options.rendezvous = longName.c_str();
  EXPECT_FAILS(moray_group_create(&options, &group), "E5101", "1000 characters");

  const ToyGroup dist(true);
  moray_engine_options engine = engineOptions();
  engine.group = dist.get();
  EXPECT_FAILS(create(ToyModel(), engine), "E5012", "no experts that 1 ranks could share");
  ToyArtifact local = withExperts();
  local.target().programs.pop_back();
  EXPECT_FAILS(create(ToyModel(local), engine), "E5012", "target 'cpu' has no distributed step");
  engine.device = "cuda";
  EXPECT_FAILS(create(ToyModel(local), engine), "E4026", "nothing in the artifact runs on a GPU");
  moray_group_options_init(&options);
  options.comm = "nccl";
  options.force_dist = 1;
  ASSERT_EQ(moray_group_create(&options, &group), nullptr);
  engine.device = "cpu";
  engine.group = group;
  EXPECT_FAILS(create(ToyModel(local), engine), "E5008", "communicator nccl was asked for on a CPU");
  moray_group_destroy(group);
  group = nullptr;
  engine.group = dist.get();

  const ToyModel model(withExperts());
  engine = engineOptions();
  ToyEngine made(model, engine);
  EXPECT_FAILS(moray_group_serve(made), "E5002", "ranks other than 0");
  EXPECT_FAILS(moray_group_serve(nullptr), "E5002", "'engine' is NULL");
}

TEST(Group, ExpertsChangePlacesAndAreCounted) {
  const ToyModel model(withExperts());
  moray_model_config config;
  moray_model_query_config(model.get(), &config);
  const uint32_t perRank = config.experts + 1; // the last slot is spare
  std::vector<int32_t> slots(size_t{config.layers} * perRank, -1);
  for (size_t i = 0; i < slots.size(); ++i)
    if (i % perRank < config.experts)
      slots[i] = static_cast<int32_t>(config.experts - 1 - i % perRank);
  moray_placement placement = {config.experts, 1, 1, config.layers, perRank, slots.data()};
  const ToyGroup dist(true);
  moray_engine_options options = engineOptions();
  options.group = dist.get();
  ToyEngine engine(model, options), alone(model, engineOptions());
  moray_sequence *sequence = engine.add({1, 2, 3}, greedy(12)), *expected = alone.add({1, 2, 3}, greedy(12));
  EXPECT_OK(moray_engine_place(engine, &placement));
  EXPECT_FAILS(moray_engine_place(engine, &placement), "E5002", "under way");
  engine.run();
  alone.run();
  EXPECT_EQ(tokensOf(sequence), tokensOf(expected));
  moray_statistics statistics;
  moray_engine_query_statistics(engine, &statistics);
  EXPECT_EQ(statistics.placements, 1u);
  std::vector<uint64_t> loads(size_t{config.layers} * config.experts, 77);
  EXPECT_OK(moray_engine_expert_loads(engine, loads.data()));
  uint64_t sum = 0; // 14 rows choose an expert each in all layers but the first
  for (uint64_t load : loads)
    sum += load;
  EXPECT_EQ(sum, 14u * (config.layers - 1) * config.experts_per_token);

  EXPECT_FAILS(moray_engine_place(alone, &placement), "E5002", "no placement in a local step");
  EXPECT_FAILS(moray_engine_expert_loads(alone, loads.data()), "E5002", "force_dist");
  slots[perRank] = slots[perRank + 1];
  EXPECT_FAILS(moray_engine_place(engine, &placement), "E5112", "of layer 1 has no slot for expert");
  placement.ranks = 2;
  EXPECT_FAILS(moray_engine_place(engine, &placement), "E5112", "for 2 ranks");
  slots.assign(slots.size(), 0);
  placement = {1, 1, 1, config.layers, perRank, nullptr};
  EXPECT_FAILS(moray_engine_place(engine, &placement), "E5002", "no slots");
  placement.slots = slots.data();
  EXPECT_FAILS(moray_engine_place(engine, &placement), "E5112", "for 1 experts");
}

TEST(Group, RefusesMoreRanksThanLaunched) {
  moray_group *group = nullptr;
  moray_group_options options;
  moray_group_options_init(&options);
  options.ranks = 2;
  EXPECT_FAILS(moray_group_create(&options, &group), "E5101", "2");
}

TEST(Group, BuffersTooSmallForACollective) {
  ToyArtifact toy = withExperts();
  toy.target().programs[5]->buffers[6]->bytes = {ExprOp(ExprOpKind::Const, 4)}; // offsets_r
  const ToyModel model(toy);
  const ToyGroup dist(true);
  moray_engine_options options = engineOptions();
  options.group = dist.get();
  EXPECT_FAILS(create(model, options), "E4015", "too small for");
}
