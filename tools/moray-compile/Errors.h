// How moray-compile reports the errors of the compiler's libraries, and which exit code they give.
#pragma once
#include "llvm/Support/Error.h"

namespace moray::tools {

/// Prints an "Ennnn: ..." error as `error[Ennnn]: ...` and returns its exit code: E1xxx usage, E2xxx bad model
/// input, E341x files and space, anything else internal. A text without a code is a fault of the compiler itself:
/// E3001.
int reportError(llvm::Error error);

/// E3001: something that no input should be able to cause.
int reportFault(const std::string &what);

} // namespace moray::tools
