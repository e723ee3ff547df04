// Merges linears over the same rows into one linear with a joined weight, and slices its result.
#include "passes/Fuse/FormKernel.h"
#include "passes/Passes.h"
#include "passes/Weights.h"

#include "llvm/ADT/MapVector.h"

namespace moray {
#define GEN_PASS_DEF_MERGEPROJECTIONS
#include "passes/Passes.h.inc"
} // namespace moray

using namespace mlir;
using namespace moray;

namespace {
/// What a lm.linear and a lm.scaled_linear have in common.
struct Projection {
  Operation *op = nullptr;
  Value source, sourceScales, weight, scales, bias;

  static std::optional<Projection> of(Operation &op) {
    if (auto linear = dyn_cast<lm::LinearOp>(op))
      return Projection{&op, linear.getSource(), Value(), linear.getWeight(), Value(), linear.getBias()};
    if (auto linear = dyn_cast<lm::ScaledLinearOp>(op))
      return Projection{
          &op, linear.getSource(), linear.getSourceScales(), linear.getWeight(), linear.getScales(), linear.getBias()};
    return std::nullopt;
  }
  Value result() const { return op->getResult(0); }
  bool matches(const Projection &other) const {
    return sourceScales == other.sourceScales && elementTypeOf(weight) == elementTypeOf(other.weight) &&
           elementTypeOf(result()) == elementTypeOf(other.result());
  }
};
} // namespace

/// Replaces `part` by columns of `joined` from `offset` on; slices of it become slices of `joined`.
static void takeColumns(OpBuilder &builder, Value part, Value joined, int64_t offset) {
  for (Operation *user : llvm::make_early_inc_range(part.getUsers()))
    if (auto slice = dyn_cast<lm::SliceOp>(user)) {
      slice.getSourceMutable().assign(joined);
      slice.setOffset(slice.getOffset() + offset);
    }
  if (!part.use_empty())
    part.replaceAllUsesWith(
        lm::SliceOp::create(builder, part.getLoc(), part.getType(), joined, builder.getI64IntegerAttr(offset)));
}

/// Replaces `parts` (same source, in block order) by one linear where the first stands.
static void merge(ArrayRef<Projection> parts, DerivedWeights &weights) {
  const Projection &first = parts.front();
  OpBuilder builder(first.op);
  Location loc =
      builder.getFusedLoc(llvm::map_to_vector(parts, [](const Projection &part) { return part.op->getLoc(); }));
  SmallVector<Value> matrices = llvm::map_to_vector(parts, [](const Projection &part) { return part.weight; });
  int64_t align = concatAlign(first.weight);
  Value weight = weights.concat(builder, matrices, align), scales;
  if (weight && first.scales)
    scales = weights.concat(builder, llvm::map_to_vector(parts, [](const Projection &part) { return part.scales; }), 1);
  if (!weight || static_cast<bool>(scales) != static_cast<bool>(first.scales)) {
    first.op->emitRemark(
        "declined: the weights of the linears over these rows are no lm.weight_of values of one layer");
    return;
  }
  Type type = RankedTensorType::get({ShapedType::kDynamic, cast<RankedTensorType>(weight.getType()).getDimSize(0)},
                                    elementTypeOf(first.result()));
  Value joined;
  if (scales)
    joined = lm::ScaledLinearOp::create(builder, loc, type, first.source, first.sourceScales, weight, scales, Value());
  else
    joined = lm::LinearOp::create(builder, loc, type, first.source, weight, Value());
  for (auto [i, part] : llvm::enumerate(parts))
    takeColumns(builder, part.result(), joined, concatOffset(matrices, i, align));
  for (const Projection &part : parts)
    part.op->erase();
}

/// Linears of `block` that read the same rows and fit together, in order; groups of one are left out.
static SmallVector<SmallVector<Projection>> findGroups(Block &block) {
  llvm::MapVector<Value, SmallVector<SmallVector<Projection>>> bySource;
  for (Operation &op : block) {
    std::optional<Projection> projection = Projection::of(op);
    if (!projection)
      continue;
    auto &candidates = bySource[projection->source];
    if (projection->bias) {
      if (!candidates.empty())
        op.emitRemark("declined: the linear has a bias, and recipes join matrices only");
      continue;
    }
    auto group = llvm::find_if(candidates, [&](const auto &members) { return members.front().matches(*projection); });
    if (group == candidates.end())
      candidates.push_back({*projection});
    else
      group->push_back(*projection);
  }
  SmallVector<SmallVector<Projection>> groups;
  for (auto &[source, candidates] : bySource)
    for (auto &group : candidates)
      if (group.size() > 1)
        groups.push_back(std::move(group));
  return groups;
}

namespace {
struct MergeProjections : moray::impl::MergeProjectionsBase<MergeProjections> {
  void runOnOperation() override {
    DerivedWeights weights(getOperation());
    for (Block *block : programBlocks(getOperation())) {
      hoistSymbolValues(*block);
      for (const auto &group : findGroups(*block))
        merge(group, weights);
    }
    weights.eraseUnused();
  }
};
} // namespace
