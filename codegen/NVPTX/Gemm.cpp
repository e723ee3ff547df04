//===- Gemm.cpp - dense matrix products on GPUs --------------------------------===//
// One launch for every number of rows: the live count picks the way to multiply, the same for all blocks.

#include "codegen/NVPTX/Emitters.h"
#include "codegen/NVPTX/GemmStream.h"
#include "codegen/NVPTX/GemmTile.h"

using namespace mlir;
using namespace moray::codegen;

// Tiles of so many rows take turns on each column of tiles, so that blocks at work share operands in L2.
static constexpr int64_t kRasterRows = 8;

static GpuPlan planGemm(const KernelSpec &kernel, const GpuTarget &target) {
  const auto &body = kernel.as<GemmBody>();
  GpuTileConfig config = chooseGpu(body, target);
  SizeExpr grid(gpuColumnTiles(body, config.streamColumns));
  for (const GpuGemmTile &tile : config.tiles) {
    SizeExpr rows = body.domain.count();
    if (tile.upTo != ~0u)
      rows = SizeExpr::min(rows, tile.upTo);
    SizeExpr rowTiles = SizeExpr::ceilDiv(rows, tile.rows);
    grid = SizeExpr::max(grid, SizeExpr(gpuColumnTiles(body, tile.columns)) * rowTiles);
  }
  return {{{"", grid, config.threads, unsigned(gpuGemmSharedBytes(body, config))}}, SizeExpr(0), config.str()};
}

namespace {
class DenseGemm {
public:
  DenseGemm(const GemmBody &body, const GpuTileConfig &config, GpuBuilder &g) : body(body), config(config), g(g) {}
  void emit();

private:
  void emitStream();
  void emitTiles(const GpuGemmTile &tile);
  void emitPath(unsigned index);
  GpuGemm::Place placeOf(Value row, Value column);

  const GemmBody &body;
  const GpuTileConfig &config;
  GpuBuilder &g;
  Value rows; // i64
};

/// `row` counts the rows of the domain.
GpuGemm::Place DenseGemm::placeOf(Value row, Value column) {
  GpuGemm::Place place;
  place.w = g.operand(body.wArg);
  place.scales = body.wScaleArg >= 0 ? g.operand(body.wScaleArg) : Value();
  place.firstRow = body.domain.kind == RowDomain::Prefill ? g.add(row, g.live(1)) : row;
  place.count = g.trunc(g.sub(rows, row), g.i32);
  place.firstColumn = g.trunc(column, g.i32);
  return place;
}

void DenseGemm::emitStream() {
  g.ifThen(g.ult(g.task(), int64_t(gpuColumnTiles(body, config.streamColumns))), [&] {
    Value column = g.mul(g.task(), int64_t(config.streamColumns));
    GpuGemmStream(body, config, g).emit(placeOf(g.c64(0), column));
  });
}

void DenseGemm::emitTiles(const GpuGemmTile &tile) {
  int64_t columns = int64_t(gpuColumnTiles(body, tile.columns));
  Value rowTiles = g.ceilDiv(rows, tile.rows);
  g.ifThen(g.ult(g.task(), g.mul(rowTiles, columns)), [&] {
    Value group = g.divu(g.task(), columns * kRasterRows), first = g.mul(group, kRasterRows);
    Value inGroup = g.sub(g.task(), g.mul(group, columns * kRasterRows));
    Value height = g.minu(g.sub(rowTiles, first), kRasterRows);
    Value row = g.mul(g.add(first, g.remu(inGroup, height)), int64_t(tile.rows));
    Value column = g.mul(g.divu(inGroup, height), int64_t(tile.columns));
    GpuGemmTiled(body, config, tile, g).emit(placeOf(row, column));
  });
}

/// The tiles from `index` on.
void DenseGemm::emitPath(unsigned index) {
  const GpuGemmTile &tile = config.tiles[index];
  if (index + 1 == config.tiles.size())
    return emitTiles(tile);
  g.ifElse(g.ult(rows, int64_t(tile.upTo) + 1), [&] { emitTiles(tile); }, [&] { emitPath(index + 1); });
}

void DenseGemm::emit() {
  rows = g.rows(body.domain);
  g.ifThen(g.ult(g.c64(0), rows),
           [&] { g.ifElse(g.ult(rows, int64_t(config.streamRows) + 1), [&] { emitStream(); }, [&] { emitPath(0); }); });
}
} // namespace

static llvm::Error emitGemm(const KernelSpec &kernel, const GpuTarget &target, unsigned, GpuBuilder &g) {
  const auto &body = kernel.as<GemmBody>();
  if (llvm::Error error = checkGpuGemm(body))
    return error;
  GpuTileConfig config = chooseGpu(body, target);
  g.setBlocksPerMultiprocessor(config.residentBlocks);
  DenseGemm(body, config, g).emit();
  return llvm::Error::success();
}

const GpuEmitter moray::codegen::gpuGemmEmitter{KernelClass::Gemm, planGemm, emitGemm};
