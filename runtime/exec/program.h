// A program as a device runs it: a flat array of launches, calls expanded, every operand an address.
#pragma once
#include "runtime/exec/exec_plan.h"
#include "runtime/schema/kernel_abi.h"
#include <vector>

namespace moray::rt {

struct Launch {
  moray_kernel_fn function; // set by the CPU; a GPU finds its kernel by the slot
  moray_kernel_args args;   // `live` and `symbols` are set by the CPU
  uint32_t slot;            // the kernel, or a collective or copy behind the kernels
  uint8_t batch;            // micro-batch
  bool inLayer;             // whether args.layer means something
  bool starts;              // a collective that others need not wait for
};

// A copy command: its size is evaluated with the live counts.
struct CopySlot {
  const flatbuffers::Vector<const schema::ExprOp *> *expression;
  uint64_t limit; // bytes of the smaller side
  uint32_t batch;
};

// A collective with the memory of its operands, in the order of artifact.fbs; the end of one has none.
struct CollectiveCall {
  struct Area {
    void *address;
    uint64_t bytes;
  };
  schema::CollectiveKind kind;
  schema::CollectivePhase phase;
  uint8_t batch;
  schema::DType type; // of the elements of a row
  int32_t layer;      // -1 outside layers
  uint32_t rowBytes, scaleBytes;
  Area args[kDispatchArgs];
};

// Where things are once memory is allocated: an address for everything that an operand can name. Addresses of a GPU are
// kept as pointers that the host does not follow.
class MemoryMap {
public:
  virtual ~MemoryMap() = default;
  // A buffer of a program while `entry` runs.
  virtual uint8_t *buffer(Entry entry, uint32_t program, uint32_t index) const = 0;
  virtual uint8_t *input(uint32_t id, uint32_t batch) const = 0;
  virtual uint8_t *cache(uint64_t layer) const = 0;
  virtual uint8_t *weight(uint32_t index, uint32_t number) const = 0;
};

// One block for each kind of memory, laid out as the plan says.
class PackedMap : public MemoryMap {
public:
  struct Blocks {
    uint8_t *activations, *io, *cache, *weights;
    uint8_t *experts = nullptr; // ExecPlan::isExpertWeight
  };
  // Artifact and plan must outlive the map.
  PackedMap(const Artifact &artifact, const ExecPlan &plan, const Blocks &blocks)
      : artifact(artifact), plan(plan), blocks(blocks) {}
  uint8_t *buffer(Entry entry, uint32_t program, uint32_t index) const override;
  uint8_t *input(uint32_t id, uint32_t batch) const override {
    return blocks.io + batch * plan.batchBytes + plan.inputOffsets[id];
  }
  uint8_t *cache(uint64_t layer) const override { return blocks.cache + layer * plan.cacheLayerBytes; }
  uint8_t *weight(uint32_t index, uint32_t number) const override {
    return (plan.isExpertWeight(index) ? blocks.experts : blocks.weights) + plan.weightOffset(artifact, index, number);
  }

private:
  const Artifact &artifact;
  const ExecPlan &plan;
  const Blocks blocks;
};

// What an operand names, parameters resolved.
struct Operand {
  schema::ArgKind kind;
  uint32_t program; // of a buffer
  uint32_t index;
};

struct BoundProgram {
  std::vector<Launch> launches;
  std::vector<void *> operands; // tables of all launches, back to back
};

// Launches and operands of one run of an entry program.
void countLaunches(const schema::Target &target, const schema::Program &program, uint64_t &launches,
                   uint64_t &operands);

// What binding produces.
struct Binding {
  BoundProgram programs[kBatches][kEntryCount];     // the step is the first, whatever its micro-batches
  std::vector<CopySlot> copies;                     // by copy: its slot counts from ExecPlan::firstCopySlot()
  std::vector<CollectiveCall> collectives;          // in the order of their launches
  std::vector<std::vector<Operand>> kernelOperands; // by kernel: of its first launch; empty where it is not launched
};

// Expands all entry programs.
Status bindPrograms(const Artifact &artifact, const ExecPlan &plan, const MemoryMap &map, Binding &binding);

// A copy has a third operand, which the CPU points at the size of its slot.
constexpr uint64_t kCopyOperands = 3;
// A collective has two operands, both set by the device: its CollectiveCall and the executor.
constexpr uint64_t kCollectiveOperands = 2;

} // namespace moray::rt
