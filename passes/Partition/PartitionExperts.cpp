// Makes the distributed step: the same kernels, with the slots of every MoE layer sent to the ranks of their experts.
#include "passes/Fuse/FormKernel.h"
#include "passes/Passes.h"

namespace moray {
#define GEN_PASS_DEF_PARTITIONEXPERTS
#include "passes/Passes.h.inc"
} // namespace moray

using namespace mlir;
using namespace moray;

namespace {
/// The matrix products over the slots of a layer, what they read of the dispatch, and their result per slot.
struct ExpertKernels {
  SmallVector<lm::KernelOp> kernels; // in block order
  Value rows, tokens, offsets, result;
};

struct PartitionExperts : moray::impl::PartitionExpertsBase<PartitionExperts> {
  void runOnOperation() override;
};
} // namespace

static bool decline(Operation *op, const Twine &why) {
  op->emitRemark("declined: ") << why;
  return false;
}

/// The value outside of `kernel` that enters it as `inside`.
static Value operandOf(lm::KernelOp kernel, Value inside) {
  return kernel.getInputs()[cast<BlockArgument>(inside).getArgNumber()];
}

/// Adds a kernel over slots to what has been found. Sizes of other slots than the rank's own are known to matrix
/// products alone: they follow the offsets, everything else follows the live rows.
static bool addKernel(lm::KernelOp kernel, ExpertKernels &found) {
  auto products = kernel.getBody().getOps<moe::GroupedLinearOp>();
  if (kernel.getKernelClass() != lm::KernelClass::GroupedGemm || products.empty())
    return decline(kernel, "this kernel counts slots by the live rows of its own rank, expected matrix products only");
  moe::GroupedLinearOp product = *products.begin();
  if (product.getSourceScales())
    return decline(kernel, "its rows are quantised, and exchanges carry rows of f32 or bf16");
  Value offsets = operandOf(kernel, product.getOffsets());
  if (found.offsets && found.offsets != offsets)
    return decline(kernel, "the layer has experts of several dispatches");
  found.offsets = offsets;
  if (product.getTokens()) {
    if (found.tokens)
      return decline(kernel, "several products pick the rows of the slots");
    found.rows = operandOf(kernel, product.getSource());
    found.tokens = operandOf(kernel, product.getTokens());
  }
  found.kernels.push_back(kernel);
  return true;
}

/// Finds the experts of a layer; none without kernels over slots. False when they cannot be distributed.
static bool findExperts(lm::LayerOp layer, ExpertKernels &found) {
  for (auto kernel : layer.getBody().getOps<lm::KernelOp>())
    if (kernel.getDomain() == lm::Domain::Slots && !addKernel(kernel, found))
      return false;
  for (lm::KernelOp kernel : found.kernels)
    for (Value result : kernel.getOutputs()) {
      bool leaves = llvm::any_of(result.getUsers(), [&](Operation *user) {
        auto reader = dyn_cast<lm::KernelOp>(user);
        return !reader || !llvm::is_contained(found.kernels, reader);
      });
      if (leaves && found.result)
        return decline(kernel, "more than one result of the experts is read after them");
      if (leaves)
        found.result = result;
    }
  if (!found.kernels.empty() && (!found.tokens || !found.result))
    return decline(layer, "no matrix product picks the rows of the slots, or no result of the experts is read");
  return true;
}

static void insertExchange(ExpertKernels experts) {
  OpBuilder builder(experts.kernels.front());
  Location loc = experts.kernels.front().getLoc();
  auto dispatch = moe::DispatchRanksOp::create(builder, loc, experts.rows.getType(), experts.tokens.getType(),
                                               experts.offsets.getType(), moe::ExchangeType::get(builder.getContext()),
                                               experts.rows, experts.tokens, experts.offsets);
  IRMapping received;
  received.map(ValueRange{experts.rows, experts.tokens, experts.offsets}, dispatch->getResults().drop_back());
  for (lm::KernelOp kernel : experts.kernels)
    for (OpOperand &operand : kernel->getOpOperands())
      operand.set(received.lookupOrDefault(operand.get()));
  builder.setInsertionPointAfter(experts.kernels.back());
  auto combine =
      moe::CombineRanksOp::create(builder, loc, experts.result.getType(), experts.result, dispatch.getExchange());
  experts.result.replaceAllUsesExcept(combine.getResult(), combine);
}

/// A copy of `op` behind it, called `op`.dist.
static Operation *cloneBehind(Operation *op, SymbolTable &symbols) {
  Operation *copy = op->clone();
  SymbolTable::setSymbolName(copy, (SymbolTable::getSymbolName(op).getValue() + ".dist").str());
  symbols.insert(copy, std::next(op->getIterator()));
  return copy;
}

void PartitionExperts::runOnOperation() {
  lm::ProgramOp step;
  for (lm::ProgramOp program : getOperation().getOps<lm::ProgramOp>()) {
    auto kind = program->getAttrOfType<lm::ProgramKindAttr>(lm::kKindAttr).getValue();
    if (kind == lm::ProgramKind::StepDist)
      return; // done before
    if (kind == lm::ProgramKind::Step)
      step = program;
  }
  if (!step)
    return (void)decline(getOperation(), "the module has no step program");
  SymbolTable symbols(getOperation());
  llvm::MapVector<Operation *, ExpertKernels> layers; // with experts, in order of their first call
  for (lm::CallOp call : step.getBody().getOps<lm::CallOp>()) {
    auto layer = symbols.lookup<lm::LayerOp>(call.getCallee());
    ExpertKernels experts;
    if (layers.contains(layer))
      continue;
    if (!findExperts(layer, experts))
      return;
    if (!experts.kernels.empty())
      layers.insert({layer, experts});
  }
  if (layers.empty())
    return (void)decline(step, "no layer has experts over slots");

  llvm::StringMap<StringRef> distributed;
  for (Operation *layer : llvm::make_first_range(layers)) {
    auto copy = cast<lm::LayerOp>(cloneBehind(layer, symbols));
    ExpertKernels experts;
    findExperts(copy, experts);
    insertExchange(experts);
    distributed[SymbolTable::getSymbolName(layer)] = copy.getSymName();
    ++numDistributed;
  }
  auto copy = cast<lm::ProgramOp>(cloneBehind(step, symbols));
  copy->setAttr(lm::kKindAttr, lm::ProgramKindAttr::get(&getContext(), lm::ProgramKind::StepDist));
  for (lm::CallOp call : copy.getBody().getOps<lm::CallOp>())
    if (auto entry = distributed.find(call.getCallee()); entry != distributed.end())
      call.setCallee(entry->second);
}
