// The launches of an executor: single ones, graphs of decode steps, and their times.
#include "runtime/artifact/checker.h"
#include "runtime/device/cuda/cuda_executor.h"
#include <algorithm>
#include <cstdio>

namespace moray::rt::cuda {

// ---- graphs ----

// A decode step has one row for each sequence and samples all of them. A rank without rows joins any step.
bool CudaExecutor::replays(const StepRequest &request) const {
  const int32_t rows = request.live[MORAY_LIVE_ROWS];
  return !buckets.empty() && rows == request.live[MORAY_LIVE_DECODE_ROWS] && rows == request.live[MORAY_LIVE_SEQS] &&
         rows == request.live[MORAY_LIVE_OUTS] && (request.sample || rows == 0) && !request.score &&
         (!request.second || replays(*request.second));
}

// In a group all ranks decide alike, by the most rows of any. Both micro-batches of a bucket have its size.
CudaExecutor::Bucket *CudaExecutor::bucketFor(const StepRequest &request) {
  if (exchange ? eager : !replays(request))
    return nullptr;
  const uint64_t most = std::max(request.mostRows, request.second ? request.second->mostRows : 0);
  for (Bucket &bucket : buckets)
    if (static_cast<uint64_t>(bucket.seqs) >= most)
      return &bucket;
  return nullptr;
}

// Grids are those of a full bucket; kernels read the real counts from device memory.
Status CudaExecutor::capture(Bucket &bucket) {
  stepKind = "capture of a decode graph";
  const uint32_t count = plan.capacities.batches;
  for (uint32_t b = 0; b < count; ++b)
    MORAY_TRY(setLive({bucket.seqs, bucket.seqs, bucket.seqs, bucket.seqs}, static_cast<uint64_t>(bucket.seqs), b));
  const uint64_t launches = counted.launches;
  MORAY_TRY(check((*driver)->streamBeginCapture(stream, kCaptureThreadLocal), "beginning a capture"));
  Status status = launchProgram(Entry::Step, 0);
  for (uint32_t b = 0; b < count && status.ok(); ++b)
    status = launchProgram(Entry::Sample, b);
  bucket.launches = counted.launches - launches;
  counted.launches = launches; // nothing has run
  Graph graph = nullptr;
  const Result ended = (*driver)->streamEndCapture(stream, &graph); // also after an error: the stream must be usable
  if (status.ok())
    status = check(ended, "ending a capture");
  if (status.ok())
    status = check((*driver)->graphInstantiate(&bucket.graph, graph, 0), "instantiating a graph");
  if (!status.ok())
    bucket.graph = nullptr;
  if (graph)
    (*driver)->graphDestroy(graph);
  return status;
}

// ---- launches ----

Status CudaExecutor::launchProgram(Entry entry, uint32_t batch) {
  const size_t kernels = plan.code.variants.size();
  void **next = parameters[batch][static_cast<size_t>(entry)].data();
  nextCollective = 0;
  for (const Launch &launch : bound.programs[batch][static_cast<size_t>(entry)].launches) {
    void **values = next;
    if (launch.slot < kernels)
      next += plan.code.target->kernels()->Get(launch.slot)->operand_count() + MORAY_GPU_TRAILING;
    const bool moves = launch.slot >= kernels && launch.slot < plan.firstCopySlot();
    nextCollective += moves;
    if (!hasWork(launch))
      continue;
    MORAY_TRY(beginInterval(launch.slot));
    if (launch.slot < kernels) {
      MORAY_TRY(launchKernel(launch, values));
    } else if (moves) {
      MORAY_TRY(launchCollective(launch));
    } else {
      const Result result =
          (*driver)->memcpyDtoDAsync(toAddress(launch.args.operands[1]), toAddress(launch.args.operands[0]),
                                     copyBytes[launch.slot - plan.firstCopySlot()], stream);
      MORAY_TRY(check(result, "copying between buffers"));
    }
    MORAY_TRY(endInterval());
  }
  return {};
}

Status CudaExecutor::launchCollective(const Launch &launch) {
  const bool empty = symbolsOf(launch.batch)[static_cast<size_t>(schema::SymbolId::Rows)] == 0;
  MORAY_TRY(exchange->run(nextCollective - 1, rowsOfRanks[launch.batch], empty));
  return waitAfterLaunch ? await("waiting for a collective") : Status();
}

// Whether a kernel has a grid that is not 0, or a copy has bytes. A micro-batch that is empty on all ranks has nothing.
bool CudaExecutor::hasWork(const Launch &launch) const {
  const size_t kernels = plan.code.variants.size();
  const uint32_t slot = launch.slot;
  if (rowsOfRanks[launch.batch] == 0)
    return false;
  if (slot >= kernels && slot < plan.firstCopySlot())
    return true;
  if (slot >= kernels)
    return copyBytes[slot - plan.firstCopySlot()] != 0;
  for (uint32_t s = 0; s < plan.code.variants[slot]->stages()->size(); ++s)
    if (batches[launch.batch].grids[gridFirst[slot] + s] != 0)
      return true;
  return false;
}

Status CudaExecutor::launchKernel(const Launch &launch, void **values) {
  const auto *stages = plan.code.variants[launch.slot]->stages();
  for (uint32_t s = 0; s < stages->size(); ++s) {
    const schema::Stage &stage = *stages->Get(s);
    const uint32_t grid = batches[launch.batch].grids[gridFirst[launch.slot] + s];
    if (grid == 0)
      continue;
    Result result = (*driver)->launchKernel(modules->stage(launch.slot, s), grid, 1, 1, stage.threads(), 1, 1,
                                            stage.dynamic_shared(), stream, values, nullptr);
    ++counted.launches;
    if (result == kSuccess && waitAfterLaunch)
      result = (*driver)->streamSynchronize(stream); // it waits for no collective
    if (result == kSuccess)
      continue;
    const moray_string kernel = kernelName(launch.slot), entry = artifact.text(stage.entry());
    char layer[32] = "outside of the layers";
    if (launch.inLayer)
      snprintf(layer, sizeof(layer), "of layer %u", static_cast<unsigned>(launch.args.layer));
    char what[384];
    snprintf(what, sizeof(what), "launching kernel '%.160s' %s, stage %u ('%.96s')",
             std::string(kernel.data, kernel.size).c_str(), layer, s, std::string(entry.data, entry.size).c_str());
    return check(result, what);
  }
  return {};
}

// ---- times ----

Status CudaExecutor::beginInterval(uint32_t slot) {
  if (!profiling())
    return {};
  const char *what = "timing a launch";
  if (intervalCount == intervals.size()) {
    Interval fresh = {};
    MORAY_TRY(check((*driver)->eventCreate(&fresh.begin, kEventDefault), what));
    MORAY_TRY(check((*driver)->eventCreate(&fresh.end, kEventDefault), what));
    intervals.push_back(fresh);
  }
  intervals[intervalCount].slot = slot;
  if (flushMemory)
    MORAY_TRY(check((*driver)->memsetD8Async(flushMemory, 0, flushBytes, stream), what));
  return check((*driver)->eventRecord(intervals[intervalCount].begin, stream), what);
}

Status CudaExecutor::endInterval() {
  if (!profiling())
    return {};
  return check((*driver)->eventRecord(intervals[intervalCount++].end, stream), "timing a launch");
}

Status CudaExecutor::collectIntervals() {
  for (size_t i = 0; i < intervalCount; ++i) {
    float ms = 0;
    MORAY_TRY(check((*driver)->eventElapsedTime(&ms, intervals[i].begin, intervals[i].end), "timing a launch"));
    account(intervals[i].slot, static_cast<uint64_t>(static_cast<double>(ms) * 1e6));
  }
  return {};
}

} // namespace moray::rt::cuda
