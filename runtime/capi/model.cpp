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

static void describeExperts(const Artifact &artifact, moray_model_config &config) {
  config.first_expert_layer = config.layers;
  for (const schema::Weight *weight : *artifact.metadata().weights()) {
    if (!artifact.ofExperts(*weight))
      continue;
    config.expert_bytes += weight->bytes() / config.experts;
    for (uint32_t layer = 0; layer < config.first_expert_layer && layer < sizeOf(weight->offsets()); ++layer)
      if (weight->offsets()->Get(layer) != schema::kNoOffset)
        config.first_expert_layer = layer;
  }
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
  config->cache_page = source.cache_page();
  config->experts = source.experts();
  config->experts_per_token = source.experts_per_token();
  describeExperts(artifact, *config);
  config->parameters = source.parameters();
  config->bos = source.bos();
  config->eos = source.eos() ? source.eos()->data() : nullptr;
  config->eos_count = sizeOf(source.eos());
  config->temperature = source.temperature();
  config->top_k = source.top_k();
  config->top_p = source.top_p();
  config->weights_embedded = artifact.metadata().weights_embedded();
  config->has_tokenizer = model->hasTokenizer;
  config->can_score = 1;
  for (const schema::Target *target : *artifact.metadata().targets()) {
    bool score = false;
    for (const schema::Program *program : *target->programs())
      score = score || program->kind() == schema::ProgramKind::Score;
    config->can_score = config->can_score && score;
  }
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

size_t moray_model_target_count(const moray_model *model) { return model->artifact.targetCount(); }

static Status findTarget(const moray_model *model, size_t index, const schema::Target *&target) {
  MORAY_TRY(checkIndex(index, model->artifact.targetCount(), "target"));
  target = &model->artifact.target(static_cast<uint32_t>(index));
  return {};
}

static Status findKernel(const moray_model *model, size_t targetIndex, size_t index, const schema::Kernel *&kernel) {
  const schema::Target *target = nullptr;
  MORAY_TRY(findTarget(model, targetIndex, target));
  MORAY_TRY(checkIndex(index, sizeOf(target->kernels()), "kernel"));
  kernel = target->kernels()->Get(static_cast<uint32_t>(index));
  return {};
}

static Status findVariant(const moray_model *model, size_t targetIndex, size_t kernelIndex, size_t index,
                          const schema::Variant *&variant) {
  const schema::Kernel *kernel = nullptr;
  MORAY_TRY(findKernel(model, targetIndex, kernelIndex, kernel));
  MORAY_TRY(checkIndex(index, sizeOf(kernel->variants()), "variant"));
  variant = kernel->variants()->Get(static_cast<uint32_t>(index));
  return {};
}

// Images may be shared by kernels: each counts once.
static uint64_t codeBytes(const schema::Artifact &root, const schema::Target &target) {
  std::vector<bool> used(sizeOf(root.images()));
  uint64_t bytes = 0;
  for (uint32_t k = 0; k < sizeOf(target.kernels()); ++k)
    for (const schema::Variant *variant : *target.kernels()->Get(k)->variants())
      if (!used[variant->image()]) {
        used[variant->image()] = true;
        bytes += root.images()->Get(variant->image())->size();
      }
  return bytes;
}

moray_status *moray_model_query_target(const moray_model *model, size_t index, moray_target_info *info) {
  const schema::Target *target = nullptr;
  if (Status status = findTarget(model, index, target); !status.ok())
    return status.release();
  const Artifact &artifact = model->artifact;
  info->name = artifact.text(target->name());
  info->device = literal(target->device() == schema::DeviceKind::Cpu ? "cpu" : "cuda");
  info->sm = target->sm();
  info->numerics = numericsName(target->numerics());
  info->cache_dtype = dtypeName(target->cache_dtype());
  info->deterministic = target->deterministic();
  info->active_weight_bytes = target->active_weight_bytes();
  info->active_flops = target->active_flops();
  info->weight_bytes = 0;
  const std::vector<bool> used = usedWeights(artifact, *target);
  for (uint32_t w = 0; w < used.size(); ++w)
    for (uint64_t offset : *artifact.metadata().weights()->Get(w)->offsets())
      info->weight_bytes += used[w] && offset != schema::kNoOffset ? artifact.metadata().weights()->Get(w)->bytes() : 0;
  info->code_bytes = codeBytes(artifact.metadata(), *target);
  info->kernel_count = sizeOf(target->kernels());
  info->program_count = sizeOf(target->programs());
  return nullptr;
}

// Launches of `kernel` in one step, calls expanded.
static size_t launchesOfKernel(const schema::Target &target, const schema::Program &program, size_t kernel) {
  size_t launches = 0;
  for (uint32_t c = 0; c < sizeOf(program.commands()); ++c) {
    const schema::Command &command = *program.commands()->Get(c);
    if (command.kind() == schema::CommandKind::Launch)
      launches += command.target() == kernel;
    else if (command.kind() == schema::CommandKind::Call)
      launches += (command.layer_end() - command.layer_begin()) *
                  launchesOfKernel(target, *target.programs()->Get(command.target()), kernel);
  }
  return launches;
}

moray_status *moray_model_query_kernel(const moray_model *model, size_t targetIndex, size_t index,
                                       moray_kernel_info *info) {
  const schema::Kernel *kernel = nullptr;
  if (Status status = findKernel(model, targetIndex, index, kernel); !status.ok())
    return status.release();
  static const char *const classes[] = {"gemm",    "grouped-gemm", "attention", "row",     "router",
                                        "permute", "sampling",     "probe",     "exchange"};
  const schema::Target &target = model->artifact.target(static_cast<uint32_t>(targetIndex));
  info->name = model->artifact.text(kernel->name());
  info->klass = literal(classes[static_cast<size_t>(kernel->klass())]);
  info->operand_count = kernel->operand_count();
  info->variant_count = sizeOf(kernel->variants());
  info->launch_count = 0;
  for (const schema::Program *program : *target.programs())
    if (program->kind() == schema::ProgramKind::Step)
      info->launch_count = launchesOfKernel(target, *program, index);
  return nullptr;
}

moray_status *moray_model_query_variant(const moray_model *model, size_t target, size_t kernel, size_t index,
                                        moray_variant_info *info) {
  const schema::Variant *variant = nullptr;
  if (Status status = findVariant(model, target, kernel, index, variant); !status.ok())
    return status.release();
  static const char *const kinds[] = {"x86", "ptx", "cubin"};
  const schema::Image &image = *model->artifact.metadata().images()->Get(variant->image());
  const bool cpu = image.kind() == schema::ImageKind::X86;
  info->kind = literal(kinds[static_cast<size_t>(image.kind())]);
  info->level = literal(cpu ? levelName(image.level()) : "");
  info->sm = image.sm();
  info->ptx_version = image.ptx_version();
  info->config = model->artifact.text(variant->config());
  info->code_bytes = cpu ? variant->code_size() : image.size();
  info->stage_count = sizeOf(variant->stages());
  return nullptr;
}

moray_status *moray_model_query_stage(const moray_model *model, size_t target, size_t kernel, size_t variantIndex,
                                      size_t index, moray_stage_info *info) {
  const schema::Variant *variant = nullptr;
  if (Status status = findVariant(model, target, kernel, variantIndex, variant); !status.ok())
    return status.release();
  if (Status status = checkIndex(index, sizeOf(variant->stages()), "stage"); !status.ok())
    return status.release();
  const schema::Stage &stage = *variant->stages()->Get(static_cast<uint32_t>(index));
  info->entry = model->artifact.text(stage.entry());
  info->threads = stage.threads();
  info->static_shared = stage.static_shared();
  info->dynamic_shared = stage.dynamic_shared();
  info->registers = stage.registers();
  return nullptr;
}

moray_status *moray_model_query_program(const moray_model *model, size_t targetIndex, size_t index,
                                        moray_program_info *info) {
  const schema::Target *target = nullptr;
  if (Status status = findTarget(model, targetIndex, target); !status.ok())
    return status.release();
  if (Status status = checkIndex(index, sizeOf(target->programs()), "program"); !status.ok())
    return status.release();
  static const char *const kinds[] = {"step", "layer", "sample", "score", "step-dist", "step-overlap"};
  const schema::Program &program = *target->programs()->Get(static_cast<uint32_t>(index));
  uint64_t launches = 0, operands = 0;
  countLaunches(*target, program, launches, operands);
  info->name = model->artifact.text(program.name());
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
