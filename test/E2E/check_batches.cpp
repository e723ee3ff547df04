// Checks that a sequence gets the same bits alone and among others that join and leave: moray-check-batches
// [--cuda-library PATH] ARTIFACT IDS IDS... The library is that of the GPU to run on, such as the simulator's. With
// --group, started by a launcher: the same bits on all ranks together as on one rank; flags of groups are those of
// moray-run. --placements SEED: experts and replicas lie anywhere, and change places during the run; --touched:
// instead, each rank has mapped the weights of its own experts and what all ranks share, within 2 %.
#include "common/cli.h"
#include "common/group_flags.h"
#include "common/runtime_handles.h"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <random>
#include <sys/mman.h>
#include <unistd.h>

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

// Where the artifact is mapped as a whole; end 0 where it is not.
struct Mapped {
  uint64_t start = 0, end = 0;
};

Mapped findMapping(const char *path) {
  char *real = realpath(path, nullptr);
  const std::string name = real ? real : "";
  std::free(real);
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long start = 0, end = 0, offset = 0;
    if (line.size() > name.size() && line.compare(line.size() - name.size(), std::string::npos, name) == 0 &&
        std::sscanf(line.c_str(), "%lx-%lx r--%*c %lx", &start, &end, &offset) == 3 && offset == 0)
      return {start, end};
  }
  return {};
}

// Lets the kernel read only what is touched from now on. It would read ahead, and map whole folios of up to 2 MB around
// what is read, which a file that was just written has; without both, a fault maps up to 15 pages of neighbours.
bool readExactly(const char *path) {
  const Mapped mapped = findMapping(path);
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  const bool good = file >= 0 && mapped.end != 0 && fsync(file) == 0 &&
                    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) == 0 &&
                    madvise(reinterpret_cast<void *>(mapped.start), mapped.end - mapped.start, MADV_RANDOM) == 0;
  close(file);
  return good;
}

// Bytes of the artifact's weights in pages that this process has mapped.
uint64_t touchedWeights(const char *path, const moray_model_config &config) {
  const Mapped mapped = findMapping(path);
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t first = (mapped.start + config.file_bytes - config.weight_bytes) / page;
  std::vector<uint64_t> entries(mapped.end / page - first); // bit 63: mapped
  std::ifstream pagemap("/proc/self/pagemap", std::ios::binary);
  pagemap.seekg(static_cast<std::streamoff>(first * sizeof(uint64_t)));
  pagemap.read(reinterpret_cast<char *>(entries.data()),
               static_cast<std::streamsize>(entries.size() * sizeof(uint64_t)));
  return page *
         static_cast<uint64_t>(std::count_if(entries.begin(), entries.end(), [](uint64_t e) { return e >> 63; }));
}

// 1 where the process has mapped other weights than those of the default placement.
int checkTouched(const char *path, const moray_model_config &config, const moray_group_info &ranks) {
  const uint64_t layers = config.layers - config.first_expert_layer,
                 slots = (config.experts + ranks.ranks - 1) / ranks.ranks;
  const uint64_t replicated = config.weight_bytes - layers * config.experts * config.expert_bytes;
  const uint64_t expected = replicated + layers * slots * config.expert_bytes, touched = touchedWeights(path, config);
  std::printf(
      "rank %u of %u: %lu bytes of weights touched, %.2f %% of its %lu slots and the replicated part, %.0f %% of all\n",
      ranks.rank, ranks.ranks, touched, 100.0 * touched / expected, slots, 100.0 * touched / config.weight_bytes);
  return touched < 0.98 * expected || touched > 1.02 * expected;
}

// Every expert has a slot, the other slots hold any expert or none; the same on all ranks for the same seed.
class RandomPlacements {
public:
  RandomPlacements(const moray_model_config &config, uint32_t ranks, uint32_t nodes, uint32_t seed)
      : config(config), ranks(ranks), nodes(nodes), random(seed) {}

  // Valid until the next call.
  const moray_placement &next() {
    const uint32_t perRank = (config.experts + ranks - 1) / ranks + random() % 3, count = perRank * ranks;
    slots.clear();
    for (uint32_t layer = 0; layer < config.layers; ++layer) {
      for (uint32_t slot = 0; slot < count; ++slot)
        slots.push_back(static_cast<int32_t>(slot < config.experts ? slot : random() % (config.experts + 1)) -
                        (slot < config.experts ? 0 : 1));
      std::shuffle(slots.end() - count, slots.end(), random);
    }
    placement = {config.experts, ranks, nodes, config.layers, perRank, slots.data()};
    return placement;
  }

private:
  const moray_model_config &config;
  const uint32_t ranks, nodes;
  std::mt19937 random;
  std::vector<int32_t> slots;
  moray_placement placement = {};
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
  // From now on experts change places all the time; null: never.
  void place(RandomPlacements *newPlacements) { placements = newPlacements; }
  uint64_t changes() const { return changed; }

  // As a rank that is not the first.
  int serve(const Schedule &schedule) {
    Engine engine;
    if (int code = createEngine(model, engineOptions(schedule), engine))
      return code;
    printWeights(engine);
    return report(moray_group_serve(engine.get()));
  }

  // Adds the prompts numbered in `order`, `schedule.stepsBetween` steps apart, and runs until all are done.
  int run(const Schedule &schedule, const std::vector<size_t> &order, std::vector<Outcome> &outcomes) {
    Engine engine;
    if (int code = createEngine(model, engineOptions(schedule), engine))
      return code;
    if (group)
      printWeights(engine);
    std::vector<Sequence> sequences;
    outcomes.assign(prompts.size(), {});
    moray_step_info info = {};
    asked = changed = 0;
    for (size_t index : order) {
      if (int code = add(engine, prompts[index], outcomes[index], sequences))
        return code;
      for (uint32_t i = 0; i < schedule.stepsBetween; ++i)
        if (int code = step(engine, info))
          return code;
    }
    do {
      if (int code = step(engine, info))
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
  // Asks for the next placement as soon as the latest holds.
  int step(const Engine &engine, moray_step_info &info) {
    moray_statistics statistics;
    moray_engine_query_statistics(engine.get(), &statistics);
    changed = statistics.placements;
    if (placements && asked == changed) {
      if (int code = report(moray_engine_place(engine.get(), &placements->next())))
        return code;
      ++asked;
    }
    return report(moray_engine_step(engine.get(), &info));
  }

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

  // What a rank holds on its GPU.
  void printWeights(const Engine &engine) const {
    moray_engine_info info;
    moray_group_info place;
    moray_engine_query_info(engine.get(), &info);
    moray_group_query_info(group, &place);
    if (!cudaLibrary)
      return;
    std::printf("rank %u: %llu bytes of weights read, %llu held\n", place.rank,
                static_cast<unsigned long long>(info.weight_bytes_read),
                static_cast<unsigned long long>(info.memory.weights));
    std::fflush(stdout);
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
  RandomPlacements *placements = nullptr;
  uint64_t asked = 0, changed = 0;
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
int checkGroup(const Model &model, const std::vector<std::vector<int32_t>> &prompts, const GroupFlags &flags,
               uint32_t placementSeed, const char *touched) {
  Group group;
  moray_group_info ranks = {};
  if (int code = createGroup(flags, model, group, ranks))
    return code;
  moray_model_config config;
  moray_model_query_config(model.get(), &config);
  RandomPlacements placements(config, ranks.ranks, std::max(flags.nodes, 1u), placementSeed);
  if (placementSeed)
    if (int code = createGroup(flags, &placements.next(), group, ranks))
      return code;
  if (touched && !readExactly(touched))
    return fail("E1003", std::string("cannot drop '") + touched + "' from memory", "", 1);
  Batch batch(model, prompts);
  const Schedule schedule = {"group", 4, 16, 8, 5, ranks.ranks == 1 ? 2u : 1u, 2};
  batch.join(group.get(), flags.overlap);
  if (ranks.rank != 0) {
    const int code = batch.serve(schedule);
    return code == 0 && touched ? checkTouched(touched, config, ranks) : code;
  }
  std::vector<size_t> order;
  for (size_t i = 0; i < prompts.size(); ++i)
    order.push_back(i);
  std::vector<Outcome> outcomes, alone;
  batch.place(placementSeed ? &placements : nullptr);
  if (int code = batch.run(schedule, order, outcomes))
    return code;
  if (touched)
    return checkTouched(touched, config, ranks);
  const uint64_t changes = batch.changes();
  if (placementSeed && changes < 2)
    return fail("E1011", "experts changed places " + std::to_string(changes) + " times", "", 1);
  batch.place(nullptr);
  batch.join(nullptr, MORAY_OVERLAP_OFF);
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (int code = batch.run({"alone", 1, 256, 1, 0, 1, 0}, {i}, alone))
      return code;
    if (!same(outcomes[i], alone[i])) {
      std::fprintf(stderr, "prompt %zu differs on %u ranks from its run alone\n", i, ranks.ranks);
      return 1;
    }
  }
  std::printf("%zu prompts: the same bits on %u ranks and alone, %llu changes of placement\n", prompts.size(),
              ranks.ranks, static_cast<unsigned long long>(changes));
  return 0;
}

} // namespace

int main(int argc, char **argv) {
  CLI::App app("Checks that a sequence gets the same bits alone and among others.", "moray-check-batches");
  std::string artifact, library;
  std::vector<std::string> ids;
  bool group = false, touched = false;
  uint32_t placementSeed = 0;
  GroupFlags flags;
  app.add_option("ARTIFACT", artifact)->required();
  app.add_option("IDS", ids)->required();
  app.add_option("--cuda-library", library);
  app.add_flag("--group", group);
  app.add_option("--placements", placementSeed)->check(CLI::PositiveNumber);
  app.add_flag("--touched", touched);
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
  return group ? checkGroup(model, prompts, flags, placementSeed, touched ? artifact.c_str() : nullptr)
               : check(model, prompts);
}
