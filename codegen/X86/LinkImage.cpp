//===- LinkImage.cpp - objects to one position-independent image --------------===//
// Inputs go to lld through memory files; .text and .rodata of the result are copied to their addresses.

#include "codegen/X86/LinkImage.h"
#include "lld/Common/CommonLinkerContext.h"
#include "lld/Common/Driver.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/Object/ELFObjectFile.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MemoryBuffer.h"
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>

LLD_HAS_DRIVER(elf)

using namespace moray::codegen;
using llvm::createStringError;
using llvm::formatv;

static const char script[] = "SECTIONS { . = 0;\n"
                             "  .text : ALIGN(64) { *(.text .text.*) }\n"
                             "  .rodata : ALIGN(64) { *(.rodata .rodata.*) }\n"
                             "  /DISCARD/ : { *(.eh_frame .comment .note .note.*) } }\n";

namespace {
/// Files in memory with names that lld can open.
struct MemoryFiles {
  std::vector<int> descriptors;
  std::vector<std::string> paths;
  ~MemoryFiles() {
    for (int fd : descriptors)
      close(fd);
  }
  llvm::Error add(const char *data, size_t size) {
    int fd = memfd_create("moray", MFD_CLOEXEC);
    if (fd < 0)
      return createStringError("E3110: cannot create a memory file for the linker");
    descriptors.push_back(fd);
    paths.push_back(formatv("/proc/self/fd/{0}", fd));
    while (size) {
      ssize_t written = write(fd, data, size);
      if (written <= 0)
        return createStringError("E3110: cannot fill a memory file for the linker: out of memory?");
      data += written, size -= written;
    }
    return llvm::Error::success();
  }
};
} // namespace

static llvm::Error runLld(llvm::ArrayRef<std::string> inputs, const std::string &scriptPath,
                          const std::string &output) {
  static std::mutex lldIsGlobal;
  std::lock_guard<std::mutex> lock(lldIsGlobal);
  std::vector<const char *> args = {
      "ld.lld",      "-shared",           "-Bsymbolic", "--no-undefined",   "-z", "text",        "--build-id=none",
      "--threads=1", "--hash-style=sysv", "-T",         scriptPath.c_str(), "-o", output.c_str()};
  for (const std::string &input : inputs)
    args.push_back(input.c_str());
  std::string messages;
  llvm::raw_string_ostream stream(messages);
  lld::Result result = lld::lldMain(args, llvm::nulls(), stream, {{lld::Gnu, &lld::elf::link}});
  if (result.retCode != 0)
    return createStringError("E3111: kernels do not link: " + messages);
  return llvm::Error::success();
}

/// Copies .text and .rodata to their addresses; everything that a loader would have to touch is an error.
static llvm::Expected<LinkedImage> readImage(llvm::MemoryBufferRef buffer, llvm::ArrayRef<std::string> names) {
  auto file = llvm::object::ELFFile<llvm::object::ELF64LE>::create(buffer.getBuffer());
  if (!file)
    return file.takeError();
  auto sections = file->sections();
  if (!sections)
    return sections.takeError();
  LinkedImage image;
  for (const auto &section : *sections) {
    auto name = file->getSectionName(section);
    if (!name)
      return name.takeError();
    if ((section.sh_type == llvm::ELF::SHT_REL || section.sh_type == llvm::ELF::SHT_RELA) && section.sh_size)
      return createStringError(formatv(
          "E3112: a kernel needs load-time relocations (section {0}): it refers to an absolute address", *name));
    bool loaded = section.sh_flags & llvm::ELF::SHF_ALLOC;
    bool linkerTable =
        *name == ".dynamic" || name->starts_with(".dyn") || *name == ".hash" || *name == ".relro_padding";
    if (!loaded || linkerTable || !section.sh_size)
      continue;
    if ((section.sh_flags & llvm::ELF::SHF_WRITE) || (*name != ".text" && *name != ".rodata"))
      return createStringError(formatv("E3113: kernels may only have .text and .rodata, found section {0}", *name));
    auto contents = file->getSectionContents(section);
    if (!contents)
      return contents.takeError();
    image.bytes.resize(std::max<size_t>(image.bytes.size(), section.sh_addr + section.sh_size));
    std::copy(contents->begin(), contents->end(), image.bytes.begin() + section.sh_addr);
  }
  llvm::StringMap<LinkedSymbol> found;
  for (const auto &section : *sections) {
    if (section.sh_type != llvm::ELF::SHT_DYNSYM)
      continue;
    auto symbols = file->symbols(&section);
    auto strings = file->getStringTableForSymtab(section);
    if (!symbols || !strings)
      return createStringError("E3111: the linked image has no readable symbol table");
    for (const auto &symbol : *symbols)
      if (auto name = symbol.getName(*strings))
        found[*name] = {symbol.st_value, symbol.st_size};
      else
        return name.takeError();
  }
  for (const std::string &name : names) {
    auto symbol = found.find(name);
    if (symbol == found.end())
      return createStringError(formatv("E3114: kernel '{0}' is missing from the linked image", name));
    image.symbols.push_back(symbol->second);
  }
  return image;
}

llvm::Expected<LinkedImage> moray::codegen::linkImage(llvm::ArrayRef<std::vector<char>> objects,
                                                      llvm::ArrayRef<std::string> names) {
  if (objects.empty())
    return LinkedImage();
  MemoryFiles files;
  for (const std::vector<char> &object : objects)
    if (llvm::Error error = files.add(object.data(), object.size()))
      return error;
  std::vector<std::string> inputs = files.paths;
  if (llvm::Error error = files.add(script, sizeof(script) - 1))
    return error;
  // lld renames a temporary over its output, which memory files cannot do.
  llvm::SmallString<128> output;
  if (std::error_code failure = llvm::sys::fs::createTemporaryFile("moray", "so", output))
    return createStringError(failure, "E3110: cannot create a temporary file for the linker: " + failure.message());
  llvm::scope_exit removeOutput([&] { llvm::sys::fs::remove(output); });
  if (llvm::Error error = runLld(inputs, files.paths.back(), output.str().str()))
    return error;
  auto buffer = llvm::MemoryBuffer::getFile(output);
  if (!buffer)
    return createStringError(buffer.getError(), "E3110: cannot read the linked image: " + buffer.getError().message());
  return readImage(**buffer, names);
}
