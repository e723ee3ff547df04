//===- Attention.cpp - the attention class -----------------------------------===//
// The emitter of the attention class: one body per op of the mla dialect.

#include "codegen/X86/Attention.h"
#include "codegen/X86/VectorBuilder.h"

using namespace moray::codegen;

static LaunchPlan planAttention(const KernelSpec &kernel, const Target &target) {
  const auto &spec = kernel.as<AttentionBody>();
  switch (spec.op) {
  case AttentionBody::Expanded:
    return planExpandedAttention(spec, target);
  case AttentionBody::Latent:
    return planLatentAttention(spec, target);
  default:
    return planAbsorb(spec, target);
  }
}

static llvm::Error emitAttention(const KernelSpec &kernel, const Target &, VectorBuilder &b) {
  const auto &spec = kernel.as<AttentionBody>();
  switch (spec.op) {
  case AttentionBody::Expanded:
    emitExpandedAttention(spec, b);
    break;
  case AttentionBody::AbsorbQuery:
    emitAbsorbQuery(spec, b);
    break;
  case AttentionBody::Latent:
    emitLatentAttention(spec, b);
    break;
  case AttentionBody::AbsorbValue:
    emitAbsorbValue(spec, b);
    break;
  }
  return llvm::Error::success();
}

const Emitter moray::codegen::attentionEmitter{KernelClass::Attention, planAttention, emitAttention};
