// E4M3 codes and scales against the golden vectors and the examples of spec fp8.md 1.2, 1.3.
#include "dialects/LM/FP8.h"
#include "GoldenFile.h"

#include <gtest/gtest.h>

namespace fp8 = moray::lm::fp8;
using moray::test::GoldenFile;

static const GoldenFile &golden() {
  static GoldenFile file(MORAY_BINARY_DIR "/test/golden/ops/fp8.safetensors");
  return file;
}

TEST(FP8, DecodesEveryCode) {
  std::vector<float> table = golden().get<float>("table");
  for (int code = 0; code < 256; ++code) {
    if ((code & 0x7F) == 0x7F)
      EXPECT_TRUE(std::isnan(fp8::decode(code)));
    else
      EXPECT_EQ(fp8::bitsOf(table[code]), fp8::bitsOf(fp8::decode(code))) << code;
  }
}

TEST(FP8, EncodesTheGoldenValues) {
  std::vector<float> x = golden().get<float>("enc.x");
  std::vector<uint8_t> codes = golden().get<uint8_t>("enc.code");
  for (size_t i = 0; i < x.size(); ++i)
    EXPECT_EQ(codes[i], fp8::encode(x[i])) << x[i];
}

TEST(FP8, EncodeInvertsDecode) {
  for (int code = 0; code < 256; ++code)
    if ((code & 0x7F) != 0x7F)
      EXPECT_EQ(code, fp8::encode(fp8::decode(code)));
  EXPECT_EQ(0x7F, fp8::encode(std::nanf("")) & 0x7F);
}

TEST(FP8, RoundsScalesUpToPowersOfTwo) {
  std::vector<float> scales = golden().get<float>("e8m0.s"), rounded = golden().get<float>("e8m0.rounded");
  for (size_t i = 0; i < scales.size(); ++i)
    EXPECT_EQ(fp8::bitsOf(rounded[i]), fp8::bitsOf(fp8::roundUpToPowerOfTwo(scales[i]))) << scales[i];
}
