//===- Attention.cpp - the attention class on a GPU ------------------------------===//
// The emitter of the attention class: one body per op of the mla dialect, and what no GPU kernel takes.

#include "codegen/NVPTX/AttentionTiles.h"
#include "codegen/NVPTX/Emitters.h"

using namespace moray::codegen;

static GpuPlan planAttention(const KernelSpec &kernel, const GpuTarget &) {
  const auto &spec = kernel.as<AttentionBody>();
  switch (spec.op) {
  case AttentionBody::Expanded:
    return planExpandedAttention(spec);
  case AttentionBody::Latent:
    return planLatentAttention(spec);
  default:
    return planAbsorb(spec);
  }
}

/// Matrix instructions take bf16; key blocks are those of the cache.
static llvm::Error check(const AttentionBody &spec) {
  bool readsCache = spec.op == AttentionBody::Expanded || spec.op == AttentionBody::Latent;
  bool readsWeight = spec.op != AttentionBody::Latent;
  if (spec.q != DType::BF16 || spec.out != DType::BF16 || (readsCache && spec.cache != DType::BF16))
    return llvm::createStringError("E3109: GPU attention needs bf16 rows and a bf16 cache, found %s rows, %s results "
                                   "and a %s cache; compile for this target with a mode other than ref32",
                                   dtypeName(spec.q), dtypeName(spec.out), dtypeName(spec.cache));
  if (readsWeight && spec.w != DType::BF16 && spec.w != DType::F8E4M3)
    return llvm::createStringError("E3109: GPU attention needs a kv_b in bf16 or f8E4M3FN, found %s; compile for this "
                                   "target with a mode other than ref32",
                                   dtypeName(spec.w));
  if (readsCache && spec.page != 64)
    return llvm::createStringError("E3109: GPU attention needs cache pages of 64 tokens, found %u",
                                   unsigned(spec.page));
  return llvm::Error::success();
}

static llvm::Error emitAttention(const KernelSpec &kernel, const GpuTarget &, unsigned stage, GpuBuilder &g) {
  const auto &spec = kernel.as<AttentionBody>();
  if (llvm::Error error = check(spec))
    return error;
  switch (spec.op) {
  case AttentionBody::Expanded:
    emitExpandedAttention(spec, g);
    break;
  case AttentionBody::Latent:
    emitLatentAttention(spec, stage, g);
    break;
  case AttentionBody::AbsorbQuery:
  case AttentionBody::AbsorbValue:
    emitAbsorb(spec, g);
    break;
  }
  return llvm::Error::success();
}

const GpuEmitter moray::codegen::gpuAttentionEmitter{KernelClass::Attention, planAttention, emitAttention};
