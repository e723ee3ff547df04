//===- GemmTile.h - matrix products of many rows on GPUs ------------*- C++ -*-===//
// A tile of the result by one block; operands pass through shared memory.

#ifndef MORAY_CODEGEN_NVPTX_GEMMTILE_H
#define MORAY_CODEGEN_NVPTX_GEMMTILE_H

#include "codegen/NVPTX/GemmFragments.h"

namespace moray::codegen {

/// rows x columns of the result. A ring of `stages` slots, each 64 of K of both operands, is filled by cp.async while
/// earlier slots are multiplied. Rows of 128 bytes are stored with their 16-byte chunks permuted (chunk ^ 5 * (row &
/// 1)), so that eight lanes that read two rows touch all banks once; rows of 64 bytes need nothing.
///
/// 128 x 64, bf16 x FP8: 20 KiB and 1 MFlop per slot; a warp of 64 x 32 reads 12 KiB of fragments for 256 KFlop.
class GpuGemmTiled : public GpuGemm {
public:
  GpuGemmTiled(const GemmBody &spec, const GpuTileConfig &config, const GpuGemmTile &tile, GpuBuilder &builder);
  /// Shared memory is free again when the copies under way have ended and all threads have passed a barrier.
  void emit(const Place &place);

private:
  /// How the threads share the copy of one operand: thread t takes chunk t % perRow of rows t / perRow + i * step.
  struct Copy {
    unsigned perRow, step, count, unitBytes;
    uint64_t end; // bytes of a row that exist
    bool partial; // chunks beyond `end` are asked for
    Value chunk, target;
    Values rows; // addresses
  };
  Copy share(unsigned rows, unsigned unitBytes, uint64_t end, Value region);
  void copy(const Copy &c, Value unit, Value slot, bool whole);
  void startUnit(Value unit, Value slot);
  Value swizzled(Value chunk, Value row, unsigned unitBytes);
  void locateOperands();
  void multiplyUnit(Value slot, llvm::MutableArrayRef<Values> partials);
  Values multiplyBlock(Value block, ValueRange totals, Value &slot);
  void promoteBlock(llvm::ArrayRef<Values> partials, Values &totals, Value block);
  Values scalesOf(unsigned n, Value block, Values &shared);
  void store(ValueRange totals);
  void storePair(Value row, Value column, ValueRange first, ValueRange second, Value &bad);
  Value fragmentColumn(unsigned n); // of the first of a lane's two results in 8-column tile n of a part

  const GpuTileConfig &config;
  const GpuGemmTile &tile;
  unsigned mTiles, nTiles, partTiles; // per warp: fragments of 16 rows, of 8 rows of w, those of one part
  int64_t stageBytes;
  Place place;
  Value warpRow, warpColumn; // first row and column of the warp in the tile
  Value ring;
  Copy xCopy, wCopy;
  Values xLanes, wLanes; // by load: a lane's offset in a slot
};

} // namespace moray::codegen

#endif
