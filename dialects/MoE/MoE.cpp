// Registration and verifiers of the moe dialect.
#include "dialects/MoE/MoE.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace moray::moe;
using moray::lm::verifyActivation;
using moray::lm::verifyScales;
using moray::lm::verifyShape;
using moray::lm::widthOf;

#include "dialects/MoE/MoEDialect.cpp.inc"
#include "dialects/MoE/MoEEnums.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/MoE/MoETypes.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/MoE/MoEAttrs.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/MoE/MoEOps.cpp.inc"

void MoEDialect::initialize() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/MoE/MoETypes.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/MoE/MoEAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/MoE/MoEOps.cpp.inc"
      >();
}

static ArrayRef<int64_t> shapeOf(Value value) { return cast<RankedTensorType>(value.getType()).getShape(); }

LogicalResult RouterAttr::verify(function_ref<InFlightDiagnostic()> emitError, Scoring scoring, Method method,
                                 int64_t groups, int64_t keep, int64_t top, bool, FloatAttr scale) {
  if (groups < 1 || keep < 1 || keep > groups || top < 1)
    return emitError() << "router has groups " << groups << ", keep " << keep << ", top " << top
                       << ", expected 1 <= keep <= groups and top >= 1";
  if (method == Method::Greedy && groups != 1)
    return emitError() << "router method greedy has no groups, found " << groups;
  if ((method == Method::NoauxTc) != (scoring == Scoring::Sigmoid))
    return emitError() << "router method " << stringifyMethod(method) << " does not go with scoring "
                       << stringifyScoring(scoring);
  return scale.getType().isF32() ? success() : emitError() << "router scale must be f32";
}

LogicalResult RouteOp::verify() {
  RouterAttr router = getRouter();
  if (shapeOf(getWeight()).size() != 2)
    return emitOpError() << "weight is " << getWeight().getType() << ", expected [experts, hidden]";
  int64_t experts = shapeOf(getWeight())[0];
  if (experts % router.getGroups() != 0 || router.getTop() > router.getKeep() * (experts / router.getGroups()))
    return emitOpError() << "chooses " << router.getTop() << " of " << experts << " experts in " << router.getGroups()
                         << " groups, " << router.getKeep()
                         << " kept: groups must divide the experts and the kept groups hold enough of them";
  if ((router.getMethod() == Method::NoauxTc) != static_cast<bool>(getBias()))
    return emitOpError("needs a bias exactly for noaux_tc");
  if (getBias() && failed(verifyShape(*this, getBias(), "bias", {experts})))
    return failure();
  if (failed(verifyActivation(*this, getSource(), "source", shapeOf(getWeight())[1])) ||
      failed(verifyActivation(*this, getIds(), "ids", router.getTop())))
    return failure();
  return verifyActivation(*this, getGates(), "gates", router.getTop());
}

LogicalResult ExpertsOp::verify() {
  if (shapeOf(getGate()).size() != 3)
    return emitOpError() << "gate is " << getGate().getType() << ", expected [experts, width, hidden]";
  int64_t experts = shapeOf(getGate())[0], width = shapeOf(getGate())[1], hidden = shapeOf(getGate())[2];
  if (failed(verifyShape(*this, getUp(), "up", {experts, width, hidden})) ||
      failed(verifyShape(*this, getDown(), "down", {experts, hidden, width})) ||
      failed(verifyActivation(*this, getSource(), "source", hidden)) ||
      failed(verifyActivation(*this, getResult(), "result", hidden)) ||
      failed(verifyActivation(*this, getIds(), "ids")) ||
      failed(verifyActivation(*this, getGates(), "gates", widthOf(getIds()))))
    return failure();
  size_t scales = getScales().size();
  if (scales != 0 && scales != 3)
    return emitOpError() << "has " << scales << " scales, expected none or those of gate, up and down";
  Value none;
  if (failed(verifyScales(*this, getGate(), scales ? getScales()[0] : none, "gate")) ||
      failed(verifyScales(*this, getUp(), scales ? getScales()[1] : none, "up")) ||
      failed(verifyScales(*this, getDown(), scales ? getScales()[2] : none, "down")))
    return failure();
  return lm::verifyActivationType(*this, getActivation(), getSource());
}

LogicalResult DispatchOp::verify() {
  if (failed(verifyActivation(*this, getIds(), "ids")))
    return failure();
  int64_t top = widthOf(getIds());
  if (shapeOf(getOffsets()).size() != 1 || shapeOf(getOffsets())[0] < 2)
    return emitOpError() << "offsets are " << getOffsets().getType() << ", expected tensor<(experts + 1)xi32>";
  if (failed(lm::verifyVector(*this, getTokens(), "tokens")) ||
      failed(verifyActivation(*this, getGates(), "gates", top)) ||
      failed(verifyActivation(*this, getRanks(), "ranks", top)))
    return failure();
  return verifyActivation(*this, getSortedGates(), "sorted gates", top);
}

LogicalResult GroupedLinearOp::verify() {
  if (shapeOf(getWeight()).size() != 3)
    return emitOpError() << "weight is " << getWeight().getType() << ", expected [experts, O, K]";
  int64_t experts = shapeOf(getWeight())[0], rows = shapeOf(getWeight())[1], depth = shapeOf(getWeight())[2];
  if (failed(verifyShape(*this, getOffsets(), "offsets", {experts + 1})) ||
      failed(verifyActivation(*this, getSource(), "source", depth)) ||
      failed(verifyActivation(*this, getResult(), "result", rows)) ||
      failed(verifyScales(*this, getWeight(), getScales(), "weight")))
    return failure();
  bool codes = isa<Float8E4M3FNType>(cast<RankedTensorType>(getSource().getType()).getElementType());
  if (codes != static_cast<bool>(getSourceScales()))
    return emitOpError("needs source scales (`by`) exactly when the source is f8E4M3FN");
  if (codes && failed(verifyActivation(*this, getSourceScales(), "source scales", lm::blocksOf(depth))))
    return failure();
  return getTokens() ? lm::verifyVector(*this, getTokens(), "row indices") : success();
}

LogicalResult CombineOp::verify() {
  if (failed(verifyActivation(*this, getResult(), "result")) ||
      failed(verifyActivation(*this, getSource(), "source", widthOf(getResult()))) ||
      failed(verifyActivation(*this, getRanks(), "ranks")))
    return failure();
  return verifyActivation(*this, getGates(), "gates", widthOf(getRanks()));
}

/// Both ops of an exchange stand in one block, the combine after the dispatch and before the next dispatch.
LogicalResult DispatchRanksOp::verify() {
  if (failed(verifyActivation(*this, getSource(), "source")) ||
      failed(lm::verifyVector(*this, getTokens(), "tokens")) ||
      failed(lm::verifyVector(*this, getReceivedTokens(), "received tokens")) ||
      failed(verifyActivation(*this, getGates(), "gates")))
    return failure();
  auto typeOf = [](Value value) { return value ? value.getType() : Type(); };
  if (getReceived().getType() != getSource().getType() || getReceivedOffsets().getType() != getOffsets().getType() ||
      typeOf(getReceivedScales()) != typeOf(getScales()))
    return emitOpError() << "receives " << getReceived().getType() << " and " << getReceivedOffsets().getType()
                         << ", expected the types that are sent";
  if (shapeOf(getOffsets()).size() != 1 || shapeOf(getOffsets())[0] < 2)
    return emitOpError() << "offsets are " << getOffsets().getType() << ", expected tensor<(experts + 1)xi32>";
  if (!getExchange().hasOneUse() || !isa<CombineRanksOp>(*getExchange().user_begin()))
    return emitOpError("begins an exchange that is not ended by one moe.combine_ranks");
  return success();
}

LogicalResult CombineRanksOp::verify() {
  if (failed(verifyActivation(*this, getSource(), "source")))
    return failure();
  auto dispatch = getExchange().getDefiningOp<DispatchRanksOp>();
  if (!dispatch || dispatch->getBlock() != (*this)->getBlock())
    return emitOpError("ends an exchange that no moe.dispatch_ranks of its block began");
  if (getGates().getType() != dispatch.getGates().getType())
    return emitOpError() << "gives gates of type " << getGates().getType() << ", expected those of the dispatch, "
                         << dispatch.getGates().getType();
  for (Operation *op = dispatch->getNextNode(); op && op != *this; op = op->getNextNode())
    if (isa<DispatchRanksOp, CombineRanksOp>(op))
      return op->emitOpError("stands inside another exchange");
  return success();
}
