//===- TileConfig.cpp - tile sizes of the matrix products ---------------------===//
// The choice of tile sizes and the scratch that follows from it.

#include "codegen/TileConfig.h"
#include "codegen/X86/GemmScratch.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

using namespace moray::codegen;

std::string TileConfig::str() const {
  return llvm::formatv("panel={0} rows={1} stream={2}x{3} tile={4}x{5} chunk={6}x{7}", panelRows, rowTile, streamRows,
                       streamMax, tileRows, tileTokens, chunkBlocks, innerGroups)
      .str();
}

TileConfig moray::codegen::choose(const GemmBody &spec, const Target &target) {
  TileConfig config;
  bool wide = target.vectorRegisters >= 32;
  // 3x4 partial sums and totals fill 32 registers of 16 lanes. 16 registers of 8 lanes hold half of 2x4 partial sums
  // and no totals.
  config.tileRows = wide ? 3 : 2;
  config.tileTokens = 4;
  config.totalsInScratch = !wide;
  config.streamRows = wide ? 8 : 4;

  unsigned parts = spec.epilogue.kind == GemmEpilogue::Swiglu ? 2 : 1;
  unsigned step = 24; // multiple of every streamRows and tileRows
  // Twice the rows make longer runs of memory per stream: for gate and up, which share a panel, where many tiles are
  // left to share; for experts, whose panels are visited one after the other, where a few are.
  uint64_t rows = 48 / parts, tilesLeft = spec.experts ? 8 : 32;
  if ((parts == 2 || spec.experts) && spec.width() >= 2 * rows * tilesLeft)
    rows *= 2;
  rows = llvm::alignTo(std::min(spec.width(), rows), step);
  config.panelRows = unsigned(rows) * parts;

  uint64_t blocks = spec.blocks();
  // The panel takes a quarter of L2: the packed activations and the totals need the rest.
  uint64_t panelBlockBytes = uint64_t(config.panelRows) * 512;
  config.chunkBlocks = unsigned(std::min(std::clamp<uint64_t>(target.l2Bytes / 4 / panelBlockBytes, 4, 8), blocks));
  // Three quarters of L1 hold the weight rows that stay; packed activations pass by.
  config.innerGroups =
      unsigned(std::max<uint64_t>(target.l1Bytes * 3 / 4 / (uint64_t(config.tileRows) * config.chunkBlocks * 512), 1));
  // Packed activations of a task stay below 2 MiB.
  uint64_t rowTile = (2u << 20) / (blocks * 512);
  config.rowTile = unsigned(std::clamp<uint64_t>(rowTile / config.tileTokens * config.tileTokens, 16, 64));
  return config;
}

uint64_t moray::codegen::gemmColumnTiles(const GemmBody &spec, const TileConfig &config) {
  unsigned parts = spec.epilogue.kind == GemmEpilogue::Swiglu ? 2 : 1;
  return llvm::divideCeil(spec.width(), config.panelRows / parts);
}

uint64_t moray::codegen::gemmScratchBytes(const GemmBody &spec, const TileConfig &config) {
  return GemmScratch(spec, config).bytes;
}
