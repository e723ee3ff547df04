//===- TileConfigTest.cpp - tile choice over real shapes ----------------------===//
// `choose` over the matrix products of the supported models: what every configuration must satisfy.

#include "codegen/TileConfig.h"
#include "codegen/X86/GemmScratch.h"
#include <gtest/gtest.h>

using namespace moray::codegen;

namespace {
struct Shape {
  const char *name;
  uint64_t O, K, swiglu; // swiglu: width, or 0
};
} // namespace

// V3, Kimi-K2, V2-Lite, geometry S and the tiny models: attention projections, dense and expert feed-forward, heads.
static const Shape shapes[] = {
    {"v3.qkv_a", 2112, 7168, 0},   {"v3.q_b", 24576, 1536, 0},
    {"v3.o", 7168, 16384, 0},      {"v3.dense", 36864, 7168, 18432},
    {"v3.down", 7168, 18432, 0},   {"v3.expert", 4096, 7168, 2048},
    {"v3.head", 129280, 7168, 0},  {"k2.q_b", 12288, 1536, 0},
    {"k2.o", 7168, 8192, 0},       {"k2.head", 163840, 7168, 0},
    {"lite.q", 3072, 2048, 0},     {"lite.dense", 21888, 2048, 10944},
    {"lite.down", 2048, 10944, 0}, {"lite.expert", 2816, 2048, 1408},
    {"s.qkv_a", 960, 1024, 0},     {"s.expert", 1024, 1024, 512},
    {"s.down", 1024, 512, 0},      {"s.head", 32768, 1024, 0},
    {"tiny.q", 40, 96, 0},         {"tiny.down", 64, 40, 0},
    {"tiny.expert", 168, 256, 40}, {"one", 1, 1, 0},
};

TEST(TileConfig, HoldsForRealShapes) {
  for (CpuLevel level : {CpuLevel::X86_64_V3, CpuLevel::Avx512})
    for (const Shape &shape : shapes)
      for (DType w : {DType::F8E4M3, DType::BF16}) {
        SCOPED_TRACE(std::string(shape.name) + " " + dtypeName(w) + " level " + std::to_string(int(level)));
        GemmBody body;
        body.w = w, body.O = shape.O, body.K = shape.K;
        body.wPitch = (shape.K * byteWidth(w) + 63) / 64 * 64;
        body.scalePitch = w == DType::F8E4M3 ? 64 : 0;
        if (shape.swiglu)
          body.epilogue = {GemmEpilogue::Swiglu, 0, shape.O - shape.swiglu, shape.swiglu, true};
        TileConfig config = choose(body, getTarget(level));
        unsigned parts = shape.swiglu ? 2 : 1, partRows = config.panelRows / parts;
        // Groups of rows never straddle gate and up.
        EXPECT_EQ(0u, partRows % config.tileRows);
        EXPECT_EQ(0u, partRows % config.streamRows);
        EXPECT_EQ(0u, config.rowTile % config.tileTokens);
        EXPECT_LE(config.streamMax, config.tileTokens);
        EXPECT_GE(config.chunkBlocks, 1u);
        EXPECT_LE(config.chunkBlocks, body.blocks());
        // Totals, partial sums and one operand of each kind in registers.
        unsigned perVector = 16 / getTarget(level).floatLanes;
        EXPECT_LE(config.tileRows * config.tileTokens * perVector / (config.totalsInScratch ? perVector : 1),
                  getTarget(level).vectorRegisters);
        EXPECT_GE(gemmColumnTiles(body, config) * partRows, body.width());
        EXPECT_LT((gemmColumnTiles(body, config) - 1) * partRows, body.width());
        EXPECT_LE(gemmScratchBytes(body, config), 8u << 20);
        EXPECT_EQ(config.str(), choose(body, getTarget(level)).str());
      }
}

TEST(TileConfig, SmallResultsGetSmallPanels) {
  GemmBody body;
  body.O = 20, body.K = 256, body.wPitch = 256, body.scalePitch = 64;
  EXPECT_EQ(24u, choose(body, getTarget(CpuLevel::Avx512)).panelRows);
}

TEST(TileConfig, ScratchPartsDoNotOverlap) {
  GemmBody body;
  body.x = DType::F8E4M3, body.O = 100, body.K = 3000, body.wPitch = 3008, body.scalePitch = 128;
  TileConfig config = choose(body, getTarget(CpuLevel::Avx512));
  GemmScratch s(body, config);
  const uint64_t starts[] = {s.x, s.xScales, s.wScales, s.panel, s.totals, s.bounce, s.results, s.bytes};
  for (size_t i = 0; i + 1 < std::size(starts); ++i) {
    EXPECT_LT(starts[i], starts[i + 1]);
    EXPECT_EQ(0u, starts[i] % 64);
  }
}

TEST(SizeExpr, FoldsConstantsAndNeutralElements) {
  SizeExpr rows(Symbol::Rows);
  EXPECT_EQ(rows, SizeExpr(1) * rows);
  EXPECT_EQ(rows, rows + SizeExpr(0));
  EXPECT_EQ(SizeExpr(12), SizeExpr(3) * SizeExpr(4));
  EXPECT_EQ(SizeExpr(3), SizeExpr::ceilDiv(SizeExpr(9), SizeExpr(4)));
  EXPECT_EQ(SizeExpr(12), SizeExpr::align(SizeExpr(9), SizeExpr(4)));
  std::vector<ExprOp> expected = {
      {ExprKind::Const, 5}, {ExprKind::Symbol, 5}, {ExprKind::Const, 64}, {ExprKind::CeilDiv, 0}, {ExprKind::Mul, 0}};
  EXPECT_EQ(expected, (SizeExpr(5) * SizeExpr::ceilDiv(rows, 64)).postfix());
}
