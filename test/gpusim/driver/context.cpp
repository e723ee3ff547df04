// Streams that work when somebody waits for them, and the life of a context.
#include "test/gpusim/driver/context.h"

#include "test/gpusim/driver/gpusim_api.h"
#include "test/gpusim/driver/report_log.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace gpusim {
namespace {

// Queues are cut here: a device makes progress of its own, and staged copies cost memory.
constexpr size_t maxPending = 8192;
constexpr uint64_t maxStaged = 64 << 20;

int readInt(const char *name, int fallback) {
  const char *value = getenv(name);
  return value && *value ? atoi(value) : fallback;
}

// Bytes, with an optional K, M or G.
uint64_t readBytes(const char *name, uint64_t fallback) {
  const char *value = getenv(name);
  if (!value || !*value)
    return fallback;
  char *end = nullptr;
  uint64_t bytes = strtoull(value, &end, 0);
  switch (*end) {
  case 'K':
    return bytes << 10;
  case 'M':
    return bytes << 20;
  case 'G':
    return bytes << 30;
  default:
    return bytes;
  }
}

} // namespace

Settings Settings::fromEnvironment() {
  Settings settings;
  settings.device = deviceModel(unsigned(readInt("MORAY_GPUSIM_SM", 80)));
  settings.devices = readInt("MORAY_GPUSIM_DEVICES", 1) > 0 ? 1 : 0;
  settings.multiprocessors = readInt("MORAY_GPUSIM_SMS", 8);
  settings.driverVersion = readInt("MORAY_GPUSIM_DRIVER", 13000);
  settings.memoryBytes = readBytes("MORAY_GPUSIM_MEMORY", uint64_t(8) << 30);
  settings.granularity = std::max<uint64_t>(readBytes("MORAY_GPUSIM_GRANULARITY", 2 << 20), 4096);
  settings.allowUndefined = readInt("MORAY_GPUSIM_ALLOW_UNINIT", 0) != 0;
  settings.log = readInt("MORAY_GPUSIM_LOG", 0) != 0;
  settings.statistics = readInt("MORAY_GPUSIM_STATS", 0) != 0;
  settings.exitCode = readInt("MORAY_GPUSIM_EXIT_CODE", 0);
  settings.execution = ExecOptions::fromEnvironment();
  return settings;
}

Context::Context(const Settings &settings, ReportLog &reports, uint64_t *counters, DriverMutex &mutex)
    : settings(settings), reports(reports), counters(counters), memory(settings.memoryBytes),
      legacy(std::make_shared<Stream>()), mutex(mutex) {
  handle = reinterpret_cast<CUcontext>(nextHandle());
  legacy->handle = CU_STREAM_LEGACY;
}

Context::~Context() {
  for (auto &[address, region] : hostRegions)
    if (!region.registered)
      free(reinterpret_cast<void *>(address));
}

std::shared_ptr<Stream> Context::stream(CUstream handle) const {
  return !handle || handle == CU_STREAM_LEGACY ? legacy : streams.find(handle);
}

CUresult Context::enqueue(Stream &stream, Work work) {
  if (CUresult error = checkLegacy(stream))
    return error;
  if (stream.capture) {
    Capture &capture = *stream.capture;
    if (capture.invalid)
      return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    capture.graph.nodes.push_back({std::move(work), stream.tail, {}});
    stream.tail = {capture.graph.nodes.size() - 1};
    return CUDA_SUCCESS;
  }
  // The default stream and the blocking streams wait for each other.
  if (&stream == legacy.get())
    drainLegacy();
  else if (!stream.nonBlocking)
    drain(*legacy);
  if (work.kind == Work::CopyToDevice && !isPinned(work.source, work.bytes)) {
    const uint8_t *source = reinterpret_cast<const uint8_t *>(work.source);
    work.staged = std::make_shared<std::vector<uint8_t>>(source, source + work.bytes);
    stagedBytes += work.bytes;
  }
  stream.pending.push_back(std::move(work));
  if (stream.pending.size() >= maxPending)
    drain(stream);
  if (stagedBytes >= maxStaged)
    drainAll();
  return CUDA_SUCCESS;
}

template <typename Condition> bool Context::beginTurn(Condition satisfied) {
  const std::thread::id self = std::this_thread::get_id();
  progress.wait(mutex, [&] { return turns == 0 || executing == self || satisfied(); });
  if (turns != 0 && executing != self)
    return false;
  executing = self;
  ++turns;
  return true;
}

void Context::endTurn() {
  --turns;
  progress.notify_all();
}

void Context::executeNext(Stream &stream) {
  Work work = std::move(stream.pending.front());
  stream.pending.pop_front();
  const bool nested = stream.running; // a wait of this stream for another one that waits for it
  stream.running = true;
  execute(work);
  stream.running = nested;
  progress.notify_all();
}

void Context::drain(Stream &stream) {
  auto idle = [&] { return stream.pending.empty() && !stream.running; };
  if (idle() || !beginTurn(idle))
    return;
  while (!stream.pending.empty())
    executeNext(stream);
  endTurn();
}

// Work that lacks an event between streams then runs in the wrong order.
std::vector<std::shared_ptr<Stream>> Context::youngestFirst(bool blockingOnly) const {
  std::vector<std::shared_ptr<Stream>> list;
  for (auto &[handle, stream] : streams)
    if (!blockingOnly || !stream->nonBlocking)
      list.insert(list.begin(), stream);
  return list;
}

void Context::drainLegacy() {
  for (const std::shared_ptr<Stream> &stream : youngestFirst(true))
    drain(*stream);
  drain(*legacy);
}

void Context::drainAll() {
  for (const std::shared_ptr<Stream> &stream : youngestFirst(false))
    drain(*stream);
  drain(*legacy);
}

void Context::drainForWait(Stream &stream) {
  if (&stream == legacy.get())
    drainLegacy();
  else
    drain(stream);
}

bool Context::isBusy(const Stream &stream) const {
  auto busy = [](const Stream &one) { return one.running || !one.pending.empty(); };
  if (&stream == legacy.get())
    for (auto &[handle, other] : streams)
      if (!other->nonBlocking && busy(*other))
        return true;
  return busy(stream);
}

void Context::drainTo(const Marker &marker) {
  // The queue of a destroyed stream has been executed.
  std::shared_ptr<Stream> from = stream(marker.stream);
  if (!from || marker.done || !beginTurn([&] { return marker.done; }))
    return;
  while (!marker.done && !from->pending.empty())
    executeNext(*from);
  endTurn();
}

void Context::runLater(const void *key, std::function<void()> task) {
  for (const auto &entry : later)
    if (entry.first == key)
      return;
  later.emplace_back(key, std::move(task));
  if (later.size() > 1)
    return; // the thread runs
  std::thread([self = shared_from_this()] {
    std::lock_guard<DriverMutex> lock(self->mutex);
    while (!self->later.empty()) {
      std::function<void()> next = self->later.front().second;
      next();
      self->later.erase(self->later.begin());
    }
  }).detach();
}

CUresult Context::checkRange(const char *what, uint64_t address, uint64_t bytes) {
  if (memory.resolve(address, bytes).kind == AccessKind::Inside)
    return CUDA_SUCCESS;
  char text[128];
  snprintf(text, sizeof text, "%s: 0x%llx, %llu bytes: ", what, (unsigned long long)address, (unsigned long long)bytes);
  reports.add("invalid device range: " + (text + memory.describe(address, bytes)));
  return CUDA_ERROR_INVALID_VALUE;
}

std::map<uint64_t, HostRegion>::const_iterator Context::hostRegion(uint64_t address) const {
  auto above = hostRegions.upper_bound(address);
  if (above == hostRegions.begin())
    return hostRegions.end();
  --above;
  return address - above->first < above->second.bytes ? above : hostRegions.end();
}

bool Context::isPinned(uint64_t address, uint64_t bytes) const {
  auto region = hostRegion(address);
  return region != hostRegions.end() && bytes <= region->second.bytes - (address - region->first);
}

void Context::reportLeaks() {
  // After a fault every call fails, so nobody can be expected to clean up.
  if (sticky)
    return;
  char text[200];
  for (const Allocation *allocation : memory.liveAllocations()) {
    if (!allocations.count(allocation->base) && !allocation->granule)
      continue;
    snprintf(text, sizeof text, "leak: %s #%llu, %llu bytes at 0x%llx, was never freed", allocation->label.c_str(),
             (unsigned long long)allocation->number, (unsigned long long)allocation->size,
             (unsigned long long)allocation->base);
    reports.add(text);
  }
  for (auto &[address, region] : hostRegions) {
    snprintf(text, sizeof text, "leak: %llu bytes of pinned host memory were never %s",
             (unsigned long long)region.bytes, region.registered ? "unregistered" : "freed");
    reports.add(text);
  }
  auto count = [&](const char *what, size_t objects) {
    if (objects == 0)
      return;
    snprintf(text, sizeof text, "leak: %zu %s still alive at the end of the context", objects, what);
    reports.add(text);
  };
  count("handle(s) of physical memory", memory.physicalHandles());
  count("module(s)", modules.size());
  count("stream(s)", streams.size());
  count("event(s)", events.size());
  count("graph(s)", graphs.size());
  count("executable graph(s)", graphExecs.size());
}

} // namespace gpusim
