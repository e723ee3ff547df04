// Executing one unit of work: kernels, copies, fills, host calls, markers.
#include "test/gpusim/driver/context.h"

#include "test/gpusim/driver/gpusim_api.h"
#include "test/gpusim/driver/report_log.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace gpusim {
namespace {

thread_local bool hostFunctionRuns = false;

CUresult errorOf(Report::Kind kind) {
  switch (kind) {
  case Report::OutOfBounds:
  case Report::UseAfterFree:
    return CUDA_ERROR_ILLEGAL_ADDRESS;
  case Report::Misaligned:
    return CUDA_ERROR_MISALIGNED_ADDRESS;
  case Report::Budget:
  case Report::Deadlock:
    return CUDA_ERROR_LAUNCH_TIMEOUT;
  case Report::BadInstruction:
    return CUDA_ERROR_ILLEGAL_INSTRUCTION;
  default:
    return CUDA_ERROR_LAUNCH_FAILED;
  }
}

} // namespace

bool inHostFunction() { return hostFunctionRuns; }

GraphNodeType nodeType(Work::Kind kind) {
  switch (kind) {
  case Work::Launch:
    return CU_GRAPH_NODE_TYPE_KERNEL;
  case Work::Fill:
    return CU_GRAPH_NODE_TYPE_MEMSET;
  case Work::HostCall:
    return CU_GRAPH_NODE_TYPE_HOST;
  default:
    return CU_GRAPH_NODE_TYPE_MEMCPY;
  }
}

void Context::fail(CUresult error, const std::string &text) {
  reports.add(text);
  if (!sticky)
    sticky = error;
}

void Context::execute(Work &work) {
  if (work.staged)
    stagedBytes -= work.bytes;
  // After a fault the device does nothing more, but nobody waits for ever.
  if (sticky) {
    if (work.kind == Work::Record)
      work.marker->done = true;
    return;
  }
  switch (work.kind) {
  case Work::Launch:
    return launch(work);
  case Work::CopyToDevice:
    return copyToDevice(work);
  case Work::CopyToHost:
    return copyToHost(work);
  case Work::CopyWithin:
    return copyWithin(work);
  case Work::Fill:
    return fill(work);
  case Work::HostCall:
    return callHost(work);
  case Work::Record:
    work.marker->time = std::chrono::steady_clock::now();
    work.marker->done = true;
    return;
  case Work::Wait:
    return drainTo(*work.marker);
  }
}

// It may wait for long, even for another thread of this process, so the driver stays open meanwhile.
void Context::callHost(Work &work) {
  mutex.unlock();
  hostFunctionRuns = true;
  work.call(work.userData);
  hostFunctionRuns = false;
  mutex.lock();
}

void Context::launch(Work &work) {
  const Function &function = *work.function;
  if (!function.kernel)
    return fail(CUDA_ERROR_LAUNCH_FAILED, "launch of kernel " + function.name + ", whose module was unloaded");
  if (settings.log)
    fprintf(stderr, "gpusim: run %s <<<(%u,%u,%u), (%u,%u,%u), %u>>>\n", function.name.c_str(), work.launch.grid.x,
            work.launch.grid.y, work.launch.grid.z, work.launch.block.x, work.launch.block.y, work.launch.block.z,
            work.launch.dynamicShared);
  ++counters[GPUSIM_KERNELS_RUN];
  if (std::optional<Report> report = runKernel(*function.kernel, memory, work.launch, settings.execution))
    fail(errorOf(report->kind), report->text());
}

HostRange Context::resolve(const char *what, uint64_t address, uint64_t bytes) {
  HostRange range = memory.resolve(address, bytes);
  if (range.kind != AccessKind::Inside)
    fail(CUDA_ERROR_ILLEGAL_ADDRESS, std::string(what) + ": " + memory.describe(address, bytes));
  return range;
}

void Context::copyToDevice(Work &work) {
  HostRange target = resolve("copy to the device, target", work.target, work.bytes);
  if (!target.bytes)
    return;
  const void *source = work.staged ? work.staged->data() : reinterpret_cast<const void *>(work.source);
  memcpy(target.bytes, source, work.bytes);
  memset(target.defined, 1, work.bytes);
  counters[GPUSIM_BYTES_TO_DEVICE] += work.bytes;
}

void Context::copyToHost(Work &work) {
  HostRange source = resolve("copy to the host, source", work.source, work.bytes);
  if (!source.bytes)
    return;
  const void *undefined = memchr(source.defined, 0, work.bytes);
  if (undefined && !settings.allowUndefined) {
    uint64_t offset = uint64_t(static_cast<const uint8_t *>(undefined) - source.defined);
    uint64_t missing = uint64_t(std::count(source.defined, source.defined + work.bytes, uint8_t(0)));
    char text[160];
    snprintf(text, sizeof text,
             "uninitialised: copy to the host of %llu bytes, %llu of them never written; the first is ",
             (unsigned long long)work.bytes, (unsigned long long)missing);
    return fail(CUDA_ERROR_LAUNCH_FAILED, text + memory.describe(work.source + offset, 1));
  }
  memcpy(reinterpret_cast<void *>(work.target), source.bytes, work.bytes);
  counters[GPUSIM_BYTES_TO_HOST] += work.bytes;
}

void Context::copyWithin(Work &work) {
  HostRange source = resolve("copy on the device, source", work.source, work.bytes);
  HostRange target = resolve("copy on the device, target", work.target, work.bytes);
  if (!source.bytes || !target.bytes)
    return;
  // What was never written stays so in the copy: it is reported when it is used.
  memmove(target.bytes, source.bytes, work.bytes);
  memmove(target.defined, source.defined, work.bytes);
}

void Context::fill(Work &work) {
  HostRange target = resolve("memset", work.target, work.bytes);
  if (!target.bytes)
    return;
  if (work.patternBytes == 1)
    memset(target.bytes, int(work.pattern), work.bytes);
  else
    for (uint64_t at = 0; at < work.bytes; at += work.patternBytes)
      memcpy(target.bytes + at, &work.pattern, work.patternBytes);
  memset(target.defined, 1, work.bytes);
}

} // namespace gpusim
