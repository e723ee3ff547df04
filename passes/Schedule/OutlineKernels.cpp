// Moves every lm.kernel region into a cmd.kernel symbol; regions that are equal share one symbol.
#include "passes/Passes.h"

#include "dialects/Cmd/Cmd.h"
#include "dialects/LM/LM.h"
#include "mlir/IR/AsmState.h"

namespace moray {
#define GEN_PASS_DEF_OUTLINEKERNELS
#include "passes/Passes.h.inc"
} // namespace moray

using namespace mlir;
using namespace moray;

namespace {
/// Everything that determines the code of a kernel as text: class, domain and the region with canonical value numbers.
std::string kernelKey(lm::KernelOp kernel) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << lm::stringifyKernelClass(kernel.getKernelClass()) << ' ' << lm::stringifyDomain(kernel.getDomain()) << ' '
         << kernel.getSlotsPerRow().value_or(0);
  for (BlockArgument argument : kernel.getBody().getArguments())
    stream << ' ' << argument.getType();
  OpPrintingFlags flags;
  flags.useLocalScope().skipRegions(false);
  AsmState state(kernel, flags);
  for (Operation &op : kernel.getBody().front()) {
    stream << '\n';
    op.print(stream, state);
  }
  return text;
}

struct OutlineKernels : moray::impl::OutlineKernelsBase<OutlineKernels> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    SmallVector<lm::KernelOp> kernels;
    module.walk([&](lm::KernelOp kernel) { kernels.push_back(kernel); });
    llvm::StringMap<cmd::KernelOp> outlined;
    llvm::StringMap<unsigned> numbers;
    for (cmd::KernelOp kernel : module.getOps<cmd::KernelOp>())
      ++numbers[lm::stringifyKernelClass(kernel.getKernelClass())];
    OpBuilder atEnd = OpBuilder::atBlockEnd(module.getBody());
    for (lm::KernelOp kernel : kernels) {
      cmd::KernelOp &symbol = outlined[kernelKey(kernel)];
      if (!symbol) {
        StringRef className = lm::stringifyKernelClass(kernel.getKernelClass());
        StringAttr name = atEnd.getStringAttr(className + "_" + Twine(numbers[className]++));
        symbol = cmd::KernelOp::create(atEnd, kernel.getLoc(), name, kernel.getKernelClassAttr(),
                                       kernel.getDomainAttr(), kernel.getSlotsPerRowAttr());
        symbol.getBody().takeBody(kernel.getBody());
      }
      OpBuilder builder(kernel);
      auto invoke = cmd::InvokeOp::create(builder, kernel.getLoc(), kernel.getResultTypes(),
                                          FlatSymbolRefAttr::get(symbol.getSymNameAttr()), kernel.getInputs());
      kernel.replaceAllUsesWith(invoke);
      kernel.erase();
    }
  }
};
} // namespace
