// Numbers the commands of every program and records the first and last command that uses each buffer.
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
      DenseMap<Operation *, int64_t> numbers;
      for (Operation &op : program.getBody().front())
        if (cmd::isCommand(&op))
          numbers.try_emplace(&op, numbers.size());
      for (cmd::BufferOp buffer : llvm::make_early_inc_range(program.getBody().front().getOps<cmd::BufferOp>()))
        setLifetime(buffer, numbers);
    }
  }

private:
  static void setLifetime(cmd::BufferOp buffer, const DenseMap<Operation *, int64_t> &numbers) {
    if (buffer->use_empty())
      return buffer.erase();
    int64_t first = numbers.size(), last = 0;
    for (Operation *user : buffer->getUsers()) {
      first = std::min(first, numbers.lookup(user));
      last = std::max(last, numbers.lookup(user));
    }
    OpBuilder builder(buffer);
    buffer.setFirstAttr(builder.getI64IntegerAttr(first));
    buffer.setLastAttr(builder.getI64IntegerAttr(last));
  }
};
} // namespace
