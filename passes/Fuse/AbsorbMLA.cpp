// Gives decode rows the absorbed form of attention and leaves the expanded form to prefill rows.
#include "passes/Passes.h"

namespace moray {
#define GEN_PASS_DEF_ABSORBMLA
#include "passes/Passes.h.inc"
} // namespace moray

using namespace mlir;
using namespace moray;

/// Adds the absorbed path after `attention`, which keeps the prefill rows.
static void absorb(mla::AttentionOp attention) {
  OpBuilder builder(attention->getContext());
  builder.setInsertionPointAfter(attention);
  Location loc = attention.getLoc();
  Value query = attention.getQuery(), kvB = attention.getKvB(), scales = attention.getKvBScales();
  IntegerAttr heads = attention.getHeadsAttr(), nope = attention.getNopeAttr(), value = attention.getValueAttr();
  // q~ and u are rounding points of the absorbed form: they have the type of the rows.
  auto rowType = cast<RankedTensorType>(query.getType());
  int64_t latent = attention.getCache().getType().getLatent();
  auto absorbedType = RankedTensorType::get({ShapedType::kDynamic, static_cast<int64_t>(attention.getHeads()) * latent},
                                            rowType.getElementType());

  Value absorbed = mla::AbsorbQueryOp::create(builder, loc, absorbedType, query, kvB, scales, heads, nope, value);
  Value sum = mla::LatentAttentionOp::create(builder, loc, absorbedType, absorbed, query, attention.getCache(),
                                             attention.getRows(), heads, attention.getScaleAttr());
  auto context = mla::AbsorbValueOp::create(builder, loc, attention.getType(), sum, kvB, scales, attention.getResult(),
                                            heads, nope, value);
  attention.getResult().replaceAllUsesExcept(context.getResult(), context);
  attention.setRowRange(mla::RowRange::Prefill);
}

namespace {
struct AbsorbMLA : moray::impl::AbsorbMLABase<AbsorbMLA> {
  void runOnOperation() override {
    getOperation().walk([](mla::AttentionOp attention) {
      if (attention.getRowRange() == mla::RowRange::All && !attention->getParentOfType<lm::KernelOp>())
        absorb(attention);
    });
  }
};
} // namespace
