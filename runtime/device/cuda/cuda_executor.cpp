// Creation of an executor and its steps: upload, launches or a graph, download, one wait.
#include "runtime/device/cuda/cuda_executor.h"
#include "runtime/artifact/checker.h"
#include "runtime/base/clock.h"
#include "runtime/device/cuda/upload.h"
#include <algorithm>
#include <cstdio>
#include <cstring>

namespace moray::rt::cuda {

using schema::InputId;

static unsigned long long number(uint64_t value) { return value; }

// ---- creation ----

Status createExecutor(const Artifact &artifact, const EngineSetup &setup, const moray_engine_options &options,
                      std::unique_ptr<Executor> &executor) {
  TargetCode code;
  MORAY_TRY(anyCode(artifact, code)); // an artifact without GPU code needs no driver to be refused
  auto driver = std::make_unique<Driver>();
  MORAY_TRY(driver->open(options.cuda_library, setup.device.ordinal, setup.device.wraps, targetHint(artifact, 0)));
  MORAY_TRY(chooseCode(artifact, *driver, code));
  Capacities capacities = setup.capacities;
  capacities.granule = 0;
  if (setup.placement && capacities.ranks > 1)
    MORAY_TRY(driver->granularity(capacities.granule));
  auto modules = std::make_unique<Modules>(*driver);
  MORAY_TRY(modules->load(artifact, code));
  ExecPlan plan;
  MORAY_TRY(ExecPlan::make(artifact, std::move(code), capacities, plan));
  auto made = std::make_unique<CudaExecutor>(artifact, std::move(plan), std::move(driver), std::move(modules));
  MORAY_TRY(made->create(setup, options));
  executor = std::move(made);
  return {};
}

Status CudaExecutor::create(const EngineSetup &setup, const moray_engine_options &options) {
  waitAfterLaunch = options.cuda_sync != 0;
  MORAY_TRY(allocate(setup));
  MORAY_TRY(bind(memory.map()));
  makeParameters();
  makeBuckets(options.cuda_graphs && !options.cuda_sync && !options.profile);
  if (options.profile)
    MORAY_TRY(prepareProfile(options.profile > 1));
  source = {!artifact.metadata().weights_embedded(), options.random_weights_seed, setup.capacities.threads};
  MORAY_TRY(uploadWeights(*driver, artifact, plan, memory, source, uploadedBytes));
  if (!plan.expertRange)
    return {};
  MORAY_TRY(experts.prepare(*setup.placement, rank));
  MORAY_TRY(uploadExperts(*driver, artifact, experts, source, UINT64_MAX, freshUploaded, uploadedBytes));
  return experts.commit();
}

Status CudaExecutor::allocate(const EngineSetup &setup) {
  const bool guarded = setup.device.guarded;
  size_t free = 0, total = 0;
  MORAY_TRY(check((*driver)->memGetInfo(&free, &total), "asking for free memory"));
  plan.memory.available = free;
  if (plan.expertRange) {
    rank = setup.group->found.rank;
    plan.setExpertMemory(experts.bytesOf(*setup.placement, rank));
  }
  const char *advice = "use a shorter context, fewer sequences or fewer rows, or a device with more memory";
  if (plan.memory.total > free)
    return memoryError(advice);
  if (plan.expertRange)
    MORAY_TRY(experts.reserve());
  Status status = memory.allocate(artifact, guarded, experts.address());
  if (moray_status_code(status.get()) == kE5001)
    return memoryError(guarded ? "a guarded arena takes more than this plan, as its buffers share nothing; use "
                                 "--arena=packed, a shorter context, fewer sequences or fewer rows"
                               : advice);
  MORAY_TRY(std::move(status));
  MORAY_TRY(check((*driver)->streamCreate(&stream, kStreamNonBlocking), "creating a stream"));
  MORAY_TRY(zeroCounters());
  MORAY_TRY(check((*driver)->memAllocHost(&pinned, plan.memory.io), "allocating pinned memory of the host"));
  hostIo = static_cast<uint8_t *>(pinned);
  memset(hostIo, 0, plan.memory.io);
  return {};
}

// Kernels expect their counters at zero and leave them so (kernel_abi.h).
Status CudaExecutor::zeroCounters() {
  for (size_t k = 0; k < plan.scratch.size(); ++k) {
    const uint64_t bytes = std::min<uint64_t>(plan.scratch[k], MORAY_GPU_COUNTER_BYTES);
    if (bytes != 0)
      MORAY_TRY(check((*driver)->memsetD8Async(memory.scratch(k), 0, bytes, stream), "zeroing counters"));
  }
  return {};
}

// The pointers lead to values that keep their place: operand tables, layer numbers of launches, members.
void CudaExecutor::makeParameters() {
  faultAddress = memory.fault();
  size_t stages = 0;
  for (size_t k = 0; k < plan.code.variants.size(); ++k) {
    scratchOf.push_back(memory.scratch(k));
    gridFirst.push_back(stages);
    stages += plan.code.variants[k]->stages()->size();
  }
  for (uint32_t b = 0; b < plan.capacities.batches; ++b) {
    liveAddresses[b] = memory.live(b);
    batches[b].grids.resize(stages);
  }
  for (size_t i = 0; i < kBatches * kEntryCount; ++i) {
    std::vector<void *> &list = parameters[i / kEntryCount][i % kEntryCount];
    for (Launch &launch : bound.programs[i / kEntryCount][i % kEntryCount].launches) {
      if (launch.slot >= plan.code.variants.size())
        continue;
      const uint32_t operands = plan.code.target->kernels()->Get(launch.slot)->operand_count();
      for (uint32_t o = 0; o < operands; ++o)
        list.push_back(const_cast<void **>(launch.args.operands + o));
      list.insert(list.end(), {&liveAddresses[launch.batch], &scratchOf[launch.slot], &faultAddress});
      for (size_t s = 0; s < MORAY_GPU_LAYER - MORAY_GPU_SYMBOLS; ++s)
        list.push_back(symbolsOf(launch.batch) + s);
      list.push_back(&launch.args.layer);
    }
  }
}

// 1, 2, 4, ... and the most sequences that there can be.
void CudaExecutor::makeBuckets(bool graphs) {
  const auto most = static_cast<int32_t>(plan.capacities.seqs);
  for (int32_t seqs = 1; graphs && has(Entry::Sample) && seqs < most; seqs *= 2)
    buckets.push_back({seqs, nullptr, 0});
  if (graphs && has(Entry::Sample))
    buckets.push_back({most, nullptr, 0});
}

Status CudaExecutor::prepareProfile(bool flush) {
  startProfile();
  if (!flush)
    return {};
  int cache = 0;
  MORAY_TRY(driver->attribute(kL2CacheBytes, cache));
  flushBytes = std::max<uint64_t>(2 * static_cast<uint64_t>(std::max(cache, 0)), 1u << 20);
  return memory.take(flushBytes, flushMemory);
}

CudaExecutor::~CudaExecutor() {
  // Failures mean that the context is lost, with all that belongs to it.
  const Status ignored = driver->enter();
  if (stream && !lost)
    quiesce();
  destroyGraphs();
  if (stuck) {
    // Freeing anything would wait for ever; the process is about to end.
    memory.abandon();
    experts.abandon();
    exchange.release();
    modules.release();
    driver.release();
    return;
  }
  exchange.reset();
  for (const Interval &interval : intervals) {
    (*driver)->eventDestroy(interval.begin);
    (*driver)->eventDestroy(interval.end);
  }
  if (pinned)
    (*driver)->memFreeHost(pinned);
  if (stream)
    (*driver)->streamDestroy(stream);
}

void CudaExecutor::describe(moray_engine_info &info) const {
  info.device = {driver->name(), strlen(driver->name())};
  info.sm = driver->sm();
  info.weight_bytes_read = uploadedBytes;
  info.bucket_count = buckets.size();
}

moray_bucket_info CudaExecutor::bucket(size_t index) const {
  return {static_cast<uint32_t>(buckets[index].seqs), buckets[index].graph ? buckets[index].launches : 0};
}

// ---- distributed steps ----

Status CudaExecutor::openExchange(const ExchangeSetup &setup) {
  MORAY_TRY(driver->enter());
  exchange = std::make_unique<Exchange>(*driver, *modules, artifact, plan, stream);
  return exchange->open(setup, memory, {bound.collectives.data(), bound.collectives.size()});
}

Status CudaExecutor::closeExchange() {
  MORAY_TRY(driver->enter());
  destroyGraphs(); // NCCL waits for those that hold its operations
  return exchange->close();
}

void CudaExecutor::beginStep(const comm::StepDecision &decision) {
  eager = decision.eager;
  exchange->beginStep(decision.step);
}

Status CudaExecutor::preparePlacement(const comm::ModelPlacement &placement, bool &ready) {
  constexpr uint64_t kBytesPerCall = 64u << 20; // what the next step may have to wait for
  ready = true;
  if (!plan.expertRange)
    return {};
  MORAY_TRY(driver->enter());
  if (!preparing)
    MORAY_TRY(experts.prepare(placement, rank));
  freshUploaded = preparing ? freshUploaded : 0;
  preparing = true;
  MORAY_TRY(uploadExperts(*driver, artifact, experts, source, kBytesPerCall, freshUploaded, uploadedBytes));
  ready = freshUploaded == experts.fresh().size();
  return {};
}

Status CudaExecutor::setPlacement(const comm::ModelPlacement &placement) {
  preparing = false;
  MORAY_TRY(driver->enter());
  if (plan.expertRange) {
    MORAY_TRY(experts.commit());
    plan.setExpertMemory(experts.bytesOf(placement, rank));
  }
  return exchange->setPlacement(placement);
}

Status CudaExecutor::addExpertLoads(uint64_t *loads) {
  MORAY_TRY(driver->enter());
  return exchange->addLoads(loads);
}

Status CudaExecutor::await(const char *what) {
  Result result = kSuccess;
  if (!exchange)
    return check((*driver)->streamSynchronize(stream), what);
  MORAY_TRY(exchange->await(result));
  return check(result, what);
}

void CudaExecutor::quiesce() {
  if (!exchange) {
    (*driver)->streamSynchronize(stream);
    return;
  }
  // NCCL ends what is in flight only when no graph could run it again.
  destroyGraphs();
  stuck = !exchange->abandon();
  lost = true;
  lostStep = stepNumber;
}

void CudaExecutor::destroyGraphs() {
  for (Bucket &bucket : buckets) {
    if (bucket.graph)
      (*driver)->graphExecDestroy(bucket.graph);
    bucket.graph = nullptr;
  }
}

// ---- steps ----

Status CudaExecutor::step(const StepRequest &request) {
  if (lost)
    return fail(kE5022, "the device failed in step %llu and the context is lost; end this process and start again",
                number(lostStep));
  const uint64_t start = nowNs();
  ++stepNumber;
  intervalCount = 0;
  Status status = runStep(request);
  // What was queued before the failure may still read the pinned block, which the next step writes.
  if (!status.ok())
    quiesce();
  counted.stepNs += nowNs() - start;
  if (moray_status_code(status.get()) == kE5020) {
    lost = true;
    lostStep = stepNumber;
  }
  return status;
}

Status CudaExecutor::runStep(const StepRequest &request) {
  stepKind = "single launches";
  MORAY_TRY(driver->enter());
  Bucket *bucket = bucketFor(request);
  const StepRequest *requests[kBatches] = {&request, request.second};
  const uint32_t count = plan.capacities.batches;
  for (uint32_t b = 0; b < count; ++b)
    rowsOfRanks[b] = bucket ? static_cast<uint64_t>(bucket->seqs) : requests[b]->mostRows;
  if (bucket && !bucket->graph)
    MORAY_TRY(capture(*bucket));
  stepKind = bucket ? "decode graph" : "single launches";
  memset(hostIo + plan.faultOffset, 0, sizeof(uint32_t));
  for (uint32_t b = 0; b < count; ++b) {
    if (!bucket)
      MORAY_TRY(setLive(requests[b]->live, requests[b]->mostRows, b));
    MORAY_TRY(upload(*requests[b], b));
  }
  if (exchange)
    MORAY_TRY(exchange->beginRun(rowsOfRanks));
  if (bucket) {
    MORAY_TRY(check((*driver)->graphLaunch(bucket->graph, stream), "launching a graph"));
    counted.launches += bucket->launches;
  } else {
    MORAY_TRY(launchProgram(Entry::Step, 0));
    for (uint32_t b = 0; b < count; ++b) {
      if (requests[b]->sample)
        MORAY_TRY(launchProgram(Entry::Sample, b));
      if (requests[b]->score)
        MORAY_TRY(launchProgram(Entry::Score, b));
    }
  }
  MORAY_TRY(copyDown(faultAddress, plan.faultOffset, sizeof(uint32_t)));
  for (uint32_t b = 0; b < count; ++b)
    MORAY_TRY(download(*requests[b], b));
  MORAY_TRY(await("waiting for the end of the step"));
  ++counted.barriers;
  MORAY_TRY(collectIntervals());
  uint32_t word = 0;
  memcpy(&word, hostIo + plan.faultOffset, sizeof(word));
  return word == 0 ? Status() : faultError(word);
}

// Evaluates grids and sizes of copies where the counts changed.
Status CudaExecutor::setLive(const int32_t (&counts)[4], uint64_t mostRows, uint32_t b) {
  Batch &batch = batches[b];
  if (mostRows == batch.evaluatedMost && std::equal(counts, counts + 4, batch.evaluated))
    return {};
  batch.evaluated[0] = -1;
  batch.evaluatedMost = mostRows;
  MORAY_TRY(evaluateCopies(counts, mostRows, b));
  for (size_t k = 0; k < plan.code.variants.size(); ++k) {
    MORAY_TRY(checkScratch(k, b));
    const auto *stages = plan.code.variants[k]->stages();
    for (uint32_t s = 0; s < stages->size(); ++s) {
      uint64_t grid = 0;
      MORAY_TRY(evaluateSize(stages->Get(s)->grid(), symbolsOf(b), grid));
      if (grid > kMaxGrid)
        return fail(kE5013,
                    "kernel %zu needs a grid of %llu blocks for this step, a launch has at most %llu; compile "
                    "the model again",
                    k, number(grid), number(kMaxGrid));
      batch.grids[gridFirst[k] + s] = static_cast<uint32_t>(grid);
    }
  }
  std::copy(counts, counts + 4, batch.evaluated);
  return {};
}

Address CudaExecutor::inputAddress(InputId id, uint32_t batch) const {
  return toAddress(memory.map().input(static_cast<uint32_t>(id), batch));
}

Status CudaExecutor::copyUp(Address to, uint64_t offset, uint64_t bytes) {
  if (bytes == 0)
    return {};
  return check((*driver)->memcpyHtoDAsync(to, hostIo + offset, bytes, stream), "uploading the inputs of a step");
}

Status CudaExecutor::copyDown(Address from, uint64_t offset, uint64_t bytes) {
  return check((*driver)->memcpyDtoHAsync(hostIo + offset, from, bytes, stream), "downloading the results of a step");
}

Status CudaExecutor::copyInput(InputId id, uint32_t batch, uint64_t bytes) {
  return copyUp(inputAddress(id, batch), inputOffset(id, batch), bytes);
}

Status CudaExecutor::copyResult(InputId id, uint32_t batch, uint64_t bytes) {
  return copyDown(inputAddress(id, batch), inputOffset(id, batch), bytes);
}

// The fault word of the first micro-batch, which both use, has been cleared.
Status CudaExecutor::upload(const StepRequest &request, uint32_t batch) {
  memcpy(hostIo + batch * plan.batchBytes + plan.liveOffset, request.live, sizeof(request.live));
  if (memory.isGuarded())
    return uploadGuarded(request, batch);
  const uint64_t tableBytes =
      static_cast<uint64_t>(request.live[MORAY_LIVE_SEQS]) * plan.capacities.pages * sizeof(int32_t);
  // The block begins with what is placed first.
  MORAY_TRY(copyInput(InputId::Tokens, batch, plan.uploadBytes));
  return copyInput(InputId::PageTable, batch, tableBytes);
}

// No more than is live, so that a read beyond it meets memory that was never written.
Status CudaExecutor::uploadGuarded(const StepRequest &request, uint32_t batch) {
  const auto rows = static_cast<uint64_t>(request.live[MORAY_LIVE_ROWS]);
  const auto seqs = static_cast<uint64_t>(request.live[MORAY_LIVE_SEQS]);
  const auto outs = static_cast<uint64_t>(request.live[MORAY_LIVE_OUTS]);
  constexpr uint64_t word = sizeof(int32_t);
  const struct {
    InputId id;
    uint64_t bytes;
  } parts[] = {
      {InputId::Tokens, rows * word},
      {InputId::Positions, rows * word},
      {InputId::RowSeq, rows * word},
      {InputId::CuRows, (seqs + 1) * word},
      {InputId::PageTable, seqs * plan.capacities.pages * word},
      {InputId::CtxLen, seqs * word},
      {InputId::OutRows, outs * word},
      {InputId::SampleParams, request.sample ? outs * sizeof(moray_sample_params) : 0},
      {InputId::Targets, request.score ? outs * word : 0},
  };
  for (const auto &part : parts)
    MORAY_TRY(copyInput(part.id, batch, part.bytes));
  MORAY_TRY(copyUp(liveAddresses[batch], batch * plan.batchBytes + plan.liveOffset, 4 * word));
  return copyUp(faultAddress, plan.faultOffset, word);
}

Status CudaExecutor::download(const StepRequest &request, uint32_t batch) {
  const auto outs = static_cast<uint64_t>(request.live[MORAY_LIVE_OUTS]);
  if (request.sample && outs)
    MORAY_TRY(copyResult(InputId::Sampled, batch, outs * sizeof(int32_t)));
  if (request.score && outs)
    MORAY_TRY(copyResult(InputId::LogProbs, batch, outs * sizeof(float)));
  if (request.logits && outs)
    MORAY_TRY(copyResult(InputId::Logits, batch, outs * artifact.model().vocab() * sizeof(float)));
  return {};
}

Status CudaExecutor::faultError(uint32_t word) const {
  if (word & MORAY_EXCHANGE_FAULT)
    return exchange->faultError(word);
  return fail(kE5007,
              "NumericError: a kernel of layer %u met a value that is not finite (layer 0 also stands for what is "
              "outside of the layers; a GPU does not say which kernel it was, the CPU does); check the weights for "
              "damage (moray-inspect) or use a wider numerics mode",
              word - 1);
}

// An error names the step; it says how to learn more where the device has only reported that some launch failed.
Status CudaExecutor::check(Result result, const char *what) {
  if (result == kSuccess)
    return {};
  char text[512];
  const bool vague = isSticky(result) && !waitAfterLaunch;
  snprintf(
      text, sizeof(text), "%s, step %llu (%s)%s", what, number(stepNumber), stepKind,
      vague ? "; the fault may be of an earlier launch: wait after each one (cuda_sync, --cuda-sync) to have it named"
            : "");
  return driver->check(result, text);
}

} // namespace moray::rt::cuda
