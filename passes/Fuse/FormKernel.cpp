// Implements the forming of kernel regions (see FormKernel.h).
#include "passes/Fuse/FormKernel.h"

#include "dialects/MLA/MLA.h"
#include "dialects/MoE/MoE.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace moray;
using lm::Domain;
using lm::KernelClass;

bool moray::staysOutsideKernels(Operation *op) {
  return isa<lm::WeightOfOp, mla::LayerCacheOp, lm::CallOp, lm::ReturnOp, lm::KernelOp, moe::DispatchRanksOp,
             moe::CombineRanksOp>(op);
}

std::optional<KernelClass> moray::kernelClassOf(Operation *op) {
  return llvm::TypeSwitch<Operation *, std::optional<KernelClass>>(op)
      .Case<lm::LinearOp, lm::ScaledLinearOp>([](auto) { return KernelClass::Gemm; })
      .Case([](moe::GroupedLinearOp) { return KernelClass::GroupedGemm; })
      .Case<mla::AttentionOp, mla::AbsorbQueryOp, mla::LatentAttentionOp, mla::AbsorbValueOp>(
          [](auto) { return KernelClass::Attention; })
      .Case<lm::EmbedOp, lm::GatherRowsOp, lm::SliceOp, lm::CastOp, lm::AddOp, lm::SwigluOp, lm::RmsNormOp,
            lm::RopeTableOp, lm::RopeOp, lm::QuantizeOp, mla::AppendOp, moe::CombineOp>(
          [](auto) { return KernelClass::Row; })
      .Case([](moe::RouteOp) { return KernelClass::Router; })
      .Case([](moe::DispatchOp) { return KernelClass::Permute; })
      .Case<lm::SampleOp, lm::LogProbOp>([](auto) { return KernelClass::Sampling; })
      .Default([](Operation *) { return std::nullopt; });
}

//===----------------------------------------------------------------------===//
// Row domains
//===----------------------------------------------------------------------===//

/// Experts per row of the dispatch (bare or inside a kernel) that made `offsets`.
static int64_t slotsPerRow(Value offsets) {
  if (auto kernel = offsets.getDefiningOp<lm::KernelOp>())
    offsets = kernel.getBody().front().getTerminator()->getOperand(cast<OpResult>(offsets).getResultNumber());
  auto dispatch = offsets.getDefiningOp<moe::DispatchOp>();
  return dispatch ? lm::widthOf(dispatch.getIds()) : 1;
}

static RowDomain domainOfArgument(BlockArgument argument) {
  auto program = dyn_cast<lm::ProgramOp>(argument.getOwner()->getParentOp());
  if (!program)
    return {};
  auto kind = program->getAttrOfType<lm::ProgramKindAttr>(lm::kKindAttr);
  if (kind && kind.getValue() != lm::ProgramKind::Step && kind.getValue() != lm::ProgramKind::StepDist)
    return {Domain::Outs};
  bool picksRows = llvm::any_of(argument.getUses(), [](OpOperand &use) {
    auto gather = dyn_cast<lm::GatherRowsOp>(use.getOwner());
    return gather && use.get() == gather.getIndices();
  });
  return {picksRows ? Domain::Outs : Domain::Rows};
}

/// Domain of the rows of a value as its users see them.
static RowDomain domainOfValue(Value value) {
  if (auto argument = dyn_cast<BlockArgument>(value))
    return domainOfArgument(argument);
  Operation *op = value.getDefiningOp();
  if (auto kernel = dyn_cast<lm::KernelOp>(op)) {
    Domain domain = kernel.getDomain();
    // Decode and prefill kernels each write their rows of a tensor over all rows.
    if (domain == Domain::Decode || domain == Domain::Prefill)
      domain = Domain::Rows;
    return {domain, static_cast<int64_t>(kernel.getSlotsPerRow().value_or(0)),
            domain == Domain::Slots ? slotOffsets(kernel) : Value()};
  }
  if (kernelClassOf(op) == KernelClass::Attention)
    return {};
  return kernelDomainOf(op);
}

Value moray::slotOffsets(lm::KernelOp kernel) {
  auto products = kernel.getBody().getOps<moe::GroupedLinearOp>();
  return products.empty() ? kernel.getInputs().back()
                          : kernel.getInputs()[cast<BlockArgument>((*products.begin()).getOffsets()).getArgNumber()];
}

RowDomain moray::kernelDomainOf(Operation *op) {
  return llvm::TypeSwitch<Operation *, RowDomain>(op)
      .Case([](moe::GroupedLinearOp linear) {
        return RowDomain{Domain::Slots, slotsPerRow(linear.getOffsets()), linear.getOffsets()};
      })
      .Case<mla::AbsorbQueryOp, mla::LatentAttentionOp, mla::AbsorbValueOp>(
          [](auto) { return RowDomain{Domain::Decode}; })
      .Case([](mla::AttentionOp attention) {
        return RowDomain{attention.getRowRange() == mla::RowRange::Prefill ? Domain::Prefill : Domain::Rows};
      })
      .Case([](lm::GatherRowsOp gather) { return domainOfValue(gather.getIndices()); })
      // The rows of the slots come back to the rows they were picked from; the cache is written for every row.
      .Case<moe::CombineOp, mla::AppendOp, lm::RopeTableOp, lm::CallOp>([](auto) { return RowDomain{}; })
      .Default(
          [](Operation *other) { return other->getNumOperands() ? domainOfValue(other->getOperand(0)) : RowDomain{}; });
}

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

lm::KernelOp moray::formKernel(ArrayRef<Operation *> ops, KernelClass kernelClass, RowDomain domain) {
  llvm::SetVector<Value> inputs;
  SmallVector<Value> outputs;
  auto isInside = [&](Operation *op) { return op && llvm::is_contained(ops, op); };
  for (Operation *op : ops) {
    for (Value operand : op->getOperands())
      if (!isInside(operand.getDefiningOp()))
        inputs.insert(operand);
    for (Value result : op->getResults())
      if (llvm::any_of(result.getUsers(), [&](Operation *user) { return !isInside(user); }))
        outputs.push_back(result);
  }
  if (kernelClass == KernelClass::Row && domain.domain == Domain::Slots)
    inputs.insert(domain.offsets);

  OpBuilder builder(ops.front());
  MLIRContext *context = builder.getContext();
  SmallVector<Location> locations = llvm::map_to_vector(ops, [](Operation *op) { return op->getLoc(); });
  IntegerAttr slots = domain.domain == Domain::Slots ? builder.getI64IntegerAttr(domain.slotsPerRow) : IntegerAttr();
  auto kernel = lm::KernelOp::create(builder, builder.getFusedLoc(locations), ValueRange(outputs).getTypes(),
                                     lm::KernelClassAttr::get(context, kernelClass),
                                     lm::DomainAttr::get(context, domain.domain), slots, inputs.getArrayRef());
  Block &body = kernel.getBody().emplaceBlock();
  IRMapping arguments;
  for (Value input : inputs)
    arguments.map(input, body.addArgument(input.getType(), input.getLoc()));
  for (Operation *op : ops) {
    op->moveBefore(&body, body.end());
    for (OpOperand &operand : op->getOpOperands())
      operand.set(arguments.lookupOrDefault(operand.get()));
  }
  for (auto [output, result] : llvm::zip_equal(outputs, kernel.getOutputs()))
    output.replaceUsesWithIf(result, [&](OpOperand &use) { return !isInside(use.getOwner()); });
  builder.setInsertionPointToEnd(&body);
  lm::YieldOp::create(builder, kernel.getLoc(), outputs);
  return kernel;
}

void moray::hoistSymbolValues(Block &block) {
  Operation *last = nullptr;
  for (Operation &op : llvm::make_early_inc_range(block)) {
    if (!isa<lm::WeightOfOp, mla::LayerCacheOp>(op))
      continue;
    if (last)
      op.moveAfter(last);
    else
      op.moveBefore(&block.front());
    last = &op;
  }
}

SmallVector<Block *> moray::programBlocks(Operation *module) {
  SmallVector<Block *> blocks;
  for (Operation &op : module->getRegion(0).front())
    if (isa<lm::LayerOp, lm::ProgramOp>(op))
      blocks.push_back(&op.getRegion(0).front());
  return blocks;
}
