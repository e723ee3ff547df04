// Implements derived weights (see Weights.h).
#include "passes/Weights.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace moray;

lm::WeightOfOp moray::weightOf(Value value) { return value ? value.getDefiningOp<lm::WeightOfOp>() : lm::WeightOfOp(); }

Type moray::elementTypeOf(Value value) { return cast<RankedTensorType>(value.getType()).getElementType(); }

bool moray::isFP8(Value value) { return isa<Float8E4M3FNType>(elementTypeOf(value)); }

int64_t moray::concatAlign(Value weight) { return isFP8(weight) ? lm::kBlock : 1; }

static int64_t rowsOf(Type type) {
  ArrayRef<int64_t> shape = cast<RankedTensorType>(type).getShape();
  return shape[shape.size() - 2];
}

int64_t moray::concatOffset(ValueRange parts, size_t index, int64_t align) {
  int64_t offset = 0;
  for (Value part : parts.take_front(index))
    offset += llvm::alignTo(rowsOf(part.getType()), align);
  return offset;
}

/// Name of joined weights: the first name, then what distinguishes the others: @moe.q_a and @moe.kv_a give
/// moe.q_a_kv_a.
static std::string joinNames(ArrayRef<FlatSymbolRefAttr> parts) {
  std::string name = parts.front().getValue().str();
  StringRef prefix = parts.front().getValue().take_front(parts.front().getValue().find('.') + 1);
  for (FlatSymbolRefAttr part : parts.drop_front()) {
    StringRef rest = part.getValue();
    rest.consume_front(prefix);
    name += ("_" + rest).str();
  }
  return name;
}

//===----------------------------------------------------------------------===//
// Symbols
//===----------------------------------------------------------------------===//

DerivedWeights::DerivedWeights(ModuleOp module) : module(module), symbols(module) {}

lm::WeightOp DerivedWeights::find(lm::WeightOfOp use) { return symbols.lookup<lm::WeightOp>(use.getWeight()); }

lm::WeightOp DerivedWeights::insert(lm::WeightOp weight, lm::WeightOp after) {
  symbols.insert(weight, ++Block::iterator(after));
  return weight;
}

lm::WeightOp DerivedWeights::derive(StringRef name, Attribute recipe, RankedTensorType type, lm::WeightOp after) {
  for (lm::WeightOp weight : module.getOps<lm::WeightOp>())
    if (weight.getRecipeAttr() == recipe && weight.getType() == type)
      return weight;
  OpBuilder builder(module.getContext());
  return insert(lm::WeightOp::create(builder, after.getLoc(), builder.getStringAttr(name), after.getPerLayerAttr(),
                                     StringAttr(), StringAttr(), recipe, TypeAttr::get(type)),
                after);
}

lm::WeightOp DerivedWeights::store(StringRef name, StringRef source, StringAttr last, bool perLayer,
                                   lm::WeightOp after) {
  for (lm::WeightOp weight : module.getOps<lm::WeightOp>())
    if (weight.getSource() == source && weight.getLastAttr() == last && weight.getType() == after.getType())
      return weight;
  OpBuilder builder(module.getContext());
  return insert(lm::WeightOp::create(builder, after.getLoc(), builder.getStringAttr(name),
                                     perLayer ? builder.getUnitAttr() : UnitAttr(), builder.getStringAttr(source), last,
                                     Attribute(), after.getTypeAttr()),
                after);
}

Value DerivedWeights::use(OpBuilder &builder, lm::WeightOp weight, lm::WeightOfOp like) {
  return lm::WeightOfOp::create(builder, like.getLoc(), weight.getType(), FlatSymbolRefAttr::get(weight),
                                like.getLayer());
}

void DerivedWeights::eraseUnused() {
  module.walk([](lm::WeightOfOp use) {
    if (use->use_empty())
      use.erase();
  });
  SmallVector<lm::WeightOp> all(module.getOps<lm::WeightOp>());
  for (lm::WeightOp weight : llvm::reverse(all)) // what is derived stands behind its sources
    if (SymbolTable::symbolKnownUseEmpty(weight.getOperation(), module))
      symbols.erase(weight);
}

//===----------------------------------------------------------------------===//
// Recipes
//===----------------------------------------------------------------------===//

Value DerivedWeights::concat(OpBuilder &builder, ValueRange parts, int64_t align) {
  lm::WeightOfOp first = weightOf(parts.front());
  SmallVector<FlatSymbolRefAttr> names;
  for (Value part : parts) {
    lm::WeightOfOp use = weightOf(part);
    auto type = cast<RankedTensorType>(part.getType()), firstType = cast<RankedTensorType>(parts.front().getType());
    if (!use || use.getLayer() != first.getLayer() || type.getElementType() != firstType.getElementType() ||
        type.getRank() != firstType.getRank() || type.getRank() < 2 ||
        type.getShape().back() != firstType.getShape().back())
      return Value();
    names.push_back(use.getWeightAttr());
  }
  SmallVector<int64_t> shape(cast<RankedTensorType>(first.getType()).getShape());
  shape[shape.size() - 2] = concatOffset(parts, parts.size() - 1, align) + rowsOf(parts.back().getType());
  auto recipe = lm::ConcatAttr::get(builder.getContext(), names, align);
  lm::WeightOp after = find(weightOf(parts.back()));
  return use(builder, derive(joinNames(names), recipe, RankedTensorType::get(shape, elementTypeOf(first)), after),
             first);
}

std::pair<Value, Value> DerivedWeights::quantise(OpBuilder &builder, lm::WeightOfOp dense, lm::ScaleFormat format) {
  auto type = cast<RankedTensorType>(dense.getType());
  SmallVector<int64_t> blocks(type.getShape());
  for (int64_t &dim : MutableArrayRef(blocks).take_back(2))
    dim = lm::blocksOf(dim);
  MLIRContext *context = builder.getContext();
  FlatSymbolRefAttr name = dense.getWeightAttr();
  lm::WeightOp codes = derive((name.getValue() + ".codes").str(), lm::QuantizeCodesAttr::get(context, name, format),
                              type.clone(Float8E4M3FNType::get(context)), find(dense));
  lm::WeightOp scales = derive((name.getValue() + ".scales").str(), lm::QuantizeScalesAttr::get(context, name, format),
                               RankedTensorType::get(blocks, builder.getF32Type()), codes);
  return {use(builder, codes, dense), use(builder, scales, dense)};
}

Value DerivedWeights::dequantise(OpBuilder &builder, lm::WeightOfOp codes, lm::WeightOfOp scales) {
  auto recipe = lm::DequantizeAttr::get(builder.getContext(), codes.getWeightAttr(), scales.getWeightAttr());
  auto type = cast<RankedTensorType>(codes.getType()).clone(builder.getBF16Type());
  lm::WeightOp weight = derive((codes.getWeight() + ".bf16").str(), recipe, cast<RankedTensorType>(type), find(codes));
  return use(builder, weight, codes);
}
