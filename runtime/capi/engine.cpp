// The C API of engines and sequences.
#include "runtime/artifact/checker.h"
#include "runtime/capi/handles.h"
#include "runtime/comm/group.h"
#include "runtime/device/devices.h"
#include <algorithm>
#include <cstring>

using namespace moray::rt;

void moray_engine_options_init(moray_engine_options *options) {
  initOptions(options);
  options->cuda_graphs = 1;
}

static Status queryMemory(const moray_model *model, const moray_engine_options *given, moray_memory_plan *result) {
  MORAY_TRY(needPointer(model, "model"));
  MORAY_TRY(needPointer(result, "plan"));
  moray_engine_options options;
  MORAY_TRY(readOptions(given, moray_engine_options_init, "moray_engine_options", options));
  EngineSetup setup = {};
  MORAY_TRY(resolveOptions(model->artifact, options, setup));
  return planMemory(model->artifact, setup, *result);
}

moray_status *moray_model_query_memory(const moray_model *model, const moray_engine_options *options,
                                       moray_memory_plan *plan) {
  return queryMemory(model, options, plan).release();
}

static Status createEngine(const moray_model *model, const moray_engine_options *given, moray_engine **result) {
  MORAY_TRY(needPointer(model, "model"));
  MORAY_TRY(needPointer(result, "engine"));
  moray_engine_options options;
  MORAY_TRY(readOptions(given, moray_engine_options_init, "moray_engine_options", options));
  auto handle = std::make_unique<moray_engine>();
  MORAY_TRY(Engine::create(model->artifact, options, handle->engine));
  *result = handle.release();
  return {};
}

moray_status *moray_engine_create(const moray_model *model, const moray_engine_options *options,
                                  moray_engine **engine) {
  return createEngine(model, options, engine).release();
}

void moray_engine_destroy(moray_engine *engine) { delete engine; }

void moray_engine_query_info(const moray_engine *engine, moray_engine_info *info) {
  const Engine &source = *engine->engine;
  const ExecPlan &plan = source.execution().planned();
  *info = moray_engine_info();
  source.execution().describe(*info);
  info->target = plan.code.index;
  info->threads = plan.capacities.threads;
  info->max_rows = static_cast<uint32_t>(plan.capacities.rows);
  info->max_seqs = static_cast<uint32_t>(plan.capacities.seqs);
  info->max_outs = static_cast<uint32_t>(plan.capacities.outs);
  info->prefill_chunk = source.configuration().prefillChunk;
  info->context = source.configuration().context;
  info->cache_pages = plan.capacities.cachePages;
  info->memory = plan.memory;
  info->create_ns = source.createNs;
}

static Status checkIndex(size_t index, size_t count, const char *what) {
  if (index >= count)
    return fail(kE5002, "%s %zu was asked for, there are %zu", what, index, count);
  return {};
}

moray_status *moray_engine_query_code(const moray_engine *engine, size_t kernel, moray_code_info *info) {
  const ExecPlan &plan = engine->engine->execution().planned();
  if (Status status = checkIndex(kernel, plan.code.variants.size(), "kernel"); !status.ok())
    return status.release();
  const auto *variants = plan.code.target->kernels()->Get(static_cast<uint32_t>(kernel))->variants();
  info->variant = 0;
  while (variants->Get(static_cast<uint32_t>(info->variant)) != plan.code.variants[kernel])
    ++info->variant;
  info->from_ptx = engine->engine->execution().compiledByDriver(kernel);
  return nullptr;
}

moray_status *moray_engine_query_bucket(const moray_engine *engine, size_t bucket, moray_bucket_info *info) {
  moray_engine_info about = {};
  engine->engine->execution().describe(about);
  if (Status status = checkIndex(bucket, about.bucket_count, "bucket"); !status.ok())
    return status.release();
  *info = engine->engine->execution().bucket(bucket);
  return nullptr;
}

// ---- group ----

void moray_group_options_init(moray_group_options *options) {
  initOptions(options);
  options->deadline_ms = comm::kDefaultDeadlineMs;
  options->nodes = 1;
}

static Status createGroup(const moray_group_options *given, moray_group **result) {
  MORAY_TRY(needPointer(result, "group"));
  moray_group_options options;
  MORAY_TRY(readOptions(given, moray_group_options_init, "moray_group_options", options));
  auto group = std::make_unique<moray_group>();
  MORAY_TRY(comm::findGroup(options, *group));
  *result = group.release();
  return {};
}

moray_status *moray_group_create(const moray_group_options *options, moray_group **group) {
  return createGroup(options, group).release();
}

void moray_group_destroy(moray_group *group) { delete group; }

void moray_group_query_info(const moray_group *group, moray_group_info *info) {
  info->rank = group->found.rank;
  info->ranks = group->found.ranks;
  info->launcher = {group->found.launcher, strlen(group->found.launcher)};
}

moray_status *moray_group_serve(moray_engine *engine) {
  if (Status status = needPointer(engine, "engine"); !status.ok())
    return status.release();
  return engine->engine->serve().release();
}

moray_status *moray_group_end(moray_engine *engine) {
  if (Status status = needPointer(engine, "engine"); !status.ok())
    return status.release();
  return engine->engine->endGroup().release();
}

static Status placeExperts(moray_engine *engine, const moray_placement *placement) {
  MORAY_TRY(needPointer(engine, "engine"));
  MORAY_TRY(needPointer(placement, "placement"));
  return engine->engine->place(*placement);
}

moray_status *moray_engine_place(moray_engine *engine, const moray_placement *placement) {
  return placeExperts(engine, placement).release();
}

static Status expertLoads(moray_engine *engine, uint64_t *loads) {
  MORAY_TRY(needPointer(engine, "engine"));
  MORAY_TRY(needPointer(loads, "loads"));
  return engine->engine->expertLoads(loads);
}

moray_status *moray_engine_expert_loads(moray_engine *engine, uint64_t *loads) {
  return expertLoads(engine, loads).release();
}

// ---- sequences ----

void moray_sequence_options_init(moray_sequence_options *options) {
  initOptions(options);
  options->top_p = 1;
  options->max_tokens = UINT32_MAX;
}

static Status addSequence(moray_engine *engine, Span<const int32_t> prompt, const moray_sequence_options *given,
                          moray_sequence **result) {
  MORAY_TRY(needPointer(engine, "engine"));
  MORAY_TRY(needPointer(result, "sequence"));
  MORAY_TRY(needPointer(prompt.empty() ? engine : static_cast<const void *>(prompt.data()), "ids"));
  moray_sequence_options options;
  MORAY_TRY(readOptions(given, moray_sequence_options_init, "moray_sequence_options", options));
  return engine->engine->add(prompt, options, *result);
}

moray_status *moray_sequence_add(moray_engine *engine, const int32_t *ids, size_t count,
                                 const moray_sequence_options *options, moray_sequence **sequence) {
  return addSequence(engine, {ids, count}, options, sequence).release();
}

void moray_sequence_poll(moray_sequence *sequence, int32_t *ids, size_t capacity, size_t *count, moray_finish *finish) {
  const size_t first = sequence->promptTokens + sequence->polled;
  const size_t taken = std::min(capacity, sequence->tokens.size() - first);
  std::copy_n(sequence->tokens.data() + first, taken, ids);
  sequence->polled += taken;
  *count = taken;
  const bool all = first + taken == sequence->tokens.size();
  *finish = all ? sequence->finish : MORAY_FINISH_NONE;
}

void moray_sequence_cancel(moray_sequence *sequence) { sequence->engine->cancel(*sequence, MORAY_FINISH_CANCELLED); }

void moray_sequence_release(moray_sequence *sequence) {
  if (sequence)
    sequence->engine->release(sequence);
}

void moray_sequence_query_info(const moray_sequence *sequence, moray_sequence_info *info) {
  auto since = [sequence](uint64_t time) { return time ? time - sequence->addedNs : 0; };
  info->prompt_tokens = sequence->promptTokens;
  info->generated_tokens = sequence->tokens.size() - sequence->promptTokens;
  info->queue_ns = since(sequence->startedNs);
  info->first_token_ns = since(sequence->firstTokenNs);
  info->last_token_ns = since(sequence->lastTokenNs);
}

// ---- steps ----

moray_status *moray_engine_step(moray_engine *engine, moray_step_info *info) {
  moray_step_info ignored;
  return engine->engine->step(info ? *info : ignored).release();
}

// Adds a sequence that computes its prompt alone and steps until it is done.
static Status runPrompt(moray_engine *engine, Span<const int32_t> ids, moray_sequence_options &options) {
  options.prompt_only = 1;
  moray_sequence *sequence = nullptr;
  MORAY_TRY(addSequence(engine, ids, &options, &sequence));
  Status status = engine->engine->finish(*sequence);
  engine->engine->release(sequence);
  return status;
}

moray_status *moray_engine_logits(moray_engine *engine, const int32_t *ids, size_t count, float *logits) {
  moray_sequence_options options;
  moray_sequence_options_init(&options);
  options.logits = logits;
  options.logits_rows = count;
  return runPrompt(engine, {ids, count}, options).release();
}

moray_status *moray_engine_score(moray_engine *engine, const int32_t *ids, size_t count, float *log_probs) {
  moray_sequence_options options;
  moray_sequence_options_init(&options);
  options.log_probs = log_probs;
  return runPrompt(engine, {ids, count}, options).release();
}

// ---- measurements ----

void moray_engine_query_statistics(const moray_engine *engine, moray_statistics *statistics) {
  const Executor::Counters &counted = engine->engine->execution().counters();
  *statistics = engine->engine->counters();
  statistics->launches = counted.launches;
  statistics->barriers = counted.barriers;
  statistics->step_ns = counted.stepNs;
  statistics->sample_ns = counted.sampleNs;
}

moray_status *moray_engine_query_kernel_profile(const moray_engine *engine, size_t kernel,
                                                moray_kernel_profile *profile) {
  const Executor &execution = engine->engine->execution();
  if (Status status = checkIndex(kernel, execution.planned().code.variants.size(), "kernel"); !status.ok())
    return status.release();
  *profile = execution.profileOf(kernel);
  return nullptr;
}

void moray_engine_reset_profile(moray_engine *engine) { engine->engine->resetProfile(); }

void moray_probe_options_init(moray_probe_options *options) {
  initOptions(options);
  options->bytes = uint64_t{256} << 20;
  options->iterations = 1;
}

static Status runProbe(moray_engine *engine, const char *name, const moray_probe_options *given,
                       moray_probe_result *result) {
  MORAY_TRY(needPointer(engine, "engine"));
  MORAY_TRY(needPointer(name, "name"));
  MORAY_TRY(needPointer(result, "result"));
  moray_probe_options options;
  MORAY_TRY(readOptions(given, moray_probe_options_init, "moray_probe_options", options));
  return engine->engine->runProbe(name, options, *result);
}

moray_status *moray_engine_run_probe(moray_engine *engine, const char *name, const moray_probe_options *options,
                                     moray_probe_result *result) {
  return runProbe(engine, name, options, result).release();
}
