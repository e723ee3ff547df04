// The steps of moray-compile: import, passes phase by phase, code, package, load check.
#pragma once
#include "codegen/Emitter.h"
#include "passes/Pipelines.h"

#include <string>
#include <vector>

namespace moray::tools {

struct CompileRequest {
  std::string input, output, dumpDirectory;
  Phase lastPhase = Phase::Package;
  PipelineOptions pipeline;
  codegen::CompileOptions code;
  bool embedWeights = true, strict = false, fullHash = false, quiet = false, json = false;
  std::vector<std::string> flags; // as recorded in the artifact: what changes its content, in a fixed order
};

/// Runs the request; returns the exit code. Errors are printed, nothing is left behind on failure.
int compile(const CompileRequest &request);

} // namespace moray::tools
