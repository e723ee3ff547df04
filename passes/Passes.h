// Constructors and registration of all passes; options and descriptions are in Passes.td.
#ifndef MORAY_PASSES_PASSES_H
#define MORAY_PASSES_PASSES_H

#include "dialects/Cmd/Cmd.h"
#include "dialects/LM/LM.h"
#include "dialects/MLA/MLA.h"
#include "dialects/MoE/MoE.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace moray {

#define GEN_PASS_DECL
#include "passes/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "passes/Passes.h.inc"

/// Registers every pass under its flag and the pipeline `--moray-pipeline` (see Pipelines.h).
void registerPasses();

} // namespace moray

#endif
