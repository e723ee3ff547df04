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
  if (choice.empty()) {
    llvm::ErrorOr<std::string> program = llvm::sys::findProgramByName("ptxas");
    if (!program)
      program = llvm::sys::findProgramByName("ptxas", {"/usr/local/cuda/bin"});
    if (!program)
      return Assembler{};
    found.path = *program;
  }
  found.version = versionOf(found.path);
  if (!found.version.empty())
    return found;
  return llvm::createStringError(
      llvm::formatv("E1009: '{0} --version' names no version, expected NVIDIA's assembler: --ptxas=PATH names another, "
                    "--ptxas=none does without",
                    found.path)
          .str());
}

} // namespace moray::tools
