//===- Compiler.h - scheduled modules to artifact ---------------------*- C++ -*-===//
// The last two phases: codegen (machine code for every kernel of a target) and package (one file).

#ifndef MORAY_CODEGEN_COMPILER_H
#define MORAY_CODEGEN_COMPILER_H

#include "codegen/Package/ArtifactWriter.h"

namespace moray::codegen {

/// Name of the target that has all CPU levels.
inline constexpr llvm::StringLiteral kCpuTarget = "cpu";

/// Phase codegen for one target: every cmd.kernel of `module` (after phase schedule) and the probe kernels, for `gpu`
/// or, where it is null, for every CPU level of `options`; for a GPU also the exchange kernels, where the module has a
/// distributed step. The module must outlive the result. Errors are "E31xx: ..." texts.
llvm::Expected<CompiledTarget> compileTarget(mlir::ModuleOp module, const GpuTarget *gpu,
                                             const CompileOptions &options);

struct PackageOptions {
  ProvenanceFacts provenance;
  std::unique_ptr<schema::TokenizerT> tokenizer; // null: the artifact has no text
  WeightSource *weights = nullptr;               // null: `--weights=none`
  WriteProgress progress = [](uint64_t, uint64_t) {};
};

/// Phase package: writes `path` atomically; returns its size in bytes. Errors are "E34xx: ..." texts.
llvm::Expected<uint64_t> packageArtifact(llvm::ArrayRef<CompiledTarget> targets, PackageOptions options,
                                         const std::string &path);

} // namespace moray::codegen

#endif
