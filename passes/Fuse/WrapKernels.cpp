// Puts every op that no fusion took into a kernel of its own.
#include "passes/Fuse/FormKernel.h"
#include "passes/Passes.h"

#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace moray {
#define GEN_PASS_DEF_WRAPKERNELS
#include "passes/Passes.h.inc"
} // namespace moray

using namespace mlir;
using namespace moray;

namespace {
struct WrapKernels : moray::impl::WrapKernelsBase<WrapKernels> {
  void runOnOperation() override {
    for (Block *block : programBlocks(getOperation())) {
      hoistSymbolValues(*block);
      eraseDead(*block);
      for (Operation &op : llvm::make_early_inc_range(*block)) {
        if (staysOutsideKernels(&op))
          continue;
        std::optional<lm::KernelClass> kernelClass = kernelClassOf(&op);
        if (!kernelClass) {
          op.emitError("E3204: has no kernel class, expected an op that phase fuse knows (moe.experts needs "
                       "--moray-expand-experts)");
          return signalPassFailure();
        }
        formKernel(&op, *kernelClass, kernelDomainOf(&op));
      }
    }
  }

private:
  /// A kernel without results and effects could not be told from a forgotten one.
  static void eraseDead(Block &block) {
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
      if (isOpTriviallyDead(&op))
        op.erase();
  }
};
} // namespace
