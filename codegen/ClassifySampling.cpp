//===- ClassifySampling.cpp - lm.sample and lm.log_prob to specs --------------===//
// Classifier of the sampling class: regions with exactly one op.

#include "codegen/KernelRegion.h"
#include "codegen/SamplingSpec.h"
#include "dialects/LM/LM.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace moray::codegen;

std::string SamplingBody::key() const {
  return llvm::formatv("op={0} V={1} {2} args={3},{4},{5}", unsigned(op), vocab, domain.str(), logitsArg, secondArg,
                       outArg)
      .str();
}

llvm::Expected<KernelSpec> moray::codegen::classifySampling(const KernelRegion &region) {
  Operation *op = region.onlyOp();
  if (!isa_and_present<moray::lm::SampleOp, moray::lm::LogProbOp>(op))
    return unsupportedRegion(&region.body.front(),
                             "is no sampling kernel: expected exactly one lm.sample or lm.log_prob");
  auto results = region.resultsOf(op->getResult(0));
  if (results.size() != 1)
    return unsupportedRegion(op, "must give its value as one result of the kernel");
  auto body = std::make_shared<SamplingBody>();
  body->op = isa<moray::lm::SampleOp>(op) ? SamplingBody::Sample : SamplingBody::LogProb;
  body->vocab = moray::lm::widthOf(op->getOperand(0));
  body->domain = region.domain;
  body->logitsArg = region.argument(op->getOperand(0)), body->secondArg = region.argument(op->getOperand(1));
  body->outArg = results[0];
  return KernelSpec{KernelClass::Sampling, region.pointerCount(), body};
}
