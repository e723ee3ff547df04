// Runs bound programs on the thread pool: a barrier between launches, task counts from the live counts, faults by
// launch. Collectives run on worker 0, which also moves what is in flight between the launches of the other
// micro-batch.
#pragma once
#include "runtime/base/mapped_memory.h"
#include "runtime/device/cpu/page_fetcher.h"
#include "runtime/device/cpu/thread_pool.h"
#include "runtime/exec/executor.h"

namespace moray::rt {

class CpuExecutor : public Executor {
public:
  CpuExecutor(const Artifact &artifact, ExecPlan plan, schema::CpuLevel level)
      : Executor(artifact, std::move(plan)), level(level) {}

  // Allocates activations, io, cache, scratch and (for an artifact without weights) weight memory, maps the code, binds
  // all programs and starts the threads. Errors: 5001 with a table of needs, 5010, 5015.
  Status create(const moray_engine_options &options);

  Status step(const StepRequest &request) override;
  Status openExchange(const ExchangeSetup &setup) override;
  Status closeExchange() override;
  void beginStep(const comm::StepDecision &decision) override;
  Status preparePlacement(const comm::ModelPlacement &placement, bool &ready) override;
  Status setPlacement(const comm::ModelPlacement &placement) override;
  Status addExpertLoads(uint64_t *loads) override;
  Status runProbe(const char *name, const moray_probe_options &options, moray_probe_result &result) override;
  void describe(moray_engine_info &info) const override;
  bool compiledByDriver(size_t) const override { return false; }
  moray_bucket_info bucket(size_t) const override { return {}; }

private:
  struct Memory {
    Mapping activations, io, cache, scratch, weights;
    std::vector<Mapping> images;
  };

  Status allocate();
  Status mapImages();
  void finishLaunches(); // fills what binding leaves to the CPU
  // Sets the live counts of a micro-batch and evaluates tasks and copy sizes where they changed.
  Status setLive(const StepRequest &request, uint32_t batch);
  Status run(Entry entry, uint32_t batch);
  Status faultError(const Launch &launch);
  moray_kernel_fn entryOf(size_t kernel) const;
  // A collective as a launch of one task: worker 0 runs it, the others wait at the barrier, or go on where it starts.
  static void collectiveTask(const moray_kernel_args *args, uint64_t task, void *scratch, uint32_t *fault);
  // Runs a collective at the current live counts. 5013 where index arrays exceed their buffers; what the communicator
  // returns.
  Status runCollective(const CollectiveCall &call);
  Status startDispatch(const CollectiveCall &call);
  Status startCombine(const CollectiveCall &call);
  void moveInFlight();
  // The mapped weights of experts that live here under `next`, but not now.
  std::vector<Bytes> missingWeights(const comm::ModelPlacement &next) const;
  void work(uint32_t worker);
  void runTasks(const Launch &launch, uint64_t tasks, uint32_t worker);
  bool finishLaunch(const Launch &launch, bool serial, uint32_t worker);
  void noteFault(const Launch *launch);
  void accountLaunch(const Launch *launch);

  const schema::CpuLevel level;
  Memory memory;
  std::vector<const uint8_t *> imageStarts; // by image; null where the level does not use it
  ThreadPool pool;
  Status collectiveStatus; // of the run, written by worker 0
  uint32_t inFlight = 0;   // collectives that were started and not waited for
  uint64_t movedNs = 0;    // when that was last moved

  // A micro-batch.
  struct Batch {
    alignas(64) int32_t live[4] = {};
    uint64_t mostRows = 0; // of a rank
    bool evaluated = false;
    std::vector<uint64_t> taskCounts; // by slot: kernels, collectives, copies
  };
  Batch batches[kBatches];

  std::unique_ptr<comm::Communicator> communicator;
  comm::ModelPlacement placement;
  PageFetcher fetcher;         // of weights for the next placement
  std::vector<uint64_t> loads; // [layers][experts] rows

  alignas(64) uint32_t fault = 0; // written by kernels, read behind barriers
  alignas(64) const BoundProgram *current = nullptr;
  const Launch *faulty = nullptr;     // first launch after which the fault word was set
  const Launch *lastLaunch = nullptr; // of the run, unless it was stopped
  uint64_t launchStart = 0;           // when profiling
  bool stopped = false;
};

} // namespace moray::rt
