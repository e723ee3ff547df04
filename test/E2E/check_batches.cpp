// Checks that a sequence gets the same bits alone and among others that join and leave: moray-check-batches
// [--cuda-library PATH] ARTIFACT IDS IDS... The library is that of the GPU to run on, such as the simulator's. With
// --group, started by a launcher: the same bits on all ranks together as on one rank; flags of groups are those of
// moray-run.
#include "common/cli.h"
#include "common/group_flags.h"
#include "common/runtime_handles.h"

#include <cstring>

using namespace moray::tools;

namespace {

// The simulator is slow, so a GPU generates fewer tokens.
const char *cudaLibrary = nullptr;
uint32_t tokensOf() { return cudaLibrary ? 6 : 24; }

struct Outcome {
  std::vector<int32_t> ids;
  std::vector<float> logits; // [prompt + tokens - 1, vocabulary]: every row that was computed
  moray_finish finish = MORAY_FINISH_NONE;
};

// How an engine is set up, and how many steps lie between two additions.
struct Schedule {
  const char *name;
  uint32_t maxSeqs, maxRows, maxOuts, chunk, threads, stepsBetween;
};

class Batch {
public:
  Batch(const Model &model, const std::vector<std::vector<int32_t>> &prompts) : model(model), prompts(prompts) {
    moray_model_query_config(model.get(), &config);
  }

  // The engines that follow belong to a group; null: to none.
  void join(const moray_group *newGroup, int newOverlap) {
    group = newGroup;
    overlap = newOverlap;
  }

  // As a rank that is not the first.
  int serve(const Schedule &schedule) {
    Engine engine;
    if (int code = createEngine(model, engineOptions(schedule), engine))
      return code;
    return report(moray_group_serve(engine.get()));
  }

  // Adds the prompts numbered in `order`, `schedule.stepsBetween` steps apart, and runs until all are done.
  int run(const Schedule &schedule, const std::vector<size_t> &order, std::vector<Outcome> &outcomes) {
    Engine engine;
    if (int code = createEngine(model, engineOptions(schedule), engine))
      return code;
    std::vector<Sequence> sequences;
    outcomes.assign(prompts.size(), {});
    for (size_t index : order) {
      if (int code = add(engine, prompts[index], outcomes[index], sequences))
        return code;
      for (uint32_t i = 0; i < schedule.stepsBetween; ++i)
        if (int code = report(moray_engine_step(engine.get(), nullptr)))
          return code;
    }
    moray_step_info info = {};
    do {
      if (int code = report(moray_engine_step(engine.get(), &info)))
        return code;
    } while (info.running + info.waiting != 0);
    for (size_t i = 0; i < order.size(); ++i) {
      Outcome &outcome = outcomes[order[i]];
      outcome.ids.resize(tokensOf() + 1);
      size_t count = 0;
      moray_sequence_poll(sequences[i].get(), outcome.ids.data(), outcome.ids.size(), &count, &outcome.finish);
      outcome.ids.resize(count);
    }
    return 0;
  }

private:
  moray_engine_options engineOptions(const Schedule &schedule) const {
    moray_engine_options options;
    moray_engine_options_init(&options);
    options.max_seqs = schedule.maxSeqs;
    options.max_rows = schedule.maxRows;
    options.max_outs = schedule.maxOuts;
    options.prefill_chunk = schedule.chunk;
    options.threads = schedule.threads;
    options.context = 512;
    options.device = cudaLibrary ? "cuda" : "cpu";
    options.cuda_library = cudaLibrary;
    options.group = group;
    options.overlap = group ? overlap : MORAY_OVERLAP_OFF;
    return options;
  }

  int add(const Engine &engine, const std::vector<int32_t> &prompt, Outcome &outcome,
          std::vector<Sequence> &sequences) {
    outcome.logits.assign((prompt.size() + tokensOf() - 1) * config.vocab, 0);
    moray_sequence_options options;
    moray_sequence_options_init(&options);
    options.max_tokens = tokensOf();
    options.ignore_eos = 1;
    options.logits = outcome.logits.data();
    options.logits_rows = prompt.size() + tokensOf() - 1;
    moray_sequence *added = nullptr;
    int code = report(moray_sequence_add(engine.get(), prompt.data(), prompt.size(), &options, &added));
    sequences.emplace_back(added);
    return code;
  }

  const Model &model;
  const std::vector<std::vector<int32_t>> &prompts;
  moray_model_config config;
  const moray_group *group = nullptr;
  int overlap = MORAY_OVERLAP_OFF;
};

bool same(const Outcome &a, const Outcome &b) {
  return a.finish == MORAY_FINISH_MAX_TOKENS && a.finish == b.finish && a.ids == b.ids &&
         a.logits.size() == b.logits.size() &&
         std::memcmp(a.logits.data(), b.logits.data(), a.logits.size() * sizeof(float)) == 0;
}

// Every prompt alone, then all together under several schedules.
int check(const Model &model, const std::vector<std::vector<int32_t>> &prompts) {
  Batch batch(model, prompts);
  std::vector<Outcome> alone(prompts.size()), outcomes;
  std::vector<size_t> forward, backward;
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (int code = batch.run({"alone", 1, 256, 1, 0, 1, 0}, {i}, outcomes))
      return code;
    alone[i] = outcomes[i];
    forward.push_back(i);
    backward.insert(backward.begin(), i);
  }
  const Schedule schedules[] = {{"together", 8, 256, 64, 0, 2, 0},
                                {"joining late, small steps", 8, 16, 8, 5, 2, 3},
                                {"two at a time", 2, 64, 4, 7, 1, 1}};
  for (const Schedule &schedule : schedules)
    for (const std::vector<size_t> &order : {forward, backward}) {
      if (int code = batch.run(schedule, order, outcomes))
        return code;
      for (size_t i = 0; i < prompts.size(); ++i)
        if (!same(outcomes[i], alone[i])) {
          std::fprintf(stderr, "prompt %zu differs from its run alone: %s\n", i, schedule.name);
          return 1;
        }
    }
  std::printf("%zu prompts: the same bits alone and in every batch\n", prompts.size());
  return 0;
}

// All prompts on all ranks, then on rank 0 each prompt alone without the group.
int checkGroup(const Model &model, const std::vector<std::vector<int32_t>> &prompts, const GroupFlags &flags) {
  Group group;
  moray_group_info ranks = {};
  if (int code = createGroup(flags, model, group, ranks))
    return code;
  Batch batch(model, prompts);
  const Schedule schedule = {"group", 4, 16, 8, 5, ranks.ranks == 1 ? 2u : 1u, 2};
  batch.join(group.get(), flags.overlap);
  if (ranks.rank != 0)
    return batch.serve(schedule);
  std::vector<size_t> order;
  for (size_t i = 0; i < prompts.size(); ++i)
    order.push_back(i);
  std::vector<Outcome> outcomes, alone;
  if (int code = batch.run(schedule, order, outcomes))
    return code;
  batch.join(nullptr, MORAY_OVERLAP_OFF);
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (int code = batch.run({"alone", 1, 256, 1, 0, 1, 0}, {i}, alone))
      return code;
    if (!same(outcomes[i], alone[i])) {
      std::fprintf(stderr, "prompt %zu differs on %u ranks from its run alone\n", i, ranks.ranks);
      return 1;
    }
  }
  std::printf("%zu prompts: the same bits on %u ranks and alone\n", prompts.size(), ranks.ranks);
  return 0;
}

} // namespace

int main(int argc, char **argv) {
  CLI::App app("Checks that a sequence gets the same bits alone and among others.", "moray-check-batches");
  std::string artifact, library;
  std::vector<std::string> ids;
  bool group = false;
  GroupFlags flags;
  app.add_option("ARTIFACT", artifact)->required();
  app.add_option("IDS", ids)->required();
  app.add_option("--cuda-library", library);
  app.add_flag("--group", group);
  addGroupFlags(app, flags);
  int exitCode = kExitOk;
  if (!parseArguments(app, argc, argv, exitCode))
    return exitCode;
  cudaLibrary = library.empty() ? nullptr : library.c_str();
  std::vector<std::vector<int32_t>> prompts(ids.size());
  for (size_t i = 0; i < ids.size(); ++i)
    if (!parseTokenIds(ids[i], prompts[i]))
      return kExitUsage;
  Model model;
  if (int code = loadModel(artifact, /*verifyWeights=*/false, model))
    return code;
  return group ? checkGroup(model, prompts, flags) : check(model, prompts);
}
