// Numbers the commands of every program and records the first and last command that uses each buffer. A collective that
// is started uses its buffers until the wait, and gates that are sent are used until the combine has ended.
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
      Ends ends = endsOfCollectives(program, numbers);
      for (cmd::BufferOp buffer : llvm::make_early_inc_range(program.getBody().front().getOps<cmd::BufferOp>()))
        setLifetime(buffer, numbers, ends);
    }
  }

private:
  using Numbers = DenseMap<Operation *, int64_t>;
  using Ends = DenseMap<Value, int64_t>; // by buffer: the last command that it has to live for besides its users

  static Ends endsOfCollectives(cmd::ProgramOp program, const Numbers &numbers) {
    Ends ends;
    cmd::CollectiveOp begun[2], dispatches[2]; // by batch
    for (auto collective : program.getBody().front().getOps<cmd::CollectiveOp>()) {
      cmd::CollectiveOp &start = begun[collective.getBatch()], &dispatch = dispatches[collective.getBatch()];
      int64_t number = numbers.lookup(collective);
      if (!collective.getWait())
        start = collective;
      if (!start)
        continue; // no valid program
      for (Value arg : start.getArgs())
        ends[arg] = std::max(ends.lookup(arg), number);
      if (collective.getCollective() == cmd::Collective::Dispatch)
        dispatch = start;
      else if (dispatch)
        ends[dispatch.getArgs()[3]] = number;
    }
    return ends;
  }

  static void setLifetime(cmd::BufferOp buffer, const Numbers &numbers, const Ends &ends) {
    if (buffer->use_empty())
      return buffer.erase();
    int64_t first = numbers.size(), last = ends.lookup(buffer.getResult());
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
