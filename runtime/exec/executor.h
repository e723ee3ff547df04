// What the engine knows of a device: it runs steps. Binding, sizes of copies and kernel times are the same everywhere.
#pragma once
#include "runtime/base/span.h"
#include "runtime/comm/group.h"
#include "runtime/exec/program.h"

namespace moray::rt {

// One step, or one micro-batch of it: the live counts, and what has to be done with the logits.
struct StepRequest {
  const int32_t (&live)[4];
  bool sample, score;                  // run these programs as well
  bool logits;                         // the caller reads them
  uint64_t mostRows;                   // the most live rows that any rank has in this step; without a group its own
  const StepRequest *second = nullptr; // the other micro-batch of a step with overlap
};

// What the exchange of distributed steps is made of; group and channel outlive the executor.
struct ExchangeSetup {
  const moray_group *group;
  comm::ModelPlacement placement;
  comm::ControlChannel *channel;
};

class Executor {
public:
  Executor(const Artifact &artifact, ExecPlan plan) : artifact(artifact), plan(std::move(plan)) {}
  virtual ~Executor() = default;
  Executor(const Executor &) = delete;
  Executor &operator=(const Executor &) = delete;

  // Runs the step program and those that are asked for; their inputs have been written. 5007 where a kernel reports a
  // value that is not finite, 5013 where a program breaks its plan; GPU: 5001, 5020 to 5022.
  virtual Status step(const StepRequest &request) = 0;
  // Measures the machine: a probe kernel (schema/kernel_abi.h, class Probe), or what the device has of its own. 5009
  // where it has no such probe.
  virtual Status runProbe(const char *name, const moray_probe_options &options, moray_probe_result &result) = 0;
  // Device, level, buckets; the rest belongs to the engine.
  virtual void describe(moray_engine_info &info) const = 0;
  virtual bool compiledByDriver(size_t kernel) const = 0;
  virtual moray_bucket_info bucket(size_t index) const = 0;

  // Distributed steps. All ranks open and close together, and begin each step with the same decision before they run
  // it. CPU: errors of comm::makeCommunicator.
  virtual Status openExchange(const ExchangeSetup &setup) = 0;
  virtual Status closeExchange() = 0;
  // Whether this rank can run the step as a captured graph, if the others can.
  virtual bool replays(const StepRequest &) const { return false; }
  virtual void beginStep(const comm::StepDecision &decision) = 0;
  // A placement that comes later: each call goes on to fetch the weights that this rank lacks, without waiting, until
  // it is `ready`. Then setPlacement, between two steps and on all ranks before the same one, lets it hold.
  virtual Status preparePlacement(const comm::ModelPlacement &placement, bool &ready) = 0;
  virtual Status setPlacement(const comm::ModelPlacement &placement) = 0;
  // Adds the rows that this rank has given to experts since the last call: loads [layers][experts].
  virtual Status addExpertLoads(uint64_t *loads) = 0;

  bool has(Entry entry) const { return plan.entries[static_cast<size_t>(entry)].program != kNoProgram; }
  // Host memory of an input or a result of a micro-batch.
  template <typename T> T *input(schema::InputId id, uint32_t batch) {
    return reinterpret_cast<T *>(hostIo + batch * plan.batchBytes + plan.inputOffsets[static_cast<size_t>(id)]);
  }
  const ExecPlan &planned() const { return plan; }

  struct Counters {
    uint64_t launches, barriers, stepNs, sampleNs;
  };
  const Counters &counters() const { return counted; }
  // All zero unless the engine profiles.
  moray_kernel_profile profileOf(size_t kernel) const;
  void resetProfile();

protected:
  // By slot, when profiling.
  struct Times {
    uint64_t launches = 0, ns = 0;
    std::vector<uint64_t> samples; // of the first launches
  };

  Status bind(const MemoryMap &map);
  void startProfile();
  bool profiling() const { return !times.empty(); }
  void account(uint32_t slot, uint64_t ns);
  uint64_t *symbolsOf(uint32_t batch) { return batch == 0 ? plan.symbols : secondSymbols; }
  // Puts live counts of a micro-batch into its symbols and evaluates sizes of its copies; `mostRows` as in StepRequest.
  // 5013 where one exceeds its plan.
  Status evaluateCopies(const int32_t (&counts)[4], uint64_t mostRows, uint32_t batch = 0);
  Status checkScratch(size_t kernel, uint32_t batch = 0);
  Status memoryError(const char *advice) const; // 5001 with the table of needs
  moray_string kernelName(uint32_t slot) const;
  Status findProbe(const char *name, uint32_t &kernel) const; // 5009 where there is none
  const Artifact &artifact;
  ExecPlan plan;
  uint8_t *hostIo = nullptr;
  Binding bound;
  std::vector<uint64_t> copyBytes;                   // by copy
  uint64_t secondSymbols[schema::kSymbolCount] = {}; // of the second micro-batch; plan.symbols are those of the first
  Counters counted = {};

private:
  std::vector<Times> times;
};

} // namespace moray::rt
