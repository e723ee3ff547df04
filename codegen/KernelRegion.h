//===- KernelRegion.h - a kernel region seen through its interface ----*- C++ -*-===//
// Maps the values of a kernel region to positions in moray_kernel_args.operands; what the classifiers of all classes
// start from.

#ifndef MORAY_CODEGEN_KERNELREGION_H
#define MORAY_CODEGEN_KERNELREGION_H

#include "codegen/KernelSpec.h"
#include "mlir/IR/Block.h"
#include "mlir/IR/BuiltinTypes.h"
#include "llvm/Support/Error.h"

namespace moray::codegen {

/// The body of an lm.kernel or cmd.kernel: block arguments are operands (an !lm.rows is five pointers), the
/// terminator's are results.
class KernelRegion {
public:
  KernelRegion(mlir::Block &body, RowDomain domain);

  mlir::Block &body;
  const RowDomain domain;

  /// Pointers of all operands and results.
  unsigned pointerCount() const { return resultBase + unsigned(results().size()); }
  /// Index of the (first) pointer of a block argument; -1 for every other value.
  int argument(mlir::Value value) const;
  /// Index of the pointer of result `number`.
  int result(unsigned number) const { return resultBase + number; }
  /// Pointer indices of every result that is `value`.
  llvm::SmallVector<int> resultsOf(mlir::Value value) const;
  mlir::OperandRange results() const { return body.getTerminator()->getOperands(); }
  /// The only operation beside the terminator, or null.
  mlir::Operation *onlyOp() const;

private:
  llvm::SmallVector<unsigned> first; // per block argument
  unsigned resultBase = 0;
};

/// Memory type of a tensor's elements (f32, bf16, f8E4M3FN, i32, ui8), or nothing.
std::optional<DType> dtypeOf(mlir::Type tensorOrElement);
/// Bytes from row to row of a stored weight: rows are padded to 64 bytes.
uint64_t weightPitch(mlir::RankedTensorType type);
/// "E3102: <op> ...": a region that no kernel of its class can compute.
llvm::Error unsupportedRegion(mlir::Operation *op, const llvm::Twine &why);

// One classifier per class; each derives the whole spec from the region.
llvm::Expected<KernelSpec> classifyGemm(const KernelRegion &region); // gemm and grouped_gemm
llvm::Expected<KernelSpec> classifyRow(const KernelRegion &region);
llvm::Expected<KernelSpec> classifyRouter(const KernelRegion &region);
llvm::Expected<KernelSpec> classifyPermute(const KernelRegion &region);
llvm::Expected<KernelSpec> classifyAttention(const KernelRegion &region);
llvm::Expected<KernelSpec> classifySampling(const KernelRegion &region);

} // namespace moray::codegen

#endif
