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
/// The kernels over the slots of a layer, what they read of the dispatch, their result per slot, and the weights that
/// it is combined with.
struct ExpertKernels {
  SmallVector<lm::KernelOp> kernels; // in block order
  Value rows, scales, tokens, offsets, result, gates;
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

/// Adds a kernel over slots to what has been found. All of them follow the offsets.
static bool addKernel(lm::KernelOp kernel, ExpertKernels &found) {
  Value offsets = slotOffsets(kernel);
  if (found.offsets && found.offsets != offsets)
    return decline(kernel, "the layer has experts of several dispatches");
  found.offsets = offsets;
  for (auto product : kernel.getBody().getOps<moe::GroupedLinearOp>()) {
    if (!product.getTokens())
      continue;
    if (found.tokens)
      return decline(kernel, "several products pick the rows of the slots");
    found.rows = operandOf(kernel, product.getSource());
    found.scales = product.getSourceScales() ? operandOf(kernel, product.getSourceScales()) : Value();
    found.tokens = operandOf(kernel, product.getTokens());
  }
  found.kernels.push_back(kernel);
  return true;
}

/// The weights that a kernel adds up the results of the slots with.
static Value findGates(Value result) {
  for (Operation *user : result.getUsers())
    if (auto kernel = dyn_cast<lm::KernelOp>(user))
      for (auto combine : kernel.getBody().getOps<moe::CombineOp>())
        if (operandOf(kernel, combine.getSource()) == result)
          return operandOf(kernel, combine.getGates());
  return {};
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
  if (found.kernels.empty())
    return true;
  found.gates = found.result ? findGates(found.result) : Value();
  if (!found.tokens || !found.gates)
    return decline(layer, "no matrix product picks the rows of the slots, or no result of the experts is combined");
  return true;
}

static void insertExchange(ExpertKernels experts) {
  OpBuilder builder(experts.kernels.front());
  Location loc = experts.kernels.front().getLoc();
  auto dispatch = moe::DispatchRanksOp::create(
      builder, loc, experts.rows.getType(), experts.scales ? experts.scales.getType() : Type(),
      experts.tokens.getType(), experts.offsets.getType(), moe::ExchangeType::get(builder.getContext()), experts.rows,
      experts.scales, experts.tokens, experts.offsets, experts.gates);
  IRMapping received; // gates are the last operand, the exchange is the last result
  received.map(dispatch->getOperands().drop_back(), dispatch->getResults().drop_back());
  for (lm::KernelOp kernel : experts.kernels)
    for (OpOperand &operand : kernel->getOpOperands())
      operand.set(received.lookupOrDefault(operand.get()));
  builder.setInsertionPointAfter(experts.kernels.back());
  auto combine = moe::CombineRanksOp::create(builder, loc, experts.result.getType(), experts.gates.getType(),
                                             experts.result, dispatch.getExchange());
  experts.result.replaceAllUsesExcept(combine.getResult(), combine);
  experts.gates.replaceUsesWithIf(combine.getGates(),
                                  [&](OpOperand &use) { return combine->isBeforeInBlock(use.getOwner()); });
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
