//===- LinkImage.h - objects to one position-independent image ------*- C++ -*-===//
// Links kernels in process with lld and refuses everything that would need a loader: imports, relocations, writable
// data.

#ifndef MORAY_CODEGEN_X86_LINKIMAGE_H
#define MORAY_CODEGEN_X86_LINKIMAGE_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <string>
#include <vector>

namespace moray::codegen {

struct LinkedSymbol {
  uint64_t offset, size; // in the image
};
struct LinkedImage {
  std::vector<char> bytes;
  std::vector<LinkedSymbol> symbols; // parallel to the names asked for
};

/// `objects` are ELF relocatables, `names` the functions wanted. Not thread-safe: lld has global state.
llvm::Expected<LinkedImage> linkImage(llvm::ArrayRef<std::vector<char>> objects, llvm::ArrayRef<std::string> names);

} // namespace moray::codegen

#endif
