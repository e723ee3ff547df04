// Facts that the artifact needs and a module may lack: errors E3401, E3402, E3403.
#include "codegen/Package/Metadata.h"
#include "codegen/Package/WeightRows.h"

#include "mlir/Parser/Parser.h"
#include <gtest/gtest.h>

using namespace mlir;
using namespace moray;
using namespace moray::codegen;

namespace {
class MetadataTest : public testing::Test {
protected:
  MLIRContext context{MLIRContext::Threading::DISABLED};
  OwningOpRef<ModuleOp> module;

  std::string build(const std::string &text) {
    context.loadDialect<lm::LMDialect, cmd::CmdDialect>();
    module = parseSourceString<ModuleOp>(text, &context);
    llvm::Expected<Metadata> metadata = buildMetadata(*module, {}, {}, nullptr, false);
    return metadata ? "" : llvm::toString(metadata.takeError());
  }
};
} // namespace

TEST_F(MetadataTest, ErrorE3402WithoutFacts) {
  EXPECT_EQ(0u, build("module {}").find("E3402: the module has no attribute lm.model"));
  EXPECT_EQ(0u, build("module attributes {lm.model = {}} {}").find("E3402: the module has no attribute lm.numerics"));
}

TEST_F(MetadataTest, ErrorE3403NamesTheFactThatIsMissing) {
  std::string message =
      build("module attributes {lm.model = {vocab = 8 : i64}, lm.numerics = #lm.numerics<ref32, deterministic>} {}");
  EXPECT_EQ(0u, message.find("E3403")) << message;
}

TEST_F(MetadataTest, ErrorE3401ForAnUnknownRecipe) {
  class NoSource : public WeightSource {
    llvm::Error read(llvm::StringRef, DType, uint64_t, uint64_t, uint8_t *) override { return llvm::Error::success(); }
  } source;
  context.loadDialect<lm::LMDialect>();
  // The verifier refuses such a recipe, so the module is built without it.
  module = ModuleOp::create(UnknownLoc::get(&context));
  OpBuilder builder = OpBuilder::atBlockEnd(module->getBody());
  auto weight =
      lm::WeightOp::create(builder, builder.getUnknownLoc(), "w", /*per_layer=*/false, StringAttr(), StringAttr(),
                           builder.getUnitAttr(), RankedTensorType::get({1, 4}, builder.getF32Type()));
  uint8_t bytes[16];
  std::string message = llvm::toString(WeightRows(*module, source, 0).read(weight, 0, 0, 1, bytes));
  EXPECT_EQ(0u, message.find("E3401: weight @w")) << message;
}
