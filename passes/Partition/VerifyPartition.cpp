// Checks that movement between ranks is explicit: never in the step of one rank, always around experts in the other.
#include "passes/Fuse/FormKernel.h"
#include "passes/Passes.h"

namespace moray {
#define GEN_PASS_DEF_VERIFYPARTITION
#include "passes/Passes.h.inc"
} // namespace moray

using namespace mlir;
using namespace moray;

static LogicalResult verifyLocal(Block &block) {
  for (Operation &op : block)
    if (isa<moe::DispatchRanksOp, moe::CombineRanksOp>(op))
      return op.emitError("E3208: moves rows between ranks in the step of one rank");
  return success();
}

static LogicalResult verifyDistributed(Block &block) {
  for (auto kernel : block.getOps<lm::KernelOp>())
    if (kernel.getDomain() == lm::Domain::Slots && !slotOffsets(kernel).getDefiningOp<moe::DispatchRanksOp>())
      return kernel.emitError("E3209: works on slots of its own rank in the distributed step, expected the results of "
                              "a moe.dispatch_ranks (run --moray-partition-experts on the fused module)");
  return success();
}

namespace {
struct VerifyPartition : moray::impl::VerifyPartitionBase<VerifyPartition> {
  void runOnOperation() override {
    SymbolTable symbols(getOperation());
    for (lm::ProgramOp program : getOperation().getOps<lm::ProgramOp>()) {
      auto kind = program->getAttrOfType<lm::ProgramKindAttr>(lm::kKindAttr).getValue();
      auto verify = kind == lm::ProgramKind::StepDist ? verifyDistributed : verifyLocal;
      if (failed(verify(program.getBody().front())))
        return signalPassFailure();
      for (lm::CallOp call : program.getBody().getOps<lm::CallOp>())
        if (failed(verify(symbols.lookup<lm::LayerOp>(call.getCallee()).getBody().front())))
          return signalPassFailure();
    }
  }
};
} // namespace
