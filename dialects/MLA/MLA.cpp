// Registration and verifiers of the mla dialect.
#include "dialects/MLA/MLA.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace moray::mla;
using moray::lm::verifyActivation;
using moray::lm::verifyScales;
using moray::lm::verifyShape;
using moray::lm::widthOf;

#include "dialects/MLA/MLADialect.cpp.inc"
#include "dialects/MLA/MLAEnums.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/MLA/MLATypes.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/MLA/MLAAttrs.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/MLA/MLAOps.cpp.inc"

void MLADialect::initialize() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/MLA/MLATypes.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/MLA/MLAAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/MLA/MLAOps.cpp.inc"
      >();
}

static LogicalResult verifyCache(function_ref<InFlightDiagnostic()> emitError, int64_t latent, int64_t rope,
                                 int64_t page, Type element) {
  if (latent <= 0 || rope <= 0 || rope % 2 != 0)
    return emitError() << "cache has latent " << latent << " and rope " << rope
                       << ", expected positive sizes and an even rope";
  if (page <= 0 || page % 16 != 0)
    return emitError() << "cache has pages of " << page << " tokens, expected a multiple of 16";
  if (!element.isF32() && !element.isBF16())
    return emitError() << "cache holds " << element << ", expected f32 or bf16";
  return success();
}

LogicalResult CacheType::verify(function_ref<InFlightDiagnostic()> emitError, int64_t latent, int64_t rope,
                                int64_t page, Type element) {
  return verifyCache(emitError, latent, rope, page, element);
}
LogicalResult LayerCacheType::verify(function_ref<InFlightDiagnostic()> emitError, int64_t latent, int64_t rope,
                                     int64_t page, Type element) {
  return verifyCache(emitError, latent, rope, page, element);
}

LogicalResult LayerCacheOp::verify() {
  CacheType cache = getCache().getType();
  LayerCacheType layer = getType();
  if (cache.getLatent() != layer.getLatent() || cache.getRope() != layer.getRope() ||
      cache.getPage() != layer.getPage() || cache.getElementType() != layer.getElementType())
    return emitOpError() << "yields " << layer << " from " << cache;
  return success();
}

LogicalResult AppendOp::verify() {
  LayerCacheType cache = getCache().getType();
  if (failed(verifyActivation(*this, getLatent(), "latent", cache.getLatent())))
    return failure();
  return verifyActivation(*this, getRope(), "rope", cache.getRope());
}

/// kv_b is [A (n + v), c] with matching scales.
static LogicalResult verifyKvB(Operation *op, Value kvB, Value scales, int64_t heads, int64_t nope, int64_t value,
                               int64_t latent) {
  if (heads <= 0 || nope <= 0 || value <= 0)
    return op->emitOpError() << "has heads " << heads << ", nope " << nope << ", value " << value
                             << ", expected positive numbers";
  if (failed(verifyShape(op, kvB, "kv_b", {heads * (nope + value), latent})))
    return failure();
  return verifyScales(op, kvB, scales, "kv_b");
}

LogicalResult AttentionOp::verify() {
  LayerCacheType cache = getCache().getType();
  int64_t heads = getHeads();
  if (failed(verifyKvB(*this, getKvB(), getKvBScales(), heads, getNope(), getValue(), cache.getLatent())) ||
      failed(verifyActivation(*this, getQuery(), "query", heads * (getNope() + cache.getRope()))) ||
      failed(verifyActivation(*this, getResult(), "result", heads * getValue())))
    return failure();
  return lm::verifyActivationType(*this, getActivation(), getQuery());
}

LogicalResult AbsorbQueryOp::verify() {
  auto type = cast<RankedTensorType>(getKvB().getType());
  if (type.getRank() != 2)
    return emitOpError() << "kv_b is " << type << ", expected rank 2";
  int64_t latent = type.getDimSize(1);
  if (failed(verifyKvB(*this, getKvB(), getKvBScales(), getHeads(), getNope(), getValue(), latent)))
    return failure();
  if (failed(verifyActivation(*this, getQuery(), "query")))
    return failure();
  int64_t rope = widthOf(getQuery()) / static_cast<int64_t>(getHeads()) - static_cast<int64_t>(getNope());
  if (rope < 0 || failed(verifyActivation(*this, getQuery(), "query", getHeads() * (getNope() + rope))))
    return emitOpError() << "query is " << getQuery().getType() << ", expected " << getHeads()
                         << " heads of nope + rope";
  return verifyActivation(*this, getResult(), "result", getHeads() * latent);
}

LogicalResult LatentAttentionOp::verify() {
  LayerCacheType cache = getCache().getType();
  int64_t heads = getHeads();
  if (failed(verifyActivation(*this, getQuery(), "query")))
    return failure();
  if (heads <= 0 || widthOf(getQuery()) % heads != 0 || widthOf(getQuery()) / heads < cache.getRope())
    return emitOpError() << "query is " << getQuery().getType() << ", expected " << heads << " heads that end in rope "
                         << cache.getRope();
  if (failed(verifyActivation(*this, getAbsorbed(), "absorbed", heads * cache.getLatent())))
    return failure();
  return verifyActivation(*this, getResult(), "result", heads * cache.getLatent());
}

LogicalResult AbsorbValueOp::verify() {
  auto type = cast<RankedTensorType>(getKvB().getType());
  if (type.getRank() != 2)
    return emitOpError() << "kv_b is " << type << ", expected rank 2";
  int64_t latent = type.getDimSize(1), heads = getHeads();
  if (failed(verifyKvB(*this, getKvB(), getKvBScales(), heads, getNope(), getValue(), latent)) ||
      failed(verifyActivation(*this, getSource(), "source", heads * latent)) ||
      failed(verifyActivation(*this, getResult(), "result", heads * getValue())))
    return failure();
  if (getInto().getType() != getType())
    return emitOpError() << "`into` is " << getInto().getType() << ", expected " << getType();
  return success();
}
