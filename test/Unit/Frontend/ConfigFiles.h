// Published configurations of test/Frontend/Inputs, with single keys changed.
#ifndef MORAY_TEST_UNIT_FRONTEND_CONFIGFILES_H
#define MORAY_TEST_UNIT_FRONTEND_CONFIGFILES_H

#include "frontend/ModelConfig.h"
#include "test/Unit/Frontend/TestFiles.h"

#include <nlohmann/json.hpp>

namespace moray::test {

inline std::string publishedConfig(const std::string &model) {
  return readAll(std::string(MORAY_SOURCE_DIR) + "/test/Frontend/Inputs/" + model + "/config.json");
}

// A configuration with the keys of `patch` set (null removes a key: RFC 7386).
inline std::string patched(const std::string &config, const std::string &patch) {
  nlohmann::json json = nlohmann::json::parse(config);
  json.merge_patch(nlohmann::json::parse(patch));
  return json.dump();
}

inline frontend::Expected<frontend::ModelConfig> parsePatched(const std::string &model,
                                                              const std::string &patch = "{}") {
  frontend::Warnings warnings;
  return frontend::parseModelConfig(patched(publishedConfig(model), patch), "config.json", warnings);
}

} // namespace moray::test

#endif // MORAY_TEST_UNIT_FRONTEND_CONFIGFILES_H
