//===- LowerToLLVM.h - kernel modules to optimised LLVM IR -------------*- C++ -*-===//
// The steps that all backends share: MLIR passes, the check of what they left, translation, LLVM's optimiser.

#ifndef MORAY_CODEGEN_LOWERTOLLVM_H
#define MORAY_CODEGEN_LOWERTOLLVM_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/Error.h"
#include <memory>

namespace llvm {
class LLVMContext;
class Module;
class TargetMachine;
} // namespace llvm

namespace moray::codegen {

/// Registers the dialects that every emitter uses, with their lowering and translation interfaces.
void registerLoweringDialects(mlir::DialectRegistry &registry);

/// Lowers `module` (scf, arith, vector, llvm) to the LLVM dialect, checks every operation with `isAllowed` (E3103), and
/// translates it for the machine. E3106 where something does not lower.
llvm::Expected<std::unique_ptr<llvm::Module>> lowerToLLVM(mlir::ModuleOp module, const llvm::TargetMachine &machine,
                                                          llvm::function_ref<bool(mlir::Operation *)> isAllowed,
                                                          llvm::LLVMContext &context);

/// LLVM at O3 without vectorisers and loop unrolling: emitters unroll what pays.
void optimise(llvm::Module &module, llvm::TargetMachine &machine);

} // namespace moray::codegen

#endif
