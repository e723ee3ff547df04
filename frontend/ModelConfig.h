// config.json of the MLA families as a checked struct, and the numbers that follow from it.
#ifndef MORAY_FRONTEND_MODELCONFIG_H
#define MORAY_FRONTEND_MODELCONFIG_H

#include "frontend/Error.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace moray::frontend {

enum class Family { DeepseekV2, DeepseekV3, KimiK2 };

// The routers of spec model.md 4.9.3.
enum class RouterKind { SoftmaxGreedy, SoftmaxGroupLimited, SigmoidNoAuxTc };

enum class RopeKind { Default, Linear, Yarn, Llama3 };

struct RopeConfig {
  RopeKind kind = RopeKind::Default;
  double theta = 10000;
  double factor = 1; // all kinds but Default
  // yarn and llama3
  double originalPositions = 0;
  // yarn
  double betaFast = 32, betaSlow = 1;
  double mscale = 0, mscaleAllDim = 0; // 0: absent
  std::optional<double> attentionFactor;
  bool truncate = true;
  // llama3
  double lowFreqFactor = 1, highFreqFactor = 4;

  // Angular step per position of each rotated pair, width/2 values, computed in double and rounded once (spec 4.4).
  std::vector<float> inverseFrequencies(int64_t width) const;
  // Factor of cos and sin.
  double tableMultiplier() const;
  // M(k) of spec 4.4.3 step 5; 1 unless the kind is Yarn.
  double yarnM(double k) const;
};

struct QuantizationConfig {
  int64_t blockRows = 128, blockColumns = 128;
  bool ue8m0 = false;                    // scale_fmt: activation scales are powers of two, weight scales should be
  std::vector<std::string> notConverted; // modules_to_not_convert; informative, the stored dtypes decide

  // Whether the list names this module ("model.layers.3.mlp.gate"): equal, a dotted prefix or suffix, or a `re:`
  // expression.
  bool excludes(const std::string &module) const;
};

struct ModelConfig {
  Family family = Family::DeepseekV3;
  std::string modelType;    // as in the file, e.g. "kimi_k2"
  std::string tensorPrefix; // "" or "language_model." (text core of a multimodal checkpoint)

  int64_t vocab = 0, hidden = 0, intermediate = 0, layers = 0, heads = 0;
  int64_t qLoraRank = 0; // 0: one direct q_proj
  int64_t kvLoraRank = 0, nopeDim = 0, ropeDim = 0, valueDim = 0;
  int64_t maxPositions = 0;

  int64_t experts = 0; // 0: every layer is dense
  int64_t expertsPerToken = 0, expertIntermediate = 0, sharedExperts = 0;
  int64_t firstDense = 0, moeFrequency = 1;
  RouterKind router = RouterKind::SigmoidNoAuxTc;
  int64_t groups = 1, keptGroups = 1;
  bool normalizeTopK = false;
  double routedScale = 1.0; // the factor in force: 1 where spec 4.9.4 applies none

  double rmsEps = 1e-6;       // input, post-attention, final and MTP norms
  double innerNormEps = 1e-6; // q_a and kv_a norms: 1e-6 whatever rms_norm_eps says, unless the file has inner_norm_eps
  RopeConfig rope;
  bool ropeInterleaved = true;
  bool attentionBias = false; // biases of q_a_proj, kv_a_proj_with_mqa and o_proj
  bool tiedEmbeddings = false;
  int64_t mtpLayers = 0;
  std::optional<QuantizationConfig> quantization;

  int64_t qkDim() const { return nopeDim + ropeDim; }
  int64_t cacheWidth() const { return kvLoraRank + ropeDim; }
  bool isMoE(int64_t layer) const { return experts > 0 && layer >= firstDense && layer % moeFrequency == 0; }
  bool hasRouterBias() const { return router == RouterKind::SigmoidNoAuxTc; }
  // Factor of the whole attention logit (spec 4.4.3 step 7).
  double softmaxScale() const;
};

// Parses and checks the text of config.json. `file` names it in messages. Unknown keys are ignored with a warning.
// Errors: E2032-E2037 (JSON), E2101 (unknown family), E2102 (recognised, not supported yet), E2103 (a required key is
// missing or has the wrong type), E2104 (value out of range or contradictory), E2105 (unsupported variant of a known
// key).
Expected<ModelConfig> parseModelConfig(const std::string &text, const std::string &file, Warnings &warnings);

} // namespace moray::frontend

#endif // MORAY_FRONTEND_MODELCONFIG_H
