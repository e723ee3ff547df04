//===- GemmScratch.h - scratch layout of a matrix product -----------*- C++ -*-===//
// Where a task of a matrix product keeps packed activations, widened weights, running totals and results.

#ifndef MORAY_CODEGEN_X86_GEMMSCRATCH_H
#define MORAY_CODEGEN_X86_GEMMSCRATCH_H

#include "codegen/TileConfig.h"

namespace moray::codegen {

/// Byte offsets into the scratch of one worker; every part starts at a multiple of 64. All parts are f32 but `bounce`.
///   x        [rowTile / tileTokens][blocks][tileTokens][128]   packed activations
///   xScales  [rowTile / tileTokens][blocks][tileTokens]        activation scales (FP8 rows)
///   wScales  [panelRows][scaleStride]                          scales of the weight rows, times the bias of FP8
///   panel    [panelRows / tileRows][chunkBlocks][tileRows][128]  widened weights of one chunk of K
///   totals   [token groups][panelRows / tileRows][tileRows * tileTokens][16]  register tiles between chunks
///   bounce   [rows at once][32] halves                         FP8 codes on their way to f32
///   results  [rowTile][resultStride]                           dot products before the epilogue
struct GemmScratch {
  uint64_t x = 0, xScales = 0, wScales = 0, panel = 0, totals = 0, bounce = 0, results = 0, bytes = 0;
  uint64_t scaleStride = 0;  // elements
  uint64_t resultStride = 0; // elements

  GemmScratch(const GemmBody &spec, const TileConfig &config) {
    uint64_t blocks = spec.blocks();
    scaleStride = (blocks + 15) / 16 * 16;
    resultStride = config.panelRows + 16;
    auto take = [this](uint64_t size) {
      uint64_t offset = bytes;
      bytes += (size + 63) / 64 * 64;
      return offset;
    };
    x = take(config.rowTile * blocks * 512);
    xScales = take(spec.x == DType::F8E4M3 ? config.rowTile * blocks * 4 : 0);
    wScales = take(spec.scalePitch ? config.panelRows * scaleStride * 4 : 0);
    panel = take(uint64_t(config.panelRows) * config.chunkBlocks * 512);
    uint64_t tile = config.totalsInScratch ? config.tileRows * config.tileTokens * 64 : 0;
    totals = take(blocks > config.chunkBlocks ? uint64_t(config.rowTile) * config.panelRows * 64 : tile);
    bounce = take(64 * std::max(config.streamRows, config.tileRows));
    results = take(config.rowTile * resultStride * 4);
  }
};

} // namespace moray::codegen

#endif
