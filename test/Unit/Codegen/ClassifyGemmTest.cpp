//===- ClassifyGemmTest.cpp - regions to matrix-product specs -----------------===//
// What `classify` reads from regions, and what it refuses.

#include "codegen/Classify.h"
#include "dialects/Dialects.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include <gtest/gtest.h>

using namespace moray::codegen;

namespace {
class ClassifyGemm : public testing::Test {
protected:
  ClassifyGemm() {
    mlir::DialectRegistry registry;
    moray::registerDialects(registry);
    context.appendDialectRegistry(registry);
  }
  llvm::Expected<KernelSpec> classifyText(const std::string &kernel) {
    module = mlir::parseSourceString<mlir::ModuleOp>(kernel, &context);
    if (!module)
      return llvm::createStringError("does not parse");
    return classify(&module->getBody()->front());
  }
  std::string errorOf(const std::string &kernel) {
    auto spec = classifyText(kernel);
    return spec ? "" : llvm::toString(spec.takeError());
  }
  mlir::MLIRContext context;
  mlir::OwningOpRef<mlir::ModuleOp> module;
};
} // namespace

TEST_F(ClassifyGemm, ScaledLinearWithSwiglu) {
  auto spec = classifyText(R"(
    cmd.kernel @k gemm over rows {
    ^bb0(%x: tensor<?x256xbf16>, %w: tensor<328x256xf8E4M3FN>, %s: tensor<3x2xf32>):
      %0 = lm.scaled_linear %x, %w scales %s
          : (tensor<?x256xbf16>, tensor<328x256xf8E4M3FN>, tensor<3x2xf32>) -> tensor<?x328xbf16>
      %g = lm.slice %0[0] : tensor<?x328xbf16> -> tensor<?x200xbf16>
      %u = lm.slice %0[128] : tensor<?x328xbf16> -> tensor<?x200xbf16>
      %1 = lm.swiglu %g, %u : tensor<?x200xbf16>, tensor<?x200xbf16> -> tensor<?x200xbf16>
      lm.yield %1 : tensor<?x200xbf16>
    })");
  ASSERT_TRUE(bool(spec)) << llvm::toString(spec.takeError());
  const auto &body = spec->as<GemmBody>();
  EXPECT_EQ(KernelClass::Gemm, spec->klass);
  EXPECT_EQ(4u, spec->operandCount);
  EXPECT_EQ("bf16xf8->bf16 O=328 K=256 xp=256+0 wp=256 sp=64 rows ep=1,0,128,200,true fin=false E=0 "
            "args=0,-1,1,2,-1,-1,3 gather=-1 bias=f32",
            body.key());
}

TEST_F(ClassifyGemm, LogitsOfGatheredRows) {
  auto spec = classifyText(R"(
    cmd.kernel @k gemm over outs {
    ^bb0(%x: tensor<?x96xbf16>, %i: tensor<?xi32>, %w: tensor<500x64xbf16>):
      %g = lm.gather_rows %x, %i : tensor<?x96xbf16>, tensor<?xi32> -> tensor<?x96xbf16>
      %s = lm.slice %g[32] : tensor<?x96xbf16> -> tensor<?x64xbf16>
      %0 = lm.linear %s, %w : (tensor<?x64xbf16>, tensor<500x64xbf16>) -> tensor<?x500xf32>
      lm.yield %0 : tensor<?x500xf32>
    })");
  ASSERT_TRUE(bool(spec)) << llvm::toString(spec.takeError());
  EXPECT_EQ("bf16xbf16->f32 O=500 K=64 xp=96+32 wp=128 sp=0 outs ep=0,0,0,0,false fin=true E=0 args=0,-1,2,-1,-1,-1,3 "
            "gather=1 bias=f32",
            spec->as<GemmBody>().key());
}

TEST_F(ClassifyGemm, GroupedLinear) {
  auto spec = classifyText(R"(
    cmd.kernel @k grouped_gemm over slots of 4 {
    ^bb0(%x: tensor<?x256xf8E4M3FN>, %xs: tensor<?x2xf32>, %t: tensor<?xi32>, %o: tensor<17xi32>,
         %w: tensor<16x192x256xf8E4M3FN>, %s: tensor<16x2x2xf32>):
      %0 = moe.grouped_linear %x by %xs rows %t, %o, %w scales %s
          : (tensor<?x256xf8E4M3FN>, tensor<?x2xf32>, tensor<?xi32>, tensor<17xi32>, tensor<16x192x256xf8E4M3FN>,
             tensor<16x2x2xf32>) -> tensor<?x192xbf16>
      lm.yield %0 : tensor<?x192xbf16>
    })");
  ASSERT_TRUE(bool(spec)) << llvm::toString(spec.takeError());
  EXPECT_EQ("f8xf8->bf16 O=192 K=256 xp=256+0 wp=256 sp=64 slots4@-1[0] ep=0,0,0,0,false fin=false E=16 "
            "args=0,1,4,5,-1,3,6 gather=2 bias=f32",
            spec->as<GemmBody>().key());
}

TEST_F(ClassifyGemm, RefusesTwoProductsAndForeignOps) {
  EXPECT_EQ("E3121: a kernel of class gemm without a matrix product",
            errorOf("cmd.kernel @k gemm over rows { ^bb0(%x: tensor<?x64xf32>): lm.yield %x : tensor<?x64xf32> }"));
  std::string two = errorOf(R"(
    cmd.kernel @k gemm over rows {
    ^bb0(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>):
      %0 = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
      %1 = lm.linear %0, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
      lm.yield %1 : tensor<?x64xf32>
    })");
  EXPECT_NE(std::string::npos, two.find("second matrix product")) << two;
  std::string add = errorOf(R"(
    cmd.kernel @k gemm over rows {
    ^bb0(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>):
      %0 = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
      %1 = lm.add %0, %x : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x64xf32>
      lm.yield %1 : tensor<?x64xf32>
    })");
  EXPECT_NE(std::string::npos, add.find("is not what the kernel returns")) << add;
}
