// Named configurations: small ones of every MLA family, the benchmark geometry, and the published models.
#pragma once
#include "frontend/Error.h"
#include "frontend/ModelConfig.h"

#include <string>
#include <vector>

namespace moray::makemodel {

struct PresetInfo {
  const char *name, *summary;
};
const std::vector<PresetInfo> &presets();

enum class WeightFormat { AsPreset, Fp8, Fp8PowerOfTwo, Bf16 };

/// The text of config.json: the preset with `overrides` ("key=value", value in JSON, null removes the key) and the
/// wanted weight format. Errors: E1701 unknown preset, E1702 malformed override.
frontend::Expected<std::string> makeConfig(const std::string &preset, const std::vector<std::string> &overrides,
                                           WeightFormat format);

/// generation_config.json that goes with it: greedy off, temperature 0.6, top_p 0.95, bos and eos of `config`.
std::string makeGenerationConfig(const std::string &config);

} // namespace moray::makemodel
