//===- GemmFragments.cpp - operands and sums of a matrix product on GPUs ------===//
// See GemmFragments.h.

#include "codegen/NVPTX/GemmFragments.h"
#include "codegen/Math.h"
#include <numeric>

using namespace mlir;
using namespace moray::codegen;

llvm::Error moray::codegen::checkGpuGemm(const GemmBody &body) {
  auto fail = [&](const char *code, const char *what) {
    return llvm::createStringError("%s: %s in matrix product %s", code, what, body.key().c_str());
  };
  if (body.x == DType::F32 || body.w == DType::F32)
    return fail("E3109",
                "f32 operands, GPU targets need bf16 activations and bf16 or FP8 weights: compile with bf16 or "
                "fp8 numerics, or for a CPU,");
  if (!body.O || !body.K || !body.width())
    return fail("E3120", "empty dimension");
  if ((body.w == DType::F8E4M3) != (body.scalePitch != 0))
    return fail("E3120", "FP8 weights need block scales, others must have none:");
  if (body.x == DType::F8E4M3 && body.w != DType::F8E4M3)
    return fail("E3120", "FP8 rows need FP8 weights:");
  if (body.wPitch % 64 || body.wPitch < body.K * byteWidth(body.w) || body.scalePitch % 64)
    return fail("E3120", "weight rows are not padded to 64 bytes");
  if (body.out != DType::F32 && body.out != DType::BF16)
    return fail("E3120", "result is neither f32 nor bf16");
  if (body.epilogue.kind == GemmEpilogue::Swiglu && body.biasArg >= 0)
    return fail("E3120", "bias with swiglu");
  return llvm::Error::success();
}

GpuGemm::GpuGemm(const GemmBody &spec, GpuBuilder &builder)
    : spec(spec), g(builder), parts(gemmParts(spec)), xUnit(unitK * byteWidth(spec.x)),
      wUnit(unitK * byteWidth(spec.w)), xLoads(xUnit / 64), wLoads(wUnit / 64) {
  groups = xLoads;
  steps = spec.x == DType::F8E4M3 && !native() ? 4 : 2;
  uint64_t width = byteWidth(spec.x);
  xPiece =
      unsigned(std::gcd(std::gcd<uint64_t>(16, spec.xPitch * width), std::gcd(spec.xOffset * width, spec.K * width)));
}

bool GpuGemm::native() const { return spec.x == DType::F8E4M3 && g.target.hasFp8Mma; }

//===----------------------------------------------------------------------===//
// Where operands are
//===----------------------------------------------------------------------===//

Value GpuGemm::xChunk(unsigned load) {
  // With FP8 weights a lane's codes are one chunk, k = 16 * quadLane ...: the same bf16 activations are two neighbours.
  if (xLoads == 2 && wLoads == 1)
    return g.add(g.shl(quadLane(), 1), load);
  return g.add(quadLane(), 4 * load);
}
Value GpuGemm::wChunk(unsigned load) { return g.add(quadLane(), 4 * load); }

GpuGemm::Values GpuGemm::words(Value chunk) {
  Values result;
  for (int64_t i = 0; i < 4; ++i)
    result.push_back(vector::ExtractOp::create(g.b, g.loc, chunk, i));
  return result;
}

Value GpuGemm::sourceRow(const Place &place, Value row) {
  Value local = g.minu(row, g.sub(place.count, 1));
  Value index = g.add(place.firstRow, g.zext(local, g.i64));
  if (spec.gatherArg < 0)
    return index;
  return g.zext(g.loadInvariant(g.i32, g.at(g.operand(spec.gatherArg), g.shl(index, 2))), g.i64);
}
Value GpuGemm::sourceAddress(Value row) {
  int64_t width = int64_t(byteWidth(spec.x));
  return g.at(g.at(g.operand(spec.xArg), g.mul(row, int64_t(spec.xPitch) * width)), int64_t(spec.xOffset) * width);
}

Value GpuGemm::weightRow(Value part, Value column) {
  Value row = g.minu(column, int64_t(spec.width()) - 1);
  if (parts == 1)
    return row;
  return g.add(row, g.select(part, g.c32(int64_t(spec.epilogue.upBegin)), g.c32(int64_t(spec.epilogue.gateBegin))));
}

Value GpuGemm::loadPieces(Value row, Value offset) {
  unsigned count = 16 / xPiece;
  Type piece = count == 1 ? chunkType() : Type(g.b.getIntegerType(xPiece * 8));
  Value zero = g.constI(piece, 0);
  SmallVector<Value> pieces;
  for (unsigned i = 0; i < count; ++i) {
    Value from = g.add(offset, int64_t(i) * xPiece);
    Value inside = g.ult(from, int64_t(spec.K * byteWidth(spec.x)));
    // A piece beyond the row reads the first one instead.
    Value address = g.at(row, g.zext(g.select(inside, from, g.c32(0)), g.i64));
    pieces.push_back(g.select(inside, g.loadInvariant(piece, address, xPiece), zero));
  }
  if (count == 1)
    return pieces[0];
  Value all = vector::FromElementsOp::create(g.b, g.loc, KernelBuilder::vec(count, piece), pieces);
  return LLVM::BitcastOp::create(g.b, g.loc, chunkType(), all);
}

Value GpuGemm::weightScale(const Place &place, unsigned part, Value column, Value block) {
  Value line = g.zext(g.shrl(weightRow(part, column), 7), g.i64);
  Value address = g.at(place.scales, g.mul(line, int64_t(spec.scalePitch)));
  return g.loadInvariant(g.f32, g.at(address, g.shl(block, 2)));
}
Value GpuGemm::sourceScale(Value row, Value block) {
  Value index = g.add(g.mul(row, int64_t(spec.blocks())), block);
  return g.loadInvariant(g.f32, g.at(g.operand(spec.xScaleArg), g.shl(index, 2)));
}

bool GpuGemm::oneScaleRow(unsigned columns) const {
  bool aligned = parts == 1 || (spec.epilogue.gateBegin % 128 == 0 && spec.epilogue.upBegin % 128 == 0);
  return aligned && 128 % columns == 0;
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

GpuGemm::Values GpuGemm::weightFragments(ArrayRef<Values> chunks, unsigned group) {
  const Values &chunk = chunks[wLoads == 1 ? 0 : group];
  Values fragments;
  for (unsigned step = 0; step < steps; ++step) {
    if (spec.w == DType::BF16 || native()) {
      fragments.append({chunk[2 * step], chunk[2 * step + 1]});
      continue;
    }
    auto [low, high] = g.widenF8x4(chunk[steps * group + step]);
    fragments.append({low, high});
  }
  return fragments;
}

void GpuGemm::multiply(const Values &low, const Values &high, ArrayRef<Values> weights,
                       MutableArrayRef<Values> partials) {
  for (unsigned step = 0; step < steps; ++step) {
    Values a;
    if (spec.x == DType::F8E4M3 && !native()) {
      auto [low0, low1] = g.widenF8x4(low[step]);
      auto [high0, high1] = g.widenF8x4(high[step]);
      a = {low0, high0, low1, high1};
    } else {
      a = {low[2 * step], high[2 * step], low[2 * step + 1], high[2 * step + 1]};
    }
    for (unsigned n = 0; n < weights.size(); ++n) {
      ValueRange pair = ValueRange(weights[n]).slice(2 * step, 2);
      partials[n] = native() ? g.mmaF8(a, pair, partials[n]) : g.mmaBf16(a, pair, partials[n]);
    }
  }
}

Value GpuGemm::promote(Value total, Value partial, Value weight, Value source) {
  if (!weight)
    return g.addf(total, partial);
  return g.fma(partial, source ? g.mulf(source, weight) : weight, total);
}

//===----------------------------------------------------------------------===//
// Epilogue
//===----------------------------------------------------------------------===//

Value GpuGemm::finish(ArrayRef<Value> dots, Value column) {
  Value value = dots[0];
  if (spec.biasArg >= 0) {
    Value offset = g.mul(g.zext(column, g.i64), int64_t(byteWidth(spec.bias)));
    value = g.addf(value, g.loadWide(spec.bias, g.at(g.operand(spec.biasArg), offset)));
  }
  if (parts == 2) {
    Value up = dots[1];
    if (spec.epilogue.roundParts)
      value = g.quantiseBf16(value), up = g.quantiseBf16(up);
    value = g.mulf(math::silu(g, value), up);
  }
  return value;
}

Value GpuGemm::outAddress(const Place &place, Value row, Value column) {
  Value index = g.add(g.mul(g.add(place.firstRow, g.zext(row, g.i64)), int64_t(spec.width())), g.zext(column, g.i64));
  return g.at(g.operand(spec.outArg), g.mul(index, int64_t(byteWidth(spec.out))));
}
