//===- AttentionTiles.cpp - tiles in shared memory for attention ------------------===//
// See AttentionTiles.h.

#include "codegen/NVPTX/AttentionTiles.h"

using namespace mlir;
using namespace moray::codegen;
using Values = GpuBuilder::Values;

static LLVM::InlineAsmOp inlinePtx(GpuBuilder &g, TypeRange types, ValueRange values, const char *text,
                                   const char *constraints) {
  auto dialect = LLVM::AsmDialectAttr::get(g.b.getContext(), LLVM::AsmDialect::AD_ATT);
  return LLVM::InlineAsmOp::create(g.b, g.loc, types, values, text, constraints, /*has_side_effects=*/true,
                                   /*is_align_stack=*/false, LLVM::TailCallKind::None, dialect, ArrayAttr());
}
Value moray::codegen::keepHere(GpuBuilder &g, Value value) {
  return inlinePtx(g, TypeRange(value.getType()), ValueRange{value}, "mov.b32 $0, $1;", "=r,r").getResult(0);
}
void moray::codegen::keepRolled(GpuBuilder &g) { inlinePtx(g, {}, {}, ".pragma \"nounroll\";", ""); }

/// Calls `body` for the items [0, count) of this thread, `ahead` at a time; items beyond the end have `exists` false.
static void forItems(GpuBuilder &g, uint64_t count, unsigned ahead, bool rolled,
                     llvm::function_ref<void(ArrayRef<Value> items, ArrayRef<Value> exist)> body) {
  Value step = g.c32(g.threads * ahead);
  bool whole = count % (g.threads * ahead) == 0;
  Value thread = keepHere(g, g.thread());
  g.forLoop(g.c32(0), g.c32(count), step, [&](Value base) {
    if (rolled)
      keepRolled(g);
    Values items, exist;
    for (unsigned i = 0; i < ahead; ++i) {
      items.push_back(g.add(g.add(base, thread), int64_t(i) * g.threads));
      exist.push_back(whole ? Value() : g.ult(items.back(), int64_t(count)));
    }
    body(items, exist);
  });
}

static void whereExists(GpuBuilder &g, Value exists, llvm::function_ref<void()> body) {
  if (exists)
    g.ifThen(exists, body);
  else
    body();
}

static Value both(GpuBuilder &g, Value a, Value c) { return !a ? c : !c ? a : g.andi(a, c); }

/// Row and first column of item `item`, with `perRow` items to a row, `width` columns each.
static Place placeOf(GpuBuilder &g, Value item, uint64_t perRow, uint64_t width) {
  Value row = g.divu(item, int64_t(perRow)), column = g.mul(g.sub(item, g.mul(row, int64_t(perRow))), int64_t(width));
  return {g.zext(row, g.i64), g.zext(column, g.i64)};
}

/// Element by element: rows that begin anywhere.
static void stageElements(GpuBuilder &g, const GpuTile &tile, uint64_t rows, uint64_t columns, uint64_t tileColumn,
                          uint64_t padded, const TileSource &source) {
  forItems(g, rows * padded, 1, source.rolled, [&](ArrayRef<Value> items, ArrayRef<Value> exist) {
    Place place = placeOf(g, items[0], padded, 1);
    whereExists(g, exist[0], [&] {
      Value live = both(g, source.live(place.row), padded == columns ? Value() : g.ult(place.column, int64_t(columns)));
      Value bits = g.ifElse(
          live, TypeRange(g.i16),
          [&] { return Values{g.load(g.i16, g.at(source.address(place.row), g.shl(place.column, 1)))}; },
          [&] { return Values{g.constI(g.i16, 0)}; })[0];
      g.store(bits, tile.at(g, place.row, g.add(place.column, int64_t(tileColumn))));
    });
  });
}

void moray::codegen::stageRows(GpuBuilder &g, const GpuTile &tile, uint64_t rows, uint64_t columns, uint64_t tileColumn,
                               uint64_t padded, const TileSource &source) {
  if (!source.aligned || columns % 8) {
    stageElements(g, tile, rows, columns, tileColumn, padded, source);
    return;
  }
  uint64_t chunks = padded / 8;
  forItems(g, rows * chunks, 1, source.rolled, [&](ArrayRef<Value> items, ArrayRef<Value> exist) {
    Place place = placeOf(g, items[0], chunks, 8);
    whereExists(g, exist[0], [&] {
      Value live = both(g, source.live(place.row), padded == columns ? Value() : g.ult(place.column, int64_t(columns)));
      g.copyAsync(tile.at(g, place.row, g.add(place.column, int64_t(tileColumn))),
                  g.at(source.address(place.row), g.shl(place.column, 1)), g.select(live, g.c32(16), g.c32(0)));
    });
  });
  g.commitAsync();
}

static Value weightAddress(GpuBuilder &g, const AttentionBody &spec, Value row, Value column) {
  int64_t bytes = byteWidth(spec.w), pitch = (spec.latent * bytes + 63) / 64 * 64;
  return g.at(g.at(g.operand(spec.wArg), g.mul(row, pitch)), g.mul(column, bytes));
}

/// 16 codes (4 x i32) as bf16.
static void storeCodes(GpuBuilder &g, const GpuTile &tile, Place place, Value codes) {
  for (int64_t half = 0; half < 2; ++half) {
    Values words;
    for (int64_t i = 0; i < 2; ++i) {
      auto pairs = g.widenF8x4(vector::ExtractOp::create(g.b, g.loc, codes, 2 * half + i));
      words.append({pairs.first, pairs.second});
    }
    Value eight = vector::FromElementsOp::create(g.b, g.loc, GpuBuilder::vec(4, g.i32), words);
    g.store(eight, tile.at(g, place.row, g.add(place.column, 8 * half)), 16);
  }
}

/// 16 codes at a time, `ahead` chunks on their way before the first is widened.
static void stageCodes(GpuBuilder &g, const AttentionBody &spec, const GpuTile &tile, uint64_t rows, uint64_t columns,
                       const WeightPart &part) {
  uint64_t chunks = columns / 16;
  unsigned ahead = std::min<uint64_t>(part.ahead, (rows * chunks + g.threads - 1) / g.threads);
  Type four = GpuBuilder::vec(4, g.i32);
  int64_t end = padMma(spec.latent);
  forItems(g, rows * chunks, ahead, part.rolled, [&](ArrayRef<Value> items, ArrayRef<Value> exist) {
    llvm::SmallVector<std::pair<Place, Value>> loaded;
    for (Value item : items) {
      // What does not exist is read from a place that does and replaced by zeros: no branch between the loads.
      Place place = placeOf(g, g.minu(item, int64_t(rows * chunks - 1)), chunks, 16);
      Value from = g.add(part.firstColumn, place.column), live = g.andi(part.live(place.row), g.ult(from, end));
      Value codes = g.load(four, weightAddress(g, spec, part.row(place.row), g.minu(from, end - 16)), 16);
      loaded.push_back({place, g.select(live, codes, g.constI(four, 0))});
    }
    for (size_t i = 0; i < loaded.size(); ++i)
      whereExists(g, exist[i], [&] { storeCodes(g, tile, loaded[i].first, loaded[i].second); });
  });
}

void moray::codegen::stageWeights(GpuBuilder &g, const AttentionBody &spec, const GpuTile &tile, uint64_t rows,
                                  uint64_t columns, const WeightPart &part) {
  if (spec.w == DType::F8E4M3)
    return stageCodes(g, spec, tile, rows, columns, part);
  // Rows of kv_b are padded with zeros to 64 bytes; beyond that there is nothing to read.
  int64_t end = padMma(spec.latent);
  uint64_t chunks = columns / 8;
  forItems(g, rows * chunks, 1, part.rolled, [&](ArrayRef<Value> items, ArrayRef<Value> exist) {
    Place place = placeOf(g, items[0], chunks, 8);
    whereExists(g, exist[0], [&] {
      Value from = g.add(part.firstColumn, place.column), live = g.andi(part.live(place.row), g.ult(from, end));
      g.copyAsync(tile.at(g, place.row, place.column),
                  weightAddress(g, spec, part.row(place.row), g.minu(from, end - 8)),
                  g.select(live, g.c32(16), g.c32(0)));
    });
  });
  g.commitAsync();
}

Value moray::codegen::weightScale(GpuBuilder &g, const AttentionBody &spec, Value row, Value block) {
  int64_t pitch = ((spec.latent + kScaleBlock - 1) / kScaleBlock * 4 + 63) / 64 * 64;
  Value scales = g.at(g.operand(spec.scalesArg), g.mul(g.shrl(row, 7), pitch));
  return g.loadInvariant(g.f32, g.at(scales, g.shl(block, 2)));
}

void moray::codegen::awaitTiles(GpuBuilder &g) {
  g.waitAsync(0);
  g.barrier();
}

//===----------------------------------------------------------------------===//
// Fragments
//===----------------------------------------------------------------------===//

/// Address of the row that this lane gives to ldmatrix x4; matrices go down the rows first, or along the columns first.
static Value laneAddress(GpuBuilder &g, const GpuTile &tile, Value row, Value column, bool rowsFirst) {
  Value lane = g.zext(tile.lane ? tile.lane : g.lane(), g.i64);
  Value inner = g.andi(lane, 7), second = g.andi(g.shrl(lane, 3), 1), third = g.shrl(lane, 4);
  Value down = rowsFirst ? second : third, along = rowsFirst ? third : second;
  return tile.at(g, g.add(row, g.add(inner, g.shl(down, 3))), g.add(column, g.shl(along, 3)));
}
Values moray::codegen::fragmentA(GpuBuilder &g, const GpuTile &tile, Value row, Value column) {
  return g.loadMatrix(laneAddress(g, tile, row, column, true), 4);
}
Values moray::codegen::fragmentB(GpuBuilder &g, const GpuTile &tile, Value row, Value column) {
  return g.loadMatrix(laneAddress(g, tile, row, column, false), 4);
}
Values moray::codegen::fragmentBTransposed(GpuBuilder &g, const GpuTile &tile, Value row, Value column) {
  return g.loadMatrix(laneAddress(g, tile, row, column, true), 4, /*transposed=*/true);
}

Values moray::codegen::zeros(GpuBuilder &g, size_t count) { return Values(count, g.f(0.0f)); }

void moray::codegen::multiplyInto(GpuBuilder &g, MutableArrayRef<Value> acc, size_t tile, ValueRange a,
                                  ValueRange weights) {
  auto part = acc.slice(4 * tile, 4);
  Values sums = g.mmaBf16(a, weights, ValueRange(ArrayRef<Value>(part)));
  std::copy(sums.begin(), sums.end(), part.begin());
}

Place moray::codegen::fragmentPlace(GpuBuilder &g, Value own) {
  Value lane = g.zext(own ? own : g.lane(), g.i64);
  return {g.shrl(lane, 2), g.shl(g.andi(lane, 3), 1)};
}

Value moray::codegen::joinRow(GpuBuilder &g, Value value, llvm::function_ref<Value(Value, Value)> join) {
  for (unsigned mask : {1, 2})
    value = join(value, g.shuffleXor(value, mask));
  return value;
}

void moray::codegen::storePair(GpuBuilder &g, Value row, Value column, uint64_t width, Value low, Value high) {
  Value to = g.at(row, g.shl(column, 1));
  if (width % 2 == 0) { // pairs exist as a whole and are aligned
    g.ifThen(g.ult(column, int64_t(width)), [&] { g.store(g.packBf16(low, high), to); });
    return;
  }
  g.ifThen(g.ult(column, int64_t(width)), [&] { g.storeNarrow(DType::BF16, low, to); });
  g.ifThen(g.ult(g.add(column, 1), int64_t(width)), [&] { g.storeNarrow(DType::BF16, high, g.at(to, int64_t(2))); });
}

//===----------------------------------------------------------------------===//
// Rows and pages
//===----------------------------------------------------------------------===//

Value moray::codegen::loadIndex(GpuBuilder &g, int arg, Value i) {
  return g.zext(g.loadInvariant(g.i32, g.at(g.operand(arg), g.shl(i, 2))), g.i64);
}

Value moray::codegen::cacheBlock(GpuBuilder &g, const AttentionBody &spec, Value sequence, Value block) {
  Value page = loadIndex(g, spec.rowsArg + 3, g.add(g.mul(sequence, g.capacity(Symbol::P)), block));
  return g.at(g.operand(spec.cacheArg), g.mul(page, int64_t(spec.page * spec.cacheWidth() * byteWidth(spec.cache))));
}
