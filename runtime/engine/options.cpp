// Resolves the defaults of engine options and checks them against the model.
#include "runtime/engine/engine.h"
#include <algorithm>

namespace moray::rt {

using schema::SymbolId;

static constexpr uint32_t kMaxThreads = 1024;
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
  return resolveContext(artifact, options, setup);
}

} // namespace moray::rt
