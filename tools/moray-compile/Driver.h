// The steps of moray-compile: import, passes phase by phase, code for every target, package, load check.
#pragma once
#include "codegen/Emitter.h"
#include "passes/Pipelines.h"

#include <string>
#include <vector>

namespace moray::tools {

/// One target of the artifact.
struct TargetRequest {
  const codegen::GpuTarget *gpu = nullptr; // null: the CPU
  std::optional<lm::Mode> mode;            // none: what suits the checkpoint and the machine (tools/README.md)

  std::string name() const;
};

struct CompileRequest {
  std::string input, output, dumpDirectory;
  Phase lastPhase = Phase::Package;
  std::vector<TargetRequest> targets{{}};
  PipelineOptions pipeline; // its mode is set for each target
  codegen::CompileOptions code;
  std::string assembler; // version of the ptxas in `code`, for the record; empty: none
  bool embedWeights = true, strict = false, fullHash = false, quiet = false, json = false;
  std::vector<std::string> flags; // as recorded in the artifact: what changes its content, in a fixed order
};

/// Runs the request; returns the exit code. Errors are printed, nothing is left behind on failure.
int compile(const CompileRequest &request);

} // namespace moray::tools
