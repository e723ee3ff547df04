// cvt in all its forms; the values come from isa/.
#include "test/gpusim/exec/lanes.h"

namespace gpusim {
namespace {

using ptx::Type;

CvtMode modeOf(const Instr &instr) {
  CvtMode mode;
  mode.round = instr.fp.round;
  mode.ftz = instr.fp.ftz;
  mode.sat = instr.fp.sat;
  mode.relu = instr.fp.relu;
  mode.integral = instr.flags & 1;
  mode.satfinite = instr.flags & 2;
  return mode;
}

NumType numType(Type type) {
  switch (type) {
  case Type::U8:
  case Type::B8:
    return NumType::U8;
  case Type::U16:
  case Type::B16:
    return NumType::U16;
  case Type::U32:
  case Type::B32:
    return NumType::U32;
  case Type::U64:
  case Type::B64:
    return NumType::U64;
  case Type::S8:
    return NumType::S8;
  case Type::S16:
    return NumType::S16;
  case Type::S32:
    return NumType::S32;
  case Type::S64:
    return NumType::S64;
  case Type::F16:
    return NumType::F16;
  case Type::BF16:
    return NumType::BF16;
  case Type::TF32:
    return NumType::TF32;
  case Type::F32:
    return NumType::F32;
  default:
    return NumType::F64;
  }
}

// Integers to integers without saturation: the commonest form.
template <class From, bool Signed> void resizeLanes(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *a = warp.source(instr.s[0]);
  uint64_t *d = warp.dest(instr.d[0]);
  forLanes(lanes, [=](unsigned lane) {
    From value = static_cast<From>(a[lane]);
    d[lane] = Signed ? static_cast<uint64_t>(static_cast<int64_t>(value)) : static_cast<uint64_t>(value);
  });
}

struct General {
  static uint64_t apply(const Instr &instr, uint64_t a) {
    return convert(NumType(instr.kind), NumType(instr.count), a, modeOf(instr));
  }
};
struct PackHalf {
  static uint64_t apply(const Instr &instr, uint64_t a, uint64_t b) {
    return packHalf(instr.kind ? HalfType::BF16 : HalfType::F16, uint32_t(a), uint32_t(b), modeOf(instr));
  }
};
struct PackFp8 {
  static uint64_t apply(const Instr &instr, uint64_t a, uint64_t b) {
    return packFp8(instr.kind ? Fp8Type::E5M2 : Fp8Type::E4M3, uint32_t(a), uint32_t(b), instr.fp.relu);
  }
};
struct PackFp8FromHalf {
  static uint64_t apply(const Instr &instr, uint64_t a) {
    return packFp8FromHalf(instr.kind ? Fp8Type::E5M2 : Fp8Type::E4M3, uint32_t(a), instr.fp.relu);
  }
};
struct UnpackFp8 {
  static uint64_t apply(const Instr &instr, uint64_t a) {
    return unpackFp8(instr.kind ? Fp8Type::E5M2 : Fp8Type::E4M3, uint16_t(a), instr.fp.relu);
  }
};

// cvt.pack.sat.d.s32{.b32} d, a, b{, c}: saturates two values to 8 or 16 bits; c supplies what is shifted up.
struct PackIntegers {
  static uint64_t apply(const Instr &instr, uint64_t a, uint64_t b, uint64_t c) {
    CvtMode mode;
    mode.sat = true;
    unsigned bits = instr.width * 8u;
    uint64_t mask = (1ull << bits) - 1;
    uint64_t high = convert(NumType(instr.kind), NumType::S32, a, mode) & mask;
    uint64_t low = convert(NumType(instr.kind), NumType::S32, b, mode) & mask;
    return static_cast<uint32_t>(low | high << bits | (bits == 8 ? c << 16 : 0));
  }
};

Handler resizeHandler(Type from) {
  switch (from) {
  case Type::U8:
  case Type::B8:
    return resizeLanes<uint8_t, false>;
  case Type::U16:
  case Type::B16:
    return resizeLanes<uint16_t, false>;
  case Type::U32:
  case Type::B32:
    return resizeLanes<uint32_t, false>;
  case Type::S8:
    return resizeLanes<int8_t, true>;
  case Type::S16:
    return resizeLanes<int16_t, true>;
  case Type::S32:
    return resizeLanes<int32_t, true>;
  default:
    return resizeLanes<uint64_t, false>;
  }
}

bool isFp8(Type type) { return type == Type::E4M3x2 || type == Type::E5M2x2; }
bool isHalfPair(Type type) { return type == Type::F16x2 || type == Type::BF16x2; }

void takeModifiers(Decoder &decoder) {
  Instr &out = decoder.out;
  std::string_view integral = decoder.takeAny({"rni", "rzi", "rmi", "rpi"});
  bool away = decoder.flag("rna");
  out.fp = decoder.fpMode();
  if (!integral.empty()) {
    out.fp.round = integral == "rzi"   ? Round::Rz
                   : integral == "rmi" ? Round::Rm
                   : integral == "rpi" ? Round::Rp
                                       : Round::Rn;
    out.flags |= 1;
  }
  if (away)
    out.fp.round = Round::Rna;
  out.fp.relu = decoder.flag("relu");
  if (decoder.flag("satfinite"))
    out.flags |= 2;
}

void decodePacking(Decoder &decoder, Type to, Type from) {
  Instr &out = decoder.out;
  bool two = from == Type::F32;
  decodeSources(decoder, two ? Type::F32 : from, two ? 2 : 1, to);
  if (isHalfPair(to) && two) {
    decoder.require(80, 70, "cvt to a pair of halves");
    out.kind = to == Type::BF16x2;
    out.run = binaryBits<PackHalf>;
    return;
  }
  if (isFp8(to) || isFp8(from)) {
    if (decoder.program.sm == 89)
      decoder.require(89, 81, "cvt of fp8");
    decoder.require(89, 78, "cvt of fp8");
  }
  if (isFp8(to)) {
    if (!(out.flags & 2))
      decoder.fail("cvt to fp8 needs .satfinite");
    out.kind = to == Type::E5M2x2;
    setHandler(decoder, two ? binaryBits<PackFp8> : from == Type::F16x2 ? unaryBits<PackFp8FromHalf> : nullptr);
    return;
  }
  out.kind = from == Type::E5M2x2;
  setHandler(decoder, isFp8(from) && to == Type::F16x2 ? unaryBits<UnpackFp8> : nullptr);
}

void decodePackIntegers(Decoder &decoder) {
  decoder.flag("sat");
  Type to = decoder.type();
  decoder.type();
  bool third = decoder.optionalType() != Type::None;
  Instr &out = decoder.out;
  decoder.expectOperands(third ? 4 : 3, third ? 4 : 3);
  out.kind = static_cast<uint8_t>(numType(to));
  out.width = static_cast<uint8_t>(ptx::bytesOf(to));
  out.s[0] = decoder.value(1, Type::B32);
  out.s[1] = decoder.value(2, Type::B32);
  out.s[2] = third ? decoder.value(3, Type::B32) : decoder.constant(0);
  out.d[0] = decoder.destination(0, Type::B32);
  out.run = ternaryBits<PackIntegers>;
}

void decodeCvt(Decoder &decoder) {
  if (decoder.flag("pack"))
    return decodePackIntegers(decoder);
  Instr &out = decoder.out;
  takeModifiers(decoder);
  Type to = decoder.type(), from = decoder.type();
  if (isHalfPair(to) || isFp8(to) || isFp8(from))
    return decodePacking(decoder, to, from);
  bool bf16 = to == Type::BF16 || from == Type::BF16;
  if (bf16 && !(to == Type::BF16 && from == Type::F32) && !(from == Type::BF16 && to == Type::F32))
    decoder.require(90, 78, "cvt between bf16 and types other than f32");
  if (from == Type::BF16 && to == Type::F32)
    decoder.require(80, 71, "cvt.f32.bf16");
  if (to == Type::TF32 && out.fp.round != Round::Rna)
    decoder.require(90, 78, "cvt.rn.tf32 and cvt.rz.tf32");
  if (to == Type::BF16 || to == Type::TF32)
    decoder.require(80, 70, "cvt to this type");
  decodeSources(decoder, from, 1, to);
  out.kind = static_cast<uint8_t>(numType(to));
  out.count = static_cast<uint8_t>(numType(from));
  bool floats = isFloat(numType(to)) || isFloat(numType(from));
  if (!floats && !out.fp.sat && ptx::bitsOf(to) >= ptx::bitsOf(from))
    out.run = resizeHandler(from);
  else
    out.run = unaryBits<General>;
}

} // namespace

void addConvertOps(DecodeTable &table) { table["cvt"] = decodeCvt; }

} // namespace gpusim
