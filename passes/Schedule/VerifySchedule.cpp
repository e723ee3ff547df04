// Checks the invariant of the schedule phase: programs over buffers only, every lifetime known, every call and launch
// resolved.
#include "passes/Passes.h"

#include "dialects/Cmd/Cmd.h"
#include "dialects/LM/LM.h"

namespace moray {
#define GEN_PASS_DEF_VERIFYSCHEDULE
#include "passes/Passes.h.inc"
} // namespace moray

using namespace mlir;
using namespace moray;

namespace {
struct VerifySchedule : moray::impl::VerifyScheduleBase<VerifySchedule> {
  void runOnOperation() override {
    unsigned steps = 0;
    for (Operation &op : *getOperation().getBody()) {
      if (!isa<lm::WeightOp, cmd::KernelOp, cmd::ProgramOp>(op)) {
        op.emitError("E3302: is left after the schedule phase, expected only lm.weight, cmd.kernel and cmd.program");
        return signalPassFailure();
      }
      if (auto program = dyn_cast<cmd::ProgramOp>(op)) {
        steps += program.getKind() == cmd::ProgramKind::Step;
        if (failed(verifyProgram(program)))
          return signalPassFailure();
      }
    }
    if (steps != 1) {
      getOperation().emitError() << "E3303: has " << steps << " step programs after the schedule phase, expected one";
      return signalPassFailure();
    }
  }

private:
  static LogicalResult verifyProgram(cmd::ProgramOp program) {
    for (cmd::BufferOp buffer : program.getBody().front().getOps<cmd::BufferOp>()) {
      if (!buffer.getFirst())
        return buffer.emitError("E3304: has no lifetime (run --moray-compute-lifetimes)");
      if (buffer->use_empty())
        return buffer.emitError("E3305: is never used");
    }
    for (cmd::CopyOp copy : program.getBody().front().getOps<cmd::CopyOp>())
      if (copy.getSource() == copy.getTarget())
        return copy.emitError("E3306: copies a buffer onto itself");
    return success();
  }
};
} // namespace
