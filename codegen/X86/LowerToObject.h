//===- LowerToObject.h - one kernel to one x86 object ---------------*- C++ -*-===//
// Builds the MLIR of one kernel, lowers it through LLVM IR and emits an ELF object.

#ifndef MORAY_CODEGEN_X86_LOWERTOOBJECT_H
#define MORAY_CODEGEN_X86_LOWERTOOBJECT_H

#include "codegen/Emitter.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace moray::codegen {

/// Registers the x86 backend once per process; thread-safe.
void initialiseX86();
/// Registers the dialects and lowering interfaces that kernels use. Call it on the registry of each MLIRContext.
void registerKernelDialects(mlir::DialectRegistry &registry);

/// A module with one `llvm.func @symbol(ptr args, i64 task, ptr scratch, ptr fault)`: scf, arith, vector and llvm ops.
llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>> buildKernelModule(const KernelSpec &spec, const Target &target,
                                                                    mlir::MLIRContext &context);
enum class ObjectKind { Object, Assembly };
/// Lowers `module` to LLVM dialect, checks that only allowed operations and intrinsics are left, optimises, and returns
/// the object (or its text, for people and tests).
llvm::Expected<std::vector<char>> lowerToObject(mlir::ModuleOp module, const Target &target,
                                                ObjectKind kind = ObjectKind::Object);

} // namespace moray::codegen

#endif
