// The command line of moray-compile.
#pragma once
#include "codegen/Compiler.h"
#include "common/cli.h"
#include "moray-compile/Driver.h"

namespace moray::tools {

/// Flags as typed, before they are checked.
struct Flags {
  std::string quantize = "none", weights = "embed", compileTo = "package", ptxas;
  std::vector<std::string> targets{codegen::kCpuTarget.str()}, numerics{"auto"}, levels{"x86-64-v3", "avx512"};
  bool noFuse = false;
};

/// `request` and `flags` take the values when `app` parses.
void addFlags(CLI::App &app, CompileRequest &request, Flags &flags);

/// Turns parsed flags into the request; may run ptxas. Returns an exit code; errors (E1007, E1008, E1009) are printed.
int fillRequest(Flags &flags, CompileRequest &request);

} // namespace moray::tools
