//===- RowLayout.cpp - threads and memory of a row kernel -------------------------===//
// See RowLayout.h.

#include "codegen/NVPTX/RowLayout.h"
#include "llvm/Support/MathExtras.h"
#include <algorithm>

using namespace moray::codegen;

StagedNode moray::codegen::stagedNode(const RowLoop &loop, size_t index, uint64_t staging) {
  unsigned node = loop.reductions[index].node;
  for (const RowStore &store : loop.stores)
    if (store.node == node && store.to.base == RowMemory::Scratch)
      return {store.to.column * 4, false};
  uint64_t byte = staging;
  for (size_t i = 0; i < index; ++i) {
    StagedNode earlier = stagedNode(loop, i, staging);
    if (loop.reductions[i].node == node)
      return {earlier.byte, false};
    if (earlier.ownStore)
      byte = earlier.byte + llvm::alignTo(loop.width * 4, 16);
  }
  return {byte, true};
}

RowLayout::RowLayout(const RowProgram &program, const GpuTarget &target) {
  uint64_t widest = 0;
  staging = bytes = llvm::alignTo(program.scratchElements * 4, 16);
  for (const RowStage &stage : program.stages) {
    if (auto *rope = std::get_if<RowRope>(&stage))
      widest = std::max(widest, rope->width);
    auto *loop = std::get_if<RowLoop>(&stage);
    if (!loop)
      continue;
    widest = std::max(widest, loop->width);
    for (size_t i = 0; i < loop->reductions.size(); ++i)
      if (StagedNode node = stagedNode(*loop, i, staging); node.ownStore)
        bytes = std::max(bytes, node.byte + llvm::alignTo(loop->width * 4, 16));
  }
  // Four groups for each warp: two rounds of two, which divides 7168 and most other widths evenly.
  uint64_t warps = std::clamp<uint64_t>(llvm::divideCeil(widest / kRowGroup, 4), 4, 16);
  threads = unsigned(warps) * GpuBuilder::kWarp;
  inShared = bytes <= target.sharedBytes - 4096; // the partial sums need a little, too
}
