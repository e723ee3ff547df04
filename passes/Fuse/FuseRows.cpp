// Groups row-wise ops into row kernels: each op joins the first kernel of its domain that it can.
#include "passes/Fuse/FormKernel.h"
#include "passes/Passes.h"

#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace moray {
#define GEN_PASS_DEF_FUSEROWS
#include "passes/Passes.h.inc"
} // namespace moray

using namespace mlir;
using namespace moray;

/// Moves pure row ops down to their first user, so that what is computed early but needed late (the routed sum, which
/// waits for the shared expert) can join the kernel that needs it.
static void sinkRowOps(Block &block) {
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block))) {
    if (kernelClassOf(&op) != lm::KernelClass::Row || !isMemoryEffectFree(&op) || op.use_empty())
      continue;
    Operation *first = nullptr;
    for (Operation *user : op.getUsers())
      if (!first || user->isBeforeInBlock(first))
        first = user;
    for (Operation *between = op.getNextNode(); between != first; between = between->getNextNode())
      if (kernelClassOf(between) != lm::KernelClass::Row) {
        op.moveBefore(first);
        break;
      }
  }
}

namespace {
struct Group {
  RowDomain domain;
  SmallVector<Operation *> ops; // in block order; the kernel will stand where the first one stands
};
} // namespace

/// True if no op between the start of `group` and `op` that stays where it is touches memory: then `op` may move up
/// past them.
static bool mayMoveUp(Operation *op, const Group &group) {
  if (isMemoryEffectFree(op))
    return true;
  for (Operation *other = group.ops.front(); other != op; other = other->getNextNode())
    if (!llvm::is_contained(group.ops, other) && !isMemoryEffectFree(other))
      return false;
  return true;
}

/// True for values of the step, false for weights.
static bool isRows(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && !type.hasStaticShape();
}

/// True if a common kernel saves memory traffic (`op` reads rows that the group makes or reads) or a launch that
/// nothing stands before. Without this a sum that is needed late would join an unrelated kernel and be stored and read
/// again.
static bool isRelated(Operation *op, const Group &group) {
  for (Value operand : op->getOperands())
    if (isRows(operand) && llvm::any_of(operand.getUsers(), [&](Operation *user) {
          return user != op && llvm::is_contained(group.ops, user);
        }))
      return true;
    else if (operand.getDefiningOp() && llvm::is_contained(group.ops, operand.getDefiningOp()))
      return true;
  for (Operation *between = group.ops.back(); between != op; between = between->getNextNode())
    if (kernelClassOf(between) != lm::KernelClass::Row)
      return false;
  return true;
}

static bool canJoin(Operation *op, const RowDomain &domain, const Group &group) {
  if (!(domain == group.domain) || !isRelated(op, group))
    return false;
  for (Value operand : op->getOperands()) {
    Operation *def = operand.getDefiningOp();
    if (def && !llvm::is_contained(group.ops, def) && !def->isBeforeInBlock(group.ops.front()))
      return false;
  }
  return mayMoveUp(op, group);
}

static SmallVector<Group> groupRowOps(Block &block) {
  SmallVector<Group> groups;
  for (Operation &op : block) {
    if (kernelClassOf(&op) != lm::KernelClass::Row || isOpTriviallyDead(&op))
      continue;
    RowDomain domain = kernelDomainOf(&op);
    auto group = llvm::find_if(groups, [&](const Group &candidate) { return canJoin(&op, domain, candidate); });
    if (group == groups.end())
      groups.push_back({domain, {&op}});
    else
      group->ops.push_back(&op);
  }
  return groups;
}

namespace {
struct FuseRows : moray::impl::FuseRowsBase<FuseRows> {
  void runOnOperation() override {
    for (Block *block : programBlocks(getOperation())) {
      hoistSymbolValues(*block);
      sinkRowOps(*block);
      for (const Group &group : groupRowOps(*block)) {
        formKernel(group.ops, lm::KernelClass::Row, group.domain);
        ++numKernels;
      }
    }
  }
};
} // namespace
