// Numbers the commands of every program and records the first and last command that uses each buffer. A collective that
// is started uses its buffers until the wait.
#include "passes/Passes.h"

#include "dialects/Cmd/Cmd.h"

namespace moray {
#define GEN_PASS_DEF_COMPUTELIFETIMES
#include "passes/Passes.h.inc"
} // namespace moray

using namespace mlir;
using namespace moray;

namespace {
struct ComputeLifetimes : moray::impl::ComputeLifetimesBase<ComputeLifetimes> {
  void runOnOperation() override {
    for (cmd::ProgramOp program : getOperation().getOps<cmd::ProgramOp>()) {
      Numbers numbers, ends;
      for (Operation &op : program.getBody().front())
        if (cmd::isCommand(&op))
          numbers.try_emplace(&op, numbers.size());
      cmd::CollectiveOp started[2];
      for (auto collective : program.getBody().front().getOps<cmd::CollectiveOp>()) {
        if (collective.getWait() && started[collective.getBatch()])
          ends[started[collective.getBatch()]] = numbers.lookup(collective);
        started[collective.getBatch()] = collective;
      }
      for (cmd::BufferOp buffer : llvm::make_early_inc_range(program.getBody().front().getOps<cmd::BufferOp>()))
        setLifetime(buffer, numbers, ends);
    }
  }

private:
  using Numbers = DenseMap<Operation *, int64_t>;

  /// `ends`: of the collectives that are started, the number of the wait.
  static void setLifetime(cmd::BufferOp buffer, const Numbers &numbers, const Numbers &ends) {
    if (buffer->use_empty())
      return buffer.erase();
    int64_t first = numbers.size(), last = 0;
    for (Operation *user : buffer->getUsers()) {
      first = std::min(first, numbers.lookup(user));
      last = std::max({last, numbers.lookup(user), ends.lookup(user)});
    }
    OpBuilder builder(buffer);
    buffer.setFirstAttr(builder.getI64IntegerAttr(first));
    buffer.setLastAttr(builder.getI64IntegerAttr(last));
  }
};
} // namespace
