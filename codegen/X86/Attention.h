//===- Attention.h - the attention kernels ----------------------------*- C++ -*-===//
// One plan and one body per op of the mla dialect; Attention.cpp dispatches on the spec.

#ifndef MORAY_CODEGEN_X86_ATTENTION_H
#define MORAY_CODEGEN_X86_ATTENTION_H

#include "codegen/AttentionSpec.h"
#include "codegen/Emitter.h"

namespace moray::codegen {

LaunchPlan planExpandedAttention(const AttentionBody &spec, const Target &target);
void emitExpandedAttention(const AttentionBody &spec, VectorBuilder &b);
LaunchPlan planLatentAttention(const AttentionBody &spec, const Target &target);
void emitLatentAttention(const AttentionBody &spec, VectorBuilder &b);
LaunchPlan planAbsorb(const AttentionBody &spec, const Target &target);
void emitAbsorbQuery(const AttentionBody &spec, VectorBuilder &b);
void emitAbsorbValue(const AttentionBody &spec, VectorBuilder &b);

} // namespace moray::codegen

#endif
