// A program as the executor runs it: a flat array of launches, calls expanded, every operand a pointer.
#pragma once
#include "runtime/exec/exec_plan.h"
#include "runtime/schema/kernel_abi.h"
#include <vector>

namespace moray::rt {

struct Launch {
  moray_kernel_fn function;
  moray_kernel_args args;
  uint32_t slot;    // index into the executor's task counts: the kernel, or a copy behind the kernels
  uint32_t inLayer; // whether args.layer means something
};

// A copy command: its size is evaluated with the task counts.
struct CopySlot {
  const flatbuffers::Vector<const schema::ExprOp *> *expression;
  uint64_t limit; // bytes of the smaller side
};

// Where things are once memory is allocated.
struct MemoryMap {
  uint8_t *activations;
  uint8_t *io;
  uint8_t *cache;
  const uint8_t *weights;
  const int32_t *live;
  const uint64_t *symbols;
  Span<const uint8_t *const> images; // by image; null where the level does not use it
};

struct BoundProgram {
  std::vector<Launch> launches;
  std::vector<void *> operands; // tables of all launches, back to back
};

// Launches and operands of one run of an entry program.
void countLaunches(const schema::Target &target, const schema::Program &program, uint64_t &launches,
                   uint64_t &operands);

// Expands entry program `entry`. Copies are appended to `copies`; slot numbers of copies start behind the kernels.
Status bindProgram(const Artifact &artifact, const ExecPlan &plan, const MemoryMap &map, Entry entry,
                   std::vector<CopySlot> &copies, BoundProgram &program);

// A copy has a third operand, which the executor points at the size of its slot.
constexpr uint64_t kCopyOperands = 3;
constexpr uint64_t kCopyTaskBytes = 64u << 10;

} // namespace moray::rt
