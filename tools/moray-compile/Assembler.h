// Finds NVIDIA's assembler, which turns PTX into cubins at compile time.
#pragma once
#include "llvm/Support/Error.h"

#include <string>

namespace moray::tools {

struct Assembler {
  std::string path;    // empty: none, artifacts hold PTX alone
  std::string version; // "13.0.88"
};

/// `choice` is a path, "none", or empty: search PATH, then /usr/local/cuda/bin. Nothing found there is no error. E1009
/// where what was named or found cannot tell its version.
llvm::Expected<Assembler> findAssembler(llvm::StringRef choice);

} // namespace moray::tools
