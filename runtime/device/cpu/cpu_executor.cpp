// The executor loop of the CPU and its memory. Between launches there is nothing but a barrier: no allocation, no
// strings, no system calls.
#include "runtime/device/cpu/cpu_executor.h"
#include "runtime/artifact/checker.h"
#include "runtime/base/clock.h"
#include "runtime/device/random_weights.h"
#include <algorithm>
#include <cstring>

namespace moray::rt {

constexpr uint64_t kCopyTaskBytes = 64u << 10;
constexpr uint64_t kMoveNs = 10000; // moving what is in flight costs about a microsecond

static unsigned long long number(uint64_t value) { return value; }

static void copyTask(const moray_kernel_args *args, uint64_t task, void *, uint32_t *) {
  const uint64_t bytes = *static_cast<const uint64_t *>(args->operands[2]);
  const uint64_t begin = task * kCopyTaskBytes;
  memcpy(static_cast<uint8_t *>(args->operands[1]) + begin, static_cast<const uint8_t *>(args->operands[0]) + begin,
         std::min(kCopyTaskBytes, bytes - begin));
}

void CpuExecutor::collectiveTask(const moray_kernel_args *args, uint64_t, void *, uint32_t *fault) {
  auto &self = *static_cast<CpuExecutor *>(args->operands[1]);
  Status status = self.runCollective(*static_cast<const CollectiveCall *>(args->operands[0]));
  if (status.ok())
    return;
  *fault = 1; // the program ends at the next barrier
  if (self.collectiveStatus.ok())
    self.collectiveStatus = std::move(status);
}

// Between two launches or tasks of worker 0.
void CpuExecutor::moveInFlight() {
  if (inFlight == 0 || !collectiveStatus.ok() || nowNs() - movedNs < kMoveNs)
    return;
  collectiveStatus = communicator->progress();
  if (!collectiveStatus.ok())
    fault = 1;
  movedNs = nowNs();
}

Status CpuExecutor::create(const moray_engine_options &options) {
  MORAY_TRY(allocate());
  MORAY_TRY(mapImages());
  const bool embedded = artifact.metadata().weights_embedded();
  // Kernels take one kind of pointer; weights are mapped without write permission.
  auto *weights =
      embedded ? const_cast<uint8_t *>(artifact.section(MORAY_SECTION_WEIGHTS).data()) : memory.weights.data();
  MORAY_TRY(
      bind(PackedMap(artifact, plan, {memory.activations.data(), memory.io.data(), memory.cache.data(), weights})));
  finishLaunches();
  if (options.profile)
    startProfile();
  MORAY_TRY(pool.start(plan.capacities.threads));
  if (!embedded)
    fillRandomWeights(artifact, options.random_weights_seed, pool, {memory.weights.data(), memory.weights.size()});
  return {};
}

Status CpuExecutor::allocate() {
  plan.memory.available = availableMemory();
  const moray_memory_plan &need = plan.memory;
  const bool ownWeights = !artifact.metadata().weights_embedded();
  if (need.total > need.available || !allocatePages(need.activations, memory.activations) ||
      !allocatePages(need.io, memory.io) || !allocatePages(need.cache, memory.cache) ||
      !allocatePages(need.scratch, memory.scratch) || (ownWeights && !allocatePages(need.weights, memory.weights)))
    return memoryError("use a shorter context, fewer sequences or fewer rows");
  hostIo = memory.io.data();
  return {};
}

Status CpuExecutor::mapImages() {
  const schema::Artifact &root = artifact.metadata();
  imageStarts.assign(sizeOf(root.images()), nullptr);
  for (const schema::Variant *variant : plan.code.variants) {
    const uint32_t index = variant->image();
    if (imageStarts[index])
      continue;
    const schema::Image &image = *root.images()->Get(index);
    Mapping code;
    MORAY_TRY(artifact.file().mapExecutable(artifact.codeOffset() + image.offset(), image.size(), code));
    imageStarts[index] = code.data();
    memory.images.push_back(std::move(code));
  }
  return {};
}

moray_kernel_fn CpuExecutor::entryOf(size_t kernel) const {
  moray_kernel_fn function = nullptr;
  const schema::Variant &variant = *plan.code.variants[kernel];
  const uint8_t *entry = imageStarts[variant.image()] + variant.entry();
  memcpy(&function, &entry, sizeof(function)); // object to function pointer, which a cast must not do
  return function;
}

void CpuExecutor::finishLaunches() {
  const size_t kernels = plan.code.variants.size();
  const uint32_t firstCopy = plan.firstCopySlot();
  for (Batch &batch : batches) {
    batch.taskCounts.assign(firstCopy + bound.copies.size(), 0);
    std::fill(batch.taskCounts.begin() + static_cast<ptrdiff_t>(kernels), batch.taskCounts.begin() + firstCopy, 1);
  }
  CollectiveCall *collective = bound.collectives.data();
  for (auto &programs : bound.programs)
    for (BoundProgram &program : programs)
      for (Launch &launch : program.launches) {
        launch.args.live = batches[launch.batch].live;
        launch.args.symbols = symbolsOf(launch.batch);
        auto **operands = const_cast<void **>(launch.args.operands);
        if (launch.slot < kernels) {
          launch.function = entryOf(launch.slot);
        } else if (launch.slot < firstCopy) {
          launch.function = collectiveTask;
          operands[0] = collective++;
          operands[1] = this;
        } else {
          launch.function = copyTask;
          operands[kCopyOperands - 1] = &copyBytes[launch.slot - firstCopy];
        }
      }
}

void CpuExecutor::describe(moray_engine_info &info) const {
  const char *name = levelName(level);
  info.device = {"cpu", 3};
  info.cpu_level = {name, strlen(name)};
}

Status CpuExecutor::setLive(const StepRequest &request, uint32_t number) {
  Batch &batch = batches[number];
  if (batch.evaluated && request.mostRows == batch.mostRows && std::equal(request.live, request.live + 4, batch.live))
    return {};
  batch.evaluated = false;
  batch.mostRows = request.mostRows;
  std::copy(request.live, request.live + 4, batch.live);
  MORAY_TRY(evaluateCopies(request.live, request.mostRows, number));
  const size_t kernels = plan.code.variants.size();
  for (size_t k = 0; k < kernels; ++k) {
    MORAY_TRY(evaluateSize(plan.code.variants[k]->tasks(), symbolsOf(number), batch.taskCounts[k]));
    MORAY_TRY(checkScratch(k, number));
  }
  for (size_t c = 0; c < copyBytes.size(); ++c)
    batch.taskCounts[plan.firstCopySlot() + c] = alignUp(copyBytes[c], kCopyTaskBytes) / kCopyTaskBytes;
  batch.evaluated = true;
  return {};
}

Status CpuExecutor::step(const StepRequest &request) {
  const StepRequest *requests[kBatches] = {&request, request.second};
  for (uint32_t b = 0; b < kBatches && requests[b]; ++b)
    MORAY_TRY(setLive(*requests[b], b));
  const uint64_t start = nowNs();
  MORAY_TRY(run(Entry::Step, 0));
  const uint64_t middle = nowNs();
  counted.stepNs += middle - start;
  for (uint32_t b = 0; b < kBatches && requests[b]; ++b) {
    if (requests[b]->sample)
      MORAY_TRY(run(Entry::Sample, b));
    if (requests[b]->score)
      MORAY_TRY(run(Entry::Score, b));
  }
  counted.sampleNs += nowNs() - middle;
  return {};
}

Status CpuExecutor::run(Entry entry, uint32_t batch) {
  current = &bound.programs[batch][static_cast<size_t>(entry)];
  fault = 0;
  inFlight = 0;
  collectiveStatus = {};
  faulty = nullptr;
  stopped = false;
  lastLaunch = nullptr;
  launchStart = profiling() ? nowNs() : 0;
  pool.run([](void *self, uint32_t worker) { static_cast<CpuExecutor *>(self)->work(worker); }, this);
  counted.launches += current->launches.size();
  counted.barriers += 2; // start and end of the job
  if (lastLaunch) {
    noteFault(lastLaunch);
    accountLaunch(lastLaunch);
  }
  if (!collectiveStatus.ok())
    return std::move(collectiveStatus);
  return fault == 0 ? Status() : faultError(*faulty);
}

// What every worker does. All take the same way through the program, as it depends on task counts alone.
void CpuExecutor::work(uint32_t worker) {
  const Launch *previous = nullptr; // the last launch that others have to wait for
  uint64_t previousTasks = 0;
  for (const Launch &launch : current->launches) {
    const uint64_t tasks = batches[launch.batch].taskCounts[launch.slot];
    if (tasks == 0)
      continue;
    const bool serial = previousTasks == 1 && tasks == 1;
    if (previous && !finishLaunch(*previous, serial, worker))
      return;
    if (worker == 0)
      moveInFlight();
    runTasks(launch, tasks, worker);
    // What a collective starts with is complete, and nobody touches it before the wait.
    const bool passes = launch.starts && !serial;
    if (passes && worker == 0)
      accountLaunch(&launch);
    previous = passes ? nullptr : &launch;
    previousTasks = passes ? 0 : tasks;
  }
  if (worker == 0)
    lastLaunch = previous;
}

// Waits until `launch` is complete; two launches of one task each run on worker 0 one after the other and need no
// barrier (`serial`). False once a fault was found: the program ends there, before anything reads what is wrong.
bool CpuExecutor::finishLaunch(const Launch &launch, bool serial, uint32_t worker) {
  if (!serial) {
    pool.barrier().arrive([this, &launch] { noteFault(&launch); });
    if (stopped)
      return false;
  }
  if (worker == 0) {
    if (serial)
      noteFault(&launch);
    else
      ++counted.barriers;
    accountLaunch(&launch);
  }
  return true;
}

// Called where no kernel runs: by the last thread at a barrier, or by worker 0 while only it has work.
void CpuExecutor::noteFault(const Launch *launch) {
  if (fault == 0)
    return;
  stopped = true;
  if (!faulty)
    faulty = launch;
}

void CpuExecutor::accountLaunch(const Launch *launch) {
  if (!profiling())
    return;
  const uint64_t now = nowNs();
  account(launch->slot, now - launchStart);
  launchStart = now;
}

void CpuExecutor::runTasks(const Launch &launch, uint64_t tasks, uint32_t worker) {
  void *scratch = memory.scratch.data() + worker * plan.scratchBytes;
  if (tasks == 1) {
    if (worker == 0 && !faulty)
      launch.function(&launch.args, 0, scratch, &fault);
    return;
  }
  const uint64_t workers = pool.size();
  const uint64_t share = tasks / workers, extra = tasks % workers;
  const uint64_t begin = worker * share + std::min<uint64_t>(worker, extra);
  const uint64_t end = begin + share + (worker < extra);
  for (uint64_t task = begin; task < end; ++task) {
    launch.function(&launch.args, task, scratch, &fault);
    if (worker == 0)
      moveInFlight();
  }
}

Status CpuExecutor::faultError(const Launch &launch) {
  const moray_string kernel = kernelName(launch.slot);
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

Status CpuExecutor::runProbe(const char *name, const moray_probe_options &options, moray_probe_result &result) {
  uint32_t kernel = 0;
  MORAY_TRY(findProbe(name, kernel));
  const uint64_t threads = pool.size();
  const uint64_t share = alignUp((options.bytes + threads - 1) / threads, schema::kPageBytes);
  Mapping data, sink;
  if (!allocatePages(share * threads, data) ||
      !allocatePages(alignUp(threads * kBufferAlign, schema::kPageBytes), sink))
    return fail(kE5001, "no memory for a probe of %llu bytes; use fewer", number(share * threads));
  // Written first, as pages that were only read are all the same page of zeros.
  pool.run([&](uint32_t worker) { memset(data.data() + worker * share, 0, share); });
  void *operands[] = {data.data(), sink.data()};
  uint64_t symbols[schema::kSymbolCount] = {threads, share};
  const int32_t live[4] = {};
  const moray_kernel_args args = {operands, live, symbols, options.iterations};
  const moray_kernel_fn function = entryOf(kernel);
  const uint64_t start = nowNs();
  pool.run(
      [&](uint32_t worker) { function(&args, worker, memory.scratch.data() + worker * plan.scratchBytes, &fault); });
  result.ns = nowNs() - start;
  result.work = 0;
  for (uint64_t worker = 0; worker < threads; ++worker) {
    uint64_t done = 0;
    memcpy(&done, sink.data() + worker * kBufferAlign, sizeof(done));
    result.work += done;
  }
  return {};
}

} // namespace moray::rt
