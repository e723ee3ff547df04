//===- ClassifyAttention.cpp - mla ops to specs -------------------------------===//
// Classifier of the attention class: regions with exactly one op of the mla dialect that reads the cache or kv_b.

#include "codegen/AttentionSpec.h"
#include "codegen/KernelRegion.h"
#include "dialects/MLA/MLA.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace moray::codegen;
using moray::lm::widthOf;

std::string AttentionBody::key() const {
  return llvm::formatv("op={0} act={1} {2},{3},{4}->{5} A={6} n={7} r={8} v={9} c={10} page={11} scale={12:e9} "
                       "prefill={13} round={14} "
                       "args={15},{16},{17},{18},{19},{20},{21}",
                       unsigned(op), unsigned(activation), dtypeName(q), dtypeName(cache), dtypeName(w), dtypeName(out),
                       heads, nope, rope, value, latent, page, scale, prefillOnly, round, sourceArg, queryArg, cacheArg,
                       rowsArg, wArg, scalesArg, outArg)
      .str();
}

namespace {
class AttentionClassifier {
public:
  explicit AttentionClassifier(const KernelRegion &region) : region(region), body(std::make_shared<AttentionBody>()) {}
  llvm::Expected<KernelSpec> classify();

private:
  const KernelRegion &region;
  std::shared_ptr<AttentionBody> body;

  /// What every op has: types of source and result, heads.
  template <typename Op> void readCommon(Op op, Value source) {
    body->q = *dtypeOf(source.getType()), body->out = *dtypeOf(op.getResult().getType());
    body->round = body->q == DType::BF16;
    body->heads = op.getHeads(), body->sourceArg = region.argument(source);
  }
  template <typename Op> void readWeight(Op op) {
    body->nope = op.getNope(), body->value = op.getValue();
    body->w = *dtypeOf(op.getKvB().getType()), body->latent = op.getKvB().getType().getDimSize(1);
    body->wArg = region.argument(op.getKvB());
    if (op.getKvBScales())
      body->scalesArg = region.argument(op.getKvBScales());
  }
  template <typename Op> void readCache(Op op) {
    auto type = op.getCache().getType();
    body->cache = *dtypeOf(type.getElementType()), body->latent = type.getLatent(), body->rope = type.getRope(),
    body->page = type.getPage();
    body->cacheArg = region.argument(op.getCache()), body->rowsArg = region.argument(op.getRows());
    body->scale = op.getScale().convertToFloat();
  }
  void read(moray::mla::AttentionOp op);
  void read(moray::mla::AbsorbQueryOp op);
  void read(moray::mla::LatentAttentionOp op);
  void read(moray::mla::AbsorbValueOp op);
};
} // namespace

void AttentionClassifier::read(moray::mla::AttentionOp op) {
  body->op = AttentionBody::Expanded;
  readCommon(op, op.getQuery());
  readWeight(op);
  readCache(op);
  body->prefillOnly = op.getRowRange() == moray::mla::RowRange::Prefill;
  DType activation = *dtypeOf(op.getActivation());
  if (activation == DType::F8E4M3)
    body->activation =
        op.getFormat() == moray::lm::ScaleFormat::UE8M0 ? AttentionBody::QuantisedPow2 : AttentionBody::Quantised;
  else if (activation == DType::BF16 && body->cache == DType::F32)
    body->activation = AttentionBody::Rounded;
}
void AttentionClassifier::read(moray::mla::AbsorbQueryOp op) {
  body->op = AttentionBody::AbsorbQuery;
  readCommon(op, op.getQuery());
  readWeight(op);
  body->rope = widthOf(op.getQuery()) / body->heads - body->nope;
}
void AttentionClassifier::read(moray::mla::LatentAttentionOp op) {
  body->op = AttentionBody::Latent;
  readCommon(op, op.getAbsorbed());
  readCache(op);
  body->nope = widthOf(op.getQuery()) / body->heads - body->rope;
  body->queryArg = region.argument(op.getQuery());
}
void AttentionClassifier::read(moray::mla::AbsorbValueOp op) {
  body->op = AttentionBody::AbsorbValue;
  readCommon(op, op.getSource());
  readWeight(op);
}

llvm::Expected<KernelSpec> AttentionClassifier::classify() {
  Operation *op = region.onlyOp();
  bool known = op != nullptr;
  if (op)
    llvm::TypeSwitch<Operation *>(op)
        .Case<moray::mla::AttentionOp, moray::mla::AbsorbQueryOp, moray::mla::LatentAttentionOp,
              moray::mla::AbsorbValueOp>([&](auto o) { read(o); })
        .Default([&](Operation *) { known = false; });
  if (!known)
    return unsupportedRegion(&region.body.front(),
                             "is no attention kernel: expected exactly one attention op of the mla dialect");
  auto results = region.resultsOf(op->getResult(0));
  if (results.size() != 1)
    return unsupportedRegion(op, "must give its value as one result of the kernel");
  if (body->page < 16 || (body->page & (body->page - 1)))
    return unsupportedRegion(op, "has a cache page of " + llvm::Twine(body->page) +
                                     " tokens; expected a power of two from 16 on");
  body->outArg = results[0];
  return KernelSpec{KernelClass::Attention, region.pointerCount(), body};
}

llvm::Expected<KernelSpec> moray::codegen::classifyAttention(const KernelRegion &region) {
  return AttentionClassifier(region).classify();
}
