//===- GpuTileConfig.h - tile sizes of matrix products on GPUs ------*- C++ -*-===//
// `chooseGpu` maps a matrix-product spec and a GPU to tile sizes: pure, and tested without any device.

#ifndef MORAY_CODEGEN_NVPTX_GPUTILECONFIG_H
#define MORAY_CODEGEN_NVPTX_GPUTILECONFIG_H

#include "codegen/KernelSpec.h"
#include "codegen/Target.h"
#include "llvm/ADT/SmallVector.h"

namespace moray::codegen {

/// A block computes `rows` x `columns` of the result. Operands pass through a ring of `stages` slots in shared memory,
/// each 64 of K wide; `warpRows` x `warpColumns` warps share the tile.
struct GpuGemmTile {
  unsigned upTo = ~0u; // activation rows (of an expert) up to which this tile is taken
  unsigned rows = 128, columns = 64;
  unsigned warpRows = 2, warpColumns = 2;
  unsigned stages = 4;
};

/// Few rows stream the weights straight into registers: every warp of a block takes each `threads / 32`-th block of 128
/// of K for `streamColumns` columns. More rows take the first of `tiles` that is large enough. All of them add the same
/// partial products in the same order.
struct GpuTileConfig {
  unsigned threads = 128;
  unsigned residentBlocks = 2; // per multiprocessor: one computes while the other begins or ends
  unsigned streamRows = 16;    // activation rows up to which weights are streamed: one fragment
  unsigned streamColumns = 16;
  unsigned streamDepth = 2; // blocks of 128 of K that each warp has under way besides the one that it multiplies
  llvm::SmallVector<GpuGemmTile, 2> tiles;
  unsigned persistentBlocks = 0; // grouped: blocks that share the work items; 0: a block per tile

  unsigned warps() const { return threads / 32; }
  std::string str() const;
};

/// 1, or 2 where gate and up share a tile.
unsigned gemmParts(const GemmBody &spec);
GpuTileConfig chooseGpu(const GemmBody &spec, const GpuTarget &target);
/// Tiles of `columns` columns that cover the result.
uint64_t gpuColumnTiles(const GemmBody &spec, unsigned columns);
/// Dynamic shared memory of a block: the largest that one of the paths needs.
uint64_t gpuGemmSharedBytes(const GemmBody &spec, const GpuTileConfig &config);
/// One slot of the ring.
uint64_t gpuGemmStageBytes(const GemmBody &spec, const GpuGemmTile &tile);

} // namespace moray::codegen

#endif
