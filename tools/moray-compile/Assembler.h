// Finds NVIDIA's assembler, which turns PTX into cubins at compile time.
#pragma once
#include "llvm/Support/Error.h"

#include <string>

namespace moray::tools {

struct Assembler {
  std::string path;    // empty: none, artifacts hold PTX alone
  std::string version; // "13.0.88"
};

/// `choice` is a path, a name, "none", or empty: ptxas, and nothing found is no error. Names are searched in PATH, then
/// in /usr/local/cuda/bin. E1009 where what was named or found is no program or cannot tell its version.
llvm::Expected<Assembler> findAssembler(llvm::StringRef choice);

} // namespace moray::tools
