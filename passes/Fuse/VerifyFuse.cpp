// Checks that every op is inside a kernel whose class it fits.
#include "passes/Fuse/FormKernel.h"
#include "passes/Passes.h"

namespace moray {
#define GEN_PASS_DEF_VERIFYFUSE
#include "passes/Passes.h.inc"
} // namespace moray

using namespace mlir;
using namespace moray;
using lm::KernelClass;

static LogicalResult verifyKernel(lm::KernelOp kernel) {
  KernelClass kernelClass = kernel.getKernelClass();
  bool isGemm = kernelClass == KernelClass::Gemm || kernelClass == KernelClass::GroupedGemm;
  unsigned ops = 0, main = 0;
  for (Operation &op : kernel.getBody().front().without_terminator()) {
    std::optional<KernelClass> found = kernelClassOf(&op);
    // An epilogue of row ops may follow a matrix product.
    if (found != kernelClass && !(isGemm && isa<lm::SliceOp, lm::SwigluOp>(op)))
      return op.emitError() << "E3206: stands in a kernel of class " << lm::stringifyKernelClass(kernelClass)
                            << ", expected " << (found ? lm::stringifyKernelClass(*found) : "no kernel");
    main += found == kernelClass;
    ++ops;
  }
  if (ops == 0 || (kernelClass != KernelClass::Row && main != 1))
    return kernel.emitError() << "E3206: holds " << main << " ops of class " << lm::stringifyKernelClass(kernelClass)
                              << ", expected one";
  return success();
}

namespace {
struct VerifyFuse : moray::impl::VerifyFuseBase<VerifyFuse> {
  void runOnOperation() override {
    for (Block *block : programBlocks(getOperation()))
      for (Operation &op : *block) {
        if (!staysOutsideKernels(&op)) {
          op.emitError("E3205: is outside of a kernel after phase fuse (run --moray-wrap-kernels)");
          return signalPassFailure();
        }
        if (auto kernel = dyn_cast<lm::KernelOp>(op); kernel && failed(verifyKernel(kernel)))
          return signalPassFailure();
      }
  }
};
} // namespace
