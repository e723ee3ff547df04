// E4M3FN, E8M0 and bf16 against the golden tables and the examples of the specification.
#include "OpsGolden.h"

using namespace moray::reference;

TEST(Formats, E4M3Table) {
  OpsGolden golden("fp8");
  const Tensor &table = golden["table"];
  for (int code = 0; code < 256; ++code) {
    float value = decodeE4M3(static_cast<uint8_t>(code));
    if (std::isnan(table.values[code])) {
      EXPECT_TRUE(std::isnan(value)) << code;
      continue;
    }
    EXPECT_EQ(value, table.values[code]) << code;
    EXPECT_EQ(encodeE4M3(value), code);
  }
}

TEST(Formats, E4M3Encoder) {
  OpsGolden golden("fp8");
  const Tensor &x = golden["enc.x"], &codes = golden["enc.code"];
  ASSERT_EQ(x.size(), codes.size());
  for (int64_t i = 0; i < x.size(); ++i)
    EXPECT_EQ(encodeE4M3(x.values[i]), codes.ints[i]) << x.values[i];
}

TEST(Formats, E8M0RoundsUp) {
  OpsGolden golden("fp8");
  const Tensor &s = golden["e8m0.s"], &rounded = golden["e8m0.rounded"];
  for (int64_t i = 0; i < s.size(); ++i)
    EXPECT_EQ(roundUpToPowerOfTwo(s.values[i]), rounded.values[i]) << s.values[i];
}

TEST(Formats, Bf16TiesToEven) {
  EXPECT_EQ(roundToBf16(1.00390625f), 1.0f);      // half way between 1 and the next bf16
  EXPECT_EQ(roundToBf16(1.01171875f), 1.015625f); // half way, the upper one is even
  EXPECT_EQ(roundToBf16(3.4e38f), INFINITY);
  EXPECT_EQ(roundToBf16(1e-41f), bf16FromBits(0)); // below half of the smallest subnormal
  EXPECT_TRUE(std::isnan(roundToBf16(NAN)));
  EXPECT_TRUE(std::signbit(roundToBf16(-0.0f)));
}
