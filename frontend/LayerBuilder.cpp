// Builds the body of one layer kind (spec model.md 4.5, 4.8-4.11): pre-norm attention and feed-forward, each added to
// the residual.
#include "frontend/LayerBuilder.h"

#include "dialects/MLA/MLA.h"
#include "dialects/MoE/MoE.h"

using namespace mlir;

namespace moray::frontend {

static RankedTensorType tensorOf(Builder &builder, const std::vector<uint64_t> &shape, uint64_t experts, DType dtype) {
  SmallVector<int64_t> dims;
  if (experts)
    dims.push_back(static_cast<int64_t>(experts));
  dims.append(shape.begin(), shape.end());
  Type element = dtype == DType::F8E4M3 ? Type(Float8E4M3FNType::get(builder.getContext()))
                 : dtype == DType::BF16 ? Type(builder.getBF16Type())
                                        : Type(builder.getF32Type());
  return RankedTensorType::get(dims, element);
}

RankedTensorType weightType(Builder &builder, const StoredSlot &slot) {
  return tensorOf(builder, slot.slot.shape, slot.slot.experts, slot.dtype);
}

RankedTensorType scaleType(Builder &builder, const StoredSlot &slot) {
  return tensorOf(builder, slot.scaleShape(), slot.slot.experts, DType::F32);
}

RankedTensorType rowsOf(Builder &builder, int64_t width) {
  return RankedTensorType::get({ShapedType::kDynamic, width}, builder.getF32Type());
}

const StoredSlot *LayerBuilder::find(StringRef id) const {
  for (const StoredSlot &slot : slots)
    if (id == slot.slot.id)
      return &slot;
  return nullptr;
}

Value LayerBuilder::weight(StringRef id) {
  auto symbol = FlatSymbolRefAttr::get(builder.getContext(), (kind + "." + id).str());
  return lm::WeightOfOp::create(builder, loc, weightType(builder, *find(id)), symbol, values.layer);
}

Value LayerBuilder::scales(StringRef id) {
  const StoredSlot *slot = find(id);
  if (!slot->isQuantized())
    return {};
  auto symbol = FlatSymbolRefAttr::get(builder.getContext(), (kind + "." + id + ".s").str());
  return lm::WeightOfOp::create(builder, loc, scaleType(builder, *slot), symbol, values.layer);
}

Value LayerBuilder::norm(Value rows, StringRef id, double eps) {
  return lm::RmsNormOp::create(builder, loc, rows.getType(), rows, weight(id),
                               builder.getF32FloatAttr(static_cast<float>(eps)));
}

Value LayerBuilder::linear(Value rows, StringRef id) {
  Value codes = weight(id), scale = scales(id);
  Value bias = find((id + "_bias").str()) ? weight((id + "_bias").str()) : Value();
  Type type = rowsOf(builder, static_cast<int64_t>(find(id)->slot.shape[0]));
  if (!scale)
    return lm::LinearOp::create(builder, loc, type, rows, codes, bias);
  return lm::ScaledLinearOp::create(builder, loc, type, rows, /*source_scales=*/Value(), codes, scale, bias);
}

Value LayerBuilder::slice(Value rows, int64_t offset, int64_t width) {
  return lm::SliceOp::create(builder, loc, rowsOf(builder, width), rows, builder.getI64IntegerAttr(offset));
}

Value LayerBuilder::rope(Value rows, int64_t headDim) {
  auto layout = config.ropeInterleaved ? lm::RopeLayout::Interleaved : lm::RopeLayout::HalfSplit;
  return lm::RopeOp::create(builder, loc, rows.getType(), rows, values.cos, values.sin,
                            builder.getI64IntegerAttr(headDim), lm::RopeLayoutAttr::get(builder.getContext(), layout));
}

Value LayerBuilder::add(Value a, Value b) { return lm::AddOp::create(builder, loc, a.getType(), a, b); }

Value LayerBuilder::mlp(Value rows, const std::string &prefix) {
  Value gate = linear(rows, prefix + "gate"), up = linear(rows, prefix + "up");
  Value inner = lm::SwigluOp::create(builder, loc, gate.getType(), gate, up);
  return linear(inner, prefix + "down");
}

lm::ScaleFormatAttr LayerBuilder::scaleFormat() {
  bool ue8m0 = config.quantization && config.quantization->ue8m0;
  return lm::ScaleFormatAttr::get(builder.getContext(), ue8m0 ? lm::ScaleFormat::UE8M0 : lm::ScaleFormat::F32);
}

Value LayerBuilder::attention(Value rows) {
  Value query = config.qLoraRank > 0 ? linear(norm(linear(rows, "q_a"), "q_a_norm", config.innerNormEps), "q_b")
                                     : linear(rows, "q");
  query = rope(query, config.qkDim());
  Value projected = linear(rows, "kv_a");
  Value latent = norm(slice(projected, 0, config.kvLoraRank), "kv_a_norm", config.innerNormEps);
  Value key =
      rope(slice(projected, config.kvLoraRank, config.ropeDim), config.ropeDim); // shared by all heads, not normed

  auto cacheType = cast<mla::CacheType>(values.cache.getType());
  auto layerType = mla::LayerCacheType::get(builder.getContext(), cacheType.getLatent(), cacheType.getRope(),
                                            cacheType.getPage(), cacheType.getElementType());
  Value cache = mla::LayerCacheOp::create(builder, loc, layerType, values.cache, values.layer);
  mla::AppendOp::create(builder, loc, cache, values.rows, latent, key);
  Value kvB = weight("kv_b"), kvBScales = scales("kv_b");
  Value context = mla::AttentionOp::create(
      builder, loc, rowsOf(builder, config.heads * config.valueDim), query, cache, values.rows, kvB, kvBScales,
      builder.getI64IntegerAttr(config.heads), builder.getI64IntegerAttr(config.nopeDim),
      builder.getI64IntegerAttr(config.valueDim), builder.getF32FloatAttr(static_cast<float>(config.softmaxScale())),
      TypeAttr::get(builder.getF32Type()), scaleFormat(),
      mla::RowRangeAttr::get(builder.getContext(), mla::RowRange::All));
  return linear(context, "o");
}

Value LayerBuilder::experts(Value rows) {
  MLIRContext *context = builder.getContext();
  bool sigmoid = config.router == RouterKind::SigmoidNoAuxTc;
  moe::Method method = sigmoid                                            ? moe::Method::NoauxTc
                       : config.router == RouterKind::SoftmaxGroupLimited ? moe::Method::GroupLimitedGreedy
                                                                          : moe::Method::Greedy;
  auto router = moe::RouterAttr::get(context, sigmoid ? moe::Scoring::Sigmoid : moe::Scoring::Softmax, method,
                                     config.groups, config.keptGroups, config.expertsPerToken, config.normalizeTopK,
                                     builder.getF32FloatAttr(static_cast<float>(config.routedScale)));
  Value bias = config.hasRouterBias() ? weight("router_bias") : Value();
  auto idsType = RankedTensorType::get({ShapedType::kDynamic, config.expertsPerToken}, builder.getI32Type());
  Type gatesType = rowsOf(builder, config.expertsPerToken);
  auto route = moe::RouteOp::create(builder, loc, idsType, gatesType, rows, weight("router"), bias, router);

  Value gate = weight("gate_e"), up = weight("up_e"), down = weight("down_e");
  SmallVector<Value> scaleValues;
  for (StringRef id : {"gate_e", "up_e", "down_e"})
    if (Value scale = scales(id))
      scaleValues.push_back(scale);
  Value routed =
      moe::ExpertsOp::create(builder, loc, rowsOf(builder, config.hidden), rows, route.getIds(), route.getGates(), gate,
                             up, down, scaleValues, TypeAttr::get(builder.getF32Type()), scaleFormat());
  return config.sharedExperts > 0 ? add(routed, mlp(rows, "shared_")) : routed;
}

Value LayerBuilder::build(const LayerValues &layerValues) {
  values = layerValues;
  Value attended = add(values.residual, attention(norm(values.residual, "in_norm", config.rmsEps)));
  Value normed = norm(attended, "post_norm", config.rmsEps);
  return add(attended, find("router") ? experts(normed) : mlp(normed, ""));
}

} // namespace moray::frontend
