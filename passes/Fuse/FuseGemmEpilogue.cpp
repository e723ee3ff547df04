// Fuses swiglu over two row ranges of one matrix product into the kernel of the product.
#include "passes/Fuse/FormKernel.h"
#include "passes/Passes.h"

namespace moray {
#define GEN_PASS_DEF_FUSEGEMMEPILOGUE
#include "passes/Passes.h.inc"
} // namespace moray

using namespace mlir;
using namespace moray;

static bool hasBias(Operation *op) {
  if (auto linear = dyn_cast<lm::LinearOp>(op))
    return static_cast<bool>(linear.getBias());
  auto scaled = dyn_cast<lm::ScaledLinearOp>(op);
  return scaled && scaled.getBias();
}

/// The product, both slices and the swiglu in block order; empty if they do not form a kernel.
static SmallVector<Operation *> matchEpilogue(lm::SwigluOp swiglu) {
  auto gate = swiglu.getGate().getDefiningOp<lm::SliceOp>(), up = swiglu.getUp().getDefiningOp<lm::SliceOp>();
  if (!gate || !up || gate == up || gate.getSource() != up.getSource())
    return {};
  Operation *product = gate.getSource().getDefiningOp();
  if (!product || !isa<lm::LinearOp, lm::ScaledLinearOp, moe::GroupedLinearOp>(product))
    return {};
  if (hasBias(product)) {
    swiglu.emitRemark("declined: the linear has a bias, which the epilogue would have to add to both ranges");
    return {};
  }
  bool onlyHere = gate->hasOneUse() && up->hasOneUse() && std::distance(product->use_begin(), product->use_end()) == 2;
  if (!onlyHere) {
    swiglu.emitRemark("declined: the linear or a slice of it has another use");
    return {};
  }
  return {product, gate, up, swiglu};
}

namespace {
struct FuseGemmEpilogue : moray::impl::FuseGemmEpilogueBase<FuseGemmEpilogue> {
  void runOnOperation() override {
    for (Block *block : programBlocks(getOperation()))
      for (lm::SwigluOp swiglu : llvm::to_vector(block->getOps<lm::SwigluOp>())) {
        SmallVector<Operation *> ops = matchEpilogue(swiglu);
        if (!ops.empty())
          formKernel(ops, *kernelClassOf(ops.front()), kernelDomainOf(ops.front()));
      }
  }
};
} // namespace
