//===- RowLayout.h - threads and memory of a row kernel ----------------*- C++ -*-===//
// How a RowProgram is laid over a block: threads, and the memory that its stages share.

#ifndef MORAY_CODEGEN_NVPTX_ROWLAYOUT_H
#define MORAY_CODEGEN_NVPTX_ROWLAYOUT_H

#include "codegen/NVPTX/RowPieces.h"
#include "codegen/RowProgram.h"
#include "codegen/Target.h"

namespace moray::codegen {

/// A block works on one row. Its memory holds the program's scratch elements from byte 0, then the values that
/// reductions read, all f32.
struct RowLayout {
  unsigned threads = 128; // at least one for each partial sum
  uint64_t staging = 0;   // first byte of the values to reduce
  uint64_t bytes = 0;     // of the block's memory
  bool inShared = true;   // else in the launch's scratch memory, one piece for each row

  RowLayout(const RowProgram &program, const GpuTarget &target);
};

/// Where the values of reduction `index` of `loop` are in the block's memory, as a byte. A value that the loop keeps in
/// scratch anyway is read there; the others follow each other from `staging`, each node once.
struct StagedNode {
  uint64_t byte = 0;
  bool ownStore = true; // false: one of the loop's stores or an earlier reduction puts it there
};
StagedNode stagedNode(const RowLoop &loop, size_t index, uint64_t staging);

} // namespace moray::codegen

#endif
