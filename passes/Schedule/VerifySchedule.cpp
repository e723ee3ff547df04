// Checks the invariant of the schedule phase: programs over buffers only, every lifetime known, every call and launch
// resolved.
#include "passes/Passes.h"

#include "dialects/LM/LM.h"
#include "passes/Schedule/Effects.h"

namespace moray {
#define GEN_PASS_DEF_VERIFYSCHEDULE
#include "passes/Passes.h.inc"
} // namespace moray

using namespace mlir;
using namespace moray;

namespace {
struct VerifySchedule : moray::impl::VerifyScheduleBase<VerifySchedule> {
  void runOnOperation() override {
    unsigned steps = 0, distributed = 0, overlapped = 0;
    for (Operation &op : *getOperation().getBody()) {
      if (!isa<lm::WeightOp, cmd::KernelOp, cmd::ProgramOp>(op)) {
        op.emitError("E3302: is left after the schedule phase, expected only lm.weight, cmd.kernel and cmd.program");
        return signalPassFailure();
      }
      if (auto program = dyn_cast<cmd::ProgramOp>(op)) {
        steps += program.getKind() == cmd::ProgramKind::Step;
        distributed += program.getKind() == cmd::ProgramKind::StepDist;
        overlapped += program.getKind() == cmd::ProgramKind::StepOverlap;
        if (failed(verifyProgram(program)) || failed(verifyCollectives(program)) || failed(verifyBatches(program)))
          return signalPassFailure();
      }
    }
    if (steps != 1 || distributed > 1 || overlapped > distributed) {
      getOperation().emitError() << "E3303: has " << steps << " step, " << distributed << " step_dist and "
                                 << overlapped
                                 << " step_overlap programs after the schedule phase, expected one, at most one, and "
                                    "the last not alone";
      return signalPassFailure();
    }
  }

private:
  static bool isDistributed(cmd::ProgramOp program) {
    return program.getKind() == cmd::ProgramKind::StepDist || program.getKind() == cmd::ProgramKind::StepOverlap;
  }

  /// What a program does in one micro-batch: at rest, after its dispatch, or while a collective is open.
  struct Exchange {
    cmd::CollectiveOp dispatched, open;
    std::optional<Effects> effects; // of what is open
  };

  /// The next collective of its batch: combines follow dispatches, waits follow starts.
  static LogicalResult advance(cmd::CollectiveOp collective, Exchange &exchange) {
    bool dispatch = collective.getCollective() == cmd::Collective::Dispatch;
    if (collective.getWait() != static_cast<bool>(exchange.open) ||
        (exchange.open && exchange.open.getCollective() != collective.getCollective()))
      return collective.emitError("E3308: ")
             << (collective.getWait() ? "waits for what was not started" : "follows a start without its wait");
    if (dispatch == static_cast<bool>(exchange.dispatched))
      return collective.emitError("E3308: ") << (dispatch ? "stands inside another exchange" : "ends no exchange");
    exchange.open = collective.getStart() ? collective : cmd::CollectiveOp();
    exchange.effects.reset();
    if (collective.getStart())
      exchange.effects = effectsOf(collective);
    else
      exchange.dispatched = dispatch ? collective : cmd::CollectiveOp();
    return success();
  }

  /// Exchanges are paired in each batch, nobody touches what is under way, and none is within reach of a program that
  /// runs on one rank. That there is one order of collectives follows: a program is the same on all ranks.
  static LogicalResult verifyCollectives(cmd::ProgramOp program) {
    Exchange batches[2];
    for (Operation &op : program.getBody().front()) {
      if (!cmd::isCommand(&op))
        continue;
      auto collective = dyn_cast<cmd::CollectiveOp>(op);
      Effects effects = effectsOf(&op);
      for (Exchange &other : batches)
        if (other.effects && other.effects->conflictsWith(effects))
          return op.emitError("E3312: touches memory of a collective that is under way").attachNote(other.open.getLoc())
                 << "it is started here";
      if (collective && failed(advance(collective, batches[collective.getBatch()])))
        return failure();
      auto call = dyn_cast<cmd::CallOp>(op);
      if (!call || isDistributed(program))
        continue;
      auto layer = SymbolTable::lookupNearestSymbolFrom<cmd::ProgramOp>(call, call.getCalleeAttr());
      if (!layer.getBody().getOps<cmd::CollectiveOp>().empty())
        return call.emitError() << "E3309: reaches a collective from " << program.getSymName()
                                << ", which runs on one rank";
    }
    bool mayMove = program.getKind() == cmd::ProgramKind::Layer || isDistributed(program);
    if (!mayMove && !program.getBody().getOps<cmd::CollectiveOp>().empty())
      return program.emitError("E3309: has a collective, but runs on one rank");
    for (Exchange &exchange : batches) {
      if (exchange.open)
        return exchange.open.emitError("E3308: is not waited for");
      if (exchange.dispatched)
        return exchange.dispatched.emitError("E3308: is not ended by a combine");
    }
    return success();
  }

  static int64_t batchOf(Operation &op) {
    auto batch = op.getAttrOfType<IntegerAttr>("batch");
    return batch ? batch.getInt() : 0;
  }

  /// Only an overlapped step and its layers have a second batch. A layer that runs both gets buffers for both: memory
  /// of the engine as an argument would not say which.
  static LogicalResult verifyBatches(cmd::ProgramOp program) {
    bool overlaps = program.getKind() == cmd::ProgramKind::StepOverlap;
    for (Operation &op : program.getBody().front()) {
      if (batchOf(op) && !overlaps && program.getKind() != cmd::ProgramKind::Layer)
        return op.emitError(
            "E3310: belongs to a second micro-batch, which only an overlapped step and its layers have");
      auto call = dyn_cast<cmd::CallOp>(op);
      if (!call)
        continue;
      auto layer = SymbolTable::lookupNearestSymbolFrom<cmd::ProgramOp>(call, call.getCalleeAttr());
      if (!llvm::any_of(layer.getBody().front(), batchOf))
        continue;
      if (!overlaps || call.getBatch() ||
          llvm::any_of(call.getArgs(), [](Value arg) { return arg.getDefiningOp<cmd::InputOp>() != nullptr; }))
        return call.emitError("E3311: calls a layer of two micro-batches, expected a step_overlap that calls it for "
                              "both, with buffers");
    }
    return success();
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
