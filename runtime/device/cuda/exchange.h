// How a GPU takes part in distributed steps: the kernels of schema/exchange_abi.h between two exchanges of NCCL, all
// enqueued on the stream of the step, so that they are captured with it. Without NCCL, one rank by itself.
//
// Two micro-batches have buffers of their own and share a second stream, so that NCCL sees one order: a start forks to
// it from the stream of the step, a wait joins them. The graph of a step has this fork and join, too.
#pragma once
#include "runtime/comm/nccl_library.h"
#include "runtime/device/cuda/device_memory.h"
#include "runtime/device/cuda/module.h"
#include "runtime/exec/executor.h"
#include "runtime/schema/exchange_abi.h"
#include <memory>

namespace moray::rt::cuda {

class Exchange {
public:
  // All must outlive it.
  Exchange(const Driver &driver, const Modules &modules, const Artifact &artifact, const ExecPlan &plan, Stream stream)
      : driver(driver), modules(modules), artifact(artifact), plan(plan), stream(stream) {}
  ~Exchange();

  // `calls` are those of the program, in its order. 5012 without kernels for it, 5001, 5020, 5021; NcclLink::open.
  Status open(const ExchangeSetup &setup, DeviceMemory &memory, Span<const CollectiveCall> calls);
  // Between two steps; all ranks before the same one. As many slots as before.
  Status setPlacement(const comm::ModelPlacement &placement);
  void beginStep(uint64_t number) { step = number; }
  // Enqueues what a step needs before it runs. `mostRows` is T of exchange_abi.h, of each micro-batch.
  Status beginRun(const uint64_t (&mostRows)[comm::kMicroBatches]);
  // Enqueues call `index` of the program. `empty`: this rank has no rows, and its kernels have written nothing.
  Status run(size_t index, uint64_t mostRows, bool empty);
  // Waits for the stream, as long as the group is whole and rows arrive. `result` is what the driver says at the end.
  Status await(Result &result);
  // Adds the counters of rows given to experts to `loads` and zeroes them; the stream is idle.
  Status addLoads(uint64_t *loads);
  // The sentence for a fault word of an exchange.
  Status faultError(uint32_t word) const;

  // The orderly end of all ranks; no graph holds an exchange any more.
  Status close();
  // Ends what is in flight on this rank alone; false where the device does not come to rest within a second. Graphs
  // have been destroyed.
  bool abandon();

private:
  enum Kernel { Plan, Pack, Check, Merge, Return, Finish };
  static constexpr size_t kKernels = 6;
  struct Batch {
    Address step, sendMeta, recvMeta, sendRows, sendScales, sendResults, recvResults, handle;
    Address gates; // of the latest dispatch
    Event ended;   // of what it has started
  };
  // Parameters of one dispatch and its combine.
  struct Site {
    moray_exchange_params params;
    Address address;
  };
  // What the device copies from, and reports to.
  struct Pinned {
    moray_exchange_step steps[comm::kMicroBatches];
    uint32_t progress; // mark of the latest exchange
  };

  Status findKernels();
  Status makeTransfers();
  Status makeSites(Span<const CollectiveCall> calls, DeviceMemory &memory, uint32_t slotsPerRank);
  Status makeBuffers(DeviceMemory &memory);
  Status copyUp(Address to, const void *from, uint64_t bytes);
  Status launch(Kernel kernel, uint64_t grid, Span<Address> operands, const CollectiveCall &call);
  Status mark(const comm::Place &place);
  Status dispatch(const CollectiveCall &call, const Site &site, uint64_t mostRows, bool empty);
  Status combine(const CollectiveCall &call, const Site &site, uint64_t mostRows);
  comm::Place placeOf(uint32_t mark) const;
  // Where the kernels write what this rank sends to itself.
  Address own(Address send, Address receive) const { return link && link->exchangesOwn() ? send : receive; }
  Address tableOf(int32_t layer) const {
    return tables + static_cast<uint64_t>(layer < 0 ? 0 : layer) * plan.exchange.table;
  }

  const Driver &driver;
  const Modules &modules;
  const Artifact &artifact;
  const ExecPlan &plan;
  const Stream stream;
  Stream transfers = stream; // with two micro-batches another one
  Event forked = nullptr;
  std::unique_ptr<comm::NcclLink> link; // null: one rank
  comm::ControlChannel *channel = nullptr;
  uint32_t rank = 0, deadlineMs = 0;
  uint32_t kernels[kKernels] = {};
  Batch batches[comm::kMicroBatches] = {};
  std::vector<const CollectiveCall *> program;
  std::vector<uint32_t> siteOf; // by call
  std::vector<Site> sites;
  Address tables = 0, loads = 0, marks = 0, faultAddress = 0, liveAddresses[comm::kMicroBatches] = {};
  Pinned *pinned = nullptr;
  uint64_t step = 0;
  bool closed = false;
};

} // namespace moray::rt::cuda
