// Forms the kernels of routing: the router itself and the permutation of its choices.
#include "passes/Fuse/FormKernel.h"
#include "passes/Passes.h"

namespace moray {
#define GEN_PASS_DEF_FUSEROUTER
#include "passes/Passes.h.inc"
} // namespace moray

using namespace mlir;
using namespace moray;

namespace {
struct FuseRouter : moray::impl::FuseRouterBase<FuseRouter> {
  void runOnOperation() override {
    for (Block *block : programBlocks(getOperation())) {
      hoistSymbolValues(*block);
      for (Operation &op : llvm::make_early_inc_range(*block)) {
        if (auto route = dyn_cast<moe::RouteOp>(op)) {
          if (llvm::any_of(route->getUsers(), [](Operation *user) { return isa<moe::ExpertsOp>(user); }))
            route.emitRemark(
                "declined: the choices enter moe.experts, expected the grouped form of --moray-expand-experts");
          else
            formKernel(&op, lm::KernelClass::Router, kernelDomainOf(&op));
        } else if (isa<moe::DispatchOp>(op)) {
          formKernel(&op, lm::KernelClass::Permute, kernelDomainOf(&op));
        }
      }
    }
  }
};
} // namespace
