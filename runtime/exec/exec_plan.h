// Decides, before anything is allocated, what an engine of given capacities needs: buffers, scratch, inputs, every byte
// of memory.
#pragma once
#include "runtime/artifact/artifact.h"
#include "runtime/comm/communicator.h"
#include "runtime/exec/memory_plan.h"
#include <vector>

namespace moray::rt {

// Micro-batches of a step with overlap.
constexpr uint32_t kBatches = comm::kMicroBatches;
// rows, decode, seqs, outs of each.
using LiveCounts = int32_t[kBatches][4];

// Sizes that are fixed for the life of an engine; rows, seqs and outs are those of one micro-batch.
struct Capacities {
  uint64_t rows;       // T
  uint64_t seqs;       // B
  uint64_t outs;       // N
  uint64_t pages;      // P: width of a page table
  uint64_t cachePages; // C
  uint32_t threads;
  uint32_t ranks = 1;          // R: processes that share the experts
  bool distributed = false;    // run the distributed step
  uint32_t batches = 1;        // kBatches: run the distributed step of two micro-batches
  uint64_t granule = 2u << 20; // GPU: of memory that is mapped for single experts; 0: they cannot be
  uint64_t expertSlots = 0;    // P: places for experts on all ranks; 0: as few as there can be
};

constexpr size_t kInputCount = static_cast<size_t>(schema::InputId::MAX) + 1;
constexpr uint64_t kNoProgram = ~uint64_t{0};
constexpr uint32_t kCollectiveSlots = static_cast<uint32_t>(schema::CollectiveKind::MAX) + 1;

// The programs that the engine runs; layer programs are expanded into them.
enum class Entry { Step, Sample, Score };
constexpr size_t kEntryCount = 3;

struct EntryPlan {
  uint64_t program = kNoProgram; // index in the target
  uint64_t frameBytes = 0;       // its own buffers; the frame of the called layers follows
  uint64_t launches = 0;         // of one run
  uint64_t operands = 0;
};

// What a device runs: a target of the artifact and one variant for each of its kernels.
struct TargetCode {
  uint32_t index = 0; // of the target
  const schema::Target *target = nullptr;
  std::vector<const schema::Variant *> variants; // by kernel
};

// What a GPU needs to exchange rows with other GPUs (schema/exchange_abi.h), for the most rows that there can be. Bytes
// of single allocations; everything 0 where nothing is exchanged.
struct ExchangePlan {
  uint32_t batches = 0;                                             // micro-batches, each with buffers of its own
  uint64_t meta = 0, rows = 0, scales = 0, results = 0, handle = 0; // of a micro-batch; meta and results twice
  uint64_t sites = 0;                                               // parameter blocks
  uint64_t table = 0;                                               // placement, of a layer
  uint64_t loads = 0, marks = 0;                                    // counters of experts, progress
};

struct ExecPlan {
  // Fills everything. Errors: 5008 beyond the bounds of the artifact, of a launch or of 64 bits; 5012 without the
  // distributed step that is needed. `memory.available` is left to the device.
  static Status make(const Artifact &artifact, TargetCode code, const Capacities &capacities, ExecPlan &plan);

  // Sample and score run once for each micro-batch, from inputs of their own.
  uint32_t runsOf(Entry entry) const { return entry == Entry::Step ? 1 : capacities.batches; }
  bool onGpu() const { return code.target->device() == schema::DeviceKind::Cuda; }
  // Slots of launches: kernels, the two collectives, copies.
  uint32_t collectiveSlot(schema::CollectiveKind kind) const {
    return static_cast<uint32_t>(code.variants.size()) + static_cast<uint32_t>(kind);
  }
  uint32_t firstCopySlot() const { return static_cast<uint32_t>(code.variants.size()) + kCollectiveSlots; }
  // Where tensor `number` of a weight lies in the weight memory.
  uint64_t weightOffset(const Artifact &artifact, uint32_t weight, uint32_t number) const;

  // GPU of a group: a rank holds only its experts of this weight, at addresses for all of them.
  bool isExpertWeight(uint32_t weight) const { return weight < expertBytes.size() && expertBytes[weight] != 0; }
  // What the memory counts for them once their granules are known.
  void setExpertMemory(uint64_t bytes);
  // Everything else on a GPU.
  uint64_t arenaBytes() const;

  TargetCode code;
  Capacities capacities = {};
  uint64_t alignment = 0;                          // of everything that is placed in memory
  uint64_t symbols[schema::kSymbolCount] = {};     // live counts at their capacity
  std::vector<std::vector<PlannedBuffer>> buffers; // by program
  EntryPlan entries[kEntryCount];

  uint64_t inputBytes[kInputCount] = {};
  uint64_t inputOffsets[kInputCount] = {}; // in the io block, of the first micro-batch
  uint64_t batchBytes = 0;                 // from the inputs of one micro-batch to those of the next
  // GPU: the io block starts with what a step uploads: inputs, then the live counts, then the fault word. What it
  // downloads starts at the fault word. Page table and logits come last: only their live part is copied.
  uint64_t liveOffset = 0, faultOffset = 0, uploadBytes = 0;

  uint64_t cacheLayerBytes = 0;
  std::vector<uint64_t> scratch;          // by kernel; CPU: of a worker
  uint64_t scratchBytes = 0;              // the largest; CPU: of a worker
  std::vector<uint64_t> gpuWeightOffsets; // by weight and number, kNoOffset where the target does not use it
  std::vector<size_t> gpuWeightFirst;     // by weight: its place in gpuWeightOffsets
  std::vector<uint64_t> expertBytes;      // by weight: of one expert; 0: not shared by ranks. Empty: nothing is
  uint64_t expertRange = 0;               // of the addresses; offsets of expert weights count from their start
  uint64_t arenaWeights = 0;              // GPU: of the other weights
  ExchangePlan exchange;
  moray_memory_plan memory = {};

private:
  Status bindSymbols(const Artifact &artifact);
  Status planKernels();
  Status planBuffers();
  Status planEntries(moray_string targetName);
  void planInputs(const Artifact &artifact);
  Status planWeights(const Artifact &artifact);
  Status planExchange(const Artifact &artifact);
  Status planTotals(const Artifact &artifact);
};

// By weight: whether an argument of the target's programs names it.
std::vector<bool> usedWeights(const Artifact &artifact, const schema::Target &target);

// By weight: bytes of one expert where each tensor holds all experts of a layer, one behind the other, and nothing but
// grouped products reads it; else 0.
std::vector<uint64_t> expertWeights(const Artifact &artifact, const schema::Target &target);

// Evaluates a checked expression; 5008 where it exceeds 64 bits or divides by zero at these sizes.
Status evaluateSize(const flatbuffers::Vector<const schema::ExprOp *> *ops, const uint64_t *symbols, uint64_t &result);

// "cpu, cuda:sm_80": for messages.
std::string listTargets(const Artifact &artifact);

} // namespace moray::rt
