// Data movement between registers: mov with packing and special registers, cvta, isspacep.
#include <chrono>

#include "test/gpusim/exec/lanes.h"

namespace gpusim {
namespace {

using ptx::Operand;
using ptx::Type;

void moveLanes(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *a = warp.source(instr.s[0]);
  uint64_t *d = warp.dest(instr.d[0]);
  forLanes(lanes, [=](unsigned lane) { d[lane] = a[lane]; });
}

void movePredicate(Warp &warp, const Instr &instr, uint32_t lanes) {
  warp.setPredicate(instr.p[0], lanes, warp.predicateSource(instr, 0));
}

// mov.b64 d, {a, b}: elements of instr.width bytes, the first one lowest.
void packLanes(Warp &warp, const Instr &instr, uint32_t lanes) {
  uint64_t *d = warp.dest(instr.d[0]);
  unsigned bits = instr.width * 8u;
  uint64_t mask = (1ull << bits) - 1;
  const uint64_t *sources[4] = {};
  for (unsigned i = 0; i < instr.count; ++i)
    sources[i] = warp.source(instr.s[i]);
  forLanes(lanes, [&](unsigned lane) {
    uint64_t value = 0;
    for (unsigned i = 0; i < instr.count; ++i)
      value |= (sources[i][lane] & mask) << (bits * i);
    d[lane] = value;
  });
}

void unpackLanes(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *a = warp.source(instr.s[0]);
  unsigned bits = instr.width * 8u;
  uint64_t mask = (1ull << bits) - 1;
  forLanes(lanes, [&](unsigned lane) {
    uint64_t value = a[lane];
    for (unsigned i = 0; i < instr.count; ++i)
      warp.dest(instr.d[i])[lane] = value >> (bits * i) & mask;
  });
}

//===----------------------------------------------------------------------===//
// Special registers
//===----------------------------------------------------------------------===//

enum Special : uint8_t {
  TidX,
  TidY,
  TidZ,
  NtidX,
  NtidY,
  NtidZ,
  CtaidX,
  CtaidY,
  CtaidZ,
  NctaidX,
  NctaidY,
  NctaidZ,
  LaneId,
  WarpId,
  NwarpId,
  SmId,
  NsmId,
  GridId,
  MaskEq,
  MaskLe,
  MaskLt,
  MaskGe,
  MaskGt,
  Clock,
  GlobalTimer,
  GlobalTimerHigh,
  DynamicShared,
  TotalShared,
  Zero,
  FrameAddress,
};

constexpr std::pair<const char *, Special> specials[] = {{"tid.x", TidX},
                                                         {"tid.y", TidY},
                                                         {"tid.z", TidZ},
                                                         {"ntid.x", NtidX},
                                                         {"ntid.y", NtidY},
                                                         {"ntid.z", NtidZ},
                                                         {"ctaid.x", CtaidX},
                                                         {"ctaid.y", CtaidY},
                                                         {"ctaid.z", CtaidZ},
                                                         {"nctaid.x", NctaidX},
                                                         {"nctaid.y", NctaidY},
                                                         {"nctaid.z", NctaidZ},
                                                         {"laneid", LaneId},
                                                         {"warpid", WarpId},
                                                         {"nwarpid", NwarpId},
                                                         {"smid", SmId},
                                                         {"nsmid", NsmId},
                                                         {"gridid", GridId},
                                                         {"lanemask_eq", MaskEq},
                                                         {"lanemask_le", MaskLe},
                                                         {"lanemask_lt", MaskLt},
                                                         {"lanemask_ge", MaskGe},
                                                         {"lanemask_gt", MaskGt},
                                                         {"clock", Clock},
                                                         {"clock64", Clock},
                                                         {"clock_hi", Zero},
                                                         {"globaltimer", GlobalTimer},
                                                         {"globaltimer_lo", GlobalTimer},
                                                         {"globaltimer_hi", GlobalTimerHigh},
                                                         {"dynamic_smem_size", DynamicShared},
                                                         {"total_smem_size", TotalShared},
                                                         {"(frame)", FrameAddress},
                                                         {"tid.w", Zero},
                                                         {"ctaid.w", Zero}};

uint64_t nanoseconds() { return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()); }

// The value of a register that is the same for all lanes.
uint64_t uniformSpecial(Warp &warp, const Instr &instr) {
  const Block &block = *warp.block;
  const Dim3 &size = block.launch->block, &grid = block.launch->grid;
  switch (Special(instr.kind)) {
  case NtidX:
    return size.x;
  case NtidY:
    return size.y;
  case NtidZ:
    return size.z;
  case CtaidX:
    return block.at.x;
  case CtaidY:
    return block.at.y;
  case CtaidZ:
    return block.at.z;
  case NctaidX:
    return grid.x;
  case NctaidY:
    return grid.y;
  case NctaidZ:
    return grid.z;
  case WarpId:
    return warp.index;
  case NwarpId:
    return block.warps.size();
  case NsmId:
    return 1;
  case Clock:
    return block.executed + warp.executed + ++warp.clockReads; // goes on within a turn, too
  case GlobalTimer:
    return nanoseconds();
  case GlobalTimerHigh:
    return nanoseconds() >> 32;
  case DynamicShared:
    return block.launch->dynamicShared;
  case TotalShared:
    return block.shared.size();
  case FrameAddress:
    return warp.localBase + instr.imm;
  default:
    return 0;
  }
}

uint64_t laneSpecial(const Warp &warp, Special special, unsigned lane) {
  const Dim3 &size = warp.block->launch->block;
  uint32_t thread = warp.thread(lane);
  switch (special) {
  case TidX:
    return thread % size.x;
  case TidY:
    return thread / size.x % size.y;
  case TidZ:
    return thread / size.x / size.y;
  case MaskEq:
    return 1u << lane;
  case MaskLe:
    return (2ull << lane) - 1;
  case MaskLt:
    return (1u << lane) - 1;
  case MaskGe:
    return static_cast<uint32_t>(~0u << lane);
  case MaskGt:
    return static_cast<uint32_t>(~1ull << lane);
  default:
    return lane;
  }
}

void specialUniform(Warp &warp, const Instr &instr, uint32_t lanes) {
  uint64_t value = uniformSpecial(warp, instr), *d = warp.dest(instr.d[0]);
  forLanes(lanes, [=](unsigned lane) { d[lane] = value; });
}

void specialByLane(Warp &warp, const Instr &instr, uint32_t lanes) {
  uint64_t *d = warp.dest(instr.d[0]);
  forLanes(lanes, [&](unsigned lane) { d[lane] = laneSpecial(warp, Special(instr.kind), lane); });
}

bool isByLane(Special special) {
  return special <= TidZ || special == LaneId || (special >= MaskEq && special <= MaskGt);
}

//===----------------------------------------------------------------------===//
// Decoding
//===----------------------------------------------------------------------===//

void decodePack(Decoder &decoder, Type type, bool pack) {
  Instr &out = decoder.out;
  std::vector<const Operand *> list = decoder.elements(pack ? 1 : 0);
  if (list.empty() || list.size() > 4 || ptx::bytesOf(type) % list.size())
    decoder.fail("a vector of this length does not fill the type");
  out.count = static_cast<uint8_t>(list.size());
  out.width = static_cast<uint8_t>(ptx::bytesOf(type) / list.size());
  Type element = out.width == 4 ? Type::B32 : out.width == 2 ? Type::B16 : Type::B8;
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i]->kind == Operand::Register && ptx::bytesOf(list[i]->type) != out.width)
      decoder.fail("the elements of the vector do not fill the type");
    if (pack)
      out.s[i] = decoder.value(*list[i], element);
    else
      out.d[i] = decoder.destination(*list[i]);
  }
  if (pack)
    out.d[0] = decoder.destination(0, type);
  else
    out.s[0] = decoder.value(1, type);
  out.run = pack ? packLanes : unpackLanes;
}

void decodeMov(Decoder &decoder) {
  Instr &out = decoder.out;
  Type type = decoder.type();
  decoder.expectOperands(2, 2);
  out.type = type;
  if (type == Type::Pred) {
    out.p[0] = decoder.predicateDestination(decoder.operand(0));
    decoder.predicateSource(decoder.operand(1), out.p[2], out.negated[0]);
    out.run = movePredicate;
    return;
  }
  if (decoder.operand(1).kind == Operand::Vector)
    return decodePack(decoder, type, true);
  if (decoder.operand(0).kind == Operand::Vector)
    return decodePack(decoder, type, false);
  if (decoder.operand(1).kind == Operand::Special) {
    Instr guard = out;
    decodeSpecial(decoder, decoder.operand(1).name, decoder.destination(0, type));
    Instr &emitted = decoder.program.code.back();
    emitted.guard = guard.guard;
    emitted.guardNegated = guard.guardNegated;
    out.run = nullptr;
    return;
  }
  out.s[0] = decoder.value(1, type);
  out.d[0] = decoder.destination(0, type);
  out.run = moveLanes;
}

//===----------------------------------------------------------------------===//
// Generic addresses
//===----------------------------------------------------------------------===//

uint64_t windowOf(ptx::Space space) {
  switch (space) {
  case ptx::Space::Shared:
    return sharedWindow;
  case ptx::Space::Local:
    return localWindow;
  case ptx::Space::Param:
    return paramWindow;
  default:
    return 0;
  }
}

void addWindow(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *a = warp.source(instr.s[0]);
  uint64_t *d = warp.dest(instr.d[0]), window = instr.imm, mask = instr.width == 4 ? 0xffffffffull : ~0ull;
  forLanes(lanes, [=](unsigned lane) { d[lane] = ((a[lane] & mask) + window) & mask; });
}

void decodeCvta(Decoder &decoder) {
  bool to = decoder.flag("to");
  ptx::Space space = decoder.space();
  Type type = decoder.type();
  decodeSources(decoder, type, 1);
  // A parameter of a device function lies in local memory.
  if (space == ptx::Space::Param && !decoder.function.entry)
    space = ptx::Space::Local;
  decoder.out.width = static_cast<uint8_t>(ptx::bytesOf(type));
  decoder.out.imm = to ? 0 - windowOf(space) : windowOf(space);
  decoder.out.run = addWindow;
}

void isSpaceLanes(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *a = warp.source(instr.s[0]);
  uint32_t result = 0;
  forLanes(lanes, [&](unsigned lane) {
    bool inside = instr.imm ? a[lane] - instr.imm < windowSize : GlobalMemory::isDeviceAddress(a[lane]);
    result |= uint32_t(inside) << lane;
  });
  warp.setPredicate(instr.p[0], lanes, result);
}

void decodeIsspacep(Decoder &decoder) {
  decoder.out.imm = windowOf(decoder.space());
  decoder.expectOperands(2, 2);
  decoder.out.p[0] = decoder.predicateDestination(decoder.operand(0));
  decoder.out.s[0] = decoder.value(1, Type::B64);
  decoder.out.run = isSpaceLanes;
}

} // namespace

void decodeSpecial(Decoder &decoder, const std::string &name, int32_t destination) {
  for (const auto &[known, special] : specials) {
    if (name != known)
      continue;
    Instr instr;
    instr.line = decoder.out.line;
    instr.kind = special;
    instr.d[0] = destination;
    instr.run = isByLane(special) ? specialByLane : specialUniform;
    decoder.program.code.push_back(instr);
    return;
  }
  decoder.fail("the register %" + name + " is not declared and not a known special register");
}

void addMoveOps(DecodeTable &table) {
  table["mov"] = decodeMov;
  table["cvta"] = decodeCvta;
  table["isspacep"] = decodeIsspacep;
}

} // namespace gpusim
