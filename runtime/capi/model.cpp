// The C API of models: load and query.
#include "runtime/artifact/checker.h"
#include "runtime/capi/handles.h"
#include "runtime/device/cpu/cpu_level.h"
#include <cstring>

using namespace moray::rt;
namespace schema = moray::schema;

#define MORAY_STRINGIFY(x) #x
#define MORAY_VERSION_TEXT(x) MORAY_STRINGIFY(x)

static moray_string literal(const char *text) { return {text, strlen(text)}; }

const char *moray_runtime_version(void) { return MORAY_VERSION_TEXT(MORAY_VERSION); }

const char *moray_runtime_cpu_level(void) {
  const char *best = "none";
  for (schema::CpuLevel level : schema::EnumValuesCpuLevel())
    if (hasCpuLevel(level))
      best = levelName(level);
  return best;
}

uint64_t moray_runtime_available_memory(void) { return availableMemory(); }

void moray_model_options_init(moray_model_options *options) { initOptions(options); }

static Status loadModel(const char *path, const moray_model_options *given, moray_model **result) {
  MORAY_TRY(needPointer(path, "path"));
  MORAY_TRY(needPointer(result, "model"));
  moray_model_options options;
  MORAY_TRY(readOptions(given, moray_model_options_init, "moray_model_options", options));
  auto model = std::make_unique<moray_model>();
  MORAY_TRY(Artifact::load(path, model->artifact));
  const schema::Tokenizer *tokenizer = model->artifact.metadata().tokenizer();
  if (tokenizer) {
    MORAY_TRY(model->tokenizer.open(tokenizer));
    model->hasTokenizer = true;
  }
  if (options.verify_weights)
    MORAY_TRY(model->artifact.verifyWeights());
  *result = model.release();
  return {};
}

moray_status *moray_model_load(const char *path, const moray_model_options *options, moray_model **model) {
  return loadModel(path, options, model).release();
}

void moray_model_unload(moray_model *model) { delete model; }

moray_status *moray_model_verify_weights(const moray_model *model) { return model->artifact.verifyWeights().release(); }

static moray_string numericsName(schema::Numerics numerics) {
  switch (numerics) {
  case schema::Numerics::Ref32:
    return literal("ref32");
  case schema::Numerics::Bf16:
    return literal("bf16");
  case schema::Numerics::W8A16:
    return literal("w8a16");
  case schema::Numerics::Fp8:
    return literal("fp8");
  }
  return literal("unknown");
}

static moray_string dtypeName(schema::DType type) {
  static const char *const names[] = {"f32", "bf16", "f8e4m3", "i32", "u32", "i64", "u64", "u8"};
  return literal(names[static_cast<size_t>(type)]);
}

void moray_model_query_config(const moray_model *model, moray_model_config *config) {
  const Artifact &artifact = model->artifact;
  const schema::ModelConfig &source = artifact.model();
  *config = moray_model_config();
  config->family = artifact.text(source.family());
  config->vocab = source.vocab();
  config->hidden = source.hidden();
  config->layers = source.layers();
  config->heads = source.heads();
  config->max_positions = source.max_positions();
  config->cache_width = source.cache_width();
  config->cache_dtype = dtypeName(source.cache_dtype());
  config->cache_page = source.cache_page();
  config->experts = source.experts();
  config->experts_per_token = source.experts_per_token();
  config->parameters = source.parameters();
  config->active_weight_bytes = source.active_weight_bytes();
  config->active_flops = source.active_flops();
  config->bos = source.bos();
  config->eos = source.eos() ? source.eos()->data() : nullptr;
  config->eos_count = sizeOf(source.eos());
  config->temperature = source.temperature();
  config->top_k = source.top_k();
  config->top_p = source.top_p();
  config->numerics = numericsName(source.numerics());
  config->deterministic = source.deterministic();
  config->weights_embedded = artifact.metadata().weights_embedded();
  config->has_tokenizer = model->hasTokenizer;
  for (const schema::Program *program : *artifact.metadata().programs())
    config->can_score = config->can_score || program->kind() == schema::ProgramKind::Score;
  config->file_bytes = artifact.file().bytes().size();
  config->metadata_bytes = artifact.section(MORAY_SECTION_METADATA).size();
  config->code_bytes = artifact.section(MORAY_SECTION_CODE).size();
  config->weight_bytes = artifact.weightBytes();
}

// ---- tables ----

static Status checkIndex(size_t index, size_t count, const char *what) {
  if (index >= count)
    return fail(kE5002, "%s %zu was asked for, there are %zu", what, index, count);
  return {};
}

size_t moray_model_kernel_count(const moray_model *model) { return sizeOf(model->artifact.metadata().kernels()); }

// Launches of `kernel` in one step, calls expanded.
static size_t launchesOfKernel(const schema::Artifact &root, const schema::Program &program, size_t kernel) {
  size_t launches = 0;
  for (uint32_t c = 0; c < sizeOf(program.commands()); ++c) {
    const schema::Command &command = *program.commands()->Get(c);
    if (command.kind() == schema::CommandKind::Launch)
      launches += command.target() == kernel;
    else if (command.kind() == schema::CommandKind::Call)
      launches += (command.layer_end() - command.layer_begin()) *
                  launchesOfKernel(root, *root.programs()->Get(command.target()), kernel);
  }
  return launches;
}

moray_status *moray_model_query_kernel(const moray_model *model, size_t index, moray_kernel_info *info) {
  const Artifact &artifact = model->artifact;
  const schema::Artifact &root = artifact.metadata();
  if (Status status = checkIndex(index, sizeOf(root.kernels()), "kernel"); !status.ok())
    return status.release();
  static const char *const classes[] = {"gemm",   "grouped-gemm", "attention", "row",
                                        "router", "permute",      "sampling",  "probe"};
  const schema::Kernel &kernel = *root.kernels()->Get(static_cast<uint32_t>(index));
  info->name = artifact.text(kernel.name());
  info->klass = literal(classes[static_cast<size_t>(kernel.klass())]);
  info->operand_count = kernel.operand_count();
  info->variant_count = sizeOf(kernel.variants());
  info->launch_count = 0;
  for (const schema::Program *program : *root.programs())
    if (program->kind() == schema::ProgramKind::Step)
      info->launch_count = launchesOfKernel(root, *program, index);
  return nullptr;
}

moray_status *moray_model_query_variant(const moray_model *model, size_t kernel, size_t index,
                                        moray_variant_info *info) {
  const Artifact &artifact = model->artifact;
  const schema::Artifact &root = artifact.metadata();
  if (Status status = checkIndex(kernel, sizeOf(root.kernels()), "kernel"); !status.ok())
    return status.release();
  const auto *variants = root.kernels()->Get(static_cast<uint32_t>(kernel))->variants();
  if (Status status = checkIndex(index, sizeOf(variants), "variant"); !status.ok())
    return status.release();
  const schema::Variant &variant = *variants->Get(static_cast<uint32_t>(index));
  info->level = literal(levelName(root.images()->Get(variant.image())->level()));
  info->config = artifact.text(variant.config());
  info->code_bytes = variant.code_size();
  return nullptr;
}

size_t moray_model_program_count(const moray_model *model) { return sizeOf(model->artifact.metadata().programs()); }

moray_status *moray_model_query_program(const moray_model *model, size_t index, moray_program_info *info) {
  const Artifact &artifact = model->artifact;
  if (Status status = checkIndex(index, sizeOf(artifact.metadata().programs()), "program"); !status.ok())
    return status.release();
  static const char *const kinds[] = {"step", "layer", "sample", "score"};
  const schema::Program &program = *artifact.metadata().programs()->Get(static_cast<uint32_t>(index));
  uint64_t launches = 0, operands = 0;
  countLaunches(artifact, program, launches, operands);
  info->name = artifact.text(program.name());
  info->kind = literal(kinds[static_cast<size_t>(program.kind())]);
  info->buffer_count = sizeOf(program.buffers());
  info->command_count = sizeOf(program.commands());
  info->launch_count = launches;
  return nullptr;
}

size_t moray_model_weight_count(const moray_model *model) { return sizeOf(model->artifact.metadata().weights()); }

moray_status *moray_model_query_weight(const moray_model *model, size_t index, moray_weight_info *info) {
  const Artifact &artifact = model->artifact;
  if (Status status = checkIndex(index, sizeOf(artifact.metadata().weights()), "weight"); !status.ok())
    return status.release();
  const schema::Weight &weight = *artifact.metadata().weights()->Get(static_cast<uint32_t>(index));
  info->name = artifact.text(weight.name());
  info->dtype = dtypeName(weight.dtype());
  info->dims = weight.dims()->data();
  info->dim_count = weight.dims()->size();
  info->row_pitch = weight.row_pitch();
  info->bytes = weight.bytes();
  info->per_layer = weight.per_layer();
  info->tensor_count = 0;
  for (uint64_t offset : *weight.offsets())
    info->tensor_count += offset != schema::kNoOffset;
  return nullptr;
}

// ---- provenance ----

void moray_model_query_provenance(const moray_model *model, moray_provenance *provenance) {
  const Artifact &artifact = model->artifact;
  const schema::Provenance &source = *artifact.metadata().provenance();
  provenance->compiler = artifact.text(source.compiler());
  provenance->source = artifact.text(source.source());
  provenance->input_hash = source.input_hash();
  provenance->flag_count = sizeOf(source.flags());
  provenance->phase_count = sizeOf(source.phases());
}

moray_status *moray_model_query_flag(const moray_model *model, size_t index, moray_string *flag) {
  const auto *flags = model->artifact.metadata().provenance()->flags();
  if (Status status = checkIndex(index, sizeOf(flags), "flag"); !status.ok())
    return status.release();
  *flag = model->artifact.text(flags->Get(static_cast<uint32_t>(index)));
  return nullptr;
}

moray_status *moray_model_query_phase(const moray_model *model, size_t index, moray_string *phase) {
  const auto *phases = model->artifact.metadata().provenance()->phases();
  if (Status status = checkIndex(index, sizeOf(phases), "phase"); !status.ok())
    return status.release();
  *phase = model->artifact.text(phases->Get(static_cast<uint32_t>(index)));
  return nullptr;
}
