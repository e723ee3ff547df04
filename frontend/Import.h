// From a checkpoint directory (or a lone config.json) to a verified module and everything the packager needs beside it.
#ifndef MORAY_FRONTEND_IMPORT_H
#define MORAY_FRONTEND_IMPORT_H

#include "frontend/Builder.h"
#include "tokenizer_generated.h"

#include <memory>
#include <optional>
#include <string>

namespace moray::frontend {

struct ImportOptions {
  bool needWeights = false;           // error E2043 when the path has none
  bool strict = false;                // unexplained tensors are errors
  std::optional<double> innerNormEps; // overrides the 1e-6 of the q_a and kv_a norms (spec model.md 4.2)
  bool fullHash = false;              // the fingerprint covers all bytes of the weights
};

struct ImportedModel {
  mlir::OwningOpRef<mlir::ModuleOp> module; // phase `import`: canonical lm/mla/moe in f32
  std::unique_ptr<Checkpoint> checkpoint;   // hasWeights() is false for a lone config.json
  ModelConfig config;
  Inventory inventory;
  GenerationConfig generation;
  uint64_t fingerprint = 0;
  std::unique_ptr<schema::TokenizerT>
      tokenizer; // null when the directory has no tokenizer.json: such a model has no text interface
};

// Checks everything before a weight byte is read. Errors: those of Checkpoint.h, ModelConfig.h, TensorInventory.h and
// TokenizerImport.h, E2043 (no weights), E2401 (the built module does not verify: a bug of the importer; the verifier's
// text went to the context's diagnostics).
Expected<ImportedModel> importModel(mlir::MLIRContext &context, const std::string &path, const ImportOptions &options,
                                    Warnings &warnings);

} // namespace moray::frontend

#endif // MORAY_FRONTEND_IMPORT_H
