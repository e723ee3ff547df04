//===- Classify.cpp - from kernel regions to specs ----------------------------===//
// Reads class, domain and region of a kernel op and hands them to the classifier of the class.

#include "codegen/Classify.h"
#include "codegen/KernelRegion.h"
#include "dialects/Cmd/Cmd.h"
#include "dialects/LM/LM.h"

using namespace mlir;
using namespace moray::codegen;

template <typename KernelOp> static RowDomain domainOf(KernelOp kernel) {
  RowDomain domain;
  domain.kind = RowDomain::Kind(kernel.getDomain());
  if (domain.kind == RowDomain::Slots)
    domain.perRow = uint32_t(kernel.getSlotsPerRow().value_or(1));
  return domain;
}

static llvm::Expected<KernelSpec> classify(moray::lm::KernelClass klass, const KernelRegion &region) {
  using Class = moray::lm::KernelClass;
  switch (klass) {
  case Class::Gemm:
  case Class::GroupedGemm:
    return classifyGemm(region);
  case Class::Row:
    return classifyRow(region);
  case Class::Router:
    return classifyRouter(region);
  case Class::Permute:
    return classifyPermute(region);
  case Class::Attention:
    return classifyAttention(region);
  case Class::Sampling:
    return classifySampling(region);
  default:
    return llvm::createStringError("E3101: no emitter for kernels of class '" + stringifyKernelClass(klass) + "'");
  }
}

llvm::Expected<KernelSpec> moray::codegen::classify(Operation *op) {
  if (auto kernel = dyn_cast<moray::lm::KernelOp>(op))
    return ::classify(kernel.getKernelClass(), KernelRegion(kernel.getBody().front(), domainOf(kernel)));
  if (auto kernel = dyn_cast<moray::cmd::KernelOp>(op))
    return ::classify(kernel.getKernelClass(), KernelRegion(kernel.getBody().front(), domainOf(kernel)));
  return llvm::createStringError("E3101: '" + op->getName().getStringRef() + "' is not a kernel");
}
