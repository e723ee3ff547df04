// Floating-point arithmetic of f32, f64 and the halves; the values come from isa/.
#include "test/gpusim/exec/lanes.h"

namespace gpusim {
namespace {

using ptx::Type;

//===----------------------------------------------------------------------===//
// f32 and f64
//===----------------------------------------------------------------------===//

// The round-to-nearest forms without modifiers, which nearly all instructions are; the compiler vectorises them.
struct PlainAdd {
  static uint64_t apply(const Instr &, uint64_t a, uint64_t b) {
    return canonicalF32(asF32(uint32_t(a)) + asF32(uint32_t(b)));
  }
};
struct PlainSub {
  static uint64_t apply(const Instr &, uint64_t a, uint64_t b) {
    return canonicalF32(asF32(uint32_t(a)) - asF32(uint32_t(b)));
  }
};
struct PlainMul {
  static uint64_t apply(const Instr &, uint64_t a, uint64_t b) {
    return canonicalF32(asF32(uint32_t(a)) * asF32(uint32_t(b)));
  }
};
struct PlainFma {
  static uint64_t apply(const Instr &, uint64_t a, uint64_t b, uint64_t c) {
    return canonicalF32(std::fma(asF32(uint32_t(a)), asF32(uint32_t(b)), asF32(uint32_t(c))));
  }
};

#define GPUSIM_BINARY(NAME, CALL)                                                                                      \
  struct NAME {                                                                                                        \
    static uint64_t apply(const Instr &instr, uint64_t x, uint64_t y) {                                                \
      (void)instr;                                                                                                     \
      [[maybe_unused]] uint32_t a = uint32_t(x), b = uint32_t(y);                                                      \
      return CALL;                                                                                                     \
    }                                                                                                                  \
  };
#define GPUSIM_UNARY(NAME, CALL)                                                                                       \
  struct NAME {                                                                                                        \
    static uint64_t apply(const Instr &instr, uint64_t x) {                                                            \
      (void)instr;                                                                                                     \
      [[maybe_unused]] uint32_t a = uint32_t(x);                                                                       \
      return CALL;                                                                                                     \
    }                                                                                                                  \
  };

// Instr::flags of min and max.
enum MinMaxFlags : uint8_t { FlagNan = 1, FlagXorsign = 2 };
MinMaxMode minMaxMode(const Instr &instr) {
  return {instr.fp.ftz, (instr.flags & FlagNan) != 0, (instr.flags & FlagXorsign) != 0};
}

GPUSIM_BINARY(AddF32, addF32(a, b, instr.fp))
GPUSIM_BINARY(SubF32, subF32(a, b, instr.fp))
GPUSIM_BINARY(MulF32, mulF32(a, b, instr.fp))
GPUSIM_BINARY(DivF32, divF32(a, b, instr.fp))
GPUSIM_BINARY(DivApproxF32, divApproxF32(a, b, instr.fp.ftz))
GPUSIM_BINARY(DivFullF32, divFullF32(a, b, instr.fp.ftz))
GPUSIM_BINARY(MinF32, minF32(a, b, minMaxMode(instr)))
GPUSIM_BINARY(MaxF32, maxF32(a, b, minMaxMode(instr)))
GPUSIM_UNARY(AbsF32, absF32(a, instr.fp.ftz))
GPUSIM_UNARY(NegF32, negF32(a, instr.fp.ftz))
GPUSIM_BINARY(AddF64, addF64(x, y, instr.fp.round))
GPUSIM_BINARY(SubF64, subF64(x, y, instr.fp.round))
GPUSIM_BINARY(MulF64, mulF64(x, y, instr.fp.round))
GPUSIM_BINARY(DivF64, divF64(x, y, instr.fp.round))
GPUSIM_BINARY(MinF64, minF64(x, y))
GPUSIM_BINARY(MaxF64, maxF64(x, y))
GPUSIM_UNARY(AbsF64, x & 0x7fffffffffffffffull)
GPUSIM_UNARY(NegF64, x ^ 0x8000000000000000ull)

struct FmaF32 {
  static uint64_t apply(const Instr &instr, uint64_t a, uint64_t b, uint64_t c) {
    return fmaF32(uint32_t(a), uint32_t(b), uint32_t(c), instr.fp);
  }
};
struct FmaF64 {
  static uint64_t apply(const Instr &instr, uint64_t a, uint64_t b, uint64_t c) {
    return fmaF64(a, b, c, instr.fp.round);
  }
};

//===----------------------------------------------------------------------===//
// Halves: Instr::kind is the HalfOp, flags bit 0 says bf16
//===----------------------------------------------------------------------===//

HalfType halfType(const Instr &instr) { return instr.flags & 1 ? HalfType::BF16 : HalfType::F16; }

struct HalfTernary {
  static uint64_t apply(const Instr &instr, uint64_t a, uint64_t b, uint64_t c) {
    return halfOp(HalfOp(instr.kind), halfType(instr), uint16_t(a), uint16_t(b), uint16_t(c), instr.fp);
  }
};
struct HalfBinary {
  static uint64_t apply(const Instr &instr, uint64_t a, uint64_t b) { return HalfTernary::apply(instr, a, b, 0); }
};
struct HalfUnary {
  static uint64_t apply(const Instr &instr, uint64_t a) { return HalfTernary::apply(instr, a, 0, 0); }
};
struct PackedTernary {
  static uint64_t apply(const Instr &instr, uint64_t a, uint64_t b, uint64_t c) {
    return halfOp2(HalfOp(instr.kind), halfType(instr), uint32_t(a), uint32_t(b), uint32_t(c), instr.fp);
  }
};
struct PackedBinary {
  static uint64_t apply(const Instr &instr, uint64_t a, uint64_t b) { return PackedTernary::apply(instr, a, b, 0); }
};
struct PackedUnary {
  static uint64_t apply(const Instr &instr, uint64_t a) { return PackedTernary::apply(instr, a, 0, 0); }
};

bool isBf16(Type type) { return type == Type::BF16 || type == Type::BF16x2; }
bool isPacked(Type type) { return type == Type::F16x2 || type == Type::BF16x2; }

void setHalf(Decoder &decoder, Type type, HalfOp op, unsigned sources) {
  decodeSources(decoder, type, sources);
  decoder.out.kind = static_cast<uint8_t>(op);
  decoder.out.flags = isBf16(type);
  bool packed = isPacked(type);
  decoder.out.run = sources == 3   ? (packed ? ternaryBits<PackedTernary> : ternaryBits<HalfTernary>)
                    : sources == 2 ? (packed ? binaryBits<PackedBinary> : binaryBits<HalfBinary>)
                                   : (packed ? unaryBits<PackedUnary> : unaryBits<HalfUnary>);
}

//===----------------------------------------------------------------------===//
// Functions of one operand, mostly approximations
//===----------------------------------------------------------------------===//

GPUSIM_UNARY(Ex2, ex2F32(a, instr.fp.ftz))
GPUSIM_UNARY(Lg2, lg2F32(a, instr.fp.ftz))
GPUSIM_UNARY(Sin, sinF32(a, instr.fp.ftz))
GPUSIM_UNARY(Cos, cosF32(a, instr.fp.ftz))
GPUSIM_UNARY(Tanh, tanhF32(a))
GPUSIM_UNARY(RcpApprox, rcpApproxF32(a, instr.fp.ftz))
GPUSIM_UNARY(RsqrtApprox, rsqrtApproxF32(a, instr.fp.ftz))
GPUSIM_UNARY(SqrtApprox, sqrtApproxF32(a, instr.fp.ftz))
GPUSIM_UNARY(Rcp, rcpF32(a, instr.fp))
GPUSIM_UNARY(Sqrt, sqrtF32(a, instr.fp))
GPUSIM_UNARY(RcpF64, rcpF64(x, instr.fp.round))
GPUSIM_UNARY(SqrtF64, sqrtF64(x, instr.fp.round))
GPUSIM_UNARY(RcpApproxF64, rcpApproxF64(x))
GPUSIM_UNARY(RsqrtApproxF64, rsqrtApproxF64(x))
GPUSIM_BINARY(CopysignF32, (a & 0x80000000u) | (b & 0x7fffffffu))
GPUSIM_BINARY(CopysignF64, (x & 0x8000000000000000ull) | (y & 0x7fffffffffffffffull))
#undef GPUSIM_BINARY
#undef GPUSIM_UNARY

void decodeFunction(Decoder &decoder) {
  const std::string &opcode = decoder.opcode();
  bool approx = decoder.flag("approx");
  bool rounded = decoder.hasFlag("rn") || decoder.hasFlag("rz") || decoder.hasFlag("rm") || decoder.hasFlag("rp");
  decoder.out.fp = decoder.fpMode();
  Type type = decoder.type();
  if (type != Type::F32 && type != Type::F64) {
    bool half = type == Type::F16 || type == Type::F16x2 || isBf16(type);
    if (!half || !approx || (opcode != "ex2" && opcode != "tanh"))
      decoder.fail("'" + opcode + "' does not exist for this type");
    decoder.require(isBf16(type) ? 90 : 75, isBf16(type) ? 78 : 70, "'" + opcode + "' of halves");
    return setHalf(decoder, type, opcode == "ex2" ? HalfOp::Ex2 : HalfOp::Tanh, 1);
  }
  decodeSources(decoder, type, 1);
  bool wide = type == Type::F64;
  if (approx == rounded)
    decoder.fail("'" + opcode + "' needs .approx or a rounding mode");
  Handler handler = nullptr;
  if (opcode == "rcp")
    handler = wide     ? (approx ? unaryBits<RcpApproxF64> : unaryBits<RcpF64>)
              : approx ? unaryBits<RcpApprox>
                       : unaryBits<Rcp>;
  else if (opcode == "sqrt")
    handler = wide ? (approx ? nullptr : unaryBits<SqrtF64>) : approx ? unaryBits<SqrtApprox> : unaryBits<Sqrt>;
  else if (opcode == "rsqrt")
    handler = !approx ? nullptr : wide ? unaryBits<RsqrtApproxF64> : unaryBits<RsqrtApprox>;
  else if (!wide && approx)
    handler = opcode == "ex2"   ? unaryBits<Ex2>
              : opcode == "lg2" ? unaryBits<Lg2>
              : opcode == "sin" ? unaryBits<Sin>
              : opcode == "cos" ? unaryBits<Cos>
                                : unaryBits<Tanh>;
  setHandler(decoder, handler);
}

void decodeCopysign(Decoder &decoder) {
  Type type = decoder.type();
  decodeSources(decoder, type, 2);
  setHandler(decoder, type == Type::F32   ? binaryBits<CopysignF32>
                      : type == Type::F64 ? binaryBits<CopysignF64>
                                          : nullptr);
}

void decodeDivF32(Decoder &decoder) {
  if (decoder.flag("approx"))
    decoder.out.run = binaryBits<DivApproxF32>;
  else if (decoder.flag("full"))
    decoder.out.run = binaryBits<DivFullF32>;
  else
    decoder.out.run = binaryBits<DivF32>;
  decoder.out.fp = decoder.fpMode();
  decodeSources(decoder, Type::F32, 2);
}

} // namespace

void decodeFloat(Decoder &decoder, Type type) {
  const std::string &opcode = decoder.opcode();
  bool wide = type == Type::F64;
  if (opcode == "div" && !wide)
    return decodeDivF32(decoder);
  Instr &out = decoder.out;
  out.fp = decoder.fpMode();
  out.flags = (decoder.flag("NaN") ? FlagNan : 0) | (decoder.flag("xorsign") ? FlagXorsign : 0);
  if (out.flags & FlagNan)
    decoder.require(80, 70, "'" + opcode + ".NaN'");
  if (out.flags & FlagXorsign) {
    decoder.flag("abs");
    decoder.require(86, 72, "'" + opcode + ".xorsign.abs'");
  }
  bool plain = isPlain(out.fp);
  bool ternary = opcode == "fma" || opcode == "mad", unary = opcode == "abs" || opcode == "neg";
  decodeSources(decoder, type, ternary ? 3 : unary ? 1 : 2);
  Handler handler = nullptr;
  if (ternary)
    handler = wide ? ternaryBits<FmaF64> : plain ? ternaryBits<PlainFma> : ternaryBits<FmaF32>;
  else if (opcode == "add")
    handler = wide ? binaryBits<AddF64> : plain ? binaryBits<PlainAdd> : binaryBits<AddF32>;
  else if (opcode == "sub")
    handler = wide ? binaryBits<SubF64> : plain ? binaryBits<PlainSub> : binaryBits<SubF32>;
  else if (opcode == "mul")
    handler = wide ? binaryBits<MulF64> : plain ? binaryBits<PlainMul> : binaryBits<MulF32>;
  else if (opcode == "div")
    handler = binaryBits<DivF64>;
  else if (opcode == "min")
    handler = wide ? binaryBits<MinF64> : binaryBits<MinF32>;
  else if (opcode == "max")
    handler = wide ? binaryBits<MaxF64> : binaryBits<MaxF32>;
  else if (opcode == "abs")
    handler = wide ? unaryBits<AbsF64> : unaryBits<AbsF32>;
  else if (opcode == "neg")
    handler = wide ? unaryBits<NegF64> : unaryBits<NegF32>;
  setHandler(decoder, handler);
}

void decodeHalf(Decoder &decoder, Type type) {
  const std::string &opcode = decoder.opcode();
  Instr &out = decoder.out;
  out.fp = decoder.fpMode();
  out.fp.relu = decoder.flag("relu");
  bool nan = decoder.flag("NaN"), bf16 = isBf16(type);
  bool arithmetic = opcode == "add" || opcode == "sub" || opcode == "mul";
  if (bf16 && arithmetic)
    decoder.require(90, 78, "'" + opcode + "' of bf16");
  if (opcode == "fma")
    return setHalf(decoder, type, HalfOp::Fma, 3);
  if (opcode == "abs" || opcode == "neg")
    return setHalf(decoder, type, opcode == "abs" ? HalfOp::Abs : HalfOp::Neg, 1);
  if (opcode == "min" || opcode == "max") {
    decoder.require(80, 70, "'" + opcode + "' of halves");
    HalfOp op = opcode == "min" ? (nan ? HalfOp::MinNan : HalfOp::Min) : (nan ? HalfOp::MaxNan : HalfOp::Max);
    return setHalf(decoder, type, op, 2);
  }
  if (!arithmetic)
    decoder.fail("'" + opcode + "' does not exist for halves");
  setHalf(decoder, type, opcode == "add" ? HalfOp::Add : opcode == "sub" ? HalfOp::Sub : HalfOp::Mul, 2);
}

void addApproxOps(DecodeTable &table) {
  for (const char *opcode : {"rcp", "sqrt", "rsqrt", "sin", "cos", "lg2", "ex2", "tanh"})
    table[opcode] = decodeFunction;
  table["copysign"] = decodeCopysign;
}

} // namespace gpusim
