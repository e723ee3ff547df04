//===- ExchangeMerge.cpp - received slots in canonical order -----------------------===//
// Checks what the sources sent, a block for each source, then sorts their slots by (expert, source), a block for each
// expert. As every source has its slots sorted by expert, both are sums over the sources' offsets.

#include "codegen/NVPTX/Exchange.h"

using namespace mlir;
using namespace moray::codegen;
using Values = GpuBuilder::Values;

//===----------------------------------------------------------------------===//
// Check
//===----------------------------------------------------------------------===//

namespace {
class CheckEmitter {
public:
  explicit CheckEmitter(GpuBuilder &g) : g(g), f(g, MORAY_CHECK_HANDLE) {}
  void emit();

private:
  Value header(int64_t index) { return g.load(g.i32, f.word(meta, index)); }
  Value disagrees();
  Value hasBadOffsets(Value slots);
  Value hasBadRows(Value slots, Value rows);
  Value above(Value a, Value b) { return g.ult(b, a); }

  GpuBuilder &g;
  ExchangeFrame f;
  Value source, meta, warps;
};
} // namespace

/// Whether the header differs from that which this rank writes, counts aside.
Value CheckEmitter::disagrees() {
  const std::pair<int64_t, Value> expected[] = {
      {MORAY_META_LAYER, g.layer()},          {MORAY_META_STEP_LO, f.stepLow},
      {MORAY_META_STEP_HI, f.stepHigh},       {MORAY_META_RANKS, f.ranks},
      {MORAY_META_EXPERTS, f.experts},        {MORAY_META_TOP, f.top},
      {MORAY_META_ROW_BYTES, f.rowBytes},     {MORAY_META_SLOTS_PER_RANK, f.slotsPerRank},
      {MORAY_META_SCALE_BYTES, f.scaleBytes}, {MORAY_META_RESULT_BYTES, f.resultBytes},
      {MORAY_META_MOST_ROWS, f.mostRows}};
  Value difference = g.xori(header(MORAY_META_PLACEMENT), g.load(g.i32, g.operand(MORAY_CHECK_TABLE)));
  for (const auto &[index, value] : expected)
    difference = g.ori(difference, g.xori(header(index), g.trunc(value, g.i32)));
  return g.ult(g.c32(0), difference);
}

/// Whether offsets do not ascend from 0 to `slots`, or give slots to experts that do not live here.
Value CheckEmitter::hasBadOffsets(Value slots) {
  Value offsets = f.metaOffsets(meta), resident = f.word(g.operand(MORAY_CHECK_TABLE), g.add(f.experts, 2));
  Value ends = g.ori(g.load(g.i32, offsets), g.xori(f.loadWord(offsets, f.experts), slots));
  Value bad = g.forLoop(f.threadIndex(), f.experts, g.c64(g.threads), ValueRange{g.ult(g.c32(0), ends)},
                        [&](Value expert, ValueRange found) {
                          Value begin = f.loadWord(offsets, expert), end = f.loadWord(offsets, g.add(expert, 1));
                          Value stranger = g.andi(above(end, begin), g.eq(f.loadWord(resident, expert), 0));
                          return Values{g.ori(found[0], g.ori(above(begin, end), stranger))};
                        })[0];
  return f.anyThread(bad, warps);
}

Value CheckEmitter::hasBadRows(Value slots, Value rows) {
  Value bad = g.forLoop(f.threadIndex(), f.wide(slots), g.c64(g.threads), ValueRange{g.constI(g.i1, 0)},
                        [&](Value slot, ValueRange found) {
                          Value row = f.loadWord(f.metaSlotRows(meta), slot);
                          return Values{g.ori(found[0], g.cmp(arith::CmpIPredicate::uge, row, rows))};
                        })[0];
  return f.anyThread(bad, warps);
}

/// All threads see the same header, so all take the same way; what a bad one announces is not read.
void CheckEmitter::emit() {
  warps = g.sharedArray(4 * g.threads / GpuBuilder::kWarp);
  source = g.task();
  meta = g.at(g.operand(MORAY_CHECK_RECV_META), g.mul(source, f.metaBytes));
  auto verdict = [&](unsigned reason) { return Values{g.c32(reason)}; };
  Value strange = g.ori(g.xori(header(MORAY_META_WORD_MAGIC), g.c32(MORAY_META_MAGIC)),
                        g.xori(header(MORAY_META_SOURCE), g.trunc(source, g.i32)));
  Value reason = g.ifElse(
      g.ult(g.c32(0), strange), TypeRange(g.i32), [&] { return verdict(MORAY_EXCHANGE_NO_META); },
      [&] {
        return g.ifElse(
            disagrees(), TypeRange(g.i32), [&] { return verdict(MORAY_EXCHANGE_DISAGREE); },
            [&] {
              Value rows = header(MORAY_META_ROWS), slots = header(MORAY_META_SLOTS);
              Value tooMany = g.ori(above(f.wide(rows), f.mostRows), above(f.wide(slots), f.slots));
              Value lonely = g.ori(above(rows, slots), g.andi(g.eq(rows, 0), above(slots, g.c32(0))));
              return g.ifElse(
                  g.ori(tooMany, lonely), TypeRange(g.i32), [&] { return verdict(MORAY_EXCHANGE_MALFORMED); },
                  [&] {
                    Value bad = g.ori(hasBadOffsets(slots), hasBadRows(slots, rows));
                    return Values{g.select(bad, g.c32(MORAY_EXCHANGE_MALFORMED), g.c32(0))};
                  });
            });
      })[0];
  g.ifThen(g.eq(g.thread(), 0), [&] {
    Value good = g.eq(reason, 0);
    g.store(g.zext(good, g.i32), f.valid(source));
    g.ifElse(good, [] {}, [&] { g.storeFault(f.faultCode(reason, source)); });
  });
}

void moray::codegen::emitExchangeCheck(GpuBuilder &g) { CheckEmitter(g).emit(); }

//===----------------------------------------------------------------------===//
// Merge
//===----------------------------------------------------------------------===//

namespace {
class MergeEmitter {
public:
  explicit MergeEmitter(GpuBuilder &g) : g(g), f(g, MORAY_MERGE_HANDLE) {}
  void emit();

private:
  Value metaOf(Value source) { return g.at(g.operand(MORAY_MERGE_RECV_META), g.mul(source, f.metaBytes)); }
  Value readSources();
  void writeSlots(Value first, Value count);

  GpuBuilder &g;
  ExchangeFrame f;
  Value expert;
  // Shared memory, by source: slots of the expert, then those of lower sources; the first one in the source's order.
  Value begins, firsts, warps;
};
} // namespace

/// Returns this thread's part of the number of slots of lower experts (i32).
Value MergeEmitter::readSources() {
  return g.forLoop(f.threadIndex(), f.ranks, g.c64(g.threads), ValueRange{g.c32(0)}, [&](Value source, ValueRange sum) {
    Values range = g.ifElse(
        g.eq(g.load(g.i32, f.valid(source)), 1), TypeRange{g.i32, g.i32},
        [&] {
          Value offset = f.word(f.metaOffsets(metaOf(source)), expert);
          return Values{g.load(g.i32, offset), g.load(g.i32, g.at(offset, 4))};
        },
        [&] { return Values{g.c32(0), g.c32(0)}; });
    g.store(g.sub(range[1], range[0]), f.word(begins, source));
    g.store(range[0], f.word(firsts, source));
    return Values{g.add(sum[0], range[0])};
  })[0];
}

void MergeEmitter::writeSlots(Value first, Value count) {
  f.forThreads(f.wide(count), [&](Value index) {
    Value position = g.trunc(index, g.i32);
    Value source = f.lastAtMost(begins, f.ranks, position, MORAY_EXCHANGE_MOST_RANKS);
    Value slot = f.wide(g.add(f.loadWord(firsts, source), g.sub(position, f.loadWord(begins, source))));
    Value row = f.wide(f.loadWord(f.metaSlotRows(metaOf(source)), slot));
    Value to = g.add(f.wide(first), index);
    g.store(g.trunc(g.add(g.mul(source, f.mostRows), row), g.i32), f.word(g.operand(MORAY_MERGE_TOKENS_R), to));
    g.store(g.trunc(g.add(g.mul(source, f.slots), slot), g.i32), f.resultPlace(to));
  });
}

void MergeEmitter::emit() {
  begins = g.sharedArray(4 * MORAY_EXCHANGE_MOST_RANKS);
  firsts = g.sharedArray(4 * MORAY_EXCHANGE_MOST_RANKS);
  warps = g.sharedArray(4 * g.threads / GpuBuilder::kWarp);
  expert = g.task();
  Value lower = readSources();
  Value first = g.addWarps(g.c32(0), g.sumLanes(lower), warps).second;
  Value count = f.scan(begins, f.ranks, warps);
  g.barrier();
  g.ifThen(g.eq(g.thread(), 0), [&] {
    Value offset = f.word(g.operand(MORAY_MERGE_OFFSETS_R), expert), end = g.add(first, count);
    g.store(first, offset);
    g.ifThen(g.eq(g.add(expert, 1), f.experts), [&] {
      g.store(end, g.at(offset, 4));
      g.store(end, f.received());
    });
  });
  writeSlots(first, count);
}

void moray::codegen::emitExchangeMerge(GpuBuilder &g) { MergeEmitter(g).emit(); }
