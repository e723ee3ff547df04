//===- Gemm.cpp - dense matrix products on x86 --------------------------------===//
// One task is a column tile of the result for up to rowTile of its rows.

#include "codegen/Emitter.h"
#include "codegen/X86/GemmTile.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace moray::codegen;

static LaunchPlan plan(const KernelSpec &spec, const Target &target) {
  const auto &body = spec.as<GemmBody>();
  TileConfig config = choose(body, target);
  SizeExpr tasks = SizeExpr(gemmColumnTiles(body, config)) * SizeExpr::ceilDiv(body.domain.count(), config.rowTile);
  return {tasks, gemmScratchBytes(body, config), config.str()};
}

llvm::Error moray::codegen::checkGemm(const GemmBody &body) {
  auto fail = [&](const char *what) {
    return llvm::createStringError("E3120: %s in matrix product %s", what, body.key().c_str());
  };
  if (!body.O || !body.K || !body.width())
    return fail("empty dimension");
  if ((body.w == DType::F8E4M3) != (body.scalePitch != 0))
    return fail("FP8 weights need block scales, others must have none");
  if (body.x == DType::F8E4M3 && body.w != DType::F8E4M3)
    return fail("FP8 rows need FP8 weights");
  if (body.wPitch % 64 || body.wPitch < body.K * byteWidth(body.w) || body.scalePitch % 64)
    return fail("weight rows are not padded to 64 bytes");
  if (body.out != DType::F32 && body.out != DType::BF16)
    return fail("result is neither f32 nor bf16");
  if (body.epilogue.kind == GemmEpilogue::Swiglu && body.biasArg >= 0)
    return fail("bias with swiglu");
  return llvm::Error::success();
}

static llvm::Error emit(const KernelSpec &spec, const Target &target, VectorBuilder &v) {
  const auto &body = spec.as<GemmBody>();
  if (llvm::Error error = checkGemm(body))
    return error;
  TileConfig config = choose(body, target);
  GemmTile tile(body, config, v);
  int64_t columns = int64_t(gemmColumnTiles(body, config));
  Value firstRow = v.mul(v.divu(v.task(), columns), config.rowTile), rows = v.rows(body.domain);
  // The task count of prefill rows is an upper bound: the surplus tasks find no rows.
  v.ifThen(v.ult(firstRow, rows), [&] {
    GemmTile::Place place;
    place.column = v.remu(v.task(), columns);
    place.w = v.operand(body.wArg);
    place.scales = body.wScaleArg >= 0 ? v.operand(body.wScaleArg) : Value();
    place.count = v.minu(v.sub(rows, firstRow), config.rowTile);
    place.firstRow = body.domain.kind == RowDomain::Prefill ? v.add(firstRow, v.live(1)) : firstRow;
    tile.emit(place);
  });
  return llvm::Error::success();
}

const Emitter moray::codegen::gemmEmitter = {KernelClass::Gemm, plan, emit};
