// Computes the plan of an engine: variants, packed buffers, input block, cache, scratch memory and command tables.
#include "runtime/exec/exec_plan.h"
#include "runtime/artifact/checker.h"
#include "runtime/device/cpu/cpu_level.h"
#include "runtime/exec/program.h"
#include <algorithm>
#include <cstring>

namespace moray::rt {

using schema::CpuLevel;
using schema::SymbolId;

static unsigned long long number(uint64_t value) { return value; }

// The variant of the highest level up to `level`: later levels may improve only some kernels.
static const schema::Variant *findVariant(const Artifact &artifact, const schema::Kernel &kernel, CpuLevel level) {
  const schema::Variant *best = nullptr;
  CpuLevel bestLevel = {};
  for (const schema::Variant *variant : *kernel.variants()) {
    const CpuLevel have = artifact.metadata().images()->Get(variant->image())->level();
    if (have <= level && (!best || have > bestLevel)) {
      best = variant;
      bestLevel = have;
    }
  }
  return best;
}

static bool hasLevel(const Artifact &artifact, const schema::Target &target, CpuLevel level) {
  bool exactly = false;
  for (uint32_t i = 0; i < sizeOf(target.kernels()); ++i) {
    const schema::Variant *variant = findVariant(artifact, *target.kernels()->Get(i), level);
    if (!variant)
      return false;
    exactly = exactly || artifact.metadata().images()->Get(variant->image())->level() == level;
  }
  return exactly;
}

// The first CPU target with code for `level`; null where there is none.
static const schema::Target *findTarget(const Artifact &artifact, CpuLevel level) {
  for (const schema::Target *target : *artifact.metadata().targets())
    if (target->device() == schema::DeviceKind::Cpu && hasLevel(artifact, *target, level))
      return target;
  return nullptr;
}

static Status forceLevel(const Artifact &artifact, const char *name, const schema::Target *&target, CpuLevel &level) {
  MORAY_TRY(parseCpuLevel(name, level));
  target = findTarget(artifact, level);
  if (!target)
    return fail(kE4022,
                "the artifact has no kernels for CPU level %s; compile it with this level, or force another or none",
                name);
  if (!hasCpuLevel(level))
    return fail(kE4022, "this machine cannot execute CPU level %s; force a lower level or none", name);
  return {};
}

Status chooseLevel(const Artifact &artifact, const char *name, const schema::Target *&target, CpuLevel &level) {
  if (name && strcmp(name, "auto") != 0)
    return forceLevel(artifact, name, target, level);
  target = nullptr;
  for (CpuLevel candidate : schema::EnumValuesCpuLevel())
    if (const schema::Target *found = findTarget(artifact, candidate); found && hasCpuLevel(candidate)) {
      target = found;
      level = candidate;
    }
  if (!target)
    return fail(kE4022, "the artifact has no kernels for any CPU level of this machine; compile the model for a level "
                        "that it has, at least x86-64-v3");
  return {};
}

std::vector<bool> usedWeights(const Artifact &artifact, const schema::Target &target) {
  std::vector<bool> used(sizeOf(artifact.metadata().weights()));
  for (uint32_t p = 0; p < sizeOf(target.programs()); ++p)
    for (uint32_t c = 0; c < sizeOf(target.programs()->Get(p)->commands()); ++c) {
      const auto *args = target.programs()->Get(p)->commands()->Get(c)->args();
      for (uint32_t a = 0; a < sizeOf(args); ++a)
        if (args->Get(a)->kind() == schema::ArgKind::Weight)
          used[args->Get(a)->index()] = true;
    }
  return used;
}

Status evaluateSize(const flatbuffers::Vector<const schema::ExprOp *> *ops, const uint64_t *symbols, uint64_t &result) {
  const schema::ExprError error = schema::evaluateExpr(ops, symbols, result);
  if (error != schema::ExprError::None)
    return fail(kE5008, "a size cannot be computed for these capacities: %s; use smaller ones", describe(error));
  return {};
}

Status ExecPlan::make(const Artifact &artifact, const schema::Target &target, CpuLevel level,
                      const Capacities &capacities, ExecPlan &plan) {
  plan.target = &target;
  plan.level = level;
  plan.capacities = capacities;
  MORAY_TRY(plan.bindSymbols(artifact));
  MORAY_TRY(plan.chooseVariants(artifact));
  MORAY_TRY(plan.planBuffers());
  MORAY_TRY(plan.planEntries());
  MORAY_TRY(plan.planInputs(artifact));
  return plan.planTotals(artifact);
}

Status ExecPlan::bindSymbols(const Artifact &artifact) {
  const struct {
    SymbolId id;
    uint64_t value;
    const char *option;
  } bindings[] = {
      {SymbolId::T, capacities.rows, "rows of a step"},
      {SymbolId::B, capacities.seqs, "sequences at once"},
      {SymbolId::N, capacities.outs, "rows with logits of a step"},
      {SymbolId::P, capacities.pages, "pages of a sequence"},
      {SymbolId::C, capacities.cachePages, "pages of the cache"},
      {SymbolId::Rows, capacities.rows, "rows of a step"},
      {SymbolId::DecodeRows, std::min(capacities.rows, capacities.seqs), "decode rows of a step"},
      {SymbolId::Seqs, capacities.seqs, "sequences of a step"},
      {SymbolId::Outs, capacities.outs, "rows with logits of a step"},
  };
  for (const auto &binding : bindings) {
    const auto index = static_cast<uint32_t>(binding.id);
    const uint64_t max = artifact.metadata().symbols_max()->Get(index);
    if (binding.value < 1 || binding.value > max)
      return fail(kE5008,
                  "%llu %s asked for, this artifact allows 1 to %llu; change the option or compile with a higher "
                  "bound",
                  number(binding.value), binding.option, number(max));
    symbols[index] = binding.value;
  }
  return {};
}

Status ExecPlan::chooseVariants(const Artifact &artifact) {
  uint64_t largest = 0;
  for (uint32_t i = 0; i < sizeOf(target->kernels()); ++i) {
    const schema::Variant *variant = findVariant(artifact, *target->kernels()->Get(i), level);
    variants.push_back(variant);
    if (!variant)
      return fail(kE4022, "kernel %u has no variant for CPU level %s; compile the model again", i, levelName(level));
    uint64_t scratch = 0;
    MORAY_TRY(evaluateSize(variant->scratch_bytes(), symbols, scratch));
    largest = std::max(largest, scratch);
  }
  if (largest > (uint64_t{1} << 40))
    return fail(kE5008, "a kernel asks for %llu bytes of scratch memory for each worker; use fewer rows",
                number(largest));
  // Pages keep the workers' regions apart.
  scratchWorkerBytes = alignUp(largest, schema::kPageBytes);
  return {};
}

Status ExecPlan::planBuffers() {
  for (uint32_t p = 0; p < sizeOf(target->programs()); ++p) {
    const schema::Program &program = *target->programs()->Get(p);
    std::vector<PlannedBuffer> planned;
    for (uint32_t b = 0; b < sizeOf(program.buffers()); ++b) {
      const schema::Buffer &buffer = *program.buffers()->Get(b);
      uint64_t bytes = 0;
      MORAY_TRY(evaluateSize(buffer.bytes(), symbols, bytes));
      planned.push_back({bytes, buffer.first(), buffer.last(), 0});
    }
    buffers.push_back(std::move(planned));
  }
  return {};
}

Status ExecPlan::planEntries() {
  std::vector<uint64_t> frames;
  for (std::vector<PlannedBuffer> &planned : buffers) {
    uint64_t bytes = 0;
    if (!packBuffers({planned.data(), planned.size()}, bytes))
      return fail(kE5008, "the buffers of a program exceed 64 bits; use fewer rows");
    frames.push_back(bytes);
  }
  for (uint32_t p = 0; p < sizeOf(target->programs()); ++p) {
    const schema::Program &program = *target->programs()->Get(p);
    if (program.kind() == schema::ProgramKind::Layer)
      continue;
    const Entry entry = program.kind() == schema::ProgramKind::Step     ? Entry::Step
                        : program.kind() == schema::ProgramKind::Sample ? Entry::Sample
                                                                        : Entry::Score;
    EntryPlan &plan = entries[static_cast<size_t>(entry)];
    plan.program = p;
    plan.frameBytes = frames[p];
    uint64_t callFrame = 0;
    for (uint32_t c = 0; c < sizeOf(program.commands()); ++c) {
      const schema::Command &command = *program.commands()->Get(c);
      if (command.kind() == schema::CommandKind::Call)
        callFrame = std::max(callFrame, frames[command.target()]);
    }
    countLaunches(*target, program, plan.launches, plan.operands);
    memory.activations = std::max(memory.activations, plan.frameBytes + callFrame);
  }
  return {};
}

Status ExecPlan::planInputs(const Artifact &artifact) {
  using schema::InputId;
  const Capacities &c = capacities;
  auto set = [this](InputId id, uint64_t count, uint64_t elementBytes) {
    inputBytes[static_cast<size_t>(id)] = count * elementBytes;
  };
  constexpr uint64_t id = sizeof(int32_t);
  set(InputId::Tokens, c.rows, id);
  set(InputId::Positions, c.rows, id);
  set(InputId::RowSeq, c.rows, id);
  set(InputId::CuRows, c.seqs + 1, id);
  set(InputId::PageTable, c.seqs * c.pages, id);
  set(InputId::CtxLen, c.seqs, id);
  set(InputId::OutRows, c.outs, id);
  set(InputId::Logits, c.outs * artifact.model().vocab(), sizeof(float));
  set(InputId::SampleParams, c.outs, sizeof(moray_sample_params));
  set(InputId::Sampled, c.outs, id);
  set(InputId::Targets, c.outs, id);
  set(InputId::LogProbs, c.outs, sizeof(float));
  for (size_t i = 0; i < kInputCount; ++i) {
    inputOffsets[i] = memory.io;
    memory.io += alignUp(inputBytes[i], kBufferAlign);
  }
  return {};
}

Status ExecPlan::planTotals(const Artifact &artifact) {
  const schema::ModelConfig &model = artifact.model();
  // All factors are below 2^31, 2^16, 2^20 and 8: the product of the layer fits; the whole is checked.
  cacheLayerBytes = capacities.cachePages * model.cache_page() * model.cache_width();
  bool fits = !__builtin_mul_overflow(cacheLayerBytes, schema::byteSize(target->cache_dtype()), &cacheLayerBytes);
  fits = fits && cacheLayerBytes < (uint64_t{1} << 62);
  cacheLayerBytes = alignUp(cacheLayerBytes, kBufferAlign);
  fits = fits && !__builtin_mul_overflow(cacheLayerBytes, model.layers(), &memory.cache);
  fits = fits && !__builtin_mul_overflow(scratchWorkerBytes, capacities.threads, &memory.scratch);
  memory.weights = artifact.weightBytes();
  for (const EntryPlan &entry : entries)
    memory.commands += entry.launches * sizeof(Launch) + entry.operands * sizeof(void *);
  const uint64_t parts[] = {memory.cache,    memory.activations,
                            memory.scratch,  memory.io,
                            memory.commands, artifact.metadata().weights_embedded() ? 0 : memory.weights};
  memory.total = 0;
  for (uint64_t part : parts)
    fits = fits && !__builtin_add_overflow(memory.total, alignUp(part, schema::kPageBytes), &memory.total);
  if (!fits)
    return fail(kE5008, "the memory for these capacities exceeds 64 bits; use a shorter context or fewer sequences");
  memory.available = availableMemory();
  return {};
}

} // namespace moray::rt
