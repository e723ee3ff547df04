//===- GemmStream.cpp - matrix products of few rows on GPUs -------------------===//
// See GemmStream.h.

#include "codegen/NVPTX/GemmStream.h"

using namespace mlir;
using namespace moray::codegen;

GpuGemmStream::GpuGemmStream(const GemmBody &spec, const GpuTileConfig &config, GpuBuilder &builder)
    : GpuGemm(spec, builder), config(config), columns(config.streamColumns), tiles(columns * parts / 8),
      elements(std::max(1u, 16 * columns / config.threads)) {}

/// Results are dealt out to the threads one after the other, row-major.
Value GpuGemmStream::elementRow(unsigned i) {
  return g.divu(g.add(g.thread(), int64_t(i) * config.threads), int64_t(columns));
}
Value GpuGemmStream::elementColumn(unsigned i) {
  return g.add(place.firstColumn, g.remu(g.add(g.thread(), int64_t(i) * config.threads), int64_t(columns)));
}

/// Starts the loads of a block. With `tail`, whatever lies beyond K is zero.
GpuGemmStream::Chunks GpuGemmStream::load(Value block, bool tail) {
  Chunks chunks;
  auto offsetOf = [&](unsigned unit, unsigned unitBytes, Value chunk) {
    Value inBlock = g.add(g.shl(chunk, 4), int64_t(unit) * unitBytes);
    return g.add(g.trunc(g.mul(block, int64_t(2 * unitBytes)), g.i32), inBlock);
  };
  for (unsigned unit = 0; unit < 2; ++unit)
    for (unsigned l = 0; l < xLoads; ++l)
      for (Value row : xRows) {
        Value offset = offsetOf(unit, xUnit, xChunk(l));
        chunks.push_back(tail || !xAligned() ? loadPieces(row, offset)
                                             : g.loadInvariant(chunkType(), g.at(row, g.zext(offset, g.i64)), 16));
      }
  for (Value row : wRows)
    for (unsigned unit = 0; unit < 2; ++unit)
      for (unsigned l = 0; l < wLoads; ++l) {
        Value offset = offsetOf(unit, wUnit, wChunk(l));
        if (!tail) {
          chunks.push_back(g.loadInvariant(chunkType(), g.at(row, g.zext(offset, g.i64)), 16));
          continue;
        }
        Value inside = g.ult(offset, int64_t(spec.wPitch));
        Value address = g.at(row, g.zext(g.select(inside, offset, g.c32(0)), g.i64));
        chunks.push_back(g.select(inside, g.loadInvariant(chunkType(), address, 16), g.constI(chunkType(), 0)));
      }
  return chunks;
}

/// Partial products of a block: four of each 8-column tile.
GpuGemmStream::Values GpuGemmStream::product(ValueRange chunks) {
  SmallVector<Values> partials(tiles, Values(4, g.f(0)));
  for (unsigned unit = 0; unit < 2; ++unit)
    for (unsigned group = 0; group < groups; ++group) {
      SmallVector<Values> weights;
      for (unsigned n = 0; n < tiles; ++n) {
        SmallVector<Values> ofUnit;
        for (unsigned l = 0; l < wLoads; ++l)
          ofUnit.push_back(words(chunks[xChunks() + (n * 2 + unit) * wLoads + l]));
        weights.push_back(weightFragments(ofUnit, group));
      }
      unsigned first = (unit * xLoads + group) * 2;
      multiply(words(chunks[first]), words(chunks[first + 1]), weights, partials);
    }
  Values flat;
  for (const Values &p : partials)
    flat.append(p);
  return flat;
}

/// Totals after the blocks firstBlock ... firstBlock + active - 1, of which each warp brings its own.
GpuGemmStream::Values GpuGemmStream::exchange(ValueRange totals, ValueRange partials, Value parity, Value firstBlock,
                                              unsigned active) {
  unsigned width = columns * parts, warpBytes = 16 * width * 4;
  Value round = g.at(exchangeBuffer, g.mul(parity, int64_t(config.warps()) * warpBytes));
  Value mine = g.at(round, g.mul(g.zext(g.warp(), g.i64), int64_t(warpBytes)));
  Value lane = g.add(g.mul(quadRow(), int64_t(width)), g.shl(quadLane(), 1));
  mine = g.at(mine, g.zext(g.shl(lane, 2), g.i64));
  for (unsigned n = 0; n < tiles; ++n)
    for (unsigned half = 0; half < 2; ++half) {
      Value pair =
          vector::FromElementsOp::create(g.b, g.loc, KernelBuilder::vec(2, g.f32), partials.slice(n * 4 + half * 2, 2));
      g.store(pair, g.at(mine, int64_t((half * 8 * width + n * 8) * 4)), 8);
    }
  // Scales are asked for before the wait.
  Values weight, source;
  for (unsigned i = 0; i < elements; ++i)
    for (unsigned w = 0; w < active; ++w) {
      Value block = g.add(firstBlock, w);
      Value column = oneScaleRow(columns) ? place.firstColumn : elementColumn(i);
      for (unsigned part = 0; part < parts; ++part)
        weight.push_back(spec.scalePitch ? weightScale(place, part, column, block) : Value());
      source.push_back(spec.xScaleArg >= 0 ? sourceScale(sourceRow(place, elementRow(i)), block) : Value());
    }
  g.barrier();
  Values sums(totals.begin(), totals.end());
  for (unsigned i = 0; i < elements; ++i) {
    Value column = g.sub(elementColumn(i), place.firstColumn);
    Value index = g.add(g.mul(elementRow(i), int64_t(width)), column);
    Value from = g.at(round, g.zext(g.shl(index, 2), g.i64));
    for (unsigned w = 0; w < active; ++w)
      for (unsigned part = 0; part < parts; ++part) {
        Value partial = g.load(g.f32, g.at(from, int64_t(w * warpBytes + part * columns * 4)));
        Value &total = sums[i * parts + part];
        total = promote(total, partial, weight[(i * active + w) * parts + part], source[i * active + w]);
      }
  }
  return sums;
}

void GpuGemmStream::store(ValueRange totals) {
  for (unsigned i = 0; i < elements; ++i) {
    Value row = elementRow(i), column = elementColumn(i);
    Value valid = g.andi(g.ult(row, place.count), g.ult(column, int64_t(spec.width())));
    g.ifThen(valid, [&] {
      Values dots(totals.slice(i * parts, parts));
      Value value = finish(dots, column);
      if (spec.checkFinite)
        g.faultIf(isFault(value));
      g.storeNarrow(spec.out, value, outAddress(place, row, column));
    });
  }
}

void GpuGemmStream::emit(const Place &where) {
  place = where;
  exchangeBuffer = g.dynamicShared();
  for (unsigned half = 0; half < 2; ++half)
    xRows[half] = sourceAddress(sourceRow(place, g.add(quadRow(), 8 * half)));
  wRows.clear();
  for (unsigned n = 0; n < tiles; ++n) {
    unsigned part = n / (columns / 8), tile = n % (columns / 8);
    Value row = weightRow(part, g.add(g.add(place.firstColumn, quadRow()), 8 * tile));
    wRows.push_back(g.at(place.w, g.mul(g.zext(row, g.i64), int64_t(spec.wPitch))));
  }

  int64_t warps = config.warps(), blocks = int64_t(spec.blocks());
  int64_t rounds = int64_t(spec.K / blockK) / warps, rest = blocks - rounds * warps;
  int64_t depth = std::min<int64_t>(config.streamDepth, rounds);
  Value warp = g.zext(g.warp(), g.i64);
  Values carried(elements * parts, g.f(0));
  for (int64_t d = 0; d < depth; ++d)
    carried.append(load(g.add(warp, d * warps), false));
  unsigned totals = elements * parts;
  if (rounds > depth)
    carried = g.forLoop(0, g.c64(rounds - depth), 1, carried, [&](Value round, ValueRange values) {
      unsigned perBlock = (values.size() - totals) / depth;
      Chunks next = load(g.add(g.mul(g.add(round, depth), warps), warp), false);
      Values partials = product(values.slice(totals, perBlock));
      Values result = exchange(values.take_front(totals), partials, g.andi(round, 1), g.mul(round, warps), warps);
      ValueRange later = values.drop_front(totals + perBlock);
      result.append(later.begin(), later.end());
      result.append(next);
      return result;
    });
  // The last blocks, of which some warps may have none: those repeat the last, and nobody reads what they make of it.
  Chunks last;
  if (rest)
    last = load(g.minu(g.add(warp, rounds * warps), blocks - 1), spec.K % blockK != 0);
  Values sums(ValueRange(carried).take_front(totals));
  unsigned perBlock = depth ? (carried.size() - totals) / depth : 0;
  for (int64_t d = 0; d < depth; ++d) {
    int64_t round = rounds - depth + d;
    Values partials = product(ValueRange(carried).slice(totals + d * perBlock, perBlock));
    sums = exchange(sums, partials, g.c64(round & 1), g.c64(round * warps), warps);
  }
  if (rest)
    sums = exchange(sums, product(last), g.c64(rounds & 1), g.c64(rounds * warps), unsigned(rest));
  store(sums);
}
