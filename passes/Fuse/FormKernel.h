// Forms lm.kernel regions: the class and the row domain of every op, and the move of ops into a kernel.
#ifndef MORAY_PASSES_FUSE_FORMKERNEL_H
#define MORAY_PASSES_FUSE_FORMKERNEL_H

#include "dialects/LM/LM.h"

#include <optional>

namespace moray {

/// Which live rows the leading dimension of a value follows.
struct RowDomain {
  lm::Domain domain = lm::Domain::Rows;
  int64_t slotsPerRow = 0;  // for Slots
  mlir::Value offsets = {}; // for Slots: first slot of each expert; the last entry is the number of slots

  bool operator==(const RowDomain &other) const {
    return domain == other.domain && slotsPerRow == other.slotsPerRow && offsets == other.offsets;
  }
};

/// lm.weight_of, mla.layer_cache_of, lm.call, lm.return, lm.kernel and movement between ranks: ops that never are
/// inside a kernel.
bool staysOutsideKernels(mlir::Operation *op);
/// Class of the kernel that computes `op`; nothing for ops that have none.
std::optional<lm::KernelClass> kernelClassOf(mlir::Operation *op);
/// Domain of the kernel that computes `op`.
RowDomain kernelDomainOf(mlir::Operation *op);
/// The offsets that a kernel over slots follows: those of its product, or its last operand.
mlir::Value slotOffsets(lm::KernelOp kernel);

/// Moves `ops` (of one block, in block order) into one kernel where the first of them stands. Everything they use must
/// be defined there. Results used outside become results of the kernel. A row kernel over slots takes the offsets as
/// its last operand: they count the slots, also those that came from other ranks.
lm::KernelOp formKernel(llvm::ArrayRef<mlir::Operation *> ops, lm::KernelClass kernelClass, RowDomain domain);

/// Moves weight_of and layer_cache_of to the start of `block`, so that they are defined wherever a kernel may stand.
void hoistSymbolValues(mlir::Block &block);

/// Blocks of all layers and programs in order.
llvm::SmallVector<mlir::Block *> programBlocks(mlir::Operation *module);

} // namespace moray

#endif
