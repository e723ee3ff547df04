// Barriers of a block: bar and barrier with sync, arrive and red, with and without counts.
#include "test/gpusim/exec/lanes.h"

namespace gpusim {
namespace {

using ptx::Operand;
using ptx::Type;

enum Action : uint8_t { Synchronise, Arrive, Reduce };
enum Flags : uint8_t { Aligned = 1 };
enum Reduction : uint8_t { Count, All, Any };

// The value of an operand that must be the same for all lanes.
uint32_t uniformValue(const Warp &warp, const Instr &instr, int32_t slot, uint32_t lanes, const char *what) {
  const uint64_t *values = warp.source(slot);
  uint32_t first = static_cast<uint32_t>(values[__builtin_ctz(lanes)]);
  forLanes(lanes, [&](unsigned lane) {
    if (static_cast<uint32_t>(values[lane]) != first)
      warp.fault(Report::BadInstruction, instr, lane, std::string("the lanes of a warp name different ") + what);
  });
  return first;
}

Barrier &arrive(Warp &warp, const Instr &instr, uint32_t lanes, unsigned id) {
  Barrier &barrier = warp.block->barriers[id];
  unsigned first = __builtin_ctz(lanes);
  uint32_t expected = instr.s[1] == noSlot ? 0 : uniformValue(warp, instr, instr.s[1], lanes, "thread counts");
  if (expected % 32)
    warp.fault(Report::BadInstruction, instr, first,
               "the thread count " + std::to_string(expected) + " is no multiple of 32");
  if (barrier.used && barrier.expected != expected)
    warp.fault(Report::BadInstruction, instr, first,
               "barrier " + std::to_string(id) + " was entered for " + std::to_string(barrier.expected) +
                   " threads, here for " + std::to_string(expected));
  barrier.used = true;
  barrier.expected = expected;
  // Counted barriers count whole warps.
  barrier.arrived += expected && lanes == warp.live ? 32 : __builtin_popcount(lanes);
  if (expected && barrier.arrived > expected)
    warp.fault(Report::BadInstruction, instr, first,
               "barrier " + std::to_string(id) + " expects " + std::to_string(expected) + " threads, " +
                   std::to_string(barrier.arrived) + " have come");
  barrier.join.arrive(warp, lanes);
  return barrier;
}

void barrierLanes(Warp &warp, const Instr &instr, uint32_t lanes) {
  if ((instr.flags & Aligned) && !warp.alignedArrival(instr, lanes))
    return;
  warp.spill(warp.active, warp.pc); // completing the barrier may resume other lanes of this warp
  unsigned id = uniformValue(warp, instr, instr.s[0], lanes, "barriers");
  if (id > 15)
    warp.fault(Report::BadInstruction, instr, __builtin_ctz(lanes), "there is no barrier " + std::to_string(id));
  Barrier &barrier = arrive(warp, instr, lanes, id);
  if (instr.kind == Reduce) {
    uint32_t votes = warp.predicateSource(instr, 0) & lanes;
    barrier.votesAll = barrier.votesAll && votes == lanes;
    barrier.votesAny = barrier.votesAny || votes;
    barrier.votesCount += __builtin_popcount(votes);
  }
  if (instr.kind != Arrive) {
    barrier.waiters.push_back({warp.index, lanes, warp.frame, &instr});
    forLanes(lanes, [&](unsigned lane) { warp.waitMask[lane] = id; });
    warp.suspend(lanes, Wait::Barrier, warp.pc);
  }
  warp.block->checkBarriers();
}

void writeReduction(Block &block, const Barrier &barrier, const Barrier::Waiter &waiter) {
  const Instr &instr = *waiter.instr;
  if (instr.kind != Reduce)
    return;
  Warp &warp = block.warps[waiter.warp];
  const Frame &frame = warp.frames[waiter.frame];
  if (instr.count == Count) {
    uint64_t *d = warp.registerFile.data() + size_t(frame.registerBase + instr.d[0]) * 32;
    forLanes(waiter.lanes, [&](unsigned lane) { d[lane] = barrier.votesCount; });
    return;
  }
  bool result = instr.count == All ? barrier.votesAll : barrier.votesAny;
  uint32_t &bits = warp.predicateFile[frame.predicateBase + instr.p[0]];
  bits = (bits & ~waiter.lanes) | (result ? waiter.lanes : 0);
}

// bar{rier}{.cta}.sync{.aligned} a{, b}; .arrive a, b; .red.op{.type} d, a{, b}, p;
void decodeBarrier(Decoder &decoder) {
  Instr &out = decoder.out;
  decoder.flag("cta");
  if (decoder.opcode() == "bar" && decoder.flag("warp"))
    return decodeWarpBarrier(decoder);
  std::string_view action = decoder.takeAny({"sync", "arrive", "red"});
  bool aligned = decoder.flag("aligned") || decoder.opcode() == "bar";
  out.flags = aligned ? Aligned : 0;
  out.control = Control::Sync;
  out.run = barrierLanes;
  out.kind = action == "sync" ? Synchronise : action == "arrive" ? Arrive : Reduce;
  if (action.empty())
    decoder.fail("'" + decoder.opcode() + "' needs .sync, .arrive or .red");
  size_t next = 0, end = decoder.operandCount();
  if (out.kind == Reduce) {
    std::string_view op = decoder.takeAny({"popc", "and", "or"});
    decoder.type();
    out.count = op == "popc" ? Count : op == "and" ? All : Any;
    if (out.count == Count)
      out.d[0] = decoder.destination(next, Type::B32);
    else
      out.p[0] = decoder.predicateDestination(decoder.operand(next));
    ++next;
    if (out.count != Count && out.p[0] < 0)
      decoder.fail("the result must be a predicate");
    decoder.predicateSource(decoder.operand(--end), out.p[2], out.negated[0]);
  }
  out.s[0] = decoder.value(next++, Type::U32);
  if (next < end)
    out.s[1] = decoder.value(next, Type::U32);
  else if (out.kind == Arrive)
    decoder.fail("'arrive' needs a thread count");
}

} // namespace

// Lets everybody go who waits at the barrier, ordered after all who came.
void Block::completeBarrier(unsigned id) {
  Barrier done = std::move(barriers[id]);
  barriers[id] = Barrier{};
  // Threads that have exited count as arrived where all threads are expected; a count expects threads that come.
  for (const Warp &warp : warps)
    if (!warp.live && !done.expected)
      done.join.exited(warp);
  KnowledgeRef known = done.join.finish();
  if (!done.expected)
    shadow.everybodyKnows(*known);
  for (const Barrier::Waiter &waiter : done.waiters) {
    Warp &warp = warps[waiter.warp];
    writeReduction(*this, done, waiter);
    forLanes(waiter.lanes, [&](unsigned lane) { warp.known[lane] = known; });
    warp.resume(waiter.lanes);
  }
}

void addBarrierOps(DecodeTable &table) { table["bar"] = table["barrier"] = decodeBarrier; }

} // namespace gpusim
