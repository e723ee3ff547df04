//===- Exchange.cpp - rows between the ranks of a group ----------------------------===//
// The table of the kernels of dispatch and combine, what they share, and those of them that copy rows: a warp for each
// row, 16 bytes per lane and load, four loads under way.

#include "codegen/NVPTX/Exchange.h"
#include "codegen/NVPTX/Emitters.h"
#include <cstddef>

using namespace mlir;
using namespace moray::codegen;
using Values = GpuBuilder::Values;

constexpr unsigned kPlanThreads = 512, kThreads = 256; // of one block per destination; of the others
static_assert(kThreads == MORAY_EXCHANGE_WARPS * GpuBuilder::kWarp, "moray_exchange_grid counts warps");

//===----------------------------------------------------------------------===//
// Sizes and addresses
//===----------------------------------------------------------------------===//

Value ExchangeFrame::parameter(unsigned byteOffset, unsigned operand) {
  return wide(g.loadInvariant(g.i32, g.at(g.operand(operand), int64_t(byteOffset))));
}

ExchangeFrame::ExchangeFrame(GpuBuilder &g, unsigned handleOperand) : g(g), handle(g.operand(handleOperand)) {
  rank = parameter(offsetof(moray_exchange_params, rank)), ranks = parameter(offsetof(moray_exchange_params, ranks));
  experts = parameter(offsetof(moray_exchange_params, experts)), top = parameter(offsetof(moray_exchange_params, top));
  slotsPerRank = parameter(offsetof(moray_exchange_params, slots_per_rank));
  rowBytes = parameter(offsetof(moray_exchange_params, row_bytes));
  scaleBytes = parameter(offsetof(moray_exchange_params, scale_bytes));
  resultBytes = parameter(offsetof(moray_exchange_params, result_bytes));
  stepLow = parameter(offsetof(moray_exchange_step, step_lo), 1);
  stepHigh = parameter(offsetof(moray_exchange_step, step_hi), 1);
  mostRows = parameter(offsetof(moray_exchange_step, most_rows), 1);
  slots = g.mul(mostRows, g.minu(top, slotsPerRank));
  Value words = g.add(g.add(experts, slots), int64_t(MORAY_META_OFFSETS) + 1);
  metaBytes = g.shl(g.shrl(g.add(words, 3), 2), 4);
  rowsWords = g.add(g.shl(ranks, 1), MORAY_HANDLE_SENT);
  slotPlaceWords = g.add(rowsWords, g.mul(ranks, mostRows));
  resultPlaceWords = g.add(slotPlaceWords, g.mul(mostRows, top));
}

Value ExchangeFrame::row(Value destination, Value index) {
  return word(handle, g.add(rowsWords, g.add(g.mul(destination, mostRows), index)));
}
Value ExchangeFrame::slotPlace(Value slot) { return word(handle, g.add(slotPlaceWords, slot)); }
Value ExchangeFrame::resultPlace(Value slot) { return word(handle, g.add(resultPlaceWords, slot)); }

//===----------------------------------------------------------------------===//
// Together
//===----------------------------------------------------------------------===//

void ExchangeFrame::forWarps(Value count, llvm::function_ref<void(Value)> body) {
  int64_t warps = g.threads / GpuBuilder::kWarp;
  Value first = g.add(g.mul(g.task(), warps), wide(g.warp()));
  g.forLoop(first, count, g.mul(wide(g.blocks()), warps), body);
}

Value ExchangeFrame::scan(Value values, Value count, Value memory) {
  Value mine = threadIndex();
  return g.forLoop(0, count, g.threads, ValueRange{g.c32(0)}, [&](Value base, ValueRange before) {
    Value index = g.add(base, mine), live = g.ult(index, count);
    Value own = g.ifElse(
        live, TypeRange(g.i32), [&] { return Values{loadWord(values, index)}; }, [&] { return Values{g.c32(0)}; })[0];
    Value upTo = own;
    for (unsigned delta = 1; delta < GpuBuilder::kWarp; delta *= 2) {
      Value other = g.shuffleUp(upTo, delta);
      upTo = g.add(upTo, g.select(g.ult(g.lane(), delta), g.c32(0), other));
    }
    Value inWarp = g.broadcastLane(upTo, g.c32(GpuBuilder::kWarp - 1));
    Value rank, total;
    std::tie(rank, total) = g.addWarps(g.sub(upTo, own), inWarp, memory);
    g.ifThen(live, [&] { g.store(g.add(before[0], rank), word(values, index)); });
    return Values{g.add(before[0], total)};
  })[0];
}

Value ExchangeFrame::anyThread(Value condition, Value memory) {
  Value inWarp = g.zext(g.anyLane(condition), g.i32);
  Value total = g.addWarps(g.c32(0), inWarp, memory).second;
  return g.ult(g.c32(0), total);
}

Value ExchangeFrame::lastAtMost(Value begins, Value count, Value value, unsigned mostCount) {
  Value place = g.c64(0);
  for (unsigned step = llvm::PowerOf2Ceil(mostCount) / 2; step; step /= 2) {
    Value candidate = g.add(place, int64_t(step)), exists = g.ult(candidate, count);
    Value begin = loadWord(begins, g.select(exists, candidate, g.c64(0)));
    Value fits = g.andi(exists, g.cmp(arith::CmpIPredicate::ule, begin, value));
    place = g.select(fits, candidate, place);
  }
  return place;
}

void ExchangeFrame::copyVectors(Type type, Value from, Value to, Value bytes) {
  constexpr int64_t kUnderWay = 4;
  auto vector = dyn_cast<VectorType>(type);
  int64_t width = vector ? 16 : 4, round = width * GpuBuilder::kWarp;
  Value mine = g.mul(wide(g.lane()), width), whole = g.mul(g.divu(bytes, kUnderWay * round), kUnderWay * round);
  g.forLoop(0, whole, kUnderWay * round, [&](Value base) {
    Value offset = g.add(base, mine);
    Values loaded;
    for (int64_t i = 0; i < kUnderWay; ++i)
      loaded.push_back(g.load(type, g.at(from, g.add(offset, i * round)), width));
    for (int64_t i = 0; i < kUnderWay; ++i)
      g.store(loaded[i], g.at(to, g.add(offset, i * round)), width);
  });
  g.forLoop(g.add(whole, mine), bytes, g.c64(round),
            [&](Value offset) { g.store(g.load(type, g.at(from, offset), width), g.at(to, offset), width); });
}

void ExchangeFrame::copyRow(Value from, Value to, Value bytes) {
  g.ifElse(
      g.eq(g.andi(bytes, 15), 0), [&] { copyVectors(g.vec(4, g.i32), from, to, bytes); },
      [&] { copyVectors(g.i32, from, to, bytes); });
}

Value ExchangeFrame::faultCode(Value reason, Value source) {
  Value place = g.add(g.shl(g.trunc(source, g.i32), 16), g.trunc(g.add(g.layer(), 1), g.i32));
  return g.ori(g.ori(g.shl(reason, 28), place), g.c32(int32_t(MORAY_EXCHANGE_FAULT)));
}

//===----------------------------------------------------------------------===//
// Kernels that copy rows
//===----------------------------------------------------------------------===//

/// Places are (destination, index): the rows of a destination are the first ones of its mostRows.
static void emitPack(GpuBuilder &g) {
  ExchangeFrame f(g, MORAY_PACK_HANDLE);
  f.forWarps(g.mul(f.ranks, f.mostRows), [&](Value place) {
    Value destination = f.divide(place, f.mostRows), index = g.sub(place, g.mul(destination, f.mostRows));
    Value stays = g.eq(destination, f.rank);
    auto copy = [&](unsigned from, unsigned send, unsigned receive, Value row, Value bytes) {
      Value to = g.select(stays, g.operand(receive), g.operand(send));
      f.copyRow(g.at(g.operand(from), g.mul(row, bytes)), g.at(to, g.mul(place, bytes)), bytes);
    };
    g.ifThen(g.ult(index, f.wide(g.load(g.i32, f.sent(destination)))), [&] {
      Value row = f.wide(g.load(g.i32, f.row(destination, index)));
      copy(MORAY_PACK_X, MORAY_PACK_SEND_ROWS, MORAY_PACK_XR, row, f.rowBytes);
      copy(MORAY_PACK_SCALES, MORAY_PACK_SEND_SCALES, MORAY_PACK_SCALES_R, row, f.scaleBytes);
    });
  });
}

static void emitReturn(GpuBuilder &g) {
  ExchangeFrame f(g, MORAY_RETURN_HANDLE);
  f.forWarps(f.wide(g.load(g.i32, f.received())), [&](Value slot) {
    Value place = f.wide(g.load(g.i32, f.resultPlace(slot)));
    Value stays = g.eq(f.divide(place, f.slots), f.rank);
    Value to = g.select(stays, g.operand(MORAY_RETURN_RECV_RESULTS), g.operand(MORAY_RETURN_SEND_RESULTS));
    f.copyRow(g.at(g.operand(MORAY_RETURN_ER), g.mul(slot, f.resultBytes)), g.at(to, g.mul(place, f.resultBytes)),
              f.resultBytes);
  });
}

static void emitFinish(GpuBuilder &g) {
  ExchangeFrame f(g, MORAY_FINISH_HANDLE);
  f.forWarps(f.wide(g.load(g.i32, f.home())), [&](Value slot) {
    Value place = f.wide(g.load(g.i32, f.slotPlace(slot)));
    f.copyRow(g.at(g.operand(MORAY_FINISH_RECV_RESULTS), g.mul(place, f.resultBytes)),
              g.at(g.operand(MORAY_FINISH_E), g.mul(slot, f.resultBytes)), f.resultBytes);
  });
  Value gateBytes = g.shl(f.top, 2);
  f.forWarps(g.live(MORAY_LIVE_ROWS), [&](Value row) {
    Value offset = g.mul(row, gateBytes);
    f.copyRow(g.at(g.operand(MORAY_FINISH_GATES), offset), g.at(g.operand(MORAY_FINISH_GATES_OUT), offset), gateBytes);
  });
}

//===----------------------------------------------------------------------===//
// The table
//===----------------------------------------------------------------------===//

namespace {
struct Kernel {
  const char *name;
  unsigned operands, threads;
  void (*emit)(GpuBuilder &);
};
} // namespace

/// In the order of ExchangeBody::Kind.
static const Kernel kernels[] = {{"exchange.plan", MORAY_PLAN_OPERANDS, kPlanThreads, emitExchangePlan},
                                 {"exchange.pack", MORAY_PACK_OPERANDS, kThreads, emitPack},
                                 {"exchange.check", MORAY_CHECK_OPERANDS, kThreads, emitExchangeCheck},
                                 {"exchange.merge", MORAY_MERGE_OPERANDS, kThreads, emitExchangeMerge},
                                 {"exchange.return", MORAY_RETURN_OPERANDS, kThreads, emitReturn},
                                 {"exchange.finish", MORAY_FINISH_OPERANDS, kThreads, emitFinish}};

static const Kernel &kernelOf(const KernelSpec &spec) { return kernels[spec.as<ExchangeBody>().kind]; }

std::vector<std::pair<std::string, KernelSpec>> moray::codegen::exchangeKernels() {
  std::vector<std::pair<std::string, KernelSpec>> all;
  for (unsigned i = 0; i < std::size(kernels); ++i)
    all.push_back(
        {kernels[i].name,
         {KernelClass::Exchange, kernels[i].operands, std::make_shared<ExchangeBody>(ExchangeBody::Kind(i))}});
  return all;
}

/// Grids are the caller's (exchange_abi.h): they follow the ranks and experts, which no expression knows.
static GpuPlan planExchange(const KernelSpec &spec, const GpuTarget &) {
  return {{{"", SizeExpr(1), kernelOf(spec).threads, 0}}, SizeExpr(0), "grid=exchange_abi.h"};
}

static llvm::Error emitExchange(const KernelSpec &spec, const GpuTarget &, unsigned, GpuBuilder &g) {
  if (kernelOf(spec).threads == kThreads)
    g.setBlocksPerMultiprocessor(3); // loads under way take registers
  kernelOf(spec).emit(g);
  return llvm::Error::success();
}

const GpuEmitter moray::codegen::gpuExchangeEmitter{KernelClass::Exchange, planExchange, emitExchange};
