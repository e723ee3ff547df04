//===- GemmTile.cpp - one tile of a matrix product ----------------------------===//
// Packing, the two ways to multiply, and the epilogue.

#include "codegen/X86/GemmTile.h"
#include "codegen/Math.h"

using namespace mlir;
using namespace moray::codegen;
using Values = VectorBuilder::Values;

static constexpr unsigned lanes = 16;   // of a partial sum
static constexpr unsigned blockK = 128; // elements of K between two scales
static constexpr unsigned blockSteps = blockK / lanes;

GemmTile::GemmTile(const GemmBody &spec, const TileConfig &config, VectorBuilder &builder)
    : spec(spec), config(config), v(builder), layout(spec, config) {
  parts = spec.epilogue.kind == GemmEpilogue::Swiglu ? 2 : 1;
  partRows = config.panelRows / parts;
  blocks = spec.blocks();
  fullBlocks = spec.K / blockK;
  tailSteps = unsigned((spec.K % blockK + lanes - 1) / lanes);
}

void GemmTile::emit(const Place &where) {
  place = where;
  Value done = v.mul(place.column, partRows);
  valid = v.minu(v.sub(v.c64(spec.width()), done), partRows);
  packRows();
  if (spec.scalePitch)
    loadWeightScales();
  v.ifElse(v.ult(place.count, config.streamMax + 1), [&] { emitStreaming(); }, [&] { emitPanels(); });
  emitEpilogue();
}

//===----------------------------------------------------------------------===//
// Packing
//===----------------------------------------------------------------------===//

void GemmTile::packRows() {
  int64_t tokens = config.tileTokens;
  v.forLoop(0, place.count, 1, [&](Value m) {
    Value row = v.add(place.firstRow, m);
    if (spec.gatherArg >= 0)
      row = v.zext(v.load(v.i32, v.at(v.operand(spec.gatherArg), v.shl(row, 2))), v.i64);
    Value offset = v.mul(v.add(v.mul(row, int64_t(spec.xPitch)), int64_t(spec.xOffset)), int64_t(byteWidth(spec.x)));
    packRow(m, v.at(v.operand(spec.xArg), offset));
    if (spec.x == DType::F8E4M3)
      packScales(m, row);
  });
  // The register tile always multiplies a full group of rows: the missing ones are zero, their results are not stored.
  Value padded = v.mul(v.ceilDiv(place.count, tokens), tokens);
  v.forLoop(place.count, padded, v.c64(1), [&](Value m) {
    Value base = v.at(v.scratch(),
                      v.add(v.mul(v.divu(m, tokens), int64_t(blocks * tokens * 512)), v.mul(v.remu(m, tokens), 512)));
    v.forLoop(0, v.c64(blocks), 1, [&](Value block) {
      Value target = v.at(base, v.mul(block, tokens * 512));
      for (unsigned step = 0; step < blockSteps; ++step)
        v.store(v.f(0, lanes), v.at(target, int64_t(layout.x + step * 64)), 64);
    });
    if (spec.x == DType::F8E4M3)
      packScales(m, Value());
  });
}

void GemmTile::packRow(Value m, Value source) {
  int64_t tokens = config.tileTokens, width = byteWidth(spec.x);
  Value base =
      v.at(v.scratch(), v.add(v.mul(v.divu(m, tokens), int64_t(blocks * tokens * 512)), v.mul(v.remu(m, tokens), 512)));
  base = v.at(base, int64_t(layout.x));
  if (fullBlocks)
    v.forLoop(0, v.c64(fullBlocks), 1, [&](Value block) {
      Value from = v.at(source, v.mul(block, blockK * width)), to = v.at(base, v.mul(block, tokens * 512));
      for (unsigned step = 0; step < blockSteps; ++step)
        v.store(v.loadWide(spec.x, v.at(from, step * lanes * width), lanes), v.at(to, step * 64), 64);
    });
  for (unsigned step = 0; step < tailSteps; ++step) {
    uint64_t k = fullBlocks * blockK + step * lanes;
    Value from = v.at(source, int64_t(k * width)), to = v.at(base, int64_t(fullBlocks * tokens * 512 + step * 64));
    unsigned count = unsigned(std::min<uint64_t>(lanes, spec.K - k));
    v.store(count == lanes ? v.loadWide(spec.x, from, lanes) : v.loadWideTail(spec.x, from, lanes, count, spec.K), to,
            64);
  }
}

/// Copies the activation scales of one row; without a row, zeros.
void GemmTile::packScales(Value m, Value sourceRow) {
  int64_t tokens = config.tileTokens;
  Value base =
      v.at(v.scratch(), v.add(v.mul(v.divu(m, tokens), int64_t(blocks * tokens * 4)), v.mul(v.remu(m, tokens), 4)));
  base = v.at(base, int64_t(layout.xScales));
  v.forLoop(0, v.c64(blocks), 1, [&](Value block) {
    Value scale = v.f(0);
    if (sourceRow)
      scale = v.load(v.f32, v.at(v.operand(spec.xScaleArg), v.mul(v.add(v.mul(sourceRow, int64_t(blocks)), block), 4)));
    v.store(scale, v.at(base, v.mul(block, tokens * 4)));
  });
}

/// The scales of the panel's rows, one line per row. FP8 codes are widened as value * 2^-8: the scale carries 2^8 for
/// each operand.
void GemmTile::loadWeightScales() {
  float bias = spec.x == DType::F8E4M3 ? 65536.0f : 256.0f;
  forParts(1, [&](Value part, Value row) {
    Value source = v.at(place.scales, v.mul(v.shrl(weightRow(part, row), 7), int64_t(spec.scalePitch)));
    Value local = v.add(v.mul(part, partRows), row);
    Value target = v.at(v.at(v.scratch(), v.mul(local, int64_t(layout.scaleStride * 4))), int64_t(layout.wScales));
    // Scale rows are padded to 64 bytes like all weights: whole vectors may be read.
    for (uint64_t block = 0; block < blocks; block += lanes) {
      Value scales = v.load(v.vec(lanes, v.f32), v.at(source, int64_t(block * 4)));
      v.store(v.mulf(scales, v.f(bias, lanes)), v.at(target, int64_t(block * 4)), 64);
    }
  });
}

//===----------------------------------------------------------------------===//
// Rows and sums
//===----------------------------------------------------------------------===//

/// Calls `body` for each part of the panel (gate and up, or one) and each group of rows that has valid rows in it.
void GemmTile::forParts(unsigned rowsPerGroup, llvm::function_ref<void(Value, Value)> body) {
  Value groups = v.ceilDiv(valid, rowsPerGroup);
  v.forLoop(0, v.c64(parts), 1, [&](Value part) { v.forLoop(0, groups, 1, [&](Value group) { body(part, group); }); });
}

/// The row of the weight matrix behind row `row` of a part; rows beyond the last valid one repeat it.
Value GemmTile::weightRow(Value part, Value row) {
  Value inPart = v.add(v.mul(place.column, partRows), v.minu(row, v.sub(valid, 1)));
  if (parts == 1)
    return inPart;
  return v.add(inPart, v.select(v.eq(part, 0), v.c64(spec.epilogue.gateBegin), v.c64(spec.epilogue.upBegin)));
}

/// Step `step` of `steps` of the block of a weight row that starts at `block`, widened. FP8 steps are widened in pairs:
/// the odd one waits in `odd`. `slot` picks the bounce line.
Value GemmTile::weightStep(Value block, unsigned step, unsigned steps, unsigned slot, Value &odd) {
  Value address = v.at(block, int64_t(step * lanes * byteWidth(spec.w)));
  bool paired = spec.w == DType::F8E4M3 && step / 2 * 2 + 1 < steps;
  if (!paired)
    return v.loadWide(spec.w, address, lanes);
  if (step % 2)
    return odd;
  auto [low, high] = v.loadF8Pair(address, v.at(v.scratch(), int64_t(layout.bounce + slot * 64)));
  odd = high;
  return low;
}

/// P of one block for rows x tokens, row-major.
Values GemmTile::partialSums(unsigned rows, unsigned tokens, unsigned steps,
                             llvm::function_ref<Value(unsigned, unsigned)> weight,
                             llvm::function_ref<Value(unsigned, unsigned)> activation) {
  Values partials(rows * tokens);
  for (unsigned step = 0; step < steps; ++step) {
    Values x;
    for (unsigned t = 0; t < tokens; ++t)
      x.push_back(activation(t, step));
    for (unsigned r = 0; r < rows; ++r) {
      Value w = weight(r, step);
      for (unsigned t = 0; t < tokens; ++t) {
        Value &p = partials[r * tokens + t];
        p = step == 0 ? v.mulf(w, x[t]) : v.fma(w, x[t], p);
      }
    }
  }
  return partials;
}

/// total = fma(P, scale, total), or total + P where there are no scales. `wScales` are the addresses of the scales of
/// the weight rows for this block, `xScales` points at that of token 0.
Values GemmTile::accumulate(const Values &partials, const Values &totals, unsigned tokens, const Values &wScales,
                            Value xScales) {
  Values sums, xs;
  unsigned width = cast<VectorType>(partials[0].getType()).getNumElements();
  if (spec.x == DType::F8E4M3)
    for (unsigned t = 0; t < tokens; ++t)
      xs.push_back(v.splat(v.load(v.f32, v.at(xScales, 4 * t)), width));
  for (unsigned r = 0; r < wScales.size(); ++r) {
    Value scale;
    if (spec.scalePitch)
      scale = v.splat(v.load(v.f32, wScales[r]), width);
    for (unsigned t = 0; t < tokens; ++t) {
      unsigned i = r * tokens + t;
      Value both = scale && !xs.empty() ? v.mulf(xs[t], scale) : scale;
      sums.push_back(both ? v.fma(partials[i], both, totals[i]) : v.addf(totals[i], partials[i]));
    }
  }
  return sums;
}

/// Trees of the totals; the sums of `rows` neighbouring rows go to the result line of each token. A group of 3 rows
/// writes a fourth value that the next group (or the padding of the line) takes.
void GemmTile::storeResults(const Values &totals, unsigned rows, unsigned tokens, Value firstToken, Value localRow) {
  unsigned wide = rows == 3 ? 4 : rows;
  Value base = v.at(v.scratch(), v.mul(v.add(v.mul(firstToken, int64_t(layout.resultStride)), localRow), 4));
  base = v.at(base, int64_t(layout.results));
  unsigned together = std::min(tokens, lanes / wide);
  for (unsigned t0 = 0; t0 < tokens; t0 += together) {
    unsigned now = std::min(together, tokens - t0);
    Values vectors;
    for (unsigned t = 0; t < now; ++t)
      for (unsigned r = 0; r < wide; ++r)
        vectors.push_back(totals[std::min(r, rows - 1) * tokens + t0 + t]);
    while (vectors.size() & (vectors.size() - 1))
      vectors.push_back(vectors.back());
    Value sums = v.treeSums(vectors);
    for (unsigned t = 0; t < now; ++t) {
      SmallVector<int64_t> order;
      for (unsigned r = 0; r < wide; ++r)
        order.push_back(t * wide + r);
      v.store(v.shuffle(sums, sums, order), v.at(base, int64_t((t0 + t) * layout.resultStride * 4)));
    }
  }
}

//===----------------------------------------------------------------------===//
// Few rows: weights from memory into registers
//===----------------------------------------------------------------------===//

void GemmTile::emitStreaming() {
  // One loop nest per number of rows; more rows leave fewer registers for weight rows.
  std::function<void(unsigned)> emitFor = [&](unsigned tokens) {
    unsigned rows = tokens == 1 ? config.streamRows : std::max(2u, config.streamRows / 2);
    auto nest = [&] { forParts(rows, [&](Value part, Value group) { emitStreamGroup(tokens, rows, part, group); }); };
    if (tokens == config.streamMax)
      nest();
    else
      v.ifElse(v.eq(place.count, tokens), nest, [&] { emitFor(tokens + 1); });
  };
  emitFor(1);
}

/// Each of the `rows` streams walks over neighbouring rows of the panel, one per group: it is one run of memory.
void GemmTile::emitStreamGroup(unsigned tokens, unsigned rows, Value part, Value group) {
  int64_t width = byteWidth(spec.w), groupTokens = config.tileTokens;
  Value groups = v.ceilDiv(valid, rows), scratch = v.scratch();
  Values pointers, local, wScales;
  for (unsigned r = 0; r < rows; ++r) {
    Value row = v.add(v.mul(groups, r), group);
    pointers.push_back(v.at(place.w, v.mul(weightRow(part, row), int64_t(spec.wPitch))));
    local.push_back(v.add(v.mul(part, partRows), row));
    wScales.push_back(v.at(v.at(scratch, v.mul(local[r], int64_t(layout.scaleStride * 4))), int64_t(layout.wScales)));
  }
  Value xScales = v.at(scratch, int64_t(layout.xScales)), x = v.at(scratch, int64_t(layout.x));

  auto oneBlock = [&](Value block, unsigned steps, const Values &totals) {
    Value xBlock = v.at(x, v.mul(block, groupTokens * 512));
    Values wBlock, scales, odd(rows);
    for (unsigned r = 0; r < rows; ++r) {
      wBlock.push_back(v.at(pointers[r], v.mul(block, blockK * width)));
      scales.push_back(v.at(wScales[r], v.mul(block, 4)));
    }
    Values partials = partialSums(
        rows, tokens, steps,
        [&](unsigned r, unsigned step) {
          int64_t offset = step * lanes * width;
          if (offset % 64 == 0)
            v.prefetch(v.at(wBlock[r], offset + config.prefetchBytes));
          return weightStep(wBlock[r], step, steps, r, odd[r]);
        },
        [&](unsigned t, unsigned step) { return v.load(v.vec(lanes, v.f32), v.at(xBlock, t * 512 + step * 64), 64); });
    return accumulate(partials, totals, tokens, scales, v.at(xScales, v.mul(block, groupTokens * 4)));
  };
  Values totals(rows * tokens, v.f(0, lanes));
  if (fullBlocks)
    totals = v.forLoop(0, v.c64(fullBlocks), 1, totals,
                       [&](Value block, ValueRange carried) { return oneBlock(block, blockSteps, Values(carried)); });
  if (tailSteps)
    totals = oneBlock(v.c64(fullBlocks), tailSteps, totals);
  for (unsigned t = 0; t < tokens; ++t) {
    Values ofToken;
    for (unsigned r = 0; r < rows; ++r)
      ofToken.push_back(totals[r * tokens + t]);
    Value sums = v.treeSums(ofToken);
    for (unsigned r = 0; r < rows; ++r)
      v.store(v.extract(sums, r),
              v.at(v.at(scratch, v.mul(local[r], 4)), int64_t(layout.results + t * layout.resultStride * 4)));
  }
}

//===----------------------------------------------------------------------===//
// More rows: weights widened once per panel
//===----------------------------------------------------------------------===//

void GemmTile::emitPanels() {
  if (blocks <= config.chunkBlocks) {
    Value first = v.c64(0), end = v.c64(blocks);
    widenPanel(first, first, end);
    multiplyPanel(Value(), first, end);
    return;
  }
  v.forLoop(0, v.c64(blocks), config.chunkBlocks, [&](Value first) {
    Value end = v.minu(v.add(first, config.chunkBlocks), int64_t(blocks));
    widenPanel(first, first, end);
    multiplyPanel(first, first, end);
  });
}

void GemmTile::widenPanel(Value chunk, Value firstBlock, Value endBlock) {
  int64_t width = byteWidth(spec.w), rows = config.tileRows;
  Value endFull = v.minu(endBlock, int64_t(fullBlocks));
  forParts(rows, [&](Value part, Value group) {
    Value localGroup = v.add(v.mul(part, partRows / rows), group);
    Value target =
        v.at(v.at(v.scratch(), v.mul(localGroup, int64_t(config.chunkBlocks) * rows * 512)), int64_t(layout.panel));
    Values pointers;
    for (int64_t r = 0; r < rows; ++r)
      pointers.push_back(v.at(place.w, v.mul(weightRow(part, v.add(v.mul(group, rows), r)), int64_t(spec.wPitch))));
    auto oneBlock = [&](Value block, unsigned steps) {
      Value to = v.at(target, v.mul(v.sub(block, firstBlock), rows * 512));
      for (int64_t r = 0; r < rows; ++r) {
        Value from = v.at(pointers[r], v.mul(block, blockK * width)), odd;
        for (unsigned step = 0; step < steps; ++step) {
          if (step * lanes * width % 64 == 0)
            v.prefetch(v.at(from, step * lanes * width + 1024));
          v.store(weightStep(from, step, steps, r, odd), v.at(to, r * 512 + step * 64), 64);
        }
      }
    };
    v.forLoop(firstBlock, endFull, v.c64(1), [&](Value block) { oneBlock(block, blockSteps); });
    if (tailSteps)
      v.ifThen(v.eq(endBlock, int64_t(blocks)), [&] { oneBlock(v.c64(fullBlocks), tailSteps); });
  });
}

/// A few row groups stay in L1 while the packed rows pass by from L2.
void GemmTile::multiplyPanel(Value chunk, Value firstBlock, Value endBlock) {
  unsigned rows = config.tileRows, tokens = config.tileTokens;
  Value tokenGroups = v.ceilDiv(place.count, tokens), rowGroups = v.ceilDiv(valid, rows);
  v.forLoop(0, v.c64(parts), 1, [&](Value part) {
    v.forLoop(0, rowGroups, config.innerGroups, [&](Value firstGroup) {
      Value endGroup = v.minu(v.add(firstGroup, config.innerGroups), rowGroups);
      v.forLoop(0, tokenGroups, 1, [&](Value tokenGroup) {
        v.forLoop(firstGroup, endGroup, v.c64(1), [&](Value group) {
          multiplyGroups(chunk, firstBlock, endBlock, v.add(v.mul(part, partRows / rows), group), tokenGroup);
        });
      });
    });
  });
}

/// One register tile over one chunk of K: totals start at zero or where the last chunk left them.
void GemmTile::multiplyGroups(Value chunk, Value firstBlock, Value endBlock, Value rowGroup, Value tokenGroup) {
  unsigned rows = config.tileRows, tokens = config.tileTokens, sums = rows * tokens;
  Value saved = v.at(v.scratch(), int64_t(layout.totals));
  if (chunk) {
    Value index = v.add(v.mul(tokenGroup, config.panelRows / rows), rowGroup);
    saved = v.at(saved, v.mul(index, int64_t(sums) * 64));
  }
  Values zeros(sums, v.f(0, lanes)), totals = zeros;
  auto finish = [&] { storeResults(totals, rows, tokens, v.mul(tokenGroup, tokens), v.mul(rowGroup, rows)); };
  auto ifLast = [&](llvm::function_ref<void()> then, llvm::function_ref<void()> otherwise) {
    if (chunk)
      v.ifElse(v.eq(endBlock, int64_t(blocks)), then, otherwise);
    else
      then();
  };
  if (config.totalsInScratch) {
    auto clear = [&] { storeTotals(zeros, saved); };
    if (chunk)
      v.ifThen(v.eq(firstBlock, 0), clear);
    else
      clear();
    multiplyTile({}, firstBlock, endBlock, rowGroup, tokenGroup, saved);
    ifLast(
        [&] {
          totals = loadTotals(saved);
          finish();
        },
        [] {});
    return;
  }
  if (chunk)
    totals = v.ifElse(
        v.eq(firstBlock, 0), SmallVector<Type>(sums, v.vec(lanes, v.f32)), [&] { return zeros; },
        [&] { return loadTotals(saved); });
  totals = multiplyTile(totals, firstBlock, endBlock, rowGroup, tokenGroup, Value());
  ifLast(finish, [&] { storeTotals(totals, saved); });
}

Values GemmTile::loadTotals(Value saved) {
  Values totals;
  for (unsigned i = 0; i < config.tileRows * config.tileTokens; ++i)
    totals.push_back(v.load(v.vec(lanes, v.f32), v.at(saved, i * 64), 64));
  return totals;
}
void GemmTile::storeTotals(const Values &totals, Value saved) {
  for (unsigned i = 0; i < totals.size(); ++i)
    v.store(totals[i], v.at(saved, i * 64), 64);
}

/// Blocks [firstBlock, endBlock) of one register tile. Totals are carried in registers, or updated in memory at
/// `saved`: then lane by lane half, since the 16 registers of AVX2 hold 8 lanes each.
Values GemmTile::multiplyTile(Values totals, Value firstBlock, Value endBlock, Value rowGroup, Value tokenGroup,
                              Value saved) {
  unsigned rows = config.tileRows, tokens = config.tileTokens, width = saved ? v.target.floatLanes : lanes;
  Value x = v.at(v.at(v.scratch(), v.mul(tokenGroup, int64_t(blocks) * tokens * 512)), int64_t(layout.x));
  Value panel =
      v.at(v.at(v.scratch(), v.mul(rowGroup, int64_t(config.chunkBlocks) * rows * 512)), int64_t(layout.panel));
  Value wScales =
      v.at(v.at(v.scratch(), v.mul(rowGroup, int64_t(rows * layout.scaleStride * 4))), int64_t(layout.wScales));
  Value xScales = v.at(v.at(v.scratch(), v.mul(tokenGroup, int64_t(blocks * tokens * 4))), int64_t(layout.xScales));
  VectorType vector = v.vec(width, v.f32);
  auto oneBlock = [&](Value block, unsigned steps, Values sums) {
    Value xBlock = v.at(x, v.mul(block, tokens * 512)),
          wBlock = v.at(panel, v.mul(v.sub(block, firstBlock), rows * 512));
    Values scales;
    for (unsigned r = 0; r < rows; ++r)
      scales.push_back(v.at(v.at(wScales, v.mul(block, 4)), int64_t(r * layout.scaleStride * 4)));
    Value xScale = v.at(xScales, v.mul(block, tokens * 4));
    for (unsigned lane = 0; lane < lanes; lane += width) {
      Values partials = partialSums(
          rows, tokens, steps,
          [&](unsigned r, unsigned step) {
            return v.load(vector, v.at(wBlock, r * 512 + step * 64 + lane * 4), width * 4);
          },
          [&](unsigned t, unsigned step) {
            return v.load(vector, v.at(xBlock, t * 512 + step * 64 + lane * 4), width * 4);
          });
      if (saved) {
        sums.clear();
        for (unsigned i = 0; i < rows * tokens; ++i)
          sums.push_back(v.load(vector, v.at(saved, i * 64 + lane * 4), width * 4));
      }
      sums = accumulate(partials, sums, tokens, scales, xScale);
      if (saved)
        for (unsigned i = 0; i < rows * tokens; ++i)
          v.store(sums[i], v.at(saved, i * 64 + lane * 4), width * 4);
    }
    return saved ? Values() : sums;
  };
  totals = v.forLoop(firstBlock, v.minu(endBlock, int64_t(fullBlocks)), v.c64(1), totals,
                     [&](Value block, ValueRange carried) { return oneBlock(block, blockSteps, Values(carried)); });
  if (tailSteps)
    totals = v.ifElse(
        v.eq(endBlock, int64_t(blocks)), SmallVector<Type>(totals.size(), vector),
        [&] { return oneBlock(v.c64(fullBlocks), tailSteps, totals); }, [&] { return totals; });
  return totals;
}

//===----------------------------------------------------------------------===//
// Epilogue
//===----------------------------------------------------------------------===//

void GemmTile::emitEpilogue() {
  v.forLoop(0, place.count, 1, [&](Value m) {
    Value whole = v.mul(v.divu(valid, lanes), lanes);
    v.forLoop(0, whole, lanes, [&](Value column) { emitEpilogueLanes(lanes, m, column); });
    v.forLoop(whole, valid, v.c64(1), [&](Value column) { emitEpilogueLanes(1, m, column); });
  });
}

/// Columns [column, column + lanes) of row m of the tile: bias, activation, rounding, store.
void GemmTile::emitEpilogueLanes(unsigned width, Value m, Value column) {
  Value line = v.at(v.scratch(), v.mul(v.add(v.mul(m, int64_t(layout.resultStride)), column), 4));
  line = v.at(line, int64_t(layout.results));
  Value value = v.load(v.vec(width, v.f32), line);
  Value global = v.add(v.mul(place.column, partRows), column);
  if (spec.biasArg >= 0)
    value =
        v.addf(value, v.loadWide(spec.bias, v.at(v.operand(spec.biasArg), v.mul(global, int64_t(byteWidth(spec.bias)))),
                                 width));
  if (parts == 2) {
    Value up = v.load(v.vec(width, v.f32), v.at(line, int64_t(partRows * 4)));
    if (spec.epilogue.roundParts)
      value = v.quantiseBf16(value), up = v.quantiseBf16(up);
    value = v.mulf(math::silu(v, value), up);
  }
  if (spec.checkFinite)
    v.faultIf(width == 1 ? v.extract(v.isNotFinite(value), 0) : v.anyLane(v.isNotFinite(value)));
  Value row = v.add(place.firstRow, m);
  Value offset = v.add(v.mul(row, int64_t(spec.width())), global);
  v.storeNarrow(spec.out, value, v.at(v.operand(spec.outArg), v.mul(offset, int64_t(byteWidth(spec.out)))));
}
