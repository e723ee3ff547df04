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
    unsigned steps = 0, distributed = 0;
    for (Operation &op : *getOperation().getBody()) {
      if (!isa<lm::WeightOp, cmd::KernelOp, cmd::ProgramOp>(op)) {
        op.emitError("E3302: is left after the schedule phase, expected only lm.weight, cmd.kernel and cmd.program");
        return signalPassFailure();
      }
      if (auto program = dyn_cast<cmd::ProgramOp>(op)) {
        steps += program.getKind() == cmd::ProgramKind::Step;
        distributed += program.getKind() == cmd::ProgramKind::StepDist;
        if (failed(verifyProgram(program)) || failed(verifyCollectives(program)))
          return signalPassFailure();
      }
    }
    if (steps != 1 || distributed > 1) {
      getOperation().emitError() << "E3303: has " << steps << " step and " << distributed
                                 << " step_dist programs after the schedule phase, expected one and at most one";
      return signalPassFailure();
    }
  }

private:
  /// Exchanges are paired, and none is within reach of a program that runs on one rank.
  static LogicalResult verifyCollectives(cmd::ProgramOp program) {
    cmd::CollectiveOp open;
    for (Operation &op : program.getBody().front()) {
      if (auto collective = dyn_cast<cmd::CollectiveOp>(op)) {
        bool dispatch = collective.getCollective() == cmd::Collective::Dispatch;
        if (dispatch == static_cast<bool>(open))
          return collective.emitError() << "E3308: "
                                        << (dispatch ? "stands inside another exchange" : "ends no exchange");
        open = dispatch ? collective : cmd::CollectiveOp();
      }
      auto call = dyn_cast<cmd::CallOp>(op);
      if (!call || program.getKind() == cmd::ProgramKind::StepDist)
        continue;
      auto layer = SymbolTable::lookupNearestSymbolFrom<cmd::ProgramOp>(call, call.getCalleeAttr());
      if (!layer.getBody().getOps<cmd::CollectiveOp>().empty())
        return call.emitError() << "E3309: reaches a collective from " << program.getSymName()
                                << ", which runs on one rank";
    }
    bool mayMove = program.getKind() == cmd::ProgramKind::Layer || program.getKind() == cmd::ProgramKind::StepDist;
    if (!mayMove && !program.getBody().getOps<cmd::CollectiveOp>().empty())
      return program.emitError("E3309: has a collective, but runs on one rank");
    return open ? open.emitError("E3308: is not ended by a combine") : success();
  }

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
