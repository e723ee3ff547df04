//===- Compiler.h - scheduled module to artifact ----------------------*- C++ -*-===//
// The last two phases: codegen (machine code for every kernel) and package (one file).

#ifndef MORAY_CODEGEN_COMPILER_H
#define MORAY_CODEGEN_COMPILER_H

#include "codegen/Package/ArtifactWriter.h"

namespace moray::codegen {

/// Phase codegen: every cmd.kernel of `module` (after phase schedule) and the probe kernels, for every level of
/// `options`. Errors are "E31xx: ..." texts.
llvm::Expected<CompiledCode> compileCode(mlir::ModuleOp module, const CompileOptions &options);

struct PackageOptions {
  ProvenanceFacts provenance;
  std::unique_ptr<schema::TokenizerT> tokenizer; // null: the artifact has no text
  WeightSource *weights = nullptr;               // null: `--weights=none`
  WriteProgress progress = [](uint64_t, uint64_t) {};
};

/// Phase package: writes `path` atomically; returns its size in bytes. Errors are "E34xx: ..." texts.
llvm::Expected<uint64_t> packageArtifact(mlir::ModuleOp module, const CompiledCode &code, PackageOptions options,
                                         const std::string &path);

} // namespace moray::codegen

#endif
