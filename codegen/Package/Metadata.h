//===- Metadata.h - scheduled modules to artifact metadata ------------*- C++ -*-===//
// Translates the cmd programs and compiled kernels of all targets to the tables of the artifact; lays code and weights
// out.

#ifndef MORAY_CODEGEN_PACKAGE_METADATA_H
#define MORAY_CODEGEN_PACKAGE_METADATA_H

#include "artifact_generated.h"
#include "codegen/Emitter.h"
#include "codegen/Package/WeightTable.h"
#include "dialects/Cmd/Cmd.h"

namespace moray::codegen {

/// What the artifact says of its own making.
struct ProvenanceFacts {
  std::string compiler, source;
  std::vector<std::string> flags;
  uint64_t inputHash = 0;
};

/// One target: its scheduled module, which targets of equal numerics share, and its code. `specs`, `names` and
/// `code.variants` belong together; the first kernels are those of the module, in its order.
struct CompiledTarget {
  std::string name; // "cpu", "cuda:sm_80"
  unsigned sm = 0;  // 0: a CPU
  mlir::ModuleOp module;
  std::vector<KernelSpec> specs;
  std::vector<std::string> names;
  CompiledKernels code;
};

struct Metadata {
  schema::ArtifactT artifact;                // hashes of weights are zero
  std::vector<const CompiledImage *> images; // parallel to artifact.images; they belong to the targets
  std::vector<PlacedWeight> weights;         // parallel to artifact.weights
  uint64_t weightBytes = 0;                  // size of the weights section
  uint64_t codeBytes = 0;                    // size of the code section
};

/// The targets are of one model and at least one. Fails with E34xx when a module lacks facts that the artifact needs.
llvm::Expected<Metadata> buildMetadata(llvm::ArrayRef<CompiledTarget> targets, const ProvenanceFacts &provenance,
                                       std::unique_ptr<schema::TokenizerT> tokenizer, bool embedWeights);

} // namespace moray::codegen

#endif
