//===- LowerToPtx.h - one kernel to PTX text ---------------------------*- C++ -*-===//
// Builds the MLIR of all stages of one kernel, lowers it through LLVM IR and emits PTX.

#ifndef MORAY_CODEGEN_NVPTX_LOWERTOPTX_H
#define MORAY_CODEGEN_NVPTX_LOWERTOPTX_H

#include "codegen/Emitter.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace moray::codegen {

/// Registers the nvptx backend once per process; thread-safe.
void initialiseNvptx();
/// Registers the dialects and lowering interfaces that GPU kernels use. Call it on the registry of each MLIRContext.
void registerGpuKernelDialects(mlir::DialectRegistry &registry);

/// A module with one kernel function per stage. `sharedBytes` receives the static shared memory of each stage.
llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>> buildGpuModule(const KernelSpec &spec, const GpuTarget &target,
                                                                 mlir::MLIRContext &context,
                                                                 std::vector<uint64_t> &sharedBytes);
/// Entry point of stage `stage` of a plan.
std::string stageEntry(const KernelSpec &spec, const GpuPlan &plan, size_t stage);
/// Lowers `module` to LLVM dialect, checks that only allowed operations and intrinsics are left, optimises, and returns
/// the PTX text (without a terminating zero).
llvm::Expected<std::string> lowerToPtx(mlir::ModuleOp module, const GpuTarget &target);

} // namespace moray::codegen

#endif
