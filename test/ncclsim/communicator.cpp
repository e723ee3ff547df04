// The life of a communicator, and what it puts on streams.
#include "test/ncclsim/communicator.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace ncclsim {
namespace {

void pause() { std::this_thread::sleep_for(std::chrono::milliseconds(1)); }

// Makes a context current for calls on whatever thread.
class InContext {
public:
  InContext(const Device &device, CUcontext context) : device(device) { device.cuCtxPushCurrent_v2(context); }
  ~InContext() { device.cuCtxPopCurrent_v2(nullptr); }
  InContext(const InContext &) = delete;
  InContext &operator=(const InContext &) = delete;

private:
  const Device &device;
};

} // namespace

Communicator::Communicator(const Device &device, int ranks, int rank, bool blocking)
    : device(device), ranks(ranks), rank(rank), blocking(blocking), faults(readFaults(rank)) {}

void Communicator::report(const std::string &text) const {
  device.report(("ncclsim: rank " + std::to_string(rank) + ": " + text).c_str());
}

void Communicator::fail(ncclResult_t result, const std::string &text) {
  if (failing.exchange(true))
    return;
  // Whoever sees the error finds its report.
  refuse(result, text);
  report(text);
  error = result;
  if (group.isOpen())
    group.setState(rank, Failed);
}

ncclResult_t Communicator::cudaError(const char *what, CUresult result) {
  const char *name = nullptr;
  device.cuGetErrorName(result, &name);
  return refuse(ncclUnhandledCudaError, std::string(what) + ": " + (name ? name : "unknown error of the driver"));
}

// ---- beginning ----

ncclResult_t Communicator::initialise(const ncclUniqueId &id) {
  device.cuCtxGetCurrent(&context);
  if (!context)
    return refuse(ncclInvalidUsage, "no context of the driver is current on the calling thread");
  if (CUresult result = device.cuEventCreate(&event, gpusim::CU_EVENT_DISABLE_TIMING))
    return cudaError("making an event", result);
  joining = true;
  if (blocking) {
    join(id);
    return ncclResult_t(error.load());
  }
  std::thread([this, id] { join(id); }).detach();
  return ncclInProgress;
}

void Communicator::join(ncclUniqueId id) {
  bool absent = std::any_of(faults.begin(), faults.end(), [](const Fault &fault) { return fault.kind == Fault::Init; });
  std::string problem;
  if (!absent && !group.attach(id.internal, ranks, rank, problem))
    fail(ncclSystemError, problem);
  while (!error && !aborted && (absent || !group.everybodyIsHere()))
    pause();
  joining = false;
}

// ---- state ----

ncclResult_t Communicator::poll() {
  std::lock_guard<std::mutex> lock(mutex);
  if (error)
    return ncclResult_t(error.load());
  if (joining || (finalising && !groupIsQuiet()))
    return ncclInProgress;
  return std::exchange(issued, false) ? ncclInProgress : ncclSuccess;
}

ncclResult_t Communicator::checkReady() {
  std::lock_guard<std::mutex> lock(mutex);
  if (error)
    return ncclResult_t(error.load());
  if (joining || issued)
    return refuse(ncclInvalidArgument,
                  "Attempt to use communicator before the previous operation returned ncclSuccess");
  if (finalising)
    return refuse(ncclInvalidUsage, "the communicator is finalised");
  return ncclSuccess;
}

// ---- end ----

// Streams work when somebody asks for them.
void Communicator::flush() {
  while (outstanding && !error) {
    device.cuStreamQuery(lastStream);
    pause();
  }
}

// What a poll may do for the end of a communicator; true when all ranks are so far.
bool Communicator::groupIsQuiet() {
  if (outstanding) {
    InContext current(device, context);
    device.cuStreamQuery(lastStream);
    return false;
  }
  if (group.state(rank) < Finalised)
    for (int peer = 0; peer < ranks; ++peer)
      if (group.mailbox(peer, rank).full)
        report("the communicator ends with a message of rank " + std::to_string(peer) + " that was never received");
  group.setState(rank, Finalised);
  for (int peer = 0; peer < ranks; ++peer) {
    const RankState state = group.state(peer);
    if (state < Finalised)
      return false;
    if (state > Destroyed)
      fail(ncclRemoteError, "rank " + std::to_string(peer) + " failed while the communicator was finalised");
  }
  return true;
}

ncclResult_t Communicator::finalise() {
  if (ncclResult_t result = checkReady())
    return result;
  {
    std::lock_guard<std::mutex> lock(mutex);
    finalising = true;
  }
  ncclResult_t result = ncclInProgress;
  while (blocking && (result = poll()) == ncclInProgress)
    pause();
  return result;
}

// NCCL waits until all graphs that hold its operations are destroyed.
void Communicator::waitForGraphs(bool forEver) {
  bool reported = false;
  for (const std::unique_ptr<Operation> &operation : operations)
    while (operation->captured && device.graphsWith(operation.get()) > 0) {
      if (!std::exchange(reported, true))
        report("the communicator ends while a graph that captured it exists: NCCL waits here for the graph's end");
      if (!forEver)
        return;
      pause();
    }
}

ncclResult_t Communicator::end(RankState state) {
  live = false; // before asking: an operation sets its mark, then asks whether it may run
  while (joining || running)
    pause();
  waitForGraphs(state == Aborted);
  if (!windows.empty() && state == Destroyed)
    report("the communicator ends with " + std::to_string(windows.size()) + " registered windows");
  if (group.isOpen())
    group.setState(rank, state);
  InContext current(device, context);
  device.cuEventDestroy_v2(event);
  group.close();
  return ncclSuccess;
}

ncclResult_t Communicator::destroy() {
  std::lock_guard<std::mutex> lock(mutex);
  if (!error) {
    InContext current(device, context);
    flush();
  } else {
    aborted = true; // NCCL's threads end with an error, too
  }
  return end(Destroyed);
}

ncclResult_t Communicator::abort() {
  aborted = true; // before the lock: it ends those who have it
  if (!joining && group.isOpen())
    group.setState(rank, Aborted);
  std::lock_guard<std::mutex> lock(mutex);
  return end(Aborted);
}

// ---- issuing ----

// Work of `after` from now on waits for what `before` holds.
bool Communicator::order(cudaStream_t before, cudaStream_t after) {
  return before == after || (!device.cuEventRecord(event, before) && !device.cuStreamWaitEvent(after, event, 0));
}

ncclResult_t Communicator::issue(const std::vector<Task> &tasks) {
  if (ncclResult_t result = checkReady())
    return result;
  std::lock_guard<std::mutex> lock(mutex);
  InContext current(device, context);
  std::vector<cudaStream_t> streams;
  for (const Task &task : tasks)
    if (std::find(streams.begin(), streams.end(), task.stream) == streams.end())
      streams.push_back(task.stream);
  int status = 0;
  uint64_t capture = 0;
  if (CUresult result = device.cuStreamGetCaptureInfo(streams[0], &status, &capture))
    return cudaError("asking for the state of a stream", result);
  bool ordered = true;
  if (lastStream && lastCapture == capture)
    order(lastStream, streams[0]); // a stream that is gone has nothing to wait for
  for (cudaStream_t stream : streams)
    ordered = ordered && order(stream, streams[0]);
  if (!ordered)
    return refuse(ncclInvalidUsage, "the streams of a group cannot wait for each other (captured and not captured?)");
  operations.push_back(std::make_unique<Operation>(Operation{this, tasks, status != gpusim::CU_CAPTURE_NONE}));
  outstanding += !operations.back()->captured;
  if (CUresult result = device.cuLaunchHostFunc(streams[0], run, operations.back().get())) {
    outstanding -= !operations.back()->captured;
    operations.pop_back();
    return cudaError("launching an operation", result);
  }
  for (cudaStream_t stream : streams)
    order(streams[0], stream);
  lastStream = streams[0];
  lastCapture = capture;
  issued = !blocking;
  return blocking ? ncclSuccess : ncclInProgress;
}

ncclResult_t Communicator::registerWindow(uint64_t address, ncclWindow_t &window) {
  if (ncclResult_t result = checkReady())
    return result;
  std::lock_guard<std::mutex> lock(mutex);
  InContext current(device, context);
  // It may wait for the device, which a capture forbids.
  if (CUresult result = device.cuEventQuery(event); result == gpusim::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)
    return cudaError("registering a window", result);
  if (address % windowAlignment != 0)
    return refuse(ncclInvalidArgument, "a window must begin at a multiple of 4096 bytes");
  windows.push_back(std::make_unique<Window>(Window{this}));
  window = windows.back().get();
  issued = !blocking;
  return blocking ? ncclSuccess : ncclInProgress;
}

ncclResult_t Communicator::deregisterWindow(ncclWindow_t window) {
  std::lock_guard<std::mutex> lock(mutex);
  auto found = std::find_if(windows.begin(), windows.end(), [&](const auto &entry) { return entry.get() == window; });
  if (found == windows.end())
    return refuse(ncclInvalidArgument, "there is no such window");
  windows.erase(found);
  return ncclSuccess;
}

} // namespace ncclsim
