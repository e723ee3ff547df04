// Computes the plan of an engine: packed buffers, input block, weights, cache, scratch memory and command tables.
#include "runtime/exec/exec_plan.h"
#include "runtime/artifact/checker.h"
#include "runtime/exec/program.h"
#include "runtime/schema/exchange_abi.h"
#include <algorithm>
#include <cstring>

namespace moray::rt {

using schema::ProgramKind;
using schema::SymbolId;

static unsigned long long number(uint64_t value) { return value; }

constexpr uint64_t kMaxScratch = uint64_t{1} << 40;
// What kernels may rely on (schema/kernel_abi.h).
constexpr uint64_t kGpuAlign = 256;

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

std::vector<uint64_t> expertWeights(const Artifact &artifact, const schema::Target &target) {
  const auto &weights = *artifact.metadata().weights();
  std::vector<uint64_t> bytes(weights.size());
  for (uint32_t w = 0; w < weights.size(); ++w) {
    const schema::Weight &weight = *weights.Get(w);
    const auto &dims = *weight.dims();
    if (!weight.per_layer() || dims.size() < 2 || dims.Get(0) != artifact.model().experts())
      continue;
    bytes[w] = weight.row_pitch(); // the checker has multiplied these
    for (uint32_t d = 1; d + 1 < dims.size(); ++d)
      bytes[w] *= dims.Get(d);
  }
  for (const schema::Program *program : *target.programs())
    for (uint32_t c = 0; c < sizeOf(program->commands()); ++c) {
      const schema::Command &command = *program->commands()->Get(c);
      if (command.kind() == schema::CommandKind::Launch &&
          target.kernels()->Get(command.target())->klass() == schema::KernelClass::GroupedGemm)
        continue;
      for (uint32_t a = 0; a < sizeOf(command.args()); ++a)
        if (command.args()->Get(a)->kind() == schema::ArgKind::Weight)
          bytes[command.args()->Get(a)->index()] = 0;
    }
  return bytes;
}

Status evaluateSize(const flatbuffers::Vector<const schema::ExprOp *> *ops, const uint64_t *symbols, uint64_t &result) {
  const schema::ExprError error = schema::evaluateExpr(ops, symbols, result);
  if (error != schema::ExprError::None)
    return fail(kE5008, "a size cannot be computed for these capacities: %s; use smaller ones", describe(error));
  return {};
}

std::string listTargets(const Artifact &artifact) {
  std::string list;
  for (const schema::Target *target : *artifact.metadata().targets()) {
    const moray_string name = artifact.text(target->name());
    list += list.empty() ? "" : ", ";
    list.append(name.data, name.size);
  }
  return list;
}

Status ExecPlan::make(const Artifact &artifact, TargetCode code, const Capacities &capacities, ExecPlan &plan) {
  plan.code = std::move(code);
  plan.capacities = capacities;
  plan.alignment = plan.onGpu() ? kGpuAlign : kBufferAlign;
  MORAY_TRY(plan.bindSymbols(artifact));
  MORAY_TRY(plan.planKernels());
  MORAY_TRY(plan.planBuffers());
  MORAY_TRY(plan.planEntries(artifact.text(plan.code.target->name())));
  plan.planInputs(artifact);
  MORAY_TRY(plan.planWeights(artifact));
  MORAY_TRY(plan.planExchange(artifact));
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
      {SymbolId::PrefillRows, capacities.rows, "prompt rows of a step"},
      {SymbolId::Ranks, capacities.ranks, "ranks"},
      {SymbolId::ReceivedRows, capacities.rows * capacities.ranks, "rows of all ranks"},
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

Status ExecPlan::planKernels() {
  for (size_t k = 0; k < code.variants.size(); ++k) {
    const schema::Variant &variant = *code.variants[k];
    uint64_t bytes = 0, grid = 0;
    MORAY_TRY(evaluateSize(variant.scratch_bytes(), symbols, bytes));
    if (bytes > kMaxScratch)
      return fail(kE5008, "a kernel asks for %llu bytes of scratch memory; use fewer rows", number(bytes));
    scratch.push_back(bytes);
    scratchBytes = std::max(scratchBytes, bytes);
    for (uint32_t s = 0; s < sizeOf(variant.stages()); ++s) {
      MORAY_TRY(evaluateSize(variant.stages()->Get(s)->grid(), symbols, grid));
      if (grid > kMaxGrid)
        return fail(kE5008,
                    "kernel %zu needs a grid of %llu blocks for these capacities, a launch has at most %llu; use "
                    "fewer rows",
                    k, number(grid), number(kMaxGrid));
    }
  }
  // Pages keep the workers' regions apart.
  scratchBytes = alignUp(scratchBytes, onGpu() ? kGpuAlign : schema::kPageBytes);
  return {};
}

Status ExecPlan::planBuffers() {
  for (uint32_t p = 0; p < sizeOf(code.target->programs()); ++p) {
    const schema::Program &program = *code.target->programs()->Get(p);
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

Status ExecPlan::planEntries(moray_string targetName) {
  std::vector<uint64_t> frames;
  for (std::vector<PlannedBuffer> &planned : buffers) {
    uint64_t bytes = 0;
    if (!packBuffers({planned.data(), planned.size()}, alignment, bytes))
      return fail(kE5008, "the buffers of a program exceed 64 bits; use fewer rows");
    frames.push_back(bytes);
  }
  const ProgramKind step = capacities.batches > 1   ? ProgramKind::StepOverlap
                           : capacities.distributed ? ProgramKind::StepDist
                                                    : ProgramKind::Step;
  for (uint32_t p = 0; p < sizeOf(code.target->programs()); ++p) {
    const schema::Program &program = *code.target->programs()->Get(p);
    const bool isStep = program.kind() == ProgramKind::Step || program.kind() == ProgramKind::StepDist ||
                        program.kind() == ProgramKind::StepOverlap;
    if (program.kind() == ProgramKind::Layer || (isStep && program.kind() != step))
      continue;
    const Entry entry = program.kind() == ProgramKind::Sample  ? Entry::Sample
                        : program.kind() == ProgramKind::Score ? Entry::Score
                                                               : Entry::Step;
    EntryPlan &plan = entries[static_cast<size_t>(entry)];
    plan.program = p;
    plan.frameBytes = frames[p];
    uint64_t callFrame = 0;
    for (uint32_t c = 0; c < sizeOf(program.commands()); ++c) {
      const schema::Command &command = *program.commands()->Get(c);
      if (command.kind() == schema::CommandKind::Call)
        callFrame = std::max(callFrame, frames[command.target()]);
    }
    countLaunches(*code.target, program, plan.launches, plan.operands);
    memory.activations = std::max(memory.activations, plan.frameBytes + callFrame);
  }
  if (entries[static_cast<size_t>(Entry::Step)].program != kNoProgram)
    return {};
  if (capacities.batches > 1)
    return fail(kE5012,
                "target '%.*s' has no step of two micro-batches: its model has no experts, or was compiled without; "
                "run it without overlap",
                static_cast<int>(targetName.size), targetName.data);
  return fail(kE5012,
              "target '%.*s' has no distributed step: its model has no experts, or was compiled without; run it on "
              "one rank",
              static_cast<int>(targetName.size), targetName.data);
}

void ExecPlan::planInputs(const Artifact &artifact) {
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
  // The order is that of a step's copies: what goes up, what comes down, what is copied as far as it is live.
  static constexpr InputId up[] = {InputId::Tokens, InputId::Positions, InputId::RowSeq,       InputId::CuRows,
                                   InputId::CtxLen, InputId::OutRows,   InputId::SampleParams, InputId::Targets};
  static constexpr InputId rest[] = {InputId::Sampled, InputId::LogProbs, InputId::PageTable, InputId::Logits};
  auto place = [this](InputId id) {
    inputOffsets[static_cast<size_t>(id)] = memory.io;
    memory.io += alignUp(inputBytes[static_cast<size_t>(id)], alignment);
  };
  for (InputId id : up)
    place(id);
  if (onGpu()) {
    liveOffset = memory.io;
    faultOffset = liveOffset + alignment;
    uploadBytes = memory.io = faultOffset + alignment;
  }
  for (InputId id : rest)
    place(id);
  batchBytes = memory.io;
  memory.io *= capacities.batches;
}

uint64_t ExecPlan::weightOffset(const Artifact &artifact, uint32_t weight, uint32_t number) const {
  return onGpu() ? gpuWeightOffsets[gpuWeightFirst[weight] + number]
                 : artifact.metadata().weights()->Get(weight)->offsets()->Get(number);
}

// A CPU uses the weights as they lie in the file. A GPU gets those that its programs name, each at a new place.
Status ExecPlan::planWeights(const Artifact &artifact) {
  memory.weights = artifact.weightBytes();
  if (!onGpu())
    return {};
  const std::vector<bool> used = usedWeights(artifact, *code.target);
  if (capacities.distributed && capacities.ranks > 1 && capacities.granule != 0)
    expertBytes = expertWeights(artifact, *code.target);
  const uint64_t experts = artifact.model().experts();
  const uint64_t perRank = std::min(experts, (experts + capacities.ranks - 1) / capacities.ranks);
  uint64_t mapped = 0;
  // Experts of several granules begin with one, so that neighbours share none; the small ones come behind them.
  for (const bool large : {true, false}) {
    for (uint32_t w = 0; w < used.size(); ++w) {
      const schema::Weight &weight = *artifact.metadata().weights()->Get(w);
      if (large) {
        gpuWeightFirst.push_back(gpuWeightOffsets.size());
        gpuWeightOffsets.resize(gpuWeightOffsets.size() + weight.offsets()->size(), schema::kNoOffset);
      }
      const bool shared = isExpertWeight(w);
      if (!used[w] || large != (shared && expertBytes[w] >= capacities.granule))
        continue;
      uint64_t &next = shared ? expertRange : arenaWeights;
      for (uint32_t i = 0; i < weight.offsets()->size(); ++i) {
        if (weight.offsets()->Get(i) == schema::kNoOffset)
          continue;
        next = alignUp(next, large ? capacities.granule : kGpuAlign);
        gpuWeightOffsets[gpuWeightFirst[w] + i] = next;
        if (weight.bytes() > INT64_MAX / 4 || next > INT64_MAX / 4)
          return fail(kE5008, "the weights exceed 64 bits; compile the model again");
        next += weight.bytes();
        mapped += shared ? perRank * expertBytes[w] : 0;
      }
    }
  }
  arenaWeights = alignUp(arenaWeights, kGpuAlign);
  expertRange = expertRange ? alignUp(expertRange, capacities.granule) : 0;
  memory.weights = arenaWeights + mapped;
  return {};
}

void ExecPlan::setExpertMemory(uint64_t bytes) {
  memory.total =
      arenaBytes() + alignUp(arenaWeights + bytes, schema::kPageBytes) - alignUp(arenaWeights, schema::kPageBytes);
  memory.weights = arenaWeights + bytes;
}

uint64_t ExecPlan::arenaBytes() const {
  return memory.total - alignUp(memory.weights, schema::kPageBytes) + alignUp(arenaWeights, schema::kPageBytes);
}

Status ExecPlan::planExchange(const Artifact &artifact) {
  if (!onGpu() || !capacities.distributed)
    return {};
  const schema::ModelConfig &model = artifact.model();
  const uint64_t experts = model.experts(), ranks = capacities.ranks, most = capacities.rows;
  const uint64_t perRank = (experts + ranks - 1) / ranks;
  moray_exchange_params p = {0,
                             static_cast<int32_t>(ranks),
                             static_cast<int32_t>(experts),
                             static_cast<int32_t>(model.experts_per_token()),
                             static_cast<int32_t>(model.experts_per_token()), // whatever the placement
                             0,
                             0,
                             0};
  for (const schema::Program *program : *code.target->programs())
    for (uint32_t c = 0; c < sizeOf(program->commands()); ++c) {
      const schema::Command &command = *program->commands()->Get(c);
      if (command.kind() != schema::CommandKind::Collective)
        continue;
      const bool dispatch = command.target() == static_cast<uint32_t>(schema::CollectiveKind::Dispatch);
      int32_t &bytes = dispatch ? p.row_bytes : p.result_bytes;
      bytes = std::max(bytes, static_cast<int32_t>(command.row_bytes()));
      p.scale_bytes = std::max(p.scale_bytes, static_cast<int32_t>(command.scale_bytes()));
      exchange.sites += kGpuAlign;
    }
  if (ranks > MORAY_EXCHANGE_MOST_RANKS || experts > MORAY_EXCHANGE_MOST_EXPERTS || most > MORAY_EXCHANGE_MOST_ROWS ||
      ranks * moray_exchange_slots(&p, most) > INT32_MAX)
    return fail(kE5008,
                "%llu ranks with %llu rows each are more than GPUs exchange (%u ranks, %u rows, %u experts, 2^31 - 1 "
                "results); use fewer rows",
                number(ranks), number(most), MORAY_EXCHANGE_MOST_RANKS, MORAY_EXCHANGE_MOST_ROWS,
                MORAY_EXCHANGE_MOST_EXPERTS);
  auto aligned = [](uint64_t bytes) { return alignUp(bytes, kGpuAlign); };
  exchange.batches = capacities.batches;
  exchange.meta = aligned(ranks * moray_exchange_meta_bytes(&p, most));
  exchange.rows = aligned(ranks * moray_exchange_rows_bytes(&p, most));
  exchange.scales = aligned(ranks * moray_exchange_scales_bytes(&p, most));
  exchange.results = aligned(ranks * moray_exchange_results_bytes(&p, most));
  exchange.handle = aligned(moray_exchange_handle_bytes(&p, most));
  exchange.table = aligned(moray_exchange_table_bytes(experts, std::max(capacities.expertSlots, perRank * ranks)));
  exchange.loads = aligned(model.layers() * experts * sizeof(uint64_t));
  exchange.marks = aligned(2 * (model.layers() + 1) * sizeof(uint32_t));
  memory.exchange = exchange.batches * (kGpuAlign + 2 * exchange.meta + exchange.rows + exchange.scales +
                                        2 * exchange.results + exchange.handle) +
                    exchange.sites + model.layers() * exchange.table + exchange.loads + exchange.marks;
  return {};
}

Status ExecPlan::planTotals(const Artifact &artifact) {
  const schema::ModelConfig &model = artifact.model();
  // All factors are below 2^31, 2^16, 2^20 and 8: the product of the layer fits; the whole is checked.
  cacheLayerBytes = capacities.cachePages * model.cache_page() * model.cache_width();
  bool fits = !__builtin_mul_overflow(cacheLayerBytes, schema::byteSize(code.target->cache_dtype()), &cacheLayerBytes);
  fits = fits && cacheLayerBytes < (uint64_t{1} << 62);
  cacheLayerBytes = alignUp(cacheLayerBytes, alignment);
  fits = fits && !__builtin_mul_overflow(cacheLayerBytes, model.layers(), &memory.cache);
  fits = fits && !__builtin_mul_overflow(scratchBytes, onGpu() ? 1 : capacities.threads, &memory.scratch);
  for (size_t e = 0; e < kEntryCount; ++e)
    memory.commands +=
        runsOf(static_cast<Entry>(e)) * (entries[e].launches * sizeof(Launch) + entries[e].operands * sizeof(void *));
  const bool mapped = !onGpu() && artifact.metadata().weights_embedded();
  const uint64_t parts[] = {
      memory.cache,    memory.activations,         memory.scratch, memory.io, onGpu() ? 0 : memory.commands,
      memory.exchange, mapped ? 0 : memory.weights};
  memory.total = 0;
  for (uint64_t part : parts)
    fits = fits && !__builtin_add_overflow(memory.total, alignUp(part, schema::kPageBytes), &memory.total);
  if (!fits)
    return fail(kE5008, "the memory for these capacities exceeds 64 bits; use a shorter context or fewer sequences");
  return {};
}

} // namespace moray::rt
