// The executor loop and its memory. Between launches there is nothing but a barrier: no allocation, no strings, no
// system calls.
#include "runtime/exec/executor.h"
#include "runtime/artifact/checker.h"
#include "runtime/base/clock.h"
#include <algorithm>
#include <cstring>

namespace moray::rt {

static unsigned long long number(uint64_t value) { return value; }

Status Executor::create(const Artifact &source, ExecPlan newPlan, bool profile) {
  artifact = &source;
  plan = std::move(newPlan);
  MORAY_TRY(allocate());
  MORAY_TRY(mapImages());
  const bool embedded = source.metadata().weights_embedded();
  const MemoryMap map = {memory.activations.data(),
                         memory.io.data(),
                         memory.cache.data(),
                         embedded ? source.section(MORAY_SECTION_WEIGHTS).data() : memory.weights.data(),
                         live,
                         plan.symbols,
                         {imageStarts.data(), imageStarts.size()}};
  MORAY_TRY(bind(map));
  if (profile)
    times.assign(taskCounts.size(), {0, 0});
  return pool.start(plan.capacities.threads);
}

Status Executor::allocate() {
  const moray_memory_plan &need = plan.memory;
  const bool ownWeights = !artifact->metadata().weights_embedded();
  if (need.total > need.available || !allocatePages(need.activations, memory.activations) ||
      !allocatePages(need.io, memory.io) || !allocatePages(need.cache, memory.cache) ||
      !allocatePages(need.scratch, memory.scratch) || (ownWeights && !allocatePages(need.weights, memory.weights)))
    return memoryError();
  return {};
}

Status Executor::memoryError() const {
  const moray_memory_plan &need = plan.memory;
  return fail(kE5001,
              "the engine needs more memory than there is; use a shorter context, fewer sequences or fewer rows\n"
              "  weights      %14llu bytes%s\n  cache        %14llu\n  activations  %14llu\n  scratch      %14llu\n"
              "  inputs       %14llu\n  commands     %14llu\n  need         %14llu\n  have         %14llu",
              number(need.weights),
              artifact->metadata().weights_embedded() ? " (mapped from the file, not counted)" : "", number(need.cache),
              number(need.activations), number(need.scratch), number(need.io), number(need.commands),
              number(need.total), number(need.available));
}

Status Executor::mapImages() {
  const schema::Artifact &root = artifact->metadata();
  imageStarts.assign(sizeOf(root.images()), nullptr);
  for (const schema::Variant *variant : plan.variants) {
    const uint32_t index = variant->image();
    if (imageStarts[index])
      continue;
    const schema::Image &image = *root.images()->Get(index);
    Mapping code;
    MORAY_TRY(artifact->file().mapExecutable(artifact->codeOffset() + image.offset(), image.size(), code));
    imageStarts[index] = code.data();
    memory.images.push_back(std::move(code));
  }
  return {};
}

Status Executor::bind(const MemoryMap &map) {
  for (size_t i = 0; i < kEntryCount; ++i)
    MORAY_TRY(bindProgram(*artifact, plan, map, static_cast<Entry>(i), copies, programs[i]));
  const size_t kernels = plan.variants.size();
  taskCounts.assign(kernels + copies.size(), 0);
  copyBytes.assign(copies.size(), 0);
  for (BoundProgram &program : programs)
    for (Launch &launch : program.launches)
      if (launch.slot >= kernels)
        const_cast<void **>(launch.args.operands)[kCopyOperands - 1] = &copyBytes[launch.slot - kernels];
  return {};
}

Status Executor::setLive(const int32_t (&counts)[4]) {
  if (evaluated && std::equal(counts, counts + 4, live))
    return {};
  evaluated = false;
  std::copy(counts, counts + 4, live);
  for (int i = 0; i < 4; ++i)
    plan.symbols[static_cast<size_t>(schema::SymbolId::Rows) + static_cast<size_t>(i)] =
        static_cast<uint64_t>(counts[i]);
  const size_t kernels = plan.variants.size();
  for (size_t k = 0; k < kernels; ++k) {
    uint64_t scratch = 0;
    MORAY_TRY(evaluateSize(plan.variants[k]->tasks(), plan.symbols, taskCounts[k]));
    MORAY_TRY(evaluateSize(plan.variants[k]->scratch_bytes(), plan.symbols, scratch));
    if (scratch > plan.scratchWorkerBytes)
      return fail(kE5013,
                  "kernel %zu needs %llu bytes of scratch memory for this step, more than the %llu for the largest "
                  "step; compile the model again",
                  k, number(scratch), number(plan.scratchWorkerBytes));
  }
  for (size_t c = 0; c < copies.size(); ++c) {
    MORAY_TRY(evaluateSize(copies[c].expression, plan.symbols, copyBytes[c]));
    if (copyBytes[c] > copies[c].limit)
      return fail(kE5013, "a copy of %llu bytes exceeds its source or destination of %llu; compile the model again",
                  number(copyBytes[c]), number(copies[c].limit));
    taskCounts[kernels + c] = alignUp(copyBytes[c], kCopyTaskBytes) / kCopyTaskBytes;
  }
  evaluated = true;
  return {};
}

Status Executor::run(Entry entry) {
  current = &programs[static_cast<size_t>(entry)];
  fault = 0;
  faulty = nullptr;
  stopped = false;
  lastLaunch = nullptr;
  launchStart = times.empty() ? 0 : nowNs();
  pool.run([](void *self, uint32_t worker) { static_cast<Executor *>(self)->work(worker); }, this);
  launchTotal += current->launches.size();
  barrierTotal += 2; // start and end of the job
  if (lastLaunch) {
    noteFault(lastLaunch);
    account(lastLaunch);
  }
  return fault == 0 ? Status() : faultError(*faulty);
}

// What every worker does. All take the same way through the program, as it depends on task counts alone.
void Executor::work(uint32_t worker) {
  const Launch *previous = nullptr;
  uint64_t previousTasks = 0;
  for (const Launch &launch : current->launches) {
    const uint64_t tasks = taskCounts[launch.slot];
    if (tasks == 0)
      continue;
    if (previous && !finishLaunch(*previous, previousTasks == 1 && tasks == 1, worker))
      return;
    runTasks(launch, tasks, worker);
    previous = &launch;
    previousTasks = tasks;
  }
  if (worker == 0)
    lastLaunch = previous;
}

// Waits until `launch` is complete; two launches of one task each run on worker 0 one after the other and need no
// barrier (`serial`). False once a fault was found: the program ends there, before anything reads what is wrong.
bool Executor::finishLaunch(const Launch &launch, bool serial, uint32_t worker) {
  if (!serial) {
    pool.barrier().arrive([this, &launch] { noteFault(&launch); });
    if (stopped)
      return false;
  }
  if (worker == 0) {
    if (serial)
      noteFault(&launch);
    else
      ++barrierTotal;
    account(&launch);
  }
  return true;
}

// Called where no kernel runs: by the last thread at a barrier, or by worker 0 while only it has work.
void Executor::noteFault(const Launch *launch) {
  if (fault == 0)
    return;
  stopped = true;
  if (!faulty)
    faulty = launch;
}

void Executor::account(const Launch *launch) {
  if (times.empty())
    return;
  const uint64_t now = nowNs();
  times[launch->slot].ns += now - launchStart;
  ++times[launch->slot].launches;
  launchStart = now;
}

void Executor::runTasks(const Launch &launch, uint64_t tasks, uint32_t worker) {
  void *scratch = memory.scratch.data() + worker * plan.scratchWorkerBytes;
  if (tasks == 1) {
    if (worker == 0 && !faulty)
      launch.function(&launch.args, 0, scratch, &fault);
    return;
  }
  const uint64_t workers = pool.size();
  const uint64_t share = tasks / workers, extra = tasks % workers;
  const uint64_t begin = worker * share + std::min<uint64_t>(worker, extra);
  const uint64_t end = begin + share + (worker < extra);
  for (uint64_t task = begin; task < end; ++task)
    launch.function(&launch.args, task, scratch, &fault);
}

Status Executor::faultError(const Launch &launch) {
  moray_string kernel = {"copy", 4};
  if (launch.slot < plan.variants.size())
    kernel = artifact->text(plan.target->kernels()->Get(launch.slot)->name());
  if (!launch.inLayer)
    return fail(kE5007,
                "NumericError: kernel '%.*s' outside the layers met a value that is not finite; check the weights "
                "for damage (moray-inspect) or use a wider numerics mode",
                static_cast<int>(kernel.size), kernel.data);
  return fail(kE5007,
              "NumericError: kernel '%.*s' of layer %llu met a value that is not finite; check the weights for damage "
              "(moray-inspect) or use a wider numerics mode",
              static_cast<int>(kernel.size), kernel.data, number(launch.args.layer));
}

uint64_t Executor::runProbe(uint32_t kernel, const moray_kernel_args &args) {
  moray_kernel_fn function = nullptr;
  const schema::Variant &variant = *plan.variants[kernel];
  const uint8_t *entry = imageStarts[variant.image()] + variant.entry();
  memcpy(&function, &entry, sizeof(function));
  const uint64_t start = nowNs();
  pool.run([&](uint32_t worker) {
    function(&args, worker, memory.scratch.data() + worker * plan.scratchWorkerBytes, &fault);
  });
  return nowNs() - start;
}

} // namespace moray::rt
