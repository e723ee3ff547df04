//===- Assemble.h - PTX to cubins through ptxas -------------------------*- C++ -*-===//
// Runs the assembler of the CUDA toolkit, which is optional: without it an artifact carries PTX alone.

#ifndef MORAY_CODEGEN_NVPTX_ASSEMBLE_H
#define MORAY_CODEGEN_NVPTX_ASSEMBLE_H

#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Error.h"
#include <vector>

namespace moray::codegen {

/// What the assembler says of one entry point.
struct EntryUsage {
  unsigned registers = 0, stackBytes = 0, spillBytes = 0; // per thread
};
struct Cubin {
  std::vector<char> bytes;
  llvm::StringMap<EntryUsage> entries;
};

/// Assembles PTX text for chips of compute capability `sm`. E3108 with the assembler's own words where it refuses.
llvm::Expected<Cubin> assemble(const std::string &ptxas, llvm::StringRef ptx, unsigned sm);

/// Reads the `ptxas info` lines that -v prints.
llvm::StringMap<EntryUsage> parseUsage(llvm::StringRef log);

} // namespace moray::codegen

#endif
