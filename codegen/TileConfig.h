//===- TileConfig.h - tile sizes of the matrix products -------------*- C++ -*-===//
// `choose` maps a matrix-product spec and a target to tile sizes: pure, and tested without any device.

#ifndef MORAY_CODEGEN_TILECONFIG_H
#define MORAY_CODEGEN_TILECONFIG_H

#include "codegen/KernelSpec.h"
#include "codegen/Target.h"

namespace moray::codegen {

/// A task covers `panelRows` weight rows (half of them gate, half up for Swiglu) and up to `rowTile` activation rows.
/// Few rows take the streaming path (weights widened in registers), more take the panel path (weights widened once per
/// panel into scratch).
struct TileConfig {
  unsigned panelRows = 48;      // multiple of streamRows and tileRows
  unsigned rowTile = 64;        // activation rows of one task; multiple of tileTokens
  unsigned streamRows = 8;      // weight rows read at once, one stream each, by the streaming path
  unsigned streamMax = 4;       // activation rows up to which the streaming path is taken
  unsigned tileRows = 3;        // register tile of the panel path: weight rows
  unsigned tileTokens = 4;      //   ... times activation rows
  unsigned chunkBlocks = 8;     // blocks of 128 of K widened at a time
  bool totalsInScratch = false; // too few registers for totals beside partial sums
  unsigned innerGroups = 4;     // register tiles of weight rows that stay in L1 while all tokens pass by
  unsigned prefetchBytes = 512; // ahead of each weight stream

  std::string str() const;
};

TileConfig choose(const GemmBody &spec, const Target &target);
/// Scratch of one worker in bytes.
uint64_t gemmScratchBytes(const GemmBody &spec, const TileConfig &config);
/// Column tiles of the result.
uint64_t gemmColumnTiles(const GemmBody &spec, const TileConfig &config);

} // namespace moray::codegen

#endif
