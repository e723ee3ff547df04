//===- Emitters.h - the GPU emitters -------------------------------------*- C++ -*-===//
// One emitter per kernel class, one per file in this folder.

#ifndef MORAY_CODEGEN_NVPTX_EMITTERS_H
#define MORAY_CODEGEN_NVPTX_EMITTERS_H

#include "codegen/Emitter.h"

namespace moray::codegen {

extern const GpuEmitter gpuAttentionEmitter, gpuExchangeEmitter, gpuGemmEmitter, gpuGroupedGemmEmitter;
extern const GpuEmitter gpuPermuteEmitter;
extern const GpuEmitter gpuProbeEmitter, gpuRouterEmitter, gpuRowEmitter, gpuSamplingEmitter;

/// All GPU emitters.
llvm::ArrayRef<const GpuEmitter *> gpuEmitters();

} // namespace moray::codegen

#endif
