// Runs bound programs on the thread pool: a barrier between launches, task counts from the live counts, faults by
// launch.
#pragma once
#include "runtime/device/cpu/thread_pool.h"
#include "runtime/exec/program.h"

namespace moray::rt {

class Executor {
public:
  // Allocates activations, io, cache, scratch and (for an artifact without weights) weight memory, maps the code, binds
  // all programs and starts the threads. Errors: 5001 with a table of needs, 5010, 5015.
  Status create(const Artifact &artifact, ExecPlan plan, bool profile);

  // Sets the live counts and evaluates tasks and copy sizes where they changed. 5013 where scratch would exceed its
  // plan.
  Status setLive(const int32_t (&counts)[4]);
  // Runs all launches of a program. 5007 where a kernel reports a value that is not finite, naming layer and kernel.
  Status run(Entry entry);
  bool has(Entry entry) const { return plan.entries[static_cast<size_t>(entry)].program != kNoProgram; }

  template <typename T> T *input(schema::InputId id) {
    return reinterpret_cast<T *>(memory.io.data() + plan.inputOffsets[static_cast<size_t>(id)]);
  }
  const ExecPlan &planned() const { return plan; }
  ThreadPool &threads() { return pool; }
  // Memory for random weights; empty where the artifact embeds its own.
  Span<uint8_t> ownWeights() { return {memory.weights.data(), memory.weights.size()}; }

  // Runs a kernel alone, with one task for each worker (schema/kernel_abi.h, class Probe); returns the time.
  uint64_t runProbe(uint32_t kernel, const moray_kernel_args &args);

  uint64_t launchCount() const { return launchTotal; }
  uint64_t barrierCount() const { return barrierTotal; }
  // Per kernel, with `profile` only.
  uint64_t kernelLaunches(size_t kernel) const { return times.empty() ? 0 : times[kernel].launches; }
  uint64_t kernelNs(size_t kernel) const { return times.empty() ? 0 : times[kernel].ns; }

private:
  struct Times {
    uint64_t launches, ns;
  };
  struct Memory {
    Mapping activations, io, cache, scratch, weights;
    std::vector<Mapping> images;
  };

  Status allocate();
  Status mapImages();
  Status bind(const MemoryMap &map);
  Status memoryError() const;
  Status faultError(const Launch &launch);
  void work(uint32_t worker);
  void runTasks(const Launch &launch, uint64_t tasks, uint32_t worker);
  bool finishLaunch(const Launch &launch, bool serial, uint32_t worker);
  void noteFault(const Launch *launch);
  void account(const Launch *launch);

  const Artifact *artifact = nullptr;
  ExecPlan plan;
  Memory memory;
  std::vector<const uint8_t *> imageStarts; // by image; null where the level does not use it
  ThreadPool pool;
  BoundProgram programs[kEntryCount];
  std::vector<CopySlot> copies;
  std::vector<uint64_t> copyBytes;  // by copy
  std::vector<uint64_t> taskCounts; // by slot: kernels, then copies
  std::vector<Times> times;         // by slot, with profile
  bool evaluated = false;
  uint64_t launchTotal = 0, barrierTotal = 0;

  alignas(64) int32_t live[4] = {};
  alignas(64) uint32_t fault = 0; // written by kernels, read behind barriers
  alignas(64) const BoundProgram *current = nullptr;
  const Launch *faulty = nullptr;     // first launch after which the fault word was set
  const Launch *lastLaunch = nullptr; // of the run, unless it was stopped
  uint64_t launchStart = 0;           // with profile
  bool stopped = false;
};

} // namespace moray::rt
