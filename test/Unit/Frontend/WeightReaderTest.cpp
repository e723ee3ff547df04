// Values that no weight may have, and the widening of types the IR does not know.
#include "frontend/WeightReader.h"

#include "test/Unit/Frontend/TestFiles.h"

#include <cmath>
#include <cstring>

using namespace moray::frontend;
using moray::test::safetensors;

namespace {

template <typename T> Status scan(DType dtype, ValueScanner::Kind kind, std::vector<T> values, uint64_t columns = 2) {
  ValueScanner scanner("f: tensor 't'", dtype, kind, columns);
  return scanner.scan(reinterpret_cast<const uint8_t *>(values.data()), values.size() * sizeof(T));
}

void expectError(const Status &status, int code, const std::string &position) {
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), code);
  EXPECT_NE(status.error().message().find("tensor 't' at " + position), std::string::npos) << status.error().text();
}

TEST(ValueScanner, Codes) {
  using K = ValueScanner::Kind;
  EXPECT_TRUE(scan<uint8_t>(DType::F8E4M3, K::Weight, {0x00, 0x7E, 0xFE, 0x80}));
  expectError(scan<uint8_t>(DType::F8E4M3, K::Weight, {0, 0, 0x7F}), 2301, "[1, 0]");
  expectError(scan<uint8_t>(DType::F8E4M3, K::Weight, {0, 0xFF}), 2301, "[0, 1]");
}

TEST(ValueScanner, Floats) {
  using K = ValueScanner::Kind;
  EXPECT_TRUE(scan<uint16_t>(DType::BF16, K::Weight, {0x3F80, 0x7F7F, 0x0001, 0x8000}));
  expectError(scan<uint16_t>(DType::BF16, K::Weight, {0x3F80, 0x7FC0}), 2302, "[0, 1]");
  expectError(scan<uint16_t>(DType::BF16, K::Weight, {0x3F80, 0, 0xFF80}), 2302, "[1, 0]");
  EXPECT_TRUE(scan<float>(DType::F32, K::Weight, {0.0f, -3e38f}));
  expectError(scan<float>(DType::F32, K::Weight, {0.0f, NAN}), 2302, "[0, 1]");
  expectError(scan<uint16_t>(DType::F16, K::Weight, {0x7C00}), 2302, "[0, 0]");
}

TEST(ValueScanner, Scales) {
  using K = ValueScanner::Kind;
  EXPECT_TRUE(scan<float>(DType::F32, K::Scale, {1e-30f, 3.0f}));
  for (float bad : {0.0f, -1.0f, INFINITY, NAN})
    expectError(scan<float>(DType::F32, K::Scale, {1.0f, 1.0f, 1.0f, bad}), 2303, "[1, 1]");
  expectError(scan<uint8_t>(DType::F8E8M0, K::Scale, {127, 255}), 2303, "[0, 1]");
}

TEST(ValueScanner, PowersOfTwo) {
  ValueScanner scanner("f", DType::F32, ValueScanner::Kind::PowerScale, 4);
  float values[] = {1.0f, 0.25f, 3.0f, 0x1p-120f};
  EXPECT_TRUE(scanner.scan(reinterpret_cast<uint8_t *>(values), sizeof values));
  EXPECT_EQ(scanner.notPowersOfTwo(), 1u);
}

TEST(WeightReader, WidensAndWarns) {
  moray::test::TempDir dir;
  dir.write("config.json", "{}");
  std::string header =
      R"({"h":{"dtype":"F16","shape":[4],"data_offsets":[0,8]},
      "m.scale":{"dtype":"F8_E8M0","shape":[2],"data_offsets":[8,10]},
    "m.weight_scale_inv":{"dtype":"F32","shape":[1],"data_offsets":[10,14]}})";
  dir.write("model.safetensors",
            safetensors(header, std::string_view("\x00\x3C\x01\x00\x00\xC0\xFF\x7B\x7F\x80\x00\x00\x40\x40", 14)));
  Warnings warnings;
  Expected<Checkpoint> checkpoint = Checkpoint::open(dir.path, warnings);
  ASSERT_TRUE(checkpoint) << checkpoint.error().text();
  WeightReader reader(*checkpoint, /*ue8m0=*/true, warnings);
  auto floats = [&](const char *name) {
    Expected<std::vector<uint8_t>> bytes = reader.read(name);
    EXPECT_TRUE(bytes) << bytes.error().text();
    std::vector<float> values(bytes->size() / 4);
    std::memcpy(values.data(), bytes->data(), bytes->size());
    return values;
  };
  EXPECT_EQ(floats("h"), (std::vector<float>{1.0f, 0x1p-24f, -2.0f, 65504.0f}));
  EXPECT_EQ(floats("m.scale"), (std::vector<float>{1.0f, 2.0f}));
  EXPECT_EQ(floats("m.weight_scale_inv"), (std::vector<float>{3.0f}));
  EXPECT_EQ(warnings.all().size(), 1u); // 3 is no power of two
  EXPECT_EQ(reader.read("none").error().code(), 2201);
  uint8_t part[4];
  ASSERT_TRUE(reader.read("h", 2, 1, part));
  float value;
  std::memcpy(&value, part, 4);
  EXPECT_EQ(value, -2.0f);
  EXPECT_FALSE(reader.read("h", 4, 1, part));
}

} // namespace
