// Implements the search for ptxas.
#include "moray-compile/Assembler.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FileUtilities.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Program.h"

namespace moray::tools {

// "Cuda compilation tools, release 13.0, V13.0.88" -> "13.0.88"; empty where the program says nothing like it.
static std::string versionOf(llvm::StringRef path) {
  llvm::SmallString<128> output;
  if (llvm::sys::fs::createTemporaryFile("moray-ptxas", "txt", output))
    return "";
  llvm::FileRemover remover(output);
  std::optional<llvm::StringRef> redirects[] = {"", output.str(), ""};
  if (llvm::sys::ExecuteAndWait(path, {path, "--version"}, std::nullopt, redirects, /*SecondsToWait=*/30) != 0)
    return "";
  auto text = llvm::MemoryBuffer::getFile(output);
  if (!text)
    return "";
  llvm::StringRef rest = (*text)->getBuffer().split(", V").second;
  return rest.take_while([](char c) { return llvm::isDigit(c) || c == '.'; }).str();
}

llvm::Expected<Assembler> findAssembler(llvm::StringRef choice) {
  if (choice == "none")
    return Assembler{};
  Assembler found;
  found.path = choice.str();
  // A name without a slash is searched, too, as a shell would.
  if (choice.empty() || !choice.contains('/')) {
    llvm::StringRef name = choice.empty() ? "ptxas" : choice;
    llvm::ErrorOr<std::string> program = llvm::sys::findProgramByName(name);
    if (!program)
      program = llvm::sys::findProgramByName(name, {"/usr/local/cuda/bin"});
    if (program)
      found.path = *program;
    else if (choice.empty())
      return Assembler{};
  }
  found.version = versionOf(found.path);
  if (!found.version.empty())
    return found;
  return llvm::createStringError(
      llvm::formatv("E1009: '{0}' {1}, expected NVIDIA's assembler: --ptxas=PATH names another, --ptxas=none does "
                    "without",
                    found.path,
                    llvm::sys::fs::can_execute(found.path) ? "names no version when asked with --version"
                                                           : "is no program")
          .str());
}

} // namespace moray::tools
