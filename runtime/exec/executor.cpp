// The device-independent half of an executor.
#include "runtime/exec/executor.h"
#include "runtime/artifact/checker.h"
#include "runtime/exec/work_model.h"
#include <algorithm>

namespace moray::rt {

constexpr size_t kMaxSamples = 4096;

static unsigned long long number(uint64_t value) { return value; }

Status Executor::bind(const MemoryMap &map) {
  MORAY_TRY(bindPrograms(artifact, plan, map, bound));
  copyBytes.assign(bound.copies.size(), 0);
  std::copy(plan.symbols, plan.symbols + schema::kSymbolCount, secondSymbols);
  return {};
}

Status Executor::evaluateCopies(const int32_t (&counts)[4], uint64_t mostRows, uint32_t batch) {
  uint64_t *symbols = symbolsOf(batch);
  for (size_t i = 0; i < 4; ++i)
    symbols[static_cast<size_t>(schema::SymbolId::Rows) + i] = static_cast<uint64_t>(counts[i]);
  symbols[static_cast<size_t>(schema::SymbolId::PrefillRows)] =
      static_cast<uint64_t>(counts[MORAY_LIVE_ROWS] - counts[MORAY_LIVE_DECODE_ROWS]);
  symbols[static_cast<size_t>(schema::SymbolId::ReceivedRows)] =
      plan.capacities.distributed ? plan.capacities.ranks * mostRows : static_cast<uint64_t>(counts[MORAY_LIVE_ROWS]);
  for (size_t c = 0; c < bound.copies.size(); ++c) {
    if (bound.copies[c].batch != batch)
      continue;
    MORAY_TRY(evaluateSize(bound.copies[c].expression, symbols, copyBytes[c]));
    if (copyBytes[c] > bound.copies[c].limit)
      return fail(kE5013, "a copy of %llu bytes exceeds its source or destination of %llu; compile the model again",
                  number(copyBytes[c]), number(bound.copies[c].limit));
  }
  return {};
}

Status Executor::checkScratch(size_t kernel, uint32_t batch) {
  uint64_t bytes = 0;
  MORAY_TRY(evaluateSize(plan.code.variants[kernel]->scratch_bytes(), symbolsOf(batch), bytes));
  // On a CPU all kernels share what the largest needs; the guarded memory of a GPU gives each its own.
  const uint64_t limit = plan.onGpu() ? plan.scratch[kernel] : plan.scratchBytes;
  if (bytes > limit)
    return fail(kE5013,
                "kernel %zu needs %llu bytes of scratch memory for this step, more than the %llu for the largest "
                "step; compile the model again",
                kernel, number(bytes), number(limit));
  return {};
}

Status Executor::memoryError(const char *advice) const {
  const moray_memory_plan &need = plan.memory;
  const bool mapped = !plan.onGpu() && artifact.metadata().weights_embedded();
  return fail(kE5001,
              "the engine needs more memory than there is; %s\n"
              "  weights      %14llu bytes%s\n  cache        %14llu\n  activations  %14llu\n  scratch      %14llu\n"
              "  inputs       %14llu\n  commands     %14llu%s\n  exchange     %14llu\n  need         %14llu\n  have    "
              "     %14llu",
              advice, number(need.weights), mapped ? " (mapped from the file, not counted)" : "", number(need.cache),
              number(need.activations), number(need.scratch), number(need.io), number(need.commands),
              plan.onGpu() ? " (of the host, not counted)" : "", number(need.exchange), number(need.total),
              number(need.available));
}

moray_string Executor::kernelName(uint32_t slot) const {
  if (slot >= plan.firstCopySlot())
    return {"copy", 4};
  if (slot >= plan.code.variants.size())
    return slot == plan.collectiveSlot(schema::CollectiveKind::Dispatch) ? moray_string{"dispatch", 8}
                                                                         : moray_string{"combine", 7};
  return artifact.text(plan.code.target->kernels()->Get(slot)->name());
}

Status Executor::findProbe(const char *name, uint32_t &kernel) const {
  const auto *kernels = plan.code.target->kernels();
  for (kernel = 0; kernel < sizeOf(kernels); ++kernel) {
    const moray_string text = kernelName(kernel);
    if (kernels->Get(kernel)->klass() == schema::KernelClass::Probe && kernels->Get(kernel)->operand_count() == 2 &&
        text.size == strlen(name) && memcmp(text.data, name, text.size) == 0)
      return {};
  }
  return fail(kE5009, "the artifact has no probe kernel '%s' of two operands; moray-inspect lists its kernels", name);
}

// ---- times ----

void Executor::startProfile() {
  times.resize(plan.firstCopySlot() + bound.copies.size());
  for (Times &time : times)
    time.samples.reserve(kMaxSamples);
}

void Executor::resetProfile() {
  for (Times &time : times) {
    time.launches = time.ns = 0;
    time.samples.clear();
  }
}

void Executor::account(uint32_t slot, uint64_t ns) {
  Times &time = times[slot];
  ++time.launches;
  time.ns += ns;
  if (time.samples.size() < kMaxSamples)
    time.samples.push_back(ns);
}

moray_kernel_profile Executor::profileOf(size_t kernel) const {
  moray_kernel_profile profile = {};
  if (!profiling() || times[kernel].launches == 0)
    return profile;
  profile.launches = times[kernel].launches;
  profile.ns = times[kernel].ns;
  std::vector<uint64_t> samples = times[kernel].samples;
  std::nth_element(samples.begin(), samples.begin() + static_cast<ptrdiff_t>(samples.size() / 2), samples.end());
  profile.median_ns = samples[samples.size() / 2];
  // The inputs of the latest step are still there.
  const auto *contexts =
      reinterpret_cast<const int32_t *>(hostIo + plan.inputOffsets[static_cast<size_t>(schema::InputId::CtxLen)]);
  uint64_t cached = 0;
  for (uint64_t i = 0; i < plan.symbols[static_cast<size_t>(schema::SymbolId::Seqs)]; ++i)
    cached += static_cast<uint64_t>(contexts[i]);
  const Work work = modelWork(artifact, plan, bound.kernelOperands[kernel], static_cast<uint32_t>(kernel), cached);
  profile.bytes = work.bytes;
  profile.flops = work.flops;
  return profile;
}

} // namespace moray::rt
