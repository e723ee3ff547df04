//===- GroupedGemm.cpp - matrix products of routed experts on x86 -------------===//
// One task is a column tile of every expert: it walks over the experts and multiplies those that have slots.

#include "codegen/Emitter.h"
#include "codegen/X86/GemmTile.h"

using namespace mlir;
using namespace moray::codegen;

static LaunchPlan plan(const KernelSpec &spec, const Target &target) {
  const auto &body = spec.as<GemmBody>();
  TileConfig config = choose(body, target);
  return {SizeExpr(gemmColumnTiles(body, config)), gemmScratchBytes(body, config), config.str()};
}

static llvm::Error emit(const KernelSpec &spec, const Target &target, VectorBuilder &v) {
  const auto &body = spec.as<GemmBody>();
  if (llvm::Error error = checkGemm(body))
    return error;
  if (!body.experts || body.offsetsArg < 0)
    return llvm::createStringError("E3120: grouped matrix product without experts: " + body.key());
  TileConfig config = choose(body, target);
  GemmTile tile(body, config, v);
  int64_t wBytes = int64_t(body.O * body.wPitch), scaleBytes = int64_t((body.O + 127) / 128 * body.scalePitch);
  Value offsets = v.operand(body.offsetsArg);
  v.forLoop(0, v.c64(body.experts), 1, [&](Value expert) {
    Value entry = v.at(offsets, v.shl(expert, 2));
    Value begin = v.zext(v.load(v.i32, entry), v.i64), end = v.zext(v.load(v.i32, v.at(entry, 4)), v.i64);
    v.forLoop(begin, end, v.c64(config.rowTile), [&](Value firstRow) {
      GemmTile::Place place;
      place.column = v.task();
      place.w = v.at(v.operand(body.wArg), v.mul(expert, wBytes));
      place.scales = body.wScaleArg >= 0 ? v.at(v.operand(body.wScaleArg), v.mul(expert, scaleBytes)) : Value();
      place.firstRow = firstRow;
      place.count = v.minu(v.sub(end, firstRow), config.rowTile);
      tile.emit(place);
    });
  });
  return llvm::Error::success();
}

const Emitter moray::codegen::groupedGemmEmitter = {KernelClass::GroupedGemm, plan, emit};
