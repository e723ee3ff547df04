// Norms, activations and rotary embedding against test/golden/ops.
#include "OpsGolden.h"

using namespace moray::reference;

TEST(RmsNorm, Golden) {
  OpsGolden golden("norm_mlp");
  for (std::string width : {"96", "128", "320"})
    for (auto [eps, suffix] : {std::pair(1e-6f, "1e-06"), std::pair(1e-5f, "1e-05")}) {
      const Tensor &expected = golden["rms." + width + ".y_eps" + suffix];
      Tensor actual = rmsNorm(golden["rms." + width + ".x"], golden["rms." + width + ".w"], eps, Element::F32);
      for (int64_t t = 0; t < expected.rows(); ++t) {
        double norm = 0;
        for (int64_t i = 0; i < expected.width(); ++i)
          norm += static_cast<double>(expected.row(t)[i]) * expected.row(t)[i];
        // One unit in the last place of an outlier may exceed 1e-6 of the row's rms.
        for (int64_t i = 0; i < expected.width(); ++i)
          EXPECT_NEAR(actual.row(t)[i], expected.row(t)[i],
                      std::max(1e-6 * std::sqrt(norm / expected.width()), 1.2e-7 * std::fabs(expected.row(t)[i])))
              << width << " row " << t;
      }
    }
}

TEST(Swiglu, Golden) {
  OpsGolden golden("norm_mlp");
  const Tensor &expected = golden["swiglu.y"];
  Tensor actual = swiglu(golden["swiglu.gate"], golden["swiglu.up"], Element::F32);
  for (int64_t i = 0; i < expected.size(); ++i)
    EXPECT_LE(std::fabs(actual.values[i] - expected.values[i]), 2e-6 * std::fabs(expected.values[i]) + 1e-37) << i;
}

TEST(Mlp, Golden) {
  OpsGolden golden("norm_mlp");
  const Tensor &x = golden["mlp.x"], &expected = golden["mlp.y"];
  auto apply = [&](const Tensor &source, const char *weight) {
    return linear(source, nullptr, Matrix::of(golden[weight], nullptr), nullptr, Element::F32);
  };
  Tensor hidden = swiglu(apply(x, "mlp.gate"), apply(x, "mlp.up"), Element::F32);
  EXPECT_LE(maxDifference(apply(hidden, "mlp.down"), expected), 2e-6 * rms(expected));
}

TEST(Rope, Golden) {
  OpsGolden golden("rope");
  // Multipliers of the configurations (ops.json); 1 for the others.
  const std::map<std::string, float> multipliers = {{"yarn_mscales16", 1.0761792160423018f},
                                                    {"yarn_noscale16", 1.299573227355399f},
                                                    {"yarn_untruncated16", 1.299573227355399f},
                                                    {"yarn_attnfactor16", 1.25f}};
  for (std::string name :
       {"default16", "moonlight64", "qwen24", "coder_linear32", "llama3_128", "v3_64", "v2lite_64", "kimi_64",
        "kimi0905_64", "tiny8", "yarn_mscales16", "yarn_noscale16", "yarn_untruncated16", "yarn_attnfactor16"}) {
    auto found = multipliers.find(name);
    RopeTable table = ropeTable(golden["positions"].ints, golden[name + ".inv_freq"].values,
                                found == multipliers.end() ? 1 : found->second);
    EXPECT_LE(maxDifference(table.cos, golden[name + ".cos"]), 1e-6) << name;
    EXPECT_LE(maxDifference(table.sin, golden[name + ".sin"]), 1e-6) << name;
    const Tensor &x = golden[name + ".x"];
    for (bool interleaved : {true, false}) {
      const Tensor &expected = golden[name + (interleaved ? ".interleaved" : ".half_split")];
      EXPECT_LE(maxDifference(rope(x, table, x.width(), interleaved, Element::F32), expected), 4e-6 * rms(x)) << name;
    }
  }
}

TEST(Rope, RotatesTheEndOfEveryHead) {
  Tensor x(Element::F32, {1, 12});
  for (int i = 0; i < 12; ++i)
    x.values[i] = i;
  RopeTable quarter{Tensor(Element::F32, {1, 1}), Tensor(Element::F32, {1, 1})};
  quarter.sin.values[0] = 1;
  EXPECT_EQ(rope(x, quarter, 4, true, Element::F32).values,
            (std::vector<float>{0, 1, -3, 2, 4, 5, -7, 6, 8, 9, -11, 10}));
}
