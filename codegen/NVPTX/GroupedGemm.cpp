//===- GroupedGemm.cpp - matrix products of routed experts on GPUs ------------===//
// Row counts of the experts are device data: every block sums up the work of all experts and takes its share.
//
// An item of work is a tile of the result of one expert: few rows stream, more rows take tiles, experts without rows
// have no items. Items are numbered by expert; block i takes items i, i + blocks, ...

#include "codegen/NVPTX/Emitters.h"
#include "codegen/NVPTX/GemmStream.h"
#include "codegen/NVPTX/GemmTile.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace moray::codegen;

static GpuPlan planGroupedGemm(const KernelSpec &kernel, const GpuTarget &target) {
  const auto &body = kernel.as<GemmBody>();
  GpuTileConfig config = chooseGpu(body, target);
  const GpuGemmTile &tile = config.tiles.front();
  // Any number of blocks does all items.
  SizeExpr slots = body.domain.count();
  SizeExpr streamed = SizeExpr(gpuColumnTiles(body, config.streamColumns)) * SizeExpr::min(slots, body.experts);
  SizeExpr tiled = SizeExpr(gpuColumnTiles(body, tile.columns)) * SizeExpr::ceilDiv(slots, tile.rows);
  SizeExpr grid = SizeExpr::min(config.persistentBlocks, streamed + tiled);
  return {{{"", grid, config.threads, unsigned(gpuGemmSharedBytes(body, config))}}, SizeExpr(0), config.str()};
}

namespace {
class GroupedGemm {
public:
  GroupedGemm(const GemmBody &body, const GpuTileConfig &config, GpuBuilder &g)
      : body(body), config(config), tile(config.tiles.front()), g(g) {}
  void emit();

private:
  Value offset(Value expert);
  Value itemsOf(Value expert);
  Value scanThreads(Value value);
  void countItems();
  Value firstItem(Value expert) { return g.at(firstItems, g.zext(g.shl(expert, 2), g.i64)); }
  Value expertOf(Value item);
  void emitItem(Value item);
  GpuGemm::Place placeOf(Value expert, Value row, Value column);

  const GemmBody &body;
  const GpuTileConfig &config;
  const GpuGemmTile &tile;
  GpuBuilder &g;
  Value firstItems, warpSums; // shared: [experts + 1] and one per warp
};

/// First slot of an expert (i32).
Value GroupedGemm::offset(Value expert) {
  return g.loadInvariant(g.i32, g.at(g.operand(body.offsetsArg), g.shl(g.zext(expert, g.i64), 2)));
}

/// Items of an expert; none for numbers beyond the last one.
Value GroupedGemm::itemsOf(Value expert) {
  Value exists = g.ult(expert, int64_t(body.experts));
  Value valid = g.select(exists, expert, g.c32(0));
  Value count = g.sub(offset(g.add(valid, 1)), offset(valid));
  Value tiled = g.mul(g.ceilDiv(count, tile.rows), int64_t(gpuColumnTiles(body, tile.columns)));
  Value streamed = g.select(g.eq(count, 0), g.c32(0), g.c32(int64_t(gpuColumnTiles(body, config.streamColumns))));
  return g.select(exists, g.select(g.ult(count, int64_t(config.streamRows) + 1), streamed, tiled), g.c32(0));
}

/// Sum of the values of all lower threads.
Value GroupedGemm::scanThreads(Value value) {
  Value sum = value;
  for (unsigned distance = 1; distance < GpuBuilder::kWarp; distance *= 2) {
    Value lower = g.broadcastLane(sum, g.andi(g.sub(g.lane(), distance), GpuBuilder::kWarp - 1));
    sum = g.add(sum, g.select(g.ult(g.lane(), distance), g.c32(0), lower));
  }
  auto warpSum = [&](Value warp) { return g.at(warpSums, g.zext(g.shl(warp, 2), g.i64)); };
  g.ifThen(g.eq(g.lane(), GpuBuilder::kWarp - 1), [&] { g.store(sum, warpSum(g.warp())); });
  g.barrier();
  sum = g.sub(sum, value);
  for (unsigned w = 0; w + 1 < config.warps(); ++w)
    sum = g.add(sum, g.select(g.ult(g.c32(w), g.warp()), g.load(g.i32, warpSum(g.c32(w))), g.c32(0)));
  return sum;
}

/// Each thread counts the items of a few neighbouring experts.
void GroupedGemm::countItems() {
  unsigned each = unsigned(llvm::divideCeil(body.experts, config.threads));
  Value first = g.mul(g.thread(), int64_t(each)), total = g.c32(0);
  SmallVector<Value> items;
  for (unsigned i = 0; i < each; ++i) {
    items.push_back(itemsOf(g.add(first, i)));
    total = g.add(total, items.back());
  }
  Value before = scanThreads(total);
  for (unsigned i = 0; i < each; ++i) {
    Value expert = g.add(first, i);
    before = g.add(before, items[i]);
    g.ifThen(g.ult(expert, int64_t(body.experts)), [&] { g.store(before, firstItem(g.add(expert, 1))); });
  }
  g.ifThen(g.eq(g.thread(), 0), [&] { g.store(g.c32(0), firstItem(g.c32(0))); });
  g.barrier();
}

/// The last expert whose first item is not beyond `item`: the one that has it.
Value GroupedGemm::expertOf(Value item) {
  Value expert = g.c32(0);
  for (uint64_t step = llvm::PowerOf2Ceil(body.experts) / 2; step; step /= 2) {
    Value higher = g.add(expert, int64_t(step)), last = g.c32(int64_t(body.experts) - 1);
    Value first = g.load(g.i32, firstItem(g.minu(higher, last)));
    Value reached = g.andi(g.ult(higher, int64_t(body.experts)), g.ult(first, g.add(item, 1)));
    expert = g.select(reached, higher, expert);
  }
  return expert;
}

/// `row` (i32) counts the rows of the expert.
GpuGemm::Place GroupedGemm::placeOf(Value expert, Value row, Value column) {
  int64_t scaleBytes = int64_t((body.O + 127) / 128 * body.scalePitch);
  Value wide = g.zext(expert, g.i64), first = g.add(offset(expert), row);
  GpuGemm::Place place;
  place.w = g.at(g.operand(body.wArg), g.mul(wide, int64_t(body.O * body.wPitch)));
  place.scales = body.wScaleArg >= 0 ? g.at(g.operand(body.wScaleArg), g.mul(wide, scaleBytes)) : Value();
  place.firstRow = g.zext(first, g.i64);
  place.count = g.sub(offset(g.add(expert, 1)), first);
  place.firstColumn = column;
  return place;
}

void GroupedGemm::emitItem(Value item) {
  Value expert = expertOf(item), local = g.sub(item, g.load(g.i32, firstItem(expert)));
  Value count = g.sub(offset(g.add(expert, 1)), offset(expert));
  g.ifElse(
      g.ult(count, int64_t(config.streamRows) + 1),
      [&] {
        Value column = g.mul(local, int64_t(config.streamColumns));
        GpuGemmStream(body, config, g).emit(placeOf(expert, g.c32(0), column));
      },
      [&] {
        Value rowTiles = g.ceilDiv(count, tile.rows);
        Value row = g.mul(g.remu(local, rowTiles), int64_t(tile.rows));
        Value column = g.mul(g.divu(local, rowTiles), int64_t(tile.columns));
        GpuGemmTiled(body, config, tile, g).emit(placeOf(expert, row, column));
        g.waitAsync(0);
      });
  g.barrier(); // shared memory is free for the next item
}

void GroupedGemm::emit() {
  firstItems = g.sharedArray(4 * (body.experts + 1));
  warpSums = g.sharedArray(4 * config.warps());
  countItems();
  Value total = g.load(g.i32, firstItem(g.c32(int64_t(body.experts))));
  Value blocks = g.intrinsic("llvm.nvvm.read.ptx.sreg.nctaid.x", g.i32, {});
  g.forLoop(g.trunc(g.task(), g.i32), total, blocks, [&](Value item) { emitItem(item); });
}
} // namespace

static llvm::Error emitGroupedGemm(const KernelSpec &kernel, const GpuTarget &target, unsigned, GpuBuilder &g) {
  const auto &body = kernel.as<GemmBody>();
  if (llvm::Error error = checkGpuGemm(body))
    return error;
  if (!body.experts || body.offsetsArg < 0)
    return llvm::createStringError("E3120: grouped matrix product without experts: " + body.key());
  GpuTileConfig config = chooseGpu(body, target);
  g.setBlocksPerMultiprocessor(config.residentBlocks);
  GroupedGemm(body, config, g).emit();
  return llvm::Error::success();
}

const GpuEmitter moray::codegen::gpuGroupedGemmEmitter{KernelClass::GroupedGemm, planGroupedGemm, emitGroupedGemm};
