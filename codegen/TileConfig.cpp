//===- TileConfig.cpp - tile sizes of the matrix products ---------------------===//
// The choice of tile sizes and the scratch that follows from it.

#include "codegen/TileConfig.h"
#include "codegen/X86/GemmScratch.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

using namespace moray::codegen;

std::string TileConfig::str() const {
  return llvm::formatv("panel={0} rows={1} stream={2}x{3} tile={4}x{5} chunk={6}", panelRows, rowTile, streamRows, streamMax, tileRows,
                       tileTokens, chunkBlocks)
      .str();
}

TileConfig moray::codegen::choose(const GemmBody &spec, const Target &target) {
  TileConfig config;
  bool wide = target.vectorRegisters >= 32;
  // Partial sums and totals of a register tile, its operands and a scale have to fit: 3x4 zmm, or 2x2 pairs of ymm (x two registers each).
  config.tileRows = wide ? 3 : 2;
  config.tileTokens = 4;
  config.streamRows = wide ? 8 : 4;

  unsigned parts = spec.epilogue.kind == GemmEpilogue::Swiglu ? 2 : 1;
  unsigned step = 24; // multiple of every streamRows and tileRows
  uint64_t rows = llvm::alignTo(std::min<uint64_t>(spec.width(), 48 / parts), step);
  config.panelRows = unsigned(rows) * parts;

  uint64_t blocks = spec.blocks();
  // The panel takes a quarter of L2: the packed activations and the totals need the rest.
  uint64_t panelBlockBytes = uint64_t(config.panelRows) * 512;
  config.chunkBlocks = unsigned(std::clamp<uint64_t>(target.l2Bytes / 4 / panelBlockBytes, 2, std::max<uint64_t>(blocks, 2)));
  if (config.chunkBlocks > blocks)
    config.chunkBlocks = unsigned(blocks);
  // Packed activations of a task stay below 2 MiB.
  uint64_t rowTile = (2u << 20) / (blocks * 512);
  config.rowTile = unsigned(std::clamp<uint64_t>(rowTile / config.tileTokens * config.tileTokens, 16, 64));
  // Few long rows are their own streams; for short rows the next group of rows is the better guess.
  config.prefetchBytes = spec.wPitch <= 2048 ? unsigned(config.streamRows * spec.wPitch) : 1024;
  return config;
}

uint64_t moray::codegen::gemmColumnTiles(const GemmBody &spec, const TileConfig &config) {
  unsigned parts = spec.epilogue.kind == GemmEpilogue::Swiglu ? 2 : 1;
  return llvm::divideCeil(spec.width(), config.panelRows / parts);
}

uint64_t moray::codegen::gemmScratchBytes(const GemmBody &spec, const TileConfig &config) { return GemmScratch(spec, config).bytes; }
