//===- ClassifyRouter.cpp - moe.route and moe.dispatch to specs ---------------===//
// Classifiers of the router and permute classes: regions with exactly one op.

#include "codegen/KernelRegion.h"
#include "codegen/RouterSpec.h"
#include "dialects/MoE/MoE.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace moray::codegen;

std::string RouterBody::key() const {
  return llvm::formatv("{0}x{1} E={2} H={3} G={4} keep={5} top={6} {7} norm={8} sel={9} scale={10:e9} {11} "
                       "args={12},{13},{14},{15},{16}",
                       dtypeName(x), dtypeName(w), experts, hidden, groups, keep, top, softmax ? "softmax" : "sigmoid",
                       normalise, unsigned(selection), scale, domain.str(), xArg, wArg, biasArg, idsArg, gatesArg)
      .str();
}
std::string PermuteBody::key() const {
  return llvm::formatv("E={0} top={1} {2} args={3},{4},{5},{6},{7},{8}", experts, top, domain.str(), idsArg, gatesArg,
                       offsetsArg, tokensArg, ranksArg, sortedArg)
      .str();
}

llvm::Expected<KernelSpec> moray::codegen::classifyRouter(const KernelRegion &region) {
  auto route = dyn_cast_if_present<moray::moe::RouteOp>(region.onlyOp());
  if (!route)
    return unsupportedRegion(&region.body.front(), "is no router kernel: expected exactly one moe.route");
  auto body = std::make_shared<RouterBody>();
  moray::moe::RouterAttr router = route.getRouter();
  auto weight = route.getWeight().getType();
  body->x = *dtypeOf(route.getSource().getType()), body->w = *dtypeOf(weight);
  body->experts = weight.getDimSize(0), body->hidden = weight.getDimSize(1);
  body->groups = router.getGroups(), body->keep = router.getKeep(), body->top = router.getTop();
  body->softmax = router.getScoring() == moray::moe::Scoring::Softmax;
  body->normalise = router.getNormalise();
  body->scale = router.getScale().getValueAsDouble();
  if (router.getMethod() != moray::moe::Method::Greedy && body->groups > 1)
    body->selection =
        router.getMethod() == moray::moe::Method::NoauxTc ? RouterBody::GroupTopTwo : RouterBody::GroupMax;
  body->domain = region.domain;
  body->xArg = region.argument(route.getSource()), body->wArg = region.argument(route.getWeight());
  if (route.getBias())
    body->biasArg = region.argument(route.getBias());
  auto ids = region.resultsOf(route.getIds()), gates = region.resultsOf(route.getGates());
  if (ids.size() != 1 || gates.size() != 1)
    return unsupportedRegion(route, "must give ids and gates as one result each of the kernel");
  body->idsArg = ids[0], body->gatesArg = gates[0];
  return KernelSpec{KernelClass::Router, region.pointerCount(), body};
}

llvm::Expected<KernelSpec> moray::codegen::classifyPermute(const KernelRegion &region) {
  auto dispatch = dyn_cast_if_present<moray::moe::DispatchOp>(region.onlyOp());
  if (!dispatch)
    return unsupportedRegion(&region.body.front(), "is no permute kernel: expected exactly one moe.dispatch");
  auto body = std::make_shared<PermuteBody>();
  body->experts = dispatch.getOffsets().getType().getDimSize(0) - 1;
  body->top = moray::lm::widthOf(dispatch.getIds());
  body->domain = region.domain;
  body->idsArg = region.argument(dispatch.getIds()), body->gatesArg = region.argument(dispatch.getGates());
  int *const targets[] = {&body->offsetsArg, &body->tokensArg, &body->ranksArg, &body->sortedArg};
  for (auto [target, value] : llvm::zip(targets, dispatch->getResults())) {
    auto pointers = region.resultsOf(value);
    if (pointers.size() != 1)
      return unsupportedRegion(dispatch, "must give each of its values as one result of the kernel");
    *target = pointers[0];
  }
  return KernelSpec{KernelClass::Permute, region.pointerCount(), body};
}
