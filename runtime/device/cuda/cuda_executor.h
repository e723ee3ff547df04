// Runs bound programs on a GPU: a decode step is one graph per batch size, everything else single launches on one
// stream; the host waits once, at the end of a step.
#pragma once
#include "runtime/device/cuda/device_memory.h"
#include "runtime/device/cuda/exchange.h"
#include "runtime/device/cuda/module.h"
#include "runtime/device/cuda/upload.h"
#include "runtime/device/options.h"
#include "runtime/exec/executor.h"

namespace moray::rt::cuda {

class CudaExecutor : public Executor {
public:
  CudaExecutor(const Artifact &artifact, ExecPlan plan, std::unique_ptr<Driver> opened, std::unique_ptr<Modules> loaded)
      : Executor(artifact, std::move(plan)), driver(std::move(opened)), modules(std::move(loaded)),
        experts(*driver, this->artifact, this->plan), memory(*driver, this->plan) {}
  ~CudaExecutor() override;

  // Compares need and have before it allocates, binds, uploads the weights. Errors: 5001 with a table of needs, 5010,
  // 5020, 5021.
  Status create(const EngineSetup &setup, const moray_engine_options &options);

  // After 5020 the context is lost: every later step is refused with 5022. After any other error the next step may
  // work.
  Status step(const StepRequest &request) override;
  Status openExchange(const ExchangeSetup &setup) override;
  Status closeExchange() override;
  void beginStep(const comm::StepDecision &decision) override;
  Status preparePlacement(const comm::ModelPlacement &placement, bool &ready) override;
  Status setPlacement(const comm::ModelPlacement &placement) override;
  Status addExpertLoads(uint64_t *loads) override;
  bool replays(const StepRequest &request) const override;
  Status runProbe(const char *name, const moray_probe_options &options, moray_probe_result &result) override;
  void describe(moray_engine_info &info) const override;
  bool compiledByDriver(size_t kernel) const override { return modules->fromPtx(kernel); }
  moray_bucket_info bucket(size_t index) const override;

private:
  // Batch sizes of decode steps that share a graph.
  struct Bucket {
    int32_t seqs;
    GraphExec graph;   // null: not captured yet
    uint64_t launches; // kernels in it
  };
  // A launch between two events, when profiling.
  struct Interval {
    Event begin, end;
    uint32_t slot;
  };

  Status allocate(const EngineSetup &setup);
  Status zeroCounters();
  void makeParameters();
  void makeBuckets(bool graphs);
  Status prepareProfile(bool flush);

  // Waits for the stream; in a group not without a limit.
  Status await(const char *what);
  // After an error: nothing that was enqueued uses memory of the host any more, or the device is left as it is.
  void quiesce();
  void destroyGraphs();
  Status runStep(const StepRequest &request);
  Status setLive(const int32_t (&counts)[4], uint64_t mostRows, uint32_t batch);
  Status upload(const StepRequest &request, uint32_t batch);
  Status uploadGuarded(const StepRequest &request, uint32_t batch);
  Status download(const StepRequest &request, uint32_t batch);
  Status copyUp(Address to, uint64_t offset, uint64_t bytes);
  Status copyDown(Address from, uint64_t offset, uint64_t bytes);
  Status copyInput(schema::InputId id, uint32_t batch, uint64_t bytes);
  Status copyResult(schema::InputId id, uint32_t batch, uint64_t bytes);
  Address inputAddress(schema::InputId id, uint32_t batch) const;
  uint64_t inputOffset(schema::InputId id, uint32_t batch) const {
    return batch * plan.batchBytes + plan.inputOffsets[static_cast<size_t>(id)];
  }

  Bucket *bucketFor(const StepRequest &request);
  Status capture(Bucket &bucket);
  Status launchProgram(Entry entry, uint32_t batch);
  Status launchCollective(const Launch &launch);
  bool hasWork(const Launch &launch) const;
  Status launchKernel(const Launch &launch, void **values);
  Status probeCopy(DeviceMemory &blocks, const moray_probe_options &options, moray_probe_result &result);
  Status probeKernel(DeviceMemory &blocks, uint32_t kernel, const moray_probe_options &options,
                     moray_probe_result &result);
  Status beginInterval(uint32_t slot);
  Status endInterval();
  Status collectIntervals();
  Status faultError(uint32_t word) const;
  Status check(Result result, const char *what);

  std::unique_ptr<Driver> driver;
  std::unique_ptr<Modules> modules;
  ExpertMemory experts;
  DeviceMemory memory;
  Stream stream = nullptr;
  void *pinned = nullptr; // the io block of the host
  std::vector<Bucket> buckets;

  // Parameters of launches: pointers to operands, then to what follows them (schema/kernel_abi.h).
  std::vector<void *> parameters[kBatches][kEntryCount];
  std::vector<Address> scratchOf; // by kernel
  uint64_t liveAddresses[kBatches] = {}, faultAddress = 0;
  std::vector<size_t> gridFirst; // by kernel
  // Of a micro-batch.
  struct Batch {
    std::vector<uint32_t> grids;          // of all stages of all kernels
    int32_t evaluated[4] = {-1, 0, 0, 0}; // the counts that `grids` are for
    uint64_t evaluatedMost = 0;           // and the rows of a rank
  };
  Batch batches[kBatches];

  UploadSource source = {};
  uint64_t uploadedBytes = 0; // of weights
  bool preparing = false;     // another placement
  size_t freshUploaded = 0;   // of ExpertMemory::fresh
  uint32_t rank = 0;
  std::unique_ptr<Exchange> exchange;  // of distributed steps
  bool eager = false;                  // the ranks do not replay a graph in this step
  uint64_t rowsOfRanks[kBatches] = {}; // the most of a rank, that exchanges are enqueued for
  size_t nextCollective = 0;           // of the program that is being launched

  bool waitAfterLaunch = false, lost = false;
  bool stuck = false; // work goes on that cannot be ended: its memory stays
  uint64_t stepNumber = 0, lostStep = 0;
  const char *stepKind = "";
  std::vector<Interval> intervals;
  size_t intervalCount = 0; // of this step
  Address flushMemory = 0;  // written before each launch, so that the L2 cache holds nothing else
  uint64_t flushBytes = 0;
};

// Opens the driver, chooses and loads code, plans and creates. Errors: 4026, 5001, 5008, 5010, 5016 to 5021.
Status createExecutor(const Artifact &artifact, const EngineSetup &setup, const moray_engine_options &options,
                      std::unique_ptr<Executor> &executor);

} // namespace moray::rt::cuda
