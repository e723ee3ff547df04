// The primary context: memory, modules, streams, events, graphs, captures, and the error that outlives its cause.
#pragma once

#include "test/gpusim/driver/handle_table.h"
#include "test/gpusim/driver/work.h"
#include "test/gpusim/memory/global_memory.h"

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <thread>

namespace gpusim {

class ReportLog;

/// Guards everything below. Timed, as a query does not wait for who executes work.
using DriverMutex = std::timed_mutex;

/// What the environment says; read by cuInit.
struct Settings {
  DeviceModel device;
  int devices = 1;             // MORAY_GPUSIM_DEVICES: 0 or 1
  int multiprocessors = 8;     // MORAY_GPUSIM_SMS
  int driverVersion = 13000;   // MORAY_GPUSIM_DRIVER
  uint64_t memoryBytes = 0;    // MORAY_GPUSIM_MEMORY
  uint64_t granularity = 0;    // MORAY_GPUSIM_GRANULARITY: of virtual memory, a power of two of at least 4096
  bool allowUndefined = false; // MORAY_GPUSIM_ALLOW_UNINIT
  bool log = false;            // MORAY_GPUSIM_LOG: a line per kernel run
  bool statistics = false;     // MORAY_GPUSIM_STATS: the counters when the process ends
  int exitCode = 0;            // MORAY_GPUSIM_EXIT_CODE: the process ends so if there was a report
  ExecOptions execution;
  static Settings fromEnvironment();

  static constexpr uint32_t reservedShared = 1024; // bytes of shared memory that the system takes from each block
  unsigned residentThreads() const { return device.sm == 86 || device.sm == 89 ? 1536 : 2048; } // per multiprocessor
  unsigned residentBlocks() const { return device.sm == 86 ? 16 : device.sm == 89 ? 24 : 32; }
};

struct LoadedModule {
  std::unique_ptr<Module> module;
  std::map<std::string, CUfunction> functions; // those asked for
};

/// The work that streams record while captured.
struct Capture {
  CUstream origin = nullptr;
  CaptureMode mode = CU_CAPTURE_GLOBAL;
  std::thread::id thread;
  uint64_t id = 0;
  bool invalid = false;
  bool ended = false;
  Graph graph;
};

struct Stream {
  CUstream handle = nullptr; // CU_STREAM_LEGACY for the default stream
  bool nonBlocking = false;
  int priority = 0;
  std::deque<Work> pending;
  bool running = false;             // work of it is being executed, so it is busy with an empty queue, too
  std::shared_ptr<Capture> capture; // null when not captured
  std::vector<size_t> tail;         // nodes that the next captured work depends on
};

struct Event {
  bool timing = true;
  std::shared_ptr<Marker> marker;   // the last recording outside of captures
  std::shared_ptr<Capture> capture; // set when last recorded in a capture
  std::vector<size_t> nodes;        // of the capture
};

struct HostRegion {
  uint64_t bytes = 0;
  bool registered = false; // else allocated here
};

/// The caller holds the driver's lock, which is given up while a host function runs and while another thread executes.
/// One thread at a time executes work: whoever waits for it, or a thread of the context after a query.
class Context : public std::enable_shared_from_this<Context> {
public:
  Context(const Settings &settings, ReportLog &reports, uint64_t *counters, DriverMutex &mutex);
  ~Context();
  Context(const Context &) = delete;
  Context &operator=(const Context &) = delete;

  /// The stream of a handle, 0 and CU_STREAM_LEGACY being the default stream; null if there is none.
  std::shared_ptr<Stream> stream(CUstream handle) const;
  /// Puts work at the end of a stream or into its capture.
  CUresult enqueue(Stream &stream, Work work);
  /// Executes what the stream holds, and what that waits for.
  void drain(Stream &stream);
  /// Executes what a wait for the legacy default stream covers: it and every blocking stream.
  void drainLegacy();
  void drainAll();
  /// Executes what a wait for this stream covers.
  void drainForWait(Stream &stream);
  /// Whether a wait for this stream would have something to wait for.
  bool isBusy(const Stream &stream) const;
  /// Executes until the marker is reached.
  void drainTo(const Marker &marker);
  /// Runs `task` on another thread, once, however often it is asked for with this key before it ends.
  void runLater(const void *key, std::function<void()> task);
  /// Executes one unit of work now.
  void execute(Work &work);

  /// Success if no capture forbids a call that may wait for the device or move memory; else invalidates those that do.
  CUresult checkUnsafe();
  /// The same for work on the legacy default stream, which would wait for captured blocking streams.
  CUresult checkLegacy(const Stream &stream);
  void endCapture(const std::shared_ptr<Capture> &capture);

  /// Success if [address, address + bytes) lies in one allocation; else a report, and INVALID_VALUE.
  CUresult checkRange(const char *what, uint64_t address, uint64_t bytes);
  /// The bytes of a range that work uses; a report and a sticky error if there are none.
  HostRange resolve(const char *what, uint64_t address, uint64_t bytes);
  /// Whether the whole range is pinned host memory.
  bool isPinned(uint64_t address, uint64_t bytes) const;
  /// The pinned region that holds an address, or the end.
  std::map<uint64_t, HostRegion>::const_iterator hostRegion(uint64_t address) const;

  /// Reports what is still alive. To be called before the context goes.
  void reportLeaks();

  const Settings &settings;
  ReportLog &reports;
  uint64_t *const counters; // by the positions of gpusim_api.h
  GlobalMemory memory;      // outlives the modules below, whose variables lie in it
  CUcontext handle = nullptr;
  unsigned references = 0;
  CUresult sticky = CUDA_SUCCESS;
  std::set<uint64_t> allocations; // from cuMemAlloc, alive
  std::map<uint64_t, HostRegion> hostRegions;
  HandleTable<LoadedModule, CUmodule> modules;
  HandleTable<Function, CUfunction> functions;
  HandleTable<Stream, CUstream> streams;
  HandleTable<Event, CUevent> events;
  HandleTable<Graph, CUgraph> graphs;
  HandleTable<std::pair<CUgraph, size_t>, CUgraphNode> graphNodes;
  HandleTable<GraphExec, CUgraphExec> graphExecs;
  std::vector<std::shared_ptr<Capture>> captures; // not ended
  uint64_t captureCount = 0;

private:
  // Waits until this thread may execute; false if `satisfied` came true before that.
  template <typename Condition> bool beginTurn(Condition satisfied);
  void endTurn();
  void executeNext(Stream &stream);
  std::vector<std::shared_ptr<Stream>> youngestFirst(bool blockingOnly) const;
  void callHost(Work &work);
  void launch(Work &work);
  void copyToDevice(Work &work);
  void copyToHost(Work &work);
  void copyWithin(Work &work);
  void fill(Work &work);
  void fail(CUresult error, const std::string &text);

  std::shared_ptr<Stream> legacy;
  uint64_t stagedBytes = 0;
  DriverMutex &mutex;
  std::condition_variable_any progress;                              // a unit of work or a turn has ended
  std::thread::id executing;                                         // whose turn it is, while turns is not 0
  unsigned turns = 0;                                                // nested
  std::vector<std::pair<const void *, std::function<void()>>> later; // the first one runs
};

/// How a captured call may mix with others on this thread (cuThreadExchangeStreamCaptureMode).
CaptureMode &threadCaptureMode();
/// True while this thread runs a function of cuLaunchHostFunc.
bool inHostFunction();

} // namespace gpusim
