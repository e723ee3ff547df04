// Matrix instructions of whole warps: mma.sync, ldmatrix, stmatrix, movmatrix. The arithmetic of mma is in isa/.
#include "test/gpusim/exec/access.h"

namespace gpusim {
namespace {

using ptx::Space;
using ptx::Type;

// These need all 32 lanes; false: they wait for others of the warp.
bool wholeWarp(Warp &warp, const Instr &instr, uint32_t lanes) {
  if (!warp.alignedArrival(instr, lanes))
    return false;
  if (lanes != allLanes)
    warp.fault(Report::Divergence, instr, __builtin_ctz(lanes),
               "needs all 32 lanes of the warp, lane " + std::to_string(__builtin_ctz(~lanes)) +
                   (warp.present & ~lanes ? " has exited" : " does not exist"));
  return true;
}

//===----------------------------------------------------------------------===//
// mma.sync; the operands' slots are in Program::slotLists[target]: d, a, b, c
//===----------------------------------------------------------------------===//

struct MmaShape {
  const char *name;
  uint8_t k;
};
constexpr MmaShape shapes[] = {{"m16n8k4", 4}, {"m16n8k8", 8}, {"m16n8k16", 16}, {"m16n8k32", 32}};

MmaKind mmaKind(const Instr &instr) {
  MmaKind kind;
  kind.a = MmaOperand(instr.imm & 0xff);
  kind.b = MmaOperand(instr.imm >> 8 & 0xff);
  kind.accumulator = MmaAccumulator(instr.imm >> 16 & 0xff);
  kind.k = instr.width;
  kind.satfinite = instr.flags;
  return kind;
}

void mmaLanes(Warp &warp, const Instr &instr, uint32_t lanes) {
  if (!wholeWarp(warp, instr, lanes))
    return;
  MmaKind kind = mmaKind(instr);
  MmaRegisters count = mmaRegisters(kind);
  uint32_t a[4][32], b[4][32], c[4][32], d[4][32];
  const int32_t *slots = warp.program->slotLists[instr.target].list.data() + count.c;
  auto gather = [&](uint32_t (*to)[32], int registers) {
    for (int i = 0; i < registers; ++i, ++slots) {
      const uint64_t *from = warp.source(*slots);
      for (unsigned lane = 0; lane < 32; ++lane)
        to[i][lane] = static_cast<uint32_t>(from[lane]);
    }
  };
  gather(a, count.a);
  gather(b, count.b);
  gather(c, count.c);
  mma(kind, a, b, c, d);
  for (int i = 0; i < count.c; ++i) {
    uint64_t *to = warp.dest(warp.program->slotLists[instr.target].list[i]);
    for (unsigned lane = 0; lane < 32; ++lane)
      to[lane] = d[i][lane];
  }
}

MmaOperand mmaOperand(Decoder &decoder, Type type) {
  switch (type) {
  case Type::F16:
    return MmaOperand::F16;
  case Type::BF16:
    return MmaOperand::BF16;
  case Type::TF32:
    return MmaOperand::TF32;
  case Type::E4M3:
    return MmaOperand::E4M3;
  case Type::E5M2:
    return MmaOperand::E5M2;
  case Type::S8:
    return MmaOperand::S8;
  case Type::U8:
    return MmaOperand::U8;
  default:
    decoder.fail("mma.sync does not know this type");
  }
}

void appendSlots(Decoder &decoder, std::vector<int32_t> &slots, size_t operand, int count, bool isDestination) {
  std::vector<const ptx::Operand *> list = decoder.elements(operand);
  if (static_cast<int>(list.size()) != count)
    decoder.fail("operand " + std::to_string(operand + 1) + " has " + std::to_string(list.size()) +
                 " registers, this mma takes " + std::to_string(count));
  for (const ptx::Operand *element : list)
    slots.push_back(isDestination ? decoder.destination(*element, Type::B32) : decoder.value(*element, Type::B32));
}

void requireMma(Decoder &decoder, Type a, Type accumulator, uint8_t k) {
  if (a == Type::E4M3 || a == Type::E5M2)
    decoder.require(89, k == 16 || accumulator == Type::F16 ? 87 : 84, "this mma.sync of fp8");
  else if (a == Type::F16 && k == 8)
    decoder.require(75, 65, "mma.sync m16n8k8");
  else
    decoder.require(80, 70, "this mma.sync");
}

void decodeMma(Decoder &decoder) {
  Instr &out = decoder.out;
  if (!decoder.flag("sync") || !decoder.flag("aligned"))
    decoder.fail("mma needs .sync.aligned");
  for (const MmaShape &shape : shapes)
    if (decoder.flag(shape.name))
      out.width = shape.k;
  if (!out.width || !decoder.flag("row") || !decoder.flag("col"))
    decoder.fail("only mma.sync.aligned.m16n8k{4,8,16,32}.row.col is known");
  out.flags = decoder.flag("satfinite");
  Type d = decoder.type(), a = decoder.type(), b = decoder.type(), c = decoder.type();
  if (d != c)
    decoder.fail("the accumulators must have the same type");
  MmaAccumulator accumulator = d == Type::F32   ? MmaAccumulator::F32
                               : d == Type::F16 ? MmaAccumulator::F16
                                                : MmaAccumulator::S32;
  if (d != Type::F32 && d != Type::F16 && d != Type::S32)
    decoder.fail("the accumulator must be .f32, .f16 or .s32");
  out.imm = uint64_t(mmaOperand(decoder, a)) | uint64_t(mmaOperand(decoder, b)) << 8 | uint64_t(accumulator) << 16;
  MmaRegisters count = mmaRegisters(mmaKind(out));
  if (!count.valid)
    decoder.fail("this combination of shape and types is not known");
  requireMma(decoder, a, d, out.width);
  decoder.expectOperands(4, 4);
  std::vector<int32_t> slots;
  appendSlots(decoder, slots, 0, count.c, true);
  appendSlots(decoder, slots, 1, count.a, false);
  appendSlots(decoder, slots, 2, count.b, false);
  appendSlots(decoder, slots, 3, count.c, false);
  out.d[0] = slots[0];
  out.target = decoder.slotList(std::move(slots));
  out.control = Control::Sync;
  out.run = mmaLanes;
}

//===----------------------------------------------------------------------===//
// ldmatrix, stmatrix: 8 x 8 matrices of 16-bit elements, a row of 16 bytes per address
//===----------------------------------------------------------------------===//

enum Flags : uint8_t { Transposed = 1 };

void matrixAddresses(Warp &warp, const Instr &instr, Addresses &addresses) {
  gatherAddresses(warp, instr.memory, allLanes, addresses);
  bySpace(instr.space, allLanes, addresses, [&](Space space, uint32_t) {
    if (space != Space::Shared)
      warp.fault(Report::OutOfBounds, instr, 0, "needs addresses in shared memory", addresses[0], "global");
  });
  uint32_t used = instr.count == 4 ? allLanes : (1u << (8 * instr.count)) - 1;
  checkAligned(warp, instr, used, addresses, 16, Space::Shared);
}

void loadMatrix(Warp &warp, const Instr &instr, uint32_t lanes) {
  if (!wholeWarp(warp, instr, lanes))
    return;
  Addresses addresses;
  matrixAddresses(warp, instr, addresses);
  for (unsigned m = 0; m < instr.count; ++m) {
    uint16_t rows[8][8];
    for (unsigned row = 0; row < 8; ++row) {
      unsigned lane = m * 8 + row;
      const uint8_t *bytes = sharedBytes(warp, instr, lane, addresses[lane], 16, "reads");
      warp.block->shadow.access(warp, instr, lane, static_cast<uint32_t>(addresses[lane]), 16, SharedAccess::WarpRead);
      std::memcpy(rows[row], bytes, 16);
    }
    uint64_t *d = warp.dest(instr.d[m]);
    for (unsigned lane = 0; lane < 32; ++lane) {
      unsigned major = lane / 4, minor = lane % 4 * 2;
      bool transposed = instr.flags & Transposed;
      uint32_t low = transposed ? rows[minor][major] : rows[major][minor];
      uint32_t high = transposed ? rows[minor + 1][major] : rows[major][minor + 1];
      d[lane] = low | high << 16;
    }
  }
}

void storeMatrix(Warp &warp, const Instr &instr, uint32_t lanes) {
  if (!wholeWarp(warp, instr, lanes))
    return;
  Addresses addresses;
  matrixAddresses(warp, instr, addresses);
  for (unsigned m = 0; m < instr.count; ++m) {
    const uint64_t *s = warp.source(instr.s[m]);
    uint16_t rows[8][8];
    for (unsigned lane = 0; lane < 32; ++lane) {
      unsigned major = lane / 4, minor = lane % 4 * 2;
      bool transposed = instr.flags & Transposed;
      (transposed ? rows[minor][major] : rows[major][minor]) = static_cast<uint16_t>(s[lane]);
      (transposed ? rows[minor + 1][major] : rows[major][minor + 1]) = static_cast<uint16_t>(s[lane] >> 16);
    }
    for (unsigned row = 0; row < 8; ++row) {
      unsigned lane = m * 8 + row;
      uint8_t *bytes = sharedBytes(warp, instr, lane, addresses[lane], 16, "writes");
      warp.block->shadow.access(warp, instr, lane, static_cast<uint32_t>(addresses[lane]), 16, SharedAccess::Write);
      std::memcpy(bytes, rows[row], 16);
    }
  }
}

void decodeMatrix(Decoder &decoder) {
  Instr &out = decoder.out;
  bool isLoad = decoder.opcode() == "ldmatrix";
  if (!decoder.flag("sync") || !decoder.flag("aligned") || !decoder.flag("m8n8"))
    decoder.fail("only .sync.aligned.m8n8 is known");
  std::string_view count = decoder.takeAny({"x1", "x2", "x4"});
  if (count.empty())
    decoder.fail("'" + decoder.opcode() + "' needs .x1, .x2 or .x4");
  out.count = static_cast<uint8_t>(count[1] - '0');
  out.flags = decoder.flag("trans") ? Transposed : 0;
  out.space = decoder.space();
  if (decoder.type() != Type::B16)
    decoder.fail("only .b16 is known");
  decoder.require(isLoad ? 75 : 90, isLoad ? 65 : 78, "'" + decoder.opcode() + "'");
  decoder.expectOperands(2, 2);
  size_t addressAt = isLoad ? 1 : 0;
  out.memory = decoder.memory(addressAt, out.space);
  std::vector<const ptx::Operand *> list = decoder.elements(1 - addressAt);
  if (list.size() != out.count)
    decoder.fail("the vector must have " + std::to_string(out.count) + " registers");
  for (size_t i = 0; i < list.size(); ++i) {
    if (isLoad)
      out.d[i] = decoder.destination(*list[i], Type::B32);
    else
      out.s[i] = decoder.value(*list[i], Type::B32);
  }
  out.control = Control::Sync;
  out.run = isLoad ? loadMatrix : storeMatrix;
}

// movmatrix: transposes an 8 x 8 matrix held by the warp.
void moveMatrix(Warp &warp, const Instr &instr, uint32_t lanes) {
  if (!wholeWarp(warp, instr, lanes))
    return;
  const uint64_t *s = warp.source(instr.s[0]);
  uint16_t rows[8][8];
  for (unsigned lane = 0; lane < 32; ++lane) {
    rows[lane / 4][lane % 4 * 2] = static_cast<uint16_t>(s[lane]);
    rows[lane / 4][lane % 4 * 2 + 1] = static_cast<uint16_t>(s[lane] >> 16);
  }
  uint64_t *d = warp.dest(instr.d[0]);
  for (unsigned lane = 0; lane < 32; ++lane)
    d[lane] = rows[lane % 4 * 2][lane / 4] | uint32_t(rows[lane % 4 * 2 + 1][lane / 4]) << 16;
}

void decodeMoveMatrix(Decoder &decoder) {
  decoder.require(75, 78, "movmatrix");
  for (const char *name : {"sync", "aligned", "m8n8", "trans", "b16"})
    if (!decoder.flag(name))
      decoder.fail("only movmatrix.sync.aligned.m8n8.trans.b16 is known");
  decodeSources(decoder, Type::B32, 1);
  decoder.out.control = Control::Sync;
  decoder.out.run = moveMatrix;
}

} // namespace

void addMatrixOps(DecodeTable &table) {
  table["mma"] = decodeMma;
  table["ldmatrix"] = table["stmatrix"] = decodeMatrix;
  table["movmatrix"] = decodeMoveMatrix;
}

} // namespace gpusim
