//===- GemmTile.cpp - matrix products of many rows on GPUs --------------------===//
// See GemmTile.h.

#include "codegen/NVPTX/GemmTile.h"

using namespace mlir;
using namespace moray::codegen;

GpuGemmTiled::GpuGemmTiled(const GemmBody &spec, const GpuTileConfig &config, const GpuGemmTile &tile,
                           GpuBuilder &builder)
    : GpuGemm(spec, builder), config(config), tile(tile), mTiles(tile.rows / tile.warpRows / 16),
      partTiles(tile.columns / tile.warpColumns / 8), stageBytes(int64_t(gpuGemmStageBytes(spec, tile))) {
  nTiles = partTiles * parts;
}

//===----------------------------------------------------------------------===//
// From memory to the ring
//===----------------------------------------------------------------------===//

Value GpuGemmTiled::swizzled(Value chunk, Value row, unsigned unitBytes) {
  return unitBytes == 128 ? g.xori(chunk, g.mul(g.andi(row, 1), 5)) : chunk;
}

GpuGemmTiled::Copy GpuGemmTiled::share(unsigned rows, unsigned unitBytes, uint64_t end, Value region) {
  Copy c;
  c.unitBytes = unitBytes, c.perRow = unitBytes / 16;
  c.step = config.threads / c.perRow, c.count = rows / c.step;
  c.end = end, c.partial = end < spec.blocks() * 2 * unitBytes;
  c.chunk = g.remu(g.thread(), int64_t(c.perRow));
  Value row = g.divu(g.thread(), int64_t(c.perRow)); // its parity is that of all rows of the thread
  Value offset = g.add(g.mul(row, int64_t(unitBytes)), g.shl(swizzled(c.chunk, row, unitBytes), 4));
  c.target = g.add(region, g.zext(offset, g.i64));
  return c;
}

void GpuGemmTiled::locateOperands() {
  Value zero = g.c64(0);
  xCopy = share(tile.rows, xUnit, spec.K * byteWidth(spec.x), zero);
  wCopy = share(tile.columns * parts, wUnit, spec.wPitch, g.c64(int64_t(tile.rows) * xUnit));
  for (unsigned i = 0; i < xCopy.count; ++i) {
    Value row = g.add(g.divu(g.thread(), int64_t(xCopy.perRow)), int64_t(i) * xCopy.step);
    xCopy.rows.push_back(sourceAddress(sourceRow(place, row)));
  }
  for (unsigned i = 0; i < wCopy.count; ++i) {
    Value row = g.add(g.divu(g.thread(), int64_t(wCopy.perRow)), int64_t(i) * wCopy.step);
    Value second = g.cmp(arith::CmpIPredicate::uge, row, g.c32(tile.columns));
    Value column = parts == 1 ? row : g.remu(row, int64_t(tile.columns));
    Value line = weightRow(second, g.add(place.firstColumn, column));
    wCopy.rows.push_back(g.at(place.w, g.mul(g.zext(line, g.i64), int64_t(spec.wPitch))));
  }
  auto lanes = [&](Value firstRow, unsigned unitBytes, Value chunk, int64_t region) {
    Value row = g.add(firstRow, quadRow());
    Value offset = g.add(g.mul(row, int64_t(unitBytes)), g.shl(swizzled(chunk, row, unitBytes), 4));
    return g.add(g.zext(offset, g.i64), region);
  };
  xLanes.clear(), wLanes.clear();
  for (unsigned l = 0; l < xLoads; ++l)
    xLanes.push_back(lanes(warpRow, xUnit, xChunk(l), 0));
  for (unsigned l = 0; l < wLoads; ++l)
    wLanes.push_back(lanes(warpColumn, wUnit, wChunk(l), int64_t(tile.rows) * xUnit));
}

/// Starts the copy of unit `unit` (i64) of one operand. `whole`: 16-byte chunks can be copied as they are.
void GpuGemmTiled::copy(const Copy &c, Value unit, Value slot, bool whole) {
  Value offset = g.add(g.mul(unit, int64_t(c.unitBytes)), g.zext(g.shl(c.chunk, 4), g.i64));
  Value bytes;
  if (c.partial) {
    Value end = g.c64(int64_t(c.end));
    Value left = g.select(g.ult(offset, end), g.sub(end, offset), g.c64(0));
    bytes = g.trunc(g.minu(left, 16), g.i32);
  }
  Value target = g.at(slot, c.target);
  for (unsigned i = 0; i < c.count; ++i) {
    Value to = g.at(target, int64_t(i) * c.step * c.unitBytes);
    if (whole)
      g.copyAsync(to, g.at(c.rows[i], offset), bytes);
    else
      g.store(loadPieces(c.rows[i], g.trunc(offset, g.i32)), to, 16);
  }
}

void GpuGemmTiled::startUnit(Value unit, Value slot) {
  uint64_t rowBytes = spec.xPitch * byteWidth(spec.x), first = spec.xOffset * byteWidth(spec.x);
  copy(xCopy, unit, slot, rowBytes % 16 == 0 && first % 16 == 0);
  copy(wCopy, unit, slot, true);
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

void GpuGemmTiled::multiplyUnit(Value slot, MutableArrayRef<Values> partials) {
  SmallVector<SmallVector<Values>> chunks(nTiles, SmallVector<Values>(wLoads));
  for (unsigned group = 0; group < groups; ++group) {
    SmallVector<Values> weights;
    for (unsigned n = 0; n < nTiles; ++n) {
      int64_t row = int64_t(n / partTiles) * tile.columns + int64_t(n % partTiles) * 8;
      if (group < wLoads)
        chunks[n][group] = words(g.load(chunkType(), g.at(g.at(slot, wLanes[group]), row * wUnit), 16));
      weights.push_back(weightFragments(chunks[n], group));
    }
    Value from = g.at(slot, xLanes[group]);
    for (unsigned m = 0; m < mTiles; ++m) {
      Values low = words(g.load(chunkType(), g.at(from, int64_t(m) * 16 * xUnit), 16));
      Values high = words(g.load(chunkType(), g.at(from, int64_t(m * 16 + 8) * xUnit), 16));
      multiply(low, high, weights, partials.slice(m * nTiles, nTiles));
    }
  }
}

/// Scales of the two columns of a lane in 8-column tile n. Where the whole tile lies in one row of scales, `shared`
/// keeps those of each part.
GpuGemmTiled::Values GpuGemmTiled::scalesOf(unsigned n, Value block, Values &shared) {
  if (!spec.scalePitch)
    return {Value(), Value()};
  unsigned part = n / partTiles;
  if (oneScaleRow(tile.columns)) {
    if (!shared[part])
      shared[part] = weightScale(place, part, place.firstColumn, block);
    return {shared[part], shared[part]};
  }
  Value column = fragmentColumn(n % partTiles);
  return {weightScale(place, part, column, block), weightScale(place, part, g.add(column, 1), block)};
}

void GpuGemmTiled::promoteBlock(ArrayRef<Values> partials, Values &totals, Value block) {
  Values shared(2);
  SmallVector<Values> weight;
  for (unsigned n = 0; n < nTiles; ++n)
    weight.push_back(scalesOf(n, block, shared));
  for (unsigned m = 0; m < mTiles; ++m)
    for (unsigned half = 0; half < 2; ++half) {
      Value source;
      if (spec.xScaleArg >= 0) {
        Value row = g.add(g.add(warpRow, quadRow()), m * 16 + half * 8);
        source = sourceScale(sourceRow(place, row), block);
      }
      for (unsigned n = 0; n < nTiles; ++n)
        for (unsigned e = 0; e < 2; ++e) {
          unsigned i = half * 2 + e, index = (m * nTiles + n) * 4 + i;
          totals[index] = promote(totals[index], partials[m * nTiles + n][i], weight[n][e], source);
        }
    }
}

/// Two units: waits for each, starts the copy of the one that takes the slot left before it, multiplies.
GpuGemmTiled::Values GpuGemmTiled::multiplyBlock(Value block, ValueRange before, Value &slot) {
  int64_t units = int64_t(spec.blocks()) * 2, stages = tile.stages, ringBytes = stages * stageBytes;
  Values state(mTiles * nTiles * 4, g.f(0));
  state.push_back(slot);
  state = g.forLoop(0, g.c64(2), 1, state, [&](Value half, ValueRange values) {
    Value current = values.back();
    SmallVector<Values> partials;
    for (unsigned i = 0; i < mTiles * nTiles; ++i)
      partials.emplace_back(values.slice(i * 4, 4));
    g.waitAsync(tile.stages - 2);
    g.barrier();
    Value next = g.add(g.add(g.shl(block, 1), half), stages - 1);
    Value previous = g.select(g.eq(current, 0), g.c64(ringBytes - stageBytes), g.sub(current, stageBytes));
    g.ifThen(g.ult(next, units), [&] { startUnit(next, g.at(ring, previous)); });
    g.commitAsync();
    multiplyUnit(g.at(ring, current), partials);
    Value after = g.add(current, stageBytes);
    Values result;
    for (const Values &p : partials)
      result.append(p);
    result.push_back(g.select(g.eq(after, ringBytes), g.c64(0), after));
    return result;
  });
  slot = state.pop_back_val();
  SmallVector<Values> partials;
  for (unsigned i = 0; i < mTiles * nTiles; ++i)
    partials.emplace_back(ValueRange(state).slice(i * 4, 4));
  Values totals(before.begin(), before.end());
  promoteBlock(partials, totals, block);
  return totals;
}

void GpuGemmTiled::emit(const Place &where) {
  place = where;
  ring = g.dynamicShared();
  warpRow = g.mul(g.divu(g.warp(), int64_t(tile.warpColumns)), int64_t(tile.rows / tile.warpRows));
  warpColumn = g.mul(g.remu(g.warp(), int64_t(tile.warpColumns)), int64_t(tile.columns / tile.warpColumns));
  locateOperands();
  for (unsigned s = 0; s + 1 < tile.stages; ++s) {
    if (s < 2 * spec.blocks())
      startUnit(g.c64(s), g.at(ring, s * stageBytes));
    g.commitAsync();
  }
  Values carried(mTiles * nTiles * 4, g.f(0));
  carried.push_back(g.c64(0));
  carried = g.forLoop(0, g.c64(spec.blocks()), 1, carried, [&](Value block, ValueRange values) {
    Value slot = values.back();
    Values totals = multiplyBlock(block, values.drop_back(), slot);
    totals.push_back(slot);
    return totals;
  });
  carried.pop_back();
  store(carried);
}

//===----------------------------------------------------------------------===//
// Results
//===----------------------------------------------------------------------===//

Value GpuGemmTiled::fragmentColumn(unsigned n) {
  return g.add(g.add(g.add(place.firstColumn, warpColumn), g.shl(quadLane(), 1)), int64_t(n) * 8);
}

/// Two neighbouring results of a row, of which `first` and `second` are the dot products.
void GpuGemmTiled::storePair(Value row, Value column, ValueRange first, ValueRange second, Value &bad) {
  Value low = finish(Values(first), column), high = finish(Values(second), g.add(column, 1));
  if (spec.checkFinite)
    bad = g.ori(bad, isFault(low));
  Value address = outAddress(place, row, column);
  if (spec.width() % 2 == 0) { // both exist, and every pair is aligned
    if (spec.checkFinite)
      bad = g.ori(bad, isFault(high));
    if (spec.out == DType::BF16)
      g.store(g.packBf16(low, high), address, 4);
    else
      g.store(vector::FromElementsOp::create(g.b, g.loc, KernelBuilder::vec(2, g.f32), ValueRange{low, high}), address,
              8);
    return;
  }
  g.storeNarrow(spec.out, low, address);
  Value inside = g.ult(g.add(column, 1), int64_t(spec.width()));
  if (spec.checkFinite)
    bad = g.ori(bad, g.andi(inside, isFault(high)));
  g.ifThen(inside, [&] { g.storeNarrow(spec.out, high, g.at(address, int64_t(byteWidth(spec.out)))); });
}

void GpuGemmTiled::store(ValueRange totals) {
  for (unsigned m = 0; m < mTiles; ++m)
    for (unsigned half = 0; half < 2; ++half) {
      Value row = g.add(g.add(warpRow, quadRow()), m * 16 + half * 8);
      g.ifThen(g.ult(row, place.count), [&] {
        for (unsigned n = 0; n < partTiles; ++n) {
          Value column = fragmentColumn(n);
          Values dots[2];
          for (unsigned part = 0; part < parts; ++part)
            for (unsigned e = 0; e < 2; ++e)
              dots[e].push_back(totals[(m * nTiles + part * partTiles + n) * 4 + half * 2 + e]);
          auto write = [&] {
            Value bad = g.constI(g.i1, 0);
            storePair(row, column, dots[0], dots[1], bad);
            if (spec.checkFinite)
              g.faultIf(bad);
          };
          if (spec.width() % tile.columns == 0)
            write();
          else
            g.ifThen(g.ult(column, int64_t(spec.width())), write);
        }
      });
    }
}
