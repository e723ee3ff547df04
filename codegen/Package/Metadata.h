//===- Metadata.h - scheduled module to artifact metadata -------------*- C++ -*-===//
// Translates cmd programs, compiled kernels and weight symbols to the tables of the artifact; lays the weights out.

#ifndef MORAY_CODEGEN_PACKAGE_METADATA_H
#define MORAY_CODEGEN_PACKAGE_METADATA_H

#include "artifact_generated.h"
#include "codegen/Emitter.h"
#include "dialects/Cmd/Cmd.h"
#include "mlir/IR/BuiltinOps.h"

namespace moray::codegen {

/// What the artifact says of its own making.
struct ProvenanceFacts {
  std::string compiler, source;
  std::vector<std::string> flags;
  uint64_t inputHash = 0;
};

/// Compiled code with the names of its kernels: `names[i]` belongs to `variants[i]` of every image.
struct CompiledCode {
  std::vector<KernelSpec> specs;
  std::vector<std::string> names;
  std::vector<CompiledImage> images;
};

/// One weight of the artifact and where its layers go.
struct PlacedWeight {
  lm::WeightOp weight;
  std::vector<int64_t> layers; // layers that have it, ascending; {0} for a global weight
};

struct Metadata {
  schema::ArtifactT artifact;        // hashes of weights are zero
  std::vector<PlacedWeight> weights; // parallel to artifact.weights
  uint64_t weightBytes = 0;          // size of the weights section
  uint64_t codeBytes = 0;            // size of the code section
};

/// Fails with E34xx when the module lacks facts that the artifact needs.
llvm::Expected<Metadata> buildMetadata(mlir::ModuleOp module, const CompiledCode &code,
                                       const ProvenanceFacts &provenance, std::unique_ptr<schema::TokenizerT> tokenizer,
                                       bool embedWeights);

} // namespace moray::codegen

#endif
