//===- ExchangePlan.cpp - which rows and slots go to which rank --------------------===//
// A block per destination reads all slots of the home once, a thread for each: slots are sorted by expert, so the order
// in which a destination gets its slots is the count of those before. Which rows it gets is a bit per row.

#include "codegen/NVPTX/Exchange.h"

using namespace mlir;
using namespace moray::codegen;
using Values = GpuBuilder::Values;

namespace {
class PlanEmitter {
public:
  explicit PlanEmitter(GpuBuilder &g) : g(g), f(g, MORAY_PLAN_HANDLE) {}
  void emit();

private:
  /// What a thread knows of one slot: the rank that computes it, its row and its expert.
  struct Slot {
    Value rank, row, expert;
  };

  void begin();
  void countLoads();
  Slot slotAt(Value slot);
  Value takeSlots();
  void writeSlots(Value taken);
  Value writeRows();
  void writeHeader(Value rowsSent, Value taken);
  Value expertOf(Value slot) { return f.lastAtMost(begins, f.experts, slot, MORAY_EXCHANGE_MOST_EXPERTS); }
  Value rowWord(Value base, Value row) { return f.word(base, g.shrl(row, 5)); }
  Value rowBit(Value row) { return arith::ShLIOp::create(g.b, g.loc, g.c32(1), g.trunc(g.andi(row, 31), g.i32)); }
  Value rowIndex(Value row);

  GpuBuilder &g;
  ExchangeFrame f;
  Value destination, meta;
  Value rows, total, rowWords; // live rows and slots of the home, words of 32 rows; none where they are too many
  // Shared memory: first slot of each expert [E + 1]; slots taken before that one, where the expert has slots [E]; a
  // bit for each row that is sent, and how many rows words before have [rowWords].
  Value begins, takenBefore, rowBits, rowsBefore, warps;
};
} // namespace

void PlanEmitter::begin() {
  begins = g.sharedArray(4 * (MORAY_EXCHANGE_MOST_EXPERTS + 1));
  takenBefore = g.sharedArray(4 * MORAY_EXCHANGE_MOST_EXPERTS);
  rowBits = g.sharedArray(MORAY_EXCHANGE_MOST_ROWS / 8);
  rowsBefore = g.sharedArray(MORAY_EXCHANGE_MOST_ROWS / 8);
  warps = g.sharedArray(4 * g.threads / GpuBuilder::kWarp);
  destination = g.task();
  Value stays = g.eq(destination, f.rank);
  Value to = g.select(stays, g.operand(MORAY_PLAN_RECV_META), g.operand(MORAY_PLAN_SEND_META));
  meta = g.at(to, g.mul(destination, f.metaBytes));

  Value live = g.live(MORAY_LIVE_ROWS);
  Value tooMany = g.ori(g.ult(f.mostRows, live), g.ult(g.c64(MORAY_EXCHANGE_MOST_ROWS), live));
  g.ifThen(g.andi(tooMany, g.eq(g.thread(), 0)),
           [&] { g.storeFault(f.faultCode(g.c32(MORAY_EXCHANGE_TOO_MANY), f.rank)); });
  rows = g.select(tooMany, g.c64(0), live);
  rowWords = g.shrl(g.add(rows, 31), 5);
  f.forThreads(rowWords, [&](Value i) { g.store(g.c32(0), f.word(rowBits, i)); });
  f.forThreads(g.add(f.experts, 1), [&](Value expert) {
    Value offset = f.loadWord(g.operand(MORAY_PLAN_OFFSETS), expert);
    g.store(g.select(tooMany, g.c32(0), offset), f.word(begins, expert));
  });
  g.barrier();
  total = f.wide(f.loadWord(begins, f.experts));
}

/// One block of the launch counts.
void PlanEmitter::countLoads() {
  Value loads = g.operand(MORAY_PLAN_LOADS);
  Value wanted = LLVM::ICmpOp::create(g.b, g.loc, LLVM::ICmpPredicate::ne, loads,
                                      LLVM::ZeroOp::create(g.b, g.loc, loads.getType()));
  g.ifThen(g.andi(wanted, g.eq(destination, 0)), [&] {
    f.forThreads(f.experts, [&](Value expert) {
      Value slots = g.sub(f.loadWord(begins, g.add(expert, 1)), f.loadWord(begins, expert));
      Value counter = g.at(loads, g.shl(expert, 3));
      g.store(g.add(g.load(g.i64, counter), f.wide(slots)), counter);
    });
  });
}

PlanEmitter::Slot PlanEmitter::slotAt(Value slot) {
  Value table = g.operand(MORAY_PLAN_TABLE);
  Value expert = expertOf(g.trunc(slot, g.i32)), row = f.loadWord(g.operand(MORAY_PLAN_TOKENS), slot);
  Value entry = f.word(f.word(table, MORAY_TABLE_FIRST), expert);
  Value first = g.load(g.i32, entry), count = g.sub(g.load(g.i32, g.at(entry, 4)), first);
  Value choice = g.add(first, g.remu(g.add(g.trunc(f.rank, g.i32), row), count));
  Value ranks = f.word(table, g.add(g.shl(f.experts, 1), 2)); // moray_exchange_table_ranks
  return {f.loadWord(ranks, f.wide(choice)), row, expert};
}

/// Slots of this destination: their places in the handle, their rows in the meta block, a bit for each row. Returns
/// their number (i32).
Value PlanEmitter::takeSlots() {
  Value mine = f.threadIndex(), wanted = g.trunc(destination, g.i32), slotRows = f.metaSlotRows(meta);
  return g.forLoop(0, total, g.threads, ValueRange{g.c32(0)}, [&](Value base, ValueRange before) {
    Value slot = g.add(base, mine), live = g.ult(slot, total);
    Values known = g.ifElse(
        live, TypeRange{g.i1, g.i64, g.i64},
        [&] {
          Slot s = slotAt(slot);
          return Values{g.eq(s.rank, wanted), f.wide(s.row), s.expert};
        },
        [&] { return Values{g.constI(g.i1, 0), g.c64(0), g.c64(0)}; });
    Value rank, inWarp, all;
    std::tie(rank, inWarp) = g.rankAmongLanes(known[0]);
    std::tie(rank, all) = g.addWarps(rank, inWarp, warps);
    Value place = g.add(before[0], rank);
    g.ifThen(known[0], [&] {
      Value position = f.wide(place);
      g.store(g.trunc(g.add(g.mul(destination, f.slots), position), g.i32), f.slotPlace(slot));
      g.store(g.trunc(known[1], g.i32), f.word(slotRows, position));
      g.atomicOr(rowWord(rowBits, known[1]), rowBit(known[1]));
    });
    Value isFirst = g.eq(f.loadWord(begins, known[2]), g.trunc(slot, g.i32));
    g.ifThen(g.andi(live, isFirst), [&] { g.store(place, f.word(takenBefore, known[2])); });
    return Values{g.add(before[0], all)};
  })[0];
}

/// Number of rows before `row` that are sent (i32).
Value PlanEmitter::rowIndex(Value row) {
  Value before = g.andi(g.load(g.i32, rowWord(rowBits, row)), g.sub(rowBit(row), 1));
  return g.add(g.load(g.i32, rowWord(rowsBefore, row)), g.popCount(before));
}

/// Offsets and rows of the meta block. An expert without slots begins where the next one with slots does.
void PlanEmitter::writeSlots(Value taken) {
  f.forThreads(g.add(f.experts, 1), [&](Value expert) {
    Value first = f.loadWord(begins, expert);
    Value offset = g.ifElse(
        g.ult(f.wide(first), total), TypeRange(g.i32), [&] { return Values{f.loadWord(takenBefore, expertOf(first))}; },
        [&] { return Values{taken}; })[0];
    g.store(offset, f.word(f.metaOffsets(meta), expert));
  });
  f.forThreads(f.wide(taken), [&](Value position) {
    Value place = f.word(f.metaSlotRows(meta), position);
    g.store(rowIndex(f.wide(g.load(g.i32, place))), place);
  });
}

/// Lists the rows that are sent; returns their number (i32).
Value PlanEmitter::writeRows() {
  f.forThreads(rowWords, [&](Value i) { g.store(g.popCount(f.loadWord(rowBits, i)), f.word(rowsBefore, i)); });
  g.barrier();
  Value sent = f.scan(rowsBefore, rowWords, warps);
  g.barrier();
  f.forThreads(rows, [&](Value row) {
    Value taken = g.andi(g.load(g.i32, rowWord(rowBits, row)), rowBit(row));
    g.ifThen(g.ult(g.c32(0), taken), [&] { g.store(g.trunc(row, g.i32), f.row(destination, f.wide(rowIndex(row)))); });
  });
  return sent;
}

void PlanEmitter::writeHeader(Value rowsSent, Value taken) {
  auto put = [&](int64_t index, Value value) {
    g.store(value.getType() == g.i64 ? g.trunc(value, g.i32) : value, f.word(meta, index));
  };
  g.ifThen(g.eq(g.thread(), 0), [&] {
    put(MORAY_META_WORD_MAGIC, g.c32(MORAY_META_MAGIC));
    put(MORAY_META_LAYER, g.layer());
    put(MORAY_META_STEP_LO, f.stepLow);
    put(MORAY_META_STEP_HI, f.stepHigh);
    put(MORAY_META_SOURCE, f.rank);
    put(MORAY_META_RANKS, f.ranks);
    put(MORAY_META_EXPERTS, f.experts);
    put(MORAY_META_TOP, f.top);
    put(MORAY_META_SLOTS_PER_RANK, f.slotsPerRank);
    put(MORAY_META_ROW_BYTES, f.rowBytes);
    put(MORAY_META_SCALE_BYTES, f.scaleBytes);
    put(MORAY_META_RESULT_BYTES, f.resultBytes);
    put(MORAY_META_MOST_ROWS, f.mostRows);
    put(MORAY_META_PLACEMENT, g.load(g.i32, g.operand(MORAY_PLAN_TABLE)));
    put(MORAY_META_ROWS, rowsSent);
    put(MORAY_META_SLOTS, taken);
    g.store(rowsSent, f.sent(destination));
    g.ifThen(g.eq(destination, 0), [&] { g.store(g.trunc(total, g.i32), f.home()); });
  });
}

void PlanEmitter::emit() {
  begin();
  countLoads();
  Value taken = takeSlots();
  g.barrier();
  Value rowsSent = writeRows();
  writeSlots(taken);
  writeHeader(rowsSent, taken);
}

void moray::codegen::emitExchangePlan(GpuBuilder &g) { PlanEmitter(g).emit(); }
