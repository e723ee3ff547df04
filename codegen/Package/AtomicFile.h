//===- AtomicFile.h - a file that appears whole or not at all ---------*- C++ -*-===//
// Writes to a temporary file in the same directory; commit() makes it durable and renames it, anything else removes it.

#ifndef MORAY_CODEGEN_PACKAGE_ATOMICFILE_H
#define MORAY_CODEGEN_PACKAGE_ATOMICFILE_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <string>

namespace moray::codegen {

/// LLVM's first handler of signals replaces what a process does on each of them. Those that are ignored when this is
/// called (nohup does so) stay ignored; otherwise they would remove the temporary file of a compilation that goes on.
/// Has an effect only before other code makes LLVM install its handlers. `onInterrupt`, if given, is called at SIGINT,
/// SIGTERM and SIGHUP once temporary files are removed, in place of the signal's default action; it may do what a
/// signal handler may.
void keepIgnoredSignals(void (*onInterrupt)() = nullptr);

class AtomicFile {
public:
  /// Fails when `path` names a directory or a device, or when its directory does not exist or cannot be written
  /// (E3411). For callers who have much to do before they create the file.
  static llvm::Error check(const std::string &path);
  /// Fails when check() does, or when the directory has less than `bytes` free (E3412). While the object lives, SIGINT,
  /// SIGTERM and SIGHUP remove the temporary file before they end the process, unless they are ignored (nohup).
  static llvm::Expected<AtomicFile> create(const std::string &path, uint64_t bytes);
  AtomicFile(AtomicFile &&other);
  AtomicFile(const AtomicFile &) = delete;
  ~AtomicFile();

  llvm::Error writeAt(uint64_t offset, llvm::ArrayRef<uint8_t> bytes);
  /// Sets the size, syncs file and directory, renames.
  llvm::Error commit(uint64_t size);

private:
  AtomicFile(std::string path, std::string temporary, int descriptor)
      : path(std::move(path)), temporary(std::move(temporary)), descriptor(descriptor) {}
  llvm::Error fail(const char *what) const;
  std::string path, temporary;
  int descriptor = -1;
};

} // namespace moray::codegen

#endif
