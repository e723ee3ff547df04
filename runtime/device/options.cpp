// Resolves the defaults of engine options and checks them against the model.
#include "runtime/device/options.h"
#include "runtime/comm/group.h"
#include "runtime/device/cpu/thread_pool.h"
#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace moray::rt {

using schema::SymbolId;

static constexpr uint32_t kMaxThreads = 1024;
static constexpr unsigned long kMaxDevices = 1024;
static constexpr uint64_t kDefaultRows = 256;
static constexpr uint64_t kDefaultContext = 4096;

static unsigned long long number(uint64_t value) { return value; }

static Status resolveContext(const Artifact &artifact, const moray_engine_options &options, EngineSetup &setup) {
  const schema::ModelConfig &model = artifact.model();
  const uint64_t maxPages = artifact.metadata().symbols_max()->Get(static_cast<uint32_t>(SymbolId::P));
  const uint64_t longest = std::min<uint64_t>(model.max_positions(), maxPages * model.cache_page());
  const uint64_t context = options.context ? options.context : std::min(longest, kDefaultContext);
  if (context > longest)
    return fail(kE5008, "a context of %llu tokens was asked for, the model allows %llu", number(context),
                number(longest));
  setup.context = static_cast<uint32_t>(context);
  setup.capacities.pages = (context + model.cache_page() - 1) / model.cache_page();
  const uint64_t pages = options.cache_tokens / model.cache_page() + (options.cache_tokens % model.cache_page() != 0);
  setup.capacities.cachePages = options.cache_tokens ? pages : setup.capacities.pages * setup.capacities.seqs;
  return {};
}

static Status resolveDevice(const moray_engine_options &options, DeviceChoice &choice) {
  const char *name = options.device ? options.device : "cpu";
  const char *number = strncmp(name, "cuda:", 5) == 0 ? name + 5 : nullptr;
  char *end = nullptr;
  const unsigned long ordinal = number && *number >= '0' && *number <= '9' ? strtoul(number, &end, 10) : 0;
  const bool numbered = end && *end == 0 && ordinal < kMaxDevices;
  choice.cuda = numbered || strcmp(name, "cuda") == 0;
  choice.wraps = choice.cuda && !numbered && options.group;
  choice.ordinal = choice.wraps ? options.group->found.localRank : static_cast<uint32_t>(ordinal);
  if (!choice.cuda && strcmp(name, "cpu") != 0)
    return fail(kE5008, "device '%s' was asked for, expected cpu, cuda or cuda:N", name);
  const char *arena = options.arena ? options.arena : "packed";
  choice.guarded = strcmp(arena, "guarded") == 0;
  if (!choice.guarded && strcmp(arena, "packed") != 0)
    return fail(kE5008, "arena '%s' was asked for, expected packed or guarded", arena);
  return {};
}

// After device and ranks are known.
static Status resolveOverlap(const Artifact &artifact, const moray_engine_options &options, EngineSetup &setup) {
  bool possible = false;
  for (const schema::Target *target : *artifact.metadata().targets())
    for (const schema::Program *program : *target->programs())
      possible = possible ||
                 (target->device() == schema::DeviceKind::Cpu && program->kind() == schema::ProgramKind::StepOverlap);
  const bool automatic = options.overlap == MORAY_OVERLAP_AUTO;
  if (options.overlap == MORAY_OVERLAP_OFF ||
      (automatic && (!possible || setup.device.cuda || setup.capacities.ranks == 1)))
    return {};
  if (!automatic && options.overlap != MORAY_OVERLAP_ON)
    return fail(kE5002, "overlap is %d, expected MORAY_OVERLAP_OFF, _ON or _AUTO", options.overlap);
  if (!setup.capacities.distributed)
    return fail(kE5008, "overlap of two micro-batches was asked for in one process, which sends no rows; turn it off, "
                        "start several ranks or use force_dist");
  setup.capacities.batches = kBatches;
  return {};
}

static Status checkGroup(const moray_group &group, bool cuda) {
  if (group.comm == (cuda ? comm::CommKind::Mpi : comm::CommKind::Nccl))
    return fail(kE5008, "communicator %s was asked for on a %s; use auto", cuda ? "mpi" : "nccl", cuda ? "GPU" : "CPU");
  if (cuda && group.combine != comm::CombineMode::Exact)
    return fail(kE5008, "GPUs combine exactly; use combine exact, or --device=cpu");
  return {};
}

Status resolveOptions(const Artifact &artifact, const moray_engine_options &options, EngineSetup &setup) {
  if (options.struct_size != sizeof(moray_engine_options))
    return fail(kE5002, "moray_engine_options has struct_size %zu, expected %zu; fill it by moray_engine_options_init",
                options.struct_size, sizeof(moray_engine_options));
  const uint64_t maxRows = artifact.metadata().symbols_max()->Get(static_cast<uint32_t>(SymbolId::T));
  Capacities &capacities = setup.capacities;
  capacities.threads = options.threads ? options.threads : ThreadPool::processors();
  capacities.seqs = options.max_seqs ? options.max_seqs : 1;
  capacities.rows = options.max_rows ? options.max_rows : std::min(maxRows, std::max(kDefaultRows, capacities.seqs));
  capacities.outs = options.max_outs ? options.max_outs : capacities.seqs;
  if (capacities.threads > kMaxThreads)
    return fail(kE5008, "%u threads were asked for, expected 1 to %u", capacities.threads, kMaxThreads);
  if (capacities.rows < capacities.seqs || capacities.outs < capacities.seqs)
    return fail(kE5008,
                "%llu rows and %llu rows with logits are too few for %llu sequences; each needs one of both in every "
                "step",
                number(capacities.rows), number(capacities.outs), number(capacities.seqs));
  setup.prefillChunk = options.prefill_chunk ? options.prefill_chunk : static_cast<uint32_t>(capacities.rows);
  setup.cpuLevel = options.cpu_level;
  MORAY_TRY(resolveDevice(options, setup.device));
  setup.group = options.group;
  if (options.group) {
    capacities.ranks = options.group->found.ranks;
    capacities.distributed = capacities.ranks > 1 || options.group->forceDist;
  }
  if (capacities.distributed)
    MORAY_TRY(checkGroup(*options.group, setup.device.cuda));
  MORAY_TRY(resolveOverlap(artifact, options, setup));
  return resolveContext(artifact, options, setup);
}

} // namespace moray::rt
