//===- VectorBuilder.h - helper that writes vector kernels ----------*- C++ -*-===//
// What the x86 emitters need beyond KernelBuilder: arguments, vectors, and the number formats of the weights.

#ifndef MORAY_CODEGEN_X86_VECTORBUILDER_H
#define MORAY_CODEGEN_X86_VECTORBUILDER_H

#include "codegen/KernelBuilder.h"
#include "codegen/Target.h"

namespace moray::codegen {

/// The x86 kernel interface of runtime/schema/kernel_abi.h.
class VectorBuilder : public KernelBuilder {
public:
  VectorBuilder(mlir::OpBuilder &builder, mlir::LLVM::LLVMFuncOp function, const Target &target);

  const Target &target;
  mlir::Type ptr;

  Value operand(unsigned index) override;
  Value live(unsigned index) override;
  Value capacity(Symbol symbol) override;
  Value layer() override;
  Value task() override;
  Value scratch() override;

  // ---- vectors ----
  Value shuffle(Value a, Value c, llvm::ArrayRef<int64_t> lanes);
  Value extract(Value vector, int64_t lane);
  Value insert(Value scalar, Value vector, int64_t lane);
  /// Any lane of a vector of i1.
  Value anyLane(Value mask);
  /// Sum of a power-of-two vector by the tree + lanes/2, ..., +2, +1: lane i is added to lane i + half, which stands on
  /// the right.
  Value treeSum(Value vector);
  /// The tree sums of `n` 16-lane vectors (n = 1, 2, 4, 8 or 16) as one vector of n lanes; bit-equal to treeSum.
  Value treeSums(llvm::ArrayRef<Value> vectors);

  // ---- memory ----
  void prefetch(Value address); // for reading, into all levels
  /// Loads `lanes` elements stored as `type` (F32, BF16, F8E4M3) and widens them to f32. FP8 comes out as value * 2^-8,
  /// exactly.
  Value loadWide(DType type, Value address, unsigned lanes);
  /// Two vectors of 16 FP8 codes, one behind the other in memory, widened as by loadWide. The halves go through the 64
  /// bytes at `bounce`: a conversion from memory needs one vector port less than one from a register.
  std::pair<Value, Value> loadF8Pair(Value address, Value bounce);
  /// The first `count` of `lanes` elements, the rest zero; reads nothing beyond address + count elements. `rowElements`
  /// elements before and including the last one belong to the same row (they may be read too).
  Value loadWideTail(DType type, Value address, unsigned lanes, unsigned count, uint64_t rowElements);
  /// Rounds f32 to `type` (F32 or BF16: nearest even; NaNs must be canonical) and stores.
  void storeNarrow(DType type, Value value, Value address);
  Value widenF8(Value i8s); // value * 2^-8 as f32

protected:
  Value faultWord() override;
};

} // namespace moray::codegen

#endif
