//===- GpuTileConfigTest.cpp - tile choice on GPUs over real shapes -----------===//
// `chooseGpu` over the matrix products of the supported models: what every configuration must satisfy.

#include "codegen/NVPTX/GpuTileConfig.h"
#include "llvm/Support/MathExtras.h"
#include <gtest/gtest.h>

using namespace moray::codegen;

namespace {
struct Shape {
  const char *name;
  uint64_t O, K, swiglu, experts; // swiglu: width, or 0
};
} // namespace

// V3, Kimi-K2, V2-Lite and the tiny models: attention projections, dense, shared and routed feed-forward, heads.
static const Shape shapes[] = {
    {"v3.qkv_a", 2112, 7168, 0, 0},
    {"v3.q_b", 24576, 1536, 0, 0},
    {"v3.kv_b", 32768, 512, 0, 0},
    {"v3.o", 7168, 16384, 0, 0},
    {"v3.dense", 36864, 7168, 18432, 0},
    {"v3.dense_down", 7168, 18432, 0, 0},
    {"v3.shared", 4096, 7168, 2048, 0},
    {"v3.shared_down", 7168, 2048, 0, 0},
    {"v3.expert", 4096, 7168, 2048, 256},
    {"v3.expert_down", 7168, 2048, 0, 256},
    {"v3.eh_proj", 7168, 14336, 0, 0},
    {"v3.head", 129280, 7168, 0, 0},
    {"k2.q_b", 12288, 1536, 0, 0},
    {"k2.kv_b", 16384, 512, 0, 0},
    {"k2.o", 7168, 8192, 0, 0},
    {"k2.expert", 4096, 7168, 2048, 384},
    {"k2.expert_down", 7168, 2048, 0, 384},
    {"k2.head", 163840, 7168, 0, 0},
    {"lite.q_kv_a", 3648, 2048, 0, 0},
    {"lite.kv_b", 4096, 512, 0, 0},
    {"lite.o", 2048, 2048, 0, 0},
    {"lite.dense", 21888, 2048, 10944, 0},
    {"lite.dense_down", 2048, 10944, 0, 0},
    {"lite.shared", 5632, 2048, 2816, 0},
    {"lite.shared_down", 2048, 2816, 0, 0},
    {"lite.expert", 2816, 2048, 1408, 64},
    {"lite.expert_down", 2048, 1408, 0, 64},
    {"lite.head", 102400, 2048, 0, 0},
    {"tiny.q", 40, 96, 0, 0},
    {"tiny.down", 64, 40, 0, 0},
    {"tiny.expert", 168, 256, 40, 8},
    {"one", 1, 1, 0, 0},
};

static GemmBody bodyOf(const Shape &shape, DType x, DType w) {
  GemmBody body;
  body.x = x, body.w = w, body.O = shape.O, body.K = shape.K, body.experts = shape.experts;
  body.wPitch = llvm::alignTo(shape.K * byteWidth(w), 64);
  body.scalePitch = w == DType::F8E4M3 ? llvm::alignTo(body.blocks() * 4, 64) : 0;
  if (shape.swiglu)
    body.epilogue = {GemmEpilogue::Swiglu, 0, shape.O - shape.swiglu, shape.swiglu, true};
  return body;
}

static void forShapes(llvm::function_ref<void(const Shape &, const GemmBody &, const GpuTarget &)> visit) {
  for (const GpuTarget &target : allGpuTargets())
    for (const Shape &shape : shapes)
      for (auto [x, w] : {std::pair(DType::BF16, DType::BF16), std::pair(DType::BF16, DType::F8E4M3),
                          std::pair(DType::F8E4M3, DType::F8E4M3)}) {
        SCOPED_TRACE(std::string(shape.name) + " " + dtypeName(x) + " " + dtypeName(w) + " " + target.name.str());
        visit(shape, bodyOf(shape, x, w), target);
      }
}

TEST(GpuTileConfig, TilesAreLegal) {
  forShapes([](const Shape &shape, const GemmBody &body, const GpuTarget &target) {
    GpuTileConfig config = chooseGpu(body, target);
    unsigned parts = gemmParts(body), warps = config.warps();
    ASSERT_FALSE(config.tiles.empty());
    EXPECT_EQ(~0u, config.tiles.back().upTo);
    unsigned covered = config.streamRows;
    for (const GpuGemmTile &tile : config.tiles) {
      EXPECT_LT(covered, tile.upTo); // every path is taken for some number of rows
      covered = tile.upTo;
      EXPECT_EQ(warps, tile.warpRows * tile.warpColumns);
      EXPECT_EQ(0u, tile.rows % (16 * tile.warpRows));
      EXPECT_EQ(0u, tile.columns % (8 * tile.warpColumns));
      EXPECT_EQ(0u, 128 % tile.columns); // one row of weight scales for each part
      // Whole rows of chunks for every thread.
      for (auto [rows, type] : {std::pair(tile.rows, body.x), std::pair(tile.columns * parts, body.w)})
        EXPECT_EQ(0u, rows % (config.threads / (64 * byteWidth(type) / 16)));
      EXPECT_GE(tile.stages, 2u);
      // Partial and total sums of a warp leave half of 255 registers for the rest.
      EXPECT_LE(2 * tile.rows * tile.columns * parts / config.threads, 128u);
    }
    EXPECT_EQ(16u, config.streamRows); // one fragment
    EXPECT_EQ(0u, config.streamColumns % 8);
    EXPECT_EQ(0u, 16 * config.streamColumns % config.threads); // every thread has as many results
    EXPECT_GE(config.streamDepth, 1u);
    EXPECT_EQ(config.str(), chooseGpu(body, target).str());
  });
}

TEST(GpuTileConfig, BlocksFitTwiceOnAMultiprocessor) {
  forShapes([](const Shape &shape, const GemmBody &body, const GpuTarget &target) {
    GpuTileConfig config = chooseGpu(body, target);
    uint64_t scan = shape.experts ? 4 * (shape.experts + 1) + 4 * config.warps() : 0;
    EXPECT_LE(gpuGemmSharedBytes(body, config) + scan, target.sharedBytes);
    EXPECT_LE(config.residentBlocks * (gpuGemmSharedBytes(body, config) + 1024), 164u << 10); // sm_80
  });
}

TEST(GpuTileConfig, OneRowKeepsTheMultiprocessorsBusy) {
  forShapes([](const Shape &shape, const GemmBody &body, const GpuTarget &target) {
    GpuTileConfig config = chooseGpu(body, target);
    uint64_t active = shape.experts ? std::min<uint64_t>(shape.experts, 6) : 1; // 6 experts per row in V2-Lite
    uint64_t blocks = active * gpuColumnTiles(body, config.streamColumns);
    // As many blocks as multiprocessors, or the narrowest tiles.
    EXPECT_TRUE(blocks >= target.multiprocessors || config.streamColumns == 8) << blocks;
    // Weights under way on a multiprocessor, by Little's law for 2 TB/s and 700 ns at least 13 KiB.
    uint64_t perWarp = config.streamDepth * config.streamColumns * gemmParts(body) * 128 * byteWidth(body.w);
    EXPECT_TRUE(config.residentBlocks * config.warps() * perWarp >= 13u << 10) << perWarp;
  });
}

TEST(GpuTileConfig, WordsForPeople) {
  const GpuTarget &target = *findGpuTarget("cuda:sm_80");
  EXPECT_EQ("threads=128 stream=16x16 depth=2 tile=64x32 warps=2x2 stages=4 tile=128x64 warps=2x2 stages=4",
            chooseGpu(bodyOf(shapes[0], DType::BF16, DType::F8E4M3), target).str());
  EXPECT_EQ("threads=128 stream=16x16 depth=1 tile=64x32 warps=2x2 stages=4 blocks=432",
            chooseGpu(bodyOf(shapes[8], DType::BF16, DType::F8E4M3), target).str());
}
