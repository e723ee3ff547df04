// The parts of moray-inspect: everything about an artifact as one JSON value, and its rendering as text.
#pragma once
#include "common/cli.h"
#include "common/runtime_handles.h"

#include <nlohmann/json.hpp>

namespace moray::tools {

/// Describes the loaded artifact and, for an engine with `options` on the device of the first target, the exact memory
/// plan. Keys: schema, file, config, provenance, targets (with their programs and kernels), weights, memory. Returns an
/// exit code; errors are printed.
int describe(const Model &model, moray_engine_options options, nlohmann::ordered_json &out);

/// The same for people, without the kernels.
void printText(const nlohmann::ordered_json &description);
/// The kernels of every target with their code: a line for each variant, or for each stage on a GPU.
void printKernels(const nlohmann::ordered_json &description);

} // namespace moray::tools
