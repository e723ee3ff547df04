// Name templates and recipes of lm.weight on the weights of v3-tiny-fp8.
#include "OpsGolden.h"

#include "dialects/Dialects.h"

#include "mlir/Parser/Parser.h"

using namespace mlir;
using namespace moray;
using namespace moray::reference;

namespace {
constexpr const char *kModule = R"mlir(
lm.weight @norm per_layer from "model.layers.{l}.input_layernorm.weight" : tensor<160xbf16>
lm.weight @next per_layer from "model.layers.{l+1}.input_layernorm.weight" last "model.norm.weight" : tensor<160xbf16>
lm.weight @final from "model.norm.weight" : tensor<160xbf16>
lm.weight @up per_layer from "model.layers.{l}.mlp.experts.{e}.up_proj.weight" : tensor<16x144x160xf8E4M3FN>
lm.weight @up.s per_layer from "model.layers.{l}.mlp.experts.{e}.up_proj.weight_scale_inv" : tensor<16x2x2xf32>
lm.weight @kv per_layer from "model.layers.{l}.self_attn.kv_a_proj_with_mqa.weight" : tensor<112x160xf8E4M3FN>
lm.weight @kv.s per_layer from "model.layers.{l}.self_attn.kv_a_proj_with_mqa.weight_scale_inv" : tensor<1x2xf32>
lm.weight @two per_layer recipe(#lm.concat<[@kv, @kv], align = 128>) : tensor<240x160xf8E4M3FN>
lm.weight @two.s per_layer recipe(#lm.concat<[@kv.s, @kv.s], align = 1>) : tensor<2x2xf32>
lm.weight @gate_up per_layer recipe(#lm.concat<[@up, @up], align = 128>) : tensor<16x400x160xf8E4M3FN>
lm.weight @tail per_layer recipe(#lm.slice_rows<@kv, offset = 96, size = 16>) : tensor<16x160xf8E4M3FN>
lm.weight @padded per_layer recipe(#lm.pad_rows<@kv>) : tensor<128x160xf8E4M3FN>
lm.weight @padded.s per_layer recipe(#lm.pad_rows<@kv.s>) : tensor<3x2xf32>
lm.weight @wide per_layer recipe(#lm.dequantize<@up, @up.s>) : tensor<16x144x160xf32>
lm.weight @codes per_layer recipe(#lm.quantize_codes<@wide, f32>) : tensor<16x144x160xf8E4M3FN>
lm.weight @scales per_layer recipe(#lm.quantize_scales<@wide, f32>) : tensor<16x2x2xf32>
lm.weight @missing from "model.nothing.weight" : tensor<160xbf16>
lm.weight @shape from "model.norm.weight" : tensor<161xbf16>
lm.weight @type from "model.norm.weight" : tensor<160xf8E4M3FN>
)mlir";

class WeightsTest : public testing::Test {
protected:
  void SetUp() override {
    DialectRegistry registry;
    registerDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
    module = parseSourceString<ModuleOp>(kModule, &context);
    ASSERT_TRUE(module);
    auto opened = frontend::Checkpoint::open(MORAY_SOURCE_DIR "/test/golden/v3-tiny-fp8", warnings);
    ASSERT_TRUE(static_cast<bool>(opened));
    checkpoint = std::make_unique<frontend::Checkpoint>(std::move(*opened));
    weights = std::make_unique<Weights>(*checkpoint, /*layerCount=*/4);
  }
  std::shared_ptr<const Tensor> get(StringRef name, int64_t layer = 1) {
    auto value = weights->get(module->lookupSymbol<lm::WeightOp>(name), layer);
    EXPECT_TRUE(succeeded(value)) << name.str();
    return succeeded(value) ? *value : std::make_shared<const Tensor>(Element::F32, std::vector<int64_t>{0});
  }
  std::string errorOf(StringRef name) {
    std::string text;
    ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) { text += diagnostic.str(); });
    EXPECT_TRUE(failed(weights->get(module->lookupSymbol<lm::WeightOp>(name), 1)));
    return text;
  }

  MLIRContext context;
  OwningOpRef<ModuleOp> module;
  frontend::Warnings warnings;
  std::unique_ptr<frontend::Checkpoint> checkpoint;
  std::unique_ptr<Weights> weights;
};
} // namespace

TEST_F(WeightsTest, TemplatesNameLayerNextLayerAndExpert) {
  EXPECT_EQ(get("next", 0)->values, get("norm", 1)->values);
  EXPECT_EQ(get("next", 3)->values, get("final")->values);
  EXPECT_NE(get("norm", 0)->values, get("norm", 1)->values);
  EXPECT_NE(std::vector<float>(get("up")->row(0), get("up")->row(1)),
            std::vector<float>(get("up")->row(1), get("up")->row(2)));
}

TEST_F(WeightsTest, ConcatPadsEveryPartButTheLast) {
  auto kv = get("kv"), two = get("two");
  EXPECT_TRUE(std::equal(kv->values.begin(), kv->values.end(), two->values.begin()));
  for (int64_t row = 112; row < 128; ++row)
    EXPECT_EQ(two->row(row)[5], 0);
  EXPECT_TRUE(std::equal(kv->values.begin(), kv->values.end(), two->values.begin() + 128 * 160));
  auto gateUp = get("gate_up"), up = get("up");
  for (int64_t expert : {0, 15}) {
    EXPECT_TRUE(std::equal(up->row(expert), up->row(expert) + 144 * 160, gateUp->row(expert)));
    EXPECT_TRUE(std::equal(up->row(expert), up->row(expert) + 144 * 160, gateUp->row(expert) + 256 * 160));
  }
}

TEST_F(WeightsTest, PaddedConcatComputesTheSame) {
  auto kv = get("kv"), scales = get("kv.s"), two = get("two"), twoScales = get("two.s");
  std::vector<double> alone(112), both(240);
  std::vector<float> x(160, 0.5f);
  multiplyRow(x.data(), nullptr, Matrix::of(*kv, scales.get()), alone.data());
  multiplyRow(x.data(), nullptr, Matrix::of(*two, twoScales.get()), both.data());
  EXPECT_TRUE(std::equal(alone.begin(), alone.end(), both.begin()));
  EXPECT_TRUE(std::equal(alone.begin(), alone.end(), both.begin() + 128));
}

TEST_F(WeightsTest, SliceAndPad) {
  auto kv = get("kv"), tail = get("tail"), padded = get("padded"), scales = get("padded.s");
  EXPECT_TRUE(std::equal(tail->values.begin(), tail->values.end(), kv->row(96)));
  EXPECT_EQ(padded->row(111)[7], kv->row(111)[7]);
  EXPECT_EQ(padded->row(112)[7], 0);
  EXPECT_EQ(scales->values[0], get("kv.s")->values[0]);
  EXPECT_EQ(scales->values[5], 1);
}

TEST_F(WeightsTest, QuantisedWeightsStayClose) {
  // Quantising a dequantised weight again need not give the same codes (spec fp8.md 7), but values within one code
  // step.
  auto wide = get("wide"), codes = get("codes"), scales = get("scales");
  Tensor again = dequantizeWeight(*codes, *scales, Element::F32);
  for (int64_t i = 0; i < wide->size(); ++i)
    ASSERT_LE(std::fabs(again.values[i] - wide->values[i]), std::fabs(wide->values[i]) / 16 + 1e-3);
}

TEST_F(WeightsTest, WhatTheCheckpointLacksIsAnError) {
  EXPECT_NE(errorOf("missing").find("[E3901] the checkpoint has no tensor model.nothing.weight"), std::string::npos);
  EXPECT_NE(errorOf("shape").find("[E3901] model.norm.weight has shape [160]"), std::string::npos);
  EXPECT_NE(errorOf("type").find("[E3901] model.norm.weight is BF16"), std::string::npos);
}
