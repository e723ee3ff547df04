// Weights of several modules: equal content is one entry, whatever it is called.
#include "codegen/Package/WeightTable.h"

#include "mlir/Parser/Parser.h"
#include <gtest/gtest.h>

using namespace mlir;
using namespace moray;
using namespace moray::codegen;

namespace {
class WeightTableTest : public testing::Test {
protected:
  MLIRContext context{MLIRContext::Threading::DISABLED};
  OwningOpRef<ModuleOp> first, second;
  WeightTable table;

  OwningOpRef<ModuleOp> parse(const char *text) {
    context.loadDialect<lm::LMDialect>();
    return parseSourceString<ModuleOp>(text, &context);
  }
  unsigned add(ModuleOp module, const char *name, std::vector<int64_t> layers) {
    SymbolTable symbols(module);
    return table.add(module, symbols, symbols.lookup<lm::WeightOp>(name), layers);
  }
};
} // namespace

TEST_F(WeightTableTest, EqualRecipesAreOneEntryWithTheLayersOfBoth) {
  first = parse(R"(
    lm.weight @a per_layer from "l.{l}.a" : tensor<2x4xf32>
    lm.weight @b per_layer from "l.{l}.b" : tensor<3x4xf32>
    lm.weight @ab per_layer recipe(#lm.concat<[@a, @b], align = 1>) : tensor<5x4xf32>)");
  second = parse(R"(
    lm.weight @x per_layer from "l.{l}.a" : tensor<2x4xf32>
    lm.weight @y per_layer from "l.{l}.b" : tensor<3x4xf32>
    lm.weight @xy per_layer recipe(#lm.concat<[@x, @y], align = 1>) : tensor<5x4xf32>)");
  EXPECT_EQ(0u, add(*first, "ab", {2, 1}));
  EXPECT_EQ(0u, add(*second, "xy", {2, 5}));
  ASSERT_EQ(1u, table.all().size());
  EXPECT_EQ("ab", table.all()[0].name);
  EXPECT_EQ((std::vector<int64_t>{1, 2, 5}), table.all()[0].layers);
}

TEST_F(WeightTableTest, OtherContentsOfANameGetANumber) {
  first = parse(R"(lm.weight @w from "w" : tensor<2x4xf32>)");
  second = parse(R"(lm.weight @w from "w" : tensor<2x4xbf16>)");
  auto third = parse(R"(lm.weight @w from "v" : tensor<2x4xf32>)");
  EXPECT_EQ(0u, add(*first, "w", {}));
  EXPECT_EQ(1u, add(*second, "w", {}));
  EXPECT_EQ(2u, add(*third, "w", {}));
  EXPECT_EQ(1u, add(*second, "w", {}));
  EXPECT_EQ("w.2", table.all()[1].name);
  EXPECT_EQ("w.3", table.all()[2].name);
  EXPECT_EQ((std::vector<int64_t>{0}), table.all()[2].layers);
}

TEST_F(WeightTableTest, PaddingMakesAnotherWeight) {
  const char *modules[] = {R"(
    lm.weight @a from "a" : tensor<2x4xf32>
    lm.weight @aa recipe(#lm.concat<[@a, @a], align = 1>) : tensor<4x4xf32>)",
                           R"(
    lm.weight @a from "a" : tensor<2x4xf32>
    lm.weight @aa recipe(#lm.concat<[@a, @a], align = 4>) : tensor<6x4xf32>)"};
  first = parse(modules[0]);
  second = parse(modules[1]);
  EXPECT_NE(add(*first, "aa", {}), add(*second, "aa", {}));
}
