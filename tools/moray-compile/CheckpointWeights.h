// Adapts a checkpoint to the stream of tensors that the packager reads; the only code that sees both sides.
#pragma once
#include "codegen/Package/WeightSource.h"
#include "frontend/WeightReader.h"

namespace moray::tools {

class CheckpointWeights : public codegen::WeightSource {
public:
  /// `checkpoint` and `warnings` must outlive the object. `ue8m0`: scales that are no powers of two give a warning.
  CheckpointWeights(const frontend::Checkpoint &checkpoint, bool ue8m0, frontend::Warnings &warnings)
      : checkpoint(checkpoint), reader(checkpoint, ue8m0, warnings) {}

  /// Errors: E2310 where the stored type is not `type` (after the reader's widening of F16 and E8M0 to F32), else the
  /// reader's.
  llvm::Error read(llvm::StringRef tensor, codegen::DType type, uint64_t first, uint64_t count, uint8_t *out) override;

private:
  const frontend::Checkpoint &checkpoint;
  frontend::WeightReader reader;
};

} // namespace moray::tools
