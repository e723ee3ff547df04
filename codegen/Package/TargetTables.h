//===- TargetTables.h - programs and kernels of one target ------------*- C++ -*-===//
// Translates one target to its table of the artifact. Used by Metadata.cpp.

#ifndef MORAY_CODEGEN_PACKAGE_TARGETTABLES_H
#define MORAY_CODEGEN_PACKAGE_TARGETTABLES_H

#include "codegen/Package/Metadata.h"

namespace moray::codegen {

/// The names of the artifact, each stored once.
class NameTable {
public:
  explicit NameTable(std::vector<uint8_t> &bytes) : bytes(bytes) {}
  schema::Name operator()(llvm::StringRef text);
  std::unique_ptr<schema::Name> pointer(llvm::StringRef text) { return std::make_unique<schema::Name>((*this)(text)); }

private:
  std::vector<uint8_t> &bytes;
  llvm::StringMap<schema::Name> interned;
};

/// `images[i]` is the artifact's number of the target's image i. Adds the weights that the programs use to `weights`.
std::unique_ptr<schema::TargetT> buildTarget(const CompiledTarget &target, llvm::ArrayRef<unsigned> images,
                                             const schema::ModelConfigT &model, NameTable &names, WeightTable &weights);

} // namespace moray::codegen

#endif
