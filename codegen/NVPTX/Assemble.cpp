//===- Assemble.cpp - PTX to cubins through ptxas --------------------------------===//
// Runs the assembler on temporary files and reads what it reports.

#include "codegen/NVPTX/Assemble.h"
#include "codegen/KernelJobs.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/Signals.h"
#include "llvm/Support/raw_ostream.h"

using namespace moray::codegen;
using llvm::createStringError;
using llvm::formatv;
using llvm::StringRef;

/// The number before `unit` in a line such as "Used 40 registers, 512 bytes smem".
static unsigned numberBefore(StringRef line, StringRef unit) {
  size_t end = line.find(unit);
  if (end == StringRef::npos)
    return 0;
  StringRef before = line.take_front(end).rtrim();
  unsigned value = 0;
  StringRef digits = before.take_back(before.size() - (before.find_last_not_of("0123456789") + 1));
  return digits.getAsInteger(10, value) ? 0 : value;
}

llvm::StringMap<EntryUsage> moray::codegen::parseUsage(StringRef log) {
  llvm::StringMap<EntryUsage> entries;
  EntryUsage *current = nullptr;
  llvm::SmallVector<StringRef> lines;
  log.split(lines, '\n');
  for (StringRef line : lines) {
    if (line.contains("Compiling entry function"))
      current = &entries[line.split('\'').second.split('\'').first];
    if (!current)
      continue;
    if (line.contains("bytes stack frame")) {
      current->stackBytes = numberBefore(line, " bytes stack frame");
      current->spillBytes = numberBefore(line, " bytes spill stores") + numberBefore(line, " bytes spill loads");
    }
    if (line.contains(" registers"))
      current->registers = numberBefore(line, " registers");
  }
  return entries;
}

static llvm::Expected<std::string> temporaryFile(StringRef suffix) {
  llvm::SmallString<128> path;
  if (std::error_code failure = llvm::sys::fs::createTemporaryFile("moray", suffix, path))
    return createStringError(failure, "E3105: cannot make a temporary file: " + failure.message());
  llvm::sys::RemoveFileOnSignal(path);
  return path.str().str();
}

static std::string readAll(const std::string &path) {
  auto buffer = llvm::MemoryBuffer::getFile(path);
  return buffer ? (*buffer)->getBuffer().str() : std::string();
}

llvm::Expected<Cubin> moray::codegen::assemble(const std::string &ptxas, StringRef ptx, unsigned sm) {
  std::vector<std::string> files;
  auto cleanUp = llvm::make_scope_exit([&] {
    for (const std::string &file : files) {
      llvm::sys::fs::remove(file);
      llvm::sys::DontRemoveFileOnSignal(file);
    }
  });
  for (StringRef suffix : {"ptx", "cubin", "log"}) {
    auto file = temporaryFile(suffix);
    if (!file)
      return file.takeError();
    files.push_back(*file);
  }
  if (llvm::Error error = writeKernelFile(files[0], ptx))
    return std::move(error);

  std::string arch = "-arch=sm_" + std::to_string(sm), problem;
  std::vector<StringRef> arguments = {ptxas, arch, "-v", files[0], "-o", files[1]};
  std::optional<StringRef> redirects[] = {StringRef(), StringRef(files[2]), StringRef(files[2])};
  int code = llvm::sys::ExecuteAndWait(ptxas, arguments, std::nullopt, redirects, 0, 0, &problem);
  std::string log = readAll(files[2]);
  std::string bytes = readAll(files[1]);
  if (code == 0 && bytes.empty())
    problem = "it ended well, but wrote no cubin";
  if (code != 0 || bytes.empty())
    return createStringError(formatv("E3108: {0} does not assemble a kernel for sm_{1}: {2}", ptxas, sm,
                                     StringRef(problem.empty() ? log : problem).trim())
                                 .str());
  return Cubin{std::vector<char>(bytes.begin(), bytes.end()), parseUsage(log)};
}
