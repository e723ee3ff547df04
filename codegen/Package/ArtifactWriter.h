//===- ArtifactWriter.h - metadata, code and weights to one file ------*- C++ -*-===//
// Writes the artifact: preamble, metadata, code, weights (DESIGN section 5), atomically and reproducibly.

#ifndef MORAY_CODEGEN_PACKAGE_ARTIFACTWRITER_H
#define MORAY_CODEGEN_PACKAGE_ARTIFACTWRITER_H

#include "codegen/Package/Metadata.h"
#include "codegen/Package/WeightSource.h"
#include <functional>

namespace moray::codegen {

/// Called with weight bytes written so far and in all.
using WriteProgress = std::function<void(uint64_t done, uint64_t total)>;

/// Fills the weight hashes of `metadata` on the way. `source` is null when weights are not embedded. Returns the size
/// of the file.
llvm::Expected<uint64_t> writeArtifact(const std::string &path, Metadata &metadata, WeightSource *source,
                                       const WriteProgress &progress);

} // namespace moray::codegen

#endif
