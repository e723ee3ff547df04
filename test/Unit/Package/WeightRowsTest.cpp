// Weight recipes, evaluated row by row, against golden vectors and small cases computed by hand.
#include "codegen/Package/WeightRows.h"
#include "GoldenFile.h"

#include "mlir/Parser/Parser.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Errc.h"
#include <gtest/gtest.h>

using namespace mlir;
using namespace moray;
using namespace moray::codegen;
using moray::test::GoldenFile;

namespace {
/// Tensors in memory, as bytes.
class MemorySource : public WeightSource {
public:
  template <typename T> void add(const std::string &name, const std::vector<T> &values) {
    auto *bytes = reinterpret_cast<const uint8_t *>(values.data());
    tensors[name].assign(bytes, bytes + values.size() * sizeof(T));
  }
  llvm::Error read(llvm::StringRef name, DType type, uint64_t first, uint64_t count, uint8_t *out) override {
    auto found = tensors.find(name);
    if (found == tensors.end() || (first + count) * byteWidth(type) > found->second.size())
      return llvm::createStringError(llvm::errc::invalid_argument, "no such rows of '%s'", name.str().c_str());
    std::memcpy(out, found->second.data() + first * byteWidth(type), count * byteWidth(type));
    return llvm::Error::success();
  }

private:
  llvm::StringMap<std::vector<uint8_t>> tensors;
};

class WeightRowsTest : public testing::Test {
protected:
  MLIRContext context{MLIRContext::Threading::DISABLED};
  OwningOpRef<ModuleOp> module;
  MemorySource source;

  void parse(const char *text) {
    context.loadDialect<lm::LMDialect>();
    module = parseSourceString<ModuleOp>(text, &context);
    ASSERT_TRUE(module);
  }
  template <typename T> std::vector<T> read(const char *name, int64_t layer = 0) {
    auto weight = SymbolTable(*module).lookup<lm::WeightOp>(name);
    WeightShape shape(weight);
    std::vector<T> values(shape.rows * shape.columns);
    WeightRows rows(*module, source, /*lastLayer=*/1);
    llvm::Error error = rows.read(weight, layer, 0, shape.rows, reinterpret_cast<uint8_t *>(values.data()));
    EXPECT_EQ("", llvm::toString(std::move(error)));
    return values;
  }
};
} // namespace

TEST_F(WeightRowsTest, NamesTakeLayerNextLayerAndExpert) {
  parse(R"(
    lm.weight @w per_layer from "l.{l}.e.{e}.w" : tensor<2x1x2xf32>
    lm.weight @next per_layer from "l.{l+1}.n" last "final" : tensor<2xf32>)");
  source.add<float>("l.1.e.0.w", {1, 2});
  source.add<float>("l.1.e.1.w", {3, 4});
  source.add<float>("l.1.n", {5, 6});
  source.add<float>("final", {7, 8});
  EXPECT_EQ((std::vector<float>{1, 2, 3, 4}), read<float>("w", 1));
  EXPECT_EQ((std::vector<float>{5, 6}), read<float>("next", 0));
  EXPECT_EQ((std::vector<float>{7, 8}), read<float>("next", 1));
}

TEST_F(WeightRowsTest, ConcatPadsEveryPartButTheLastPerExpert) {
  parse(R"(
    lm.weight @a from "a.{e}" : tensor<2x1x2xf8E4M3FN>
    lm.weight @b from "b.{e}" : tensor<2x2x2xf8E4M3FN>
    lm.weight @ab recipe(#lm.concat<[@a, @b], align = 3>) : tensor<2x5x2xf8E4M3FN>)");
  for (uint8_t e = 0; e < 2; ++e) {
    source.add<uint8_t>("a." + std::to_string(e), {uint8_t(10 * e + 1), uint8_t(10 * e + 2)});
    source.add<uint8_t>("b." + std::to_string(e),
                        {uint8_t(10 * e + 3), uint8_t(10 * e + 4), uint8_t(10 * e + 5), uint8_t(10 * e + 6)});
  }
  EXPECT_EQ((std::vector<uint8_t>{1, 2, 0, 0, 0, 0, 3, 4, 5, 6, 11, 12, 0, 0, 0, 0, 13, 14, 15, 16}),
            read<uint8_t>("ab"));
}

TEST_F(WeightRowsTest, SliceAndPad) {
  parse(R"(
    lm.weight @w from "w" : tensor<4x1xf32>
    lm.weight @s recipe(#lm.slice_rows<@w, offset = 1, size = 2>) : tensor<2x1xf32>
    lm.weight @p recipe(#lm.pad_rows<@s>) : tensor<3x1xf32>)");
  source.add<float>("w", {1, 2, 3, 4});
  EXPECT_EQ((std::vector<float>{2, 3}), read<float>("s"));
  EXPECT_EQ((std::vector<float>{2, 3, 1}), read<float>("p"));
}

TEST_F(WeightRowsTest, QuantisesTheGoldenWeights) {
  parse(R"(
    lm.weight @w from "w" : tensor<200x264xf32>
    lm.weight @c recipe(#lm.quantize_codes<@w, f32>) : tensor<200x264xf8E4M3FN>
    lm.weight @s recipe(#lm.quantize_scales<@w, f32>) : tensor<2x3xf32>
    lm.weight @c2 recipe(#lm.quantize_codes<@w, ue8m0>) : tensor<200x264xf8E4M3FN>
    lm.weight @s2 recipe(#lm.quantize_scales<@w, ue8m0>) : tensor<2x3xf32>
    lm.weight @d recipe(#lm.dequantize<@c, @s>) : tensor<200x264xf32>
    lm.weight @d16 recipe(#lm.dequantize<@c, @s>) : tensor<200x264xbf16>)");
  GoldenFile golden(MORAY_BINARY_DIR "/test/golden/ops/fp8.safetensors");
  source.add("w", golden.get<float>("w.random.x"));
  EXPECT_EQ(golden.get<uint8_t>("w.random.fp32.codes"), read<uint8_t>("c"));
  EXPECT_EQ(golden.get<float>("w.random.fp32.scale_inv"), read<float>("s"));
  EXPECT_EQ(golden.get<uint8_t>("w.random.ue8m0.codes"), read<uint8_t>("c2"));
  EXPECT_EQ(golden.get<float>("w.random.ue8m0.scale_inv"), read<float>("s2"));
  EXPECT_EQ(golden.get<float>("w.random.fp32.dequantised"), read<float>("d"));
  EXPECT_EQ(golden.get<uint16_t>("w.random.fp32.dequantised_bf16"), read<uint16_t>("d16"));
}

TEST_F(WeightRowsTest, QuantisesEveryExpertByItself) {
  parse(R"(
    lm.weight @w from "w.{e}" : tensor<2x1x2xf32>
    lm.weight @s recipe(#lm.quantize_scales<@w, ue8m0>) : tensor<2x1x1xf32>)");
  source.add<float>("w.0", {448, 1});
  source.add<float>("w.1", {1, -896});
  EXPECT_EQ((std::vector<float>{1, 2}), read<float>("s"));
}
