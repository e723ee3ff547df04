// Implements the reporting of compiler errors.
#include "moray-compile/Errors.h"

#include "common/cli.h"
#include "llvm/ADT/StringExtras.h"

namespace moray::tools {

int reportFault(const std::string &what) {
  return fail("E3001", what,
              "this is a fault of the compiler: report it with the output of --dump-compilation-phases-to",
              kExitInternal);
}

int reportError(llvm::Error error) {
  std::string message = llvm::toString(std::move(error));
  auto [code, text] = llvm::StringRef(message).split(": ");
  if (code.size() != 5 || code[0] != 'E' || !llvm::all_of(code.drop_front(), llvm::isDigit))
    return reportFault(message);
  int exitCode = code.starts_with("E1")                        ? kExitUsage
                 : code.starts_with("E2")                      ? kExitModel
                 : code.starts_with("E341") || code == "E3105" ? kExitResources
                                                               : kExitInternal;
  return fail(code.str().c_str(), text.str(), "", exitCode);
}

} // namespace moray::tools
