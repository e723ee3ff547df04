//===- GpuTileConfig.cpp - tile sizes of matrix products on GPUs --------------===//
// The choice of tile sizes and the shared memory that follows from it.

#include "codegen/NVPTX/GpuTileConfig.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

using namespace moray::codegen;

// Two blocks fit on a multiprocessor: sm_80 has 164 KiB, of which each block costs 1 KiB more than it asks for.
static constexpr uint64_t kSharedPerBlock = 80 << 10;
static constexpr unsigned kMaxStages = 4;

std::string GpuTileConfig::str() const {
  std::string text =
      llvm::formatv("threads={0} stream={1}x{2} depth={3}", threads, streamRows, streamColumns, streamDepth);
  for (const GpuGemmTile &tile : tiles)
    text += llvm::formatv(" tile={0}x{1} warps={2}x{3} stages={4}", tile.rows, tile.columns, tile.warpRows,
                          tile.warpColumns, tile.stages);
  if (persistentBlocks)
    text += llvm::formatv(" blocks={0}", persistentBlocks);
  return text;
}

unsigned moray::codegen::gemmParts(const GemmBody &spec) { return spec.epilogue.kind == GemmEpilogue::Swiglu ? 2 : 1; }

uint64_t moray::codegen::gpuColumnTiles(const GemmBody &spec, unsigned columns) {
  return llvm::divideCeil(spec.width(), columns);
}

uint64_t moray::codegen::gpuGemmStageBytes(const GemmBody &spec, const GpuGemmTile &tile) {
  return 64 * (tile.rows * byteWidth(spec.x) + tile.columns * gemmParts(spec) * byteWidth(spec.w));
}

uint64_t moray::codegen::gpuGemmSharedBytes(const GemmBody &spec, const GpuTileConfig &config) {
  // Streaming exchanges partial products of 16 rows, two rounds of them.
  uint64_t bytes = 2 * config.warps() * 16 * config.streamColumns * gemmParts(spec) * 4;
  for (const GpuGemmTile &tile : config.tiles)
    bytes = std::max(bytes, tile.stages * gpuGemmStageBytes(spec, tile));
  return bytes;
}

GpuTileConfig moray::codegen::chooseGpu(const GemmBody &spec, const GpuTarget &target) {
  GpuTileConfig config;
  unsigned parts = gemmParts(spec);
  auto blocks = [&](unsigned columns) { return gpuColumnTiles(spec, columns); };

  // Wide tiles read the activations less often, narrow ones give every multiprocessor something to stream.
  uint64_t matrices = std::clamp<uint64_t>(spec.experts, 1, 6); // a single row chooses 6 or 8 experts
  if (matrices * blocks(16) < target.multiprocessors)
    config.streamColumns = 8;
  else if (parts == 1 && blocks(32) >= 4 * target.multiprocessors)
    config.streamColumns = 32;
  // Chips after sm_89 multiply e4m3 by way of f16, which takes registers of its own.
  bool native = spec.x == DType::F8E4M3 && target.hasFp8Mma;
  // Operands under way are in registers: for 128 of K, 32 for 16 rows of BF16 activations, 16 for 16 rows of FP8
  // weights.
  unsigned registers = unsigned(16 * byteWidth(spec.x) + config.streamColumns * parts * byteWidth(spec.w));
  config.streamDepth = std::clamp((native ? 64 : 96) / registers, 1u, 4u);

  GpuGemmTile large, medium;
  large.columns = 64 / parts;
  if (native)
    large.rows = 64;
  medium.rows = 64;
  medium.columns = (!spec.experts && blocks(64 / parts) < target.multiprocessors ? 32 : 64) / parts;
  if (spec.experts) {
    // Experts seldom have more than a few tiles of 64 rows each.
    config.tiles = {medium};
    config.persistentBlocks = 2 * config.residentBlocks * target.multiprocessors;
  } else {
    // Small tiles also where large ones would leave multiprocessors without work.
    unsigned rowTiles = unsigned((target.multiprocessors - 1) / blocks(large.columns));
    medium.upTo = std::max(medium.rows, std::min(rowTiles, 8u) * large.rows);
    if (medium.columns < large.columns || medium.rows < large.rows)
      config.tiles.push_back(medium);
    config.tiles.push_back(large);
  }
  for (GpuGemmTile &tile : config.tiles)
    tile.stages = unsigned(std::clamp<uint64_t>(kSharedPerBlock / gpuGemmStageBytes(spec, tile), 2, kMaxStages));
  return config;
}
