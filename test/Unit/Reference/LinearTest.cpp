// Quantisers (bit-exact) and matrix products against test/golden/ops/fp8.
#include "OpsGolden.h"

using namespace moray::reference;

TEST(Quantize, ActivationsAreBitExact) {
  OpsGolden golden("fp8");
  for (bool ue8m0 : {false, true}) {
    std::string prefix = ue8m0 ? "act.ue8m0." : "act.fp32.";
    Quantized result = quantizeRows(golden["act.x"], ue8m0);
    EXPECT_TRUE(sameBits(result.scales.values, golden[prefix + "scale"].values)) << prefix;
    EXPECT_TRUE(sameBits(result.codes.values, decoded(golden[prefix + "codes"]).values)) << prefix;
  }
}

TEST(Quantize, WeightsAreBitExact) {
  OpsGolden golden("fp8");
  for (std::string name : {"spec", "random"})
    for (bool ue8m0 : {false, true}) {
      std::string prefix = "w." + name + (ue8m0 ? ".ue8m0." : ".fp32.");
      Quantized result = quantizeWeight(golden["w." + name + ".x"], ue8m0);
      EXPECT_TRUE(sameBits(result.scales.values, golden[prefix + "scale_inv"].values)) << prefix;
      EXPECT_TRUE(sameBits(result.codes.values, decoded(golden[prefix + "codes"]).values)) << prefix;
      if (ue8m0) // a power of two changes no digit: the codes say it all
        continue;
      for (Element element : {Element::F32, Element::BF16}) {
        const Tensor &expected = golden[prefix + (element == Element::F32 ? "dequantised" : "dequantised_bf16")];
        EXPECT_TRUE(sameBits(dequantizeWeight(result.codes, result.scales, element).values, expected.values)) << prefix;
      }
    }
}

TEST(Quantize, ExpertsAreQuantisedOneByOne) {
  OpsGolden golden("fp8");
  const Tensor &one = golden["w.random.x"];
  Tensor two(Element::F32, {2, one.shape[0], one.shape[1]});
  for (int64_t i = 0; i < one.size(); ++i)
    two.values[i] = one.values[i], two.values[one.size() + i] = 3 * one.values[i];
  Quantized alone = quantizeWeight(one, false), both = quantizeWeight(two, false);
  EXPECT_EQ(both.scales.shape, (std::vector<int64_t>{2, 2, 3}));
  EXPECT_TRUE(std::equal(alone.codes.values.begin(), alone.codes.values.end(), both.codes.values.begin()));
  EXPECT_TRUE(std::equal(alone.scales.values.begin(), alone.scales.values.end(), both.scales.values.begin()));
}

TEST(ScaledLinear, Fp8AndW8A16) {
  OpsGolden golden("fp8");
  for (std::string name : {"spec", "random"})
    for (bool ue8m0 : {false, true}) {
      std::string format = ue8m0 ? "ue8m0" : "fp32";
      Tensor codes = decoded(golden["w." + name + "." + format + ".codes"]);
      Matrix weight = Matrix::of(codes, &golden["w." + name + "." + format + ".scale_inv"]);
      const Tensor &a = golden["gemm." + name + ".a"];
      const Tensor &yFp8 = golden["gemm." + name + "." + format + ".y_fp8"],
                   &yW32 = golden["gemm." + name + "." + format + ".y_w32"];
      Quantized source = quantizeRows(a, ue8m0);
      Tensor fp8 = linear(source.codes, &source.scales, weight, nullptr, Element::F32);
      EXPECT_LE(maxDifference(fp8, yFp8), 1e-6 * rms(yFp8)) << name << format;
      EXPECT_LE(maxDifference(linear(a, nullptr, weight, nullptr, Element::F32), yW32), 2e-6 * rms(yW32))
          << name << format;
    }
}

TEST(Linear, BiasAndRounding) {
  Tensor x(Element::F32, {1, 2}), w(Element::F32, {1, 2}), bias(Element::F32, {1});
  x.values = {1, 2}, w.values = {3, 4}, bias.values = {0.0301f};
  EXPECT_EQ(linear(x, nullptr, Matrix::of(w, nullptr), &bias, Element::F32).values[0], 11.0301f);
  EXPECT_EQ(linear(x, nullptr, Matrix::of(w, nullptr), &bias, Element::BF16).values[0], roundToBf16(11.0301f));
}
