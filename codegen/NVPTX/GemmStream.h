//===- GemmStream.h - matrix products of few rows on GPUs -----------*- C++ -*-===//
// Weights stream from memory into registers; the warps of a block share K.

#ifndef MORAY_CODEGEN_NVPTX_GEMMSTREAM_H
#define MORAY_CODEGEN_NVPTX_GEMMSTREAM_H

#include "codegen/NVPTX/GemmFragments.h"

namespace moray::codegen {

/// Up to 16 rows times streamColumns columns. Warp w takes blocks w, w + warps, ... of 128 of K; after each round the
/// warps leave their partial products in shared memory and every thread adds those of its own results, blocks
/// ascending. Each warp has streamDepth blocks of weights under way: for 16 columns of FP8 weights 2 KiB each.
class GpuGemmStream : public GpuGemm {
public:
  GpuGemmStream(const GemmBody &spec, const GpuTileConfig &config, GpuBuilder &builder);
  void emit(const Place &place);

private:
  /// Chunks of one block of 128 of K: [unit][load][row half] of x, then [n][unit][load] of w.
  using Chunks = Values;
  unsigned xChunks() const { return 2 * xLoads * 2; }
  Chunks load(Value block, bool tail);
  Values product(ValueRange chunks);
  Values exchange(ValueRange totals, ValueRange partials, Value parity, Value firstBlock, unsigned active);
  void store(ValueRange totals);
  Value elementRow(unsigned i);
  Value elementColumn(unsigned i);

  const GpuTileConfig &config;
  unsigned columns, tiles, elements; // of the result in a tile; 8-column tiles of w; results per thread
  Place place;
  Value xRows[2];
  Values wRows;
  Value exchangeBuffer;
};

} // namespace moray::codegen

#endif
