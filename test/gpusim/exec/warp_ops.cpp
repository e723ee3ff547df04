// Instructions among the lanes of a warp: shfl, vote, match, redux, activemask, elect, bar.warp.sync.
#include <algorithm>

#include "test/gpusim/exec/lanes.h"

namespace gpusim {
namespace {

using ptx::Operand;
using ptx::Type;

// Member masks are the last source: s[4].
const uint64_t *members(const Warp &warp, const Instr &instr) { return warp.source(instr.s[4]); }

//===----------------------------------------------------------------------===//
// shfl
//===----------------------------------------------------------------------===//

enum ShuffleMode : uint8_t { Up, Down, Butterfly, Index };

// The lane that `lane` reads, and whether it is in range.
std::pair<unsigned, bool> shuffleSource(ShuffleMode mode, unsigned lane, uint32_t b, uint32_t c) {
  unsigned offset = b & 31, clamp = c & 31, segment = c >> 8 & 31;
  int highest = static_cast<int>((lane & segment) | (clamp & ~segment & 31)), lowest = static_cast<int>(lane & segment);
  int from = 0;
  bool inRange = false;
  switch (mode) {
  case Up:
    from = static_cast<int>(lane) - static_cast<int>(offset);
    inRange = from >= highest;
    break;
  case Down:
    from = static_cast<int>(lane + offset);
    inRange = from <= highest;
    break;
  case Butterfly:
    from = static_cast<int>(lane ^ offset);
    inRange = from <= highest;
    break;
  case Index:
    from = lowest | static_cast<int>(offset & ~segment & 31);
    inRange = from <= highest;
    break;
  }
  return {inRange ? static_cast<unsigned>(from) : lane, inRange};
}

void shuffle(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *masks = members(warp, instr);
  if (!warp.syncArrival(instr, lanes, masks))
    return;
  const uint64_t *a = warp.source(instr.s[0]), *b = warp.source(instr.s[1]), *c = warp.source(instr.s[2]);
  uint64_t result[32];
  uint32_t ranges = 0;
  forLanes(lanes, [&](unsigned lane) {
    auto [from, inRange] =
        shuffleSource(ShuffleMode(instr.kind), lane, static_cast<uint32_t>(b[lane]), static_cast<uint32_t>(c[lane]));
    if (!(masks[lane] >> from & 1))
      warp.fault(Report::SyncMask, instr, lane,
                 "reads lane " + std::to_string(from) + ", which is not in the member mask");
    result[lane] = a[from];
    ranges |= uint32_t(inRange) << lane;
  });
  uint64_t *d = warp.dest(instr.d[0]);
  forLanes(lanes, [&](unsigned lane) { d[lane] = static_cast<uint32_t>(result[lane]); });
  warp.setPredicate(instr.p[0], lanes, ranges);
}

// d or d|p.
void decodeResult(Decoder &decoder) {
  const Operand &destination = decoder.operand(0);
  if (destination.kind != Operand::Pair) {
    decoder.out.d[0] = decoder.destination(destination, Type::B32);
    return;
  }
  decoder.out.d[0] = decoder.destination(destination.elements[0], Type::B32);
  decoder.out.p[0] = decoder.predicateDestination(destination.elements[1]);
}

void requireSync(Decoder &decoder) {
  if (!decoder.flag("sync"))
    decoder.fail("'" + decoder.opcode() + "' without .sync does not exist since sm_70");
  decoder.out.control = Control::Sync;
}

void decodeShuffle(Decoder &decoder) {
  requireSync(decoder);
  std::string_view mode = decoder.takeAny({"up", "down", "bfly", "idx"});
  decoder.out.kind = mode == "up" ? Up : mode == "down" ? Down : mode == "bfly" ? Butterfly : Index;
  if (mode.empty() || ptx::bitsOf(decoder.type()) != 32)
    decoder.fail("shfl.sync needs a mode and .b32");
  decoder.expectOperands(5, 5);
  for (unsigned i = 0; i < 3; ++i)
    decoder.out.s[i] = decoder.value(i + 1, Type::B32);
  decoder.out.s[4] = decoder.value(4, Type::B32);
  decodeResult(decoder);
  decoder.out.run = shuffle;
}

//===----------------------------------------------------------------------===//
// Operations of all members of a mask
//===----------------------------------------------------------------------===//

// Calls body(set) for each set of lanes that name the same mask.
template <class F> void byMask(uint32_t lanes, const uint64_t *masks, F &&body) {
  for (uint32_t left = lanes; left;) {
    uint32_t mask = static_cast<uint32_t>(masks[__builtin_ctz(left)]);
    body(mask & lanes);
    left &= ~mask;
  }
}

enum VoteMode : uint8_t { VoteAll, VoteAny, VoteUni, VoteBallot };

void vote(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *masks = members(warp, instr);
  if (!warp.syncArrival(instr, lanes, masks))
    return;
  uint32_t votes = warp.predicateSource(instr, 0);
  byMask(lanes, masks, [&](uint32_t set) {
    uint32_t yes = votes & set;
    if (instr.kind == VoteBallot) {
      uint64_t *d = warp.dest(instr.d[0]);
      forLanes(set, [&](unsigned lane) { d[lane] = yes; });
      return;
    }
    bool result = instr.kind == VoteAll ? yes == set : instr.kind == VoteAny ? yes != 0 : yes == 0 || yes == set;
    warp.setPredicate(instr.p[0], set, result ? allLanes : 0);
  });
}

void decodeVote(Decoder &decoder) {
  requireSync(decoder);
  std::string_view mode = decoder.takeAny({"all", "any", "uni", "ballot"});
  decoder.out.kind = mode == "all" ? VoteAll : mode == "any" ? VoteAny : mode == "uni" ? VoteUni : VoteBallot;
  decoder.type();
  decoder.expectOperands(3, 3);
  if (decoder.out.kind == VoteBallot)
    decoder.out.d[0] = decoder.destination(0, Type::B32);
  else
    decoder.out.p[0] = decoder.predicateDestination(decoder.operand(0));
  decoder.predicateSource(decoder.operand(1), decoder.out.p[2], decoder.out.negated[0]);
  decoder.out.s[4] = decoder.value(2, Type::B32);
  decoder.out.run = vote;
}

void match(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *masks = members(warp, instr);
  if (!warp.syncArrival(instr, lanes, masks))
    return;
  const uint64_t *a = warp.source(instr.s[0]);
  uint64_t *d = warp.dest(instr.d[0]), bits = instr.width == 8 ? ~0ull : 0xffffffffull;
  uint32_t equal[32];
  forLanes(lanes, [&](unsigned lane) {
    equal[lane] = 0;
    forLanes(static_cast<uint32_t>(masks[lane]) & lanes,
             [&](unsigned other) { equal[lane] |= uint32_t(((a[lane] ^ a[other]) & bits) == 0) << other; });
  });
  uint32_t all = 0;
  forLanes(lanes, [&](unsigned lane) {
    bool same = equal[lane] == static_cast<uint32_t>(masks[lane]);
    all |= uint32_t(same) << lane;
    d[lane] = instr.kind && !same ? 0 : equal[lane];
  });
  warp.setPredicate(instr.p[0], lanes, all);
}

void decodeMatch(Decoder &decoder) {
  requireSync(decoder);
  decoder.out.kind = decoder.takeAny({"any", "all"}) == "all";
  Type type = decoder.type();
  decoder.out.width = static_cast<uint8_t>(ptx::bytesOf(type));
  decoder.expectOperands(3, 3);
  decoder.out.s[0] = decoder.value(1, type);
  decoder.out.s[4] = decoder.value(2, Type::B32);
  decodeResult(decoder);
  decoder.out.run = match;
}

enum ReduxOp : uint8_t { ReduxAdd, ReduxMin, ReduxMax, ReduxAnd, ReduxOr, ReduxXor };

uint32_t reduce(ReduxOp op, bool isSigned, uint32_t a, uint32_t b) {
  switch (op) {
  case ReduxAdd:
    return a + b;
  case ReduxMin:
    return isSigned ? static_cast<uint32_t>(std::min(int32_t(a), int32_t(b))) : std::min(a, b);
  case ReduxMax:
    return isSigned ? static_cast<uint32_t>(std::max(int32_t(a), int32_t(b))) : std::max(a, b);
  case ReduxAnd:
    return a & b;
  case ReduxOr:
    return a | b;
  default:
    return a ^ b;
  }
}

void redux(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *masks = members(warp, instr);
  if (!warp.syncArrival(instr, lanes, masks))
    return;
  const uint64_t *a = warp.source(instr.s[0]);
  uint64_t *d = warp.dest(instr.d[0]);
  byMask(lanes, masks, [&](uint32_t set) {
    unsigned first = __builtin_ctz(set);
    uint32_t result = static_cast<uint32_t>(a[first]);
    forLanes(set & (set - 1), [&](unsigned lane) {
      result = reduce(ReduxOp(instr.kind), instr.type == Type::S32, result, static_cast<uint32_t>(a[lane]));
    });
    forLanes(set, [&](unsigned lane) { d[lane] = result; });
  });
}

void decodeRedux(Decoder &decoder) {
  decoder.require(80, 70, "redux.sync");
  requireSync(decoder);
  std::string_view op = decoder.takeAny({"add", "min", "max", "and", "or", "xor"});
  decoder.out.kind = op == "add"   ? ReduxAdd
                     : op == "min" ? ReduxMin
                     : op == "max" ? ReduxMax
                     : op == "and" ? ReduxAnd
                     : op == "or"  ? ReduxOr
                                   : ReduxXor;
  decoder.out.type = decoder.type();
  if (ptx::bitsOf(decoder.out.type) != 32 || decoder.out.type == Type::F32)
    decoder.fail("redux.sync exists for .u32, .s32 and .b32");
  decoder.expectOperands(3, 3);
  decoder.out.s[0] = decoder.value(1, Type::B32);
  decoder.out.s[4] = decoder.value(2, Type::B32);
  decoder.out.d[0] = decoder.destination(0, Type::B32);
  decoder.out.run = redux;
}

void activeMask(Warp &warp, const Instr &instr, uint32_t lanes) {
  uint64_t *d = warp.dest(instr.d[0]);
  forLanes(lanes, [=](unsigned lane) { d[lane] = lanes; });
}

void decodeActiveMask(Decoder &decoder) {
  decoder.type();
  decoder.expectOperands(1, 1);
  decoder.out.d[0] = decoder.destination(0, Type::B32);
  decoder.out.run = activeMask;
}

void elect(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *masks = members(warp, instr);
  if (!warp.syncArrival(instr, lanes, masks))
    return;
  uint64_t *d = warp.dest(instr.d[0]);
  byMask(lanes, masks, [&](uint32_t set) {
    unsigned leader = __builtin_ctz(set);
    forLanes(set, [&](unsigned lane) { d[lane] = leader; });
    warp.setPredicate(instr.p[0], set, 1u << leader);
  });
}

void decodeElect(Decoder &decoder) {
  decoder.require(90, 80, "elect.sync");
  requireSync(decoder);
  decoder.expectOperands(2, 2);
  decodeResult(decoder);
  decoder.out.s[4] = decoder.value(1, Type::B32);
  decoder.out.run = elect;
}

//===----------------------------------------------------------------------===//
// bar.warp.sync
//===----------------------------------------------------------------------===//

// The lanes of a mask may come from different places; all must name the same mask.
void warpBarrier(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *masks = members(warp, instr);
  uint32_t uniform = static_cast<uint32_t>(masks[__builtin_ctz(lanes)]);
  uint32_t self = warp.pc - 1;
  warp.spill(warp.active, warp.pc);
  for (uint32_t left = lanes; left;) {
    uniform = static_cast<uint32_t>(masks[__builtin_ctz(left)]);
    uint32_t here = 0, parked = 0;
    forLanes(left, [&](unsigned lane) { here |= uint32_t(static_cast<uint32_t>(masks[lane]) == uniform) << lane; });
    left &= ~here;
    unsigned first = __builtin_ctz(here);
    if (here & ~uniform)
      warp.fault(Report::SyncMask, instr, __builtin_ctz(here & ~uniform), "is not in its own member mask");
    if (uint32_t absent = uniform & ~warp.live)
      warp.fault(Report::SyncMask, instr, first,
                 "names lane " + std::to_string(__builtin_ctz(absent)) +
                     (warp.present & absent ? ", which has exited" : ", which does not exist"));
    forLanes(warp.waiting(Wait::Sync), [&](unsigned lane) {
      if (warp.waitMask[lane] == uniform && warp.program->code[warp.lanePc[lane]].run == warpBarrier)
        parked |= 1u << lane;
    });
    if ((here | parked) != uniform) {
      forLanes(here, [&](unsigned lane) { warp.waitMask[lane] = uniform; });
      warp.suspend(here, Wait::Sync, self);
      continue;
    }
    Join join;
    join.arrive(warp, uniform);
    KnowledgeRef known = join.finish();
    forLanes(uniform, [&](unsigned lane) { warp.known[lane] = known; });
    if (!parked)
      continue;
    forLanes(parked, [&](unsigned lane) { ++warp.lanePc[lane]; });
    warp.resume(parked);
  }
}

} // namespace

void decodeWarpBarrier(Decoder &decoder) {
  requireSync(decoder);
  decoder.expectOperands(1, 1);
  decoder.out.s[4] = decoder.value(0, Type::B32);
  decoder.out.run = warpBarrier;
}

void addWarpOps(DecodeTable &table) {
  table["shfl"] = decodeShuffle;
  table["vote"] = decodeVote;
  table["match"] = decodeMatch;
  table["redux"] = decodeRedux;
  table["activemask"] = decodeActiveMask;
  table["elect"] = decodeElect;
}

} // namespace gpusim
