// Bit operations: logic, shifts, fields, counts, permutes, lop3.
#include <algorithm>

#include "test/gpusim/exec/lanes.h"

namespace gpusim {
namespace {

struct And {
  template <class T> static T apply(T a, T b) { return static_cast<T>(a & b); }
};
struct Or {
  template <class T> static T apply(T a, T b) { return static_cast<T>(a | b); }
};
struct Xor {
  template <class T> static T apply(T a, T b) { return static_cast<T>(a ^ b); }
};
struct Not {
  template <class T> static T apply(T a) { return static_cast<T>(~a); }
};
struct Cnot {
  template <class T> static T apply(T a) { return a == 0 ? 1 : 0; }
};
// Shift amounts are 32 bits and clamped.
template <class T> struct Shl {
  static uint64_t apply(const Instr &, uint64_t a, uint64_t b) {
    uint32_t n = static_cast<uint32_t>(b);
    return n >= sizeof(T) * 8 ? 0 : static_cast<uint64_t>(static_cast<std::make_unsigned_t<T>>(a << n));
  }
};
template <class T> struct Shr {
  static uint64_t apply(const Instr &, uint64_t a, uint64_t b) {
    uint32_t n = std::min<uint32_t>(static_cast<uint32_t>(b), sizeof(T) * 8 - 1);
    if (!std::is_signed_v<T> && static_cast<uint32_t>(b) >= sizeof(T) * 8)
      return 0;
    return laneBits(static_cast<T>(laneAs<T>(a) >> n));
  }
};
struct Popc {
  static uint64_t apply(const Instr &instr, uint64_t a) {
    return __builtin_popcountll(instr.width == 8 ? a : static_cast<uint32_t>(a));
  }
};
struct Clz {
  static uint64_t apply(const Instr &instr, uint64_t a) {
    if (instr.width == 8)
      return a ? __builtin_clzll(a) : 64;
    return static_cast<uint32_t>(a) ? __builtin_clz(static_cast<uint32_t>(a)) : 32;
  }
};
struct Brev {
  static uint64_t apply(const Instr &instr, uint64_t a) {
    a = (a >> 1 & 0x5555555555555555ull) | (a & 0x5555555555555555ull) << 1;
    a = (a >> 2 & 0x3333333333333333ull) | (a & 0x3333333333333333ull) << 2;
    a = (a >> 4 & 0x0f0f0f0f0f0f0f0full) | (a & 0x0f0f0f0f0f0f0f0full) << 4;
    a = __builtin_bswap64(a);
    return instr.width == 8 ? a : a >> 32;
  }
};
// The position of the most significant bit that differs from the sign; all ones if there is none.
template <class T> struct Bfind {
  static uint64_t apply(const Instr &instr, uint64_t a) {
    using U = std::make_unsigned_t<T>;
    U bits = static_cast<U>(a);
    if (std::is_signed_v<T> && static_cast<T>(bits) < 0)
      bits = static_cast<U>(~bits);
    if (!bits)
      return 0xffffffffu;
    uint32_t at = 63 - __builtin_clzll(static_cast<uint64_t>(bits));
    return instr.flags ? sizeof(T) * 8 - 1 - at : at; // .shiftamt
  }
};
template <class T> struct Bfe {
  static uint64_t apply(const Instr &, uint64_t a, uint64_t b, uint64_t c) {
    using U = std::make_unsigned_t<T>;
    constexpr uint32_t bits = sizeof(T) * 8;
    uint32_t pos = b & 0xff, len = c & 0xff;
    U value = static_cast<U>(a);
    if (!len)
      return 0;
    uint32_t signAt = std::min(pos + len - 1, bits - 1);
    bool sign = std::is_signed_v<T> && (value >> signAt & 1);
    U field = pos >= bits ? U(0) : static_cast<U>(value >> pos);
    uint32_t taken = std::min(len, pos >= bits ? 0u : bits - pos);
    U mask = taken >= bits ? static_cast<U>(~U(0)) : static_cast<U>((U(1) << taken) - 1);
    field &= mask;
    return static_cast<uint64_t>(sign ? static_cast<U>(field | static_cast<U>(~mask)) : field);
  }
};
template <class U> struct Bfi { // d, a, b, c (position), e (length)
  static uint64_t apply(uint64_t a, uint64_t b, uint64_t c, uint64_t e) {
    constexpr uint32_t bits = sizeof(U) * 8;
    uint32_t pos = c & 0xff, len = e & 0xff;
    if (pos >= bits || !len)
      return static_cast<U>(b);
    U field = len >= bits ? static_cast<U>(~U(0)) : static_cast<U>((U(1) << len) - 1);
    U mask = static_cast<U>(field << pos);
    return static_cast<U>((static_cast<U>(a << pos) & mask) | (static_cast<U>(b) & ~mask));
  }
};
template <class U> void bfiLanes(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *a = warp.source(instr.s[0]), *b = warp.source(instr.s[1]);
  const uint64_t *c = warp.source(instr.s[2]), *e = warp.source(instr.s[3]);
  uint64_t *d = warp.dest(instr.d[0]);
  forLanes(lanes, [=](unsigned lane) { d[lane] = Bfi<U>::apply(a[lane], b[lane], c[lane], e[lane]); });
}

struct Lop3 {
  static uint64_t apply(const Instr &instr, uint64_t a, uint64_t b, uint64_t c) {
    uint32_t result = 0, x = static_cast<uint32_t>(a), y = static_cast<uint32_t>(b), z = static_cast<uint32_t>(c);
    for (unsigned i = 0; i < 8; ++i)
      if (instr.kind >> i & 1)
        result |= (i & 4 ? x : ~x) & (i & 2 ? y : ~y) & (i & 1 ? z : ~z);
    return result;
  }
};

enum PermuteMode : uint8_t { Plain, F4e, B4e, Rc8, Ecl, Ecr, Rc16 };

// The source byte (0-7) that each byte of a moded prmt takes.
unsigned permuteSource(PermuteMode mode, unsigned c, unsigned i) {
  switch (mode) {
  case F4e:
    return (c + i) & 7;
  case B4e:
    return (c - i) & 7;
  case Rc8:
    return c;
  case Ecl:
    return std::max(c, i);
  case Ecr:
    return std::min(c, i);
  default:
    return (c & 1) * 2 + (i & 1);
  }
}

struct Prmt {
  static uint64_t apply(const Instr &instr, uint64_t a, uint64_t b, uint64_t c) {
    uint64_t bytes = static_cast<uint32_t>(a) | b << 32;
    uint32_t result = 0;
    for (unsigned i = 0; i < 4; ++i) {
      unsigned selector = instr.kind == Plain ? c >> (4 * i) & 0xf : permuteSource(PermuteMode(instr.kind), c & 3, i);
      uint8_t byte = static_cast<uint8_t>(bytes >> (8 * (selector & 7)));
      if (selector & 8)
        byte = byte & 0x80 ? 0xff : 0;
      result |= uint32_t(byte) << (8 * i);
    }
    return result;
  }
};

// A selector that is a constant without sign bits: instr.imm holds the four shifts, a byte each.
struct PrmtConstant {
  static uint64_t apply(const Instr &instr, uint64_t a, uint64_t b) {
    uint64_t bytes = static_cast<uint32_t>(a) | b << 32;
    unsigned s0 = instr.imm & 0xff, s1 = instr.imm >> 8 & 0xff, s2 = instr.imm >> 16 & 0xff, s3 = instr.imm >> 24;
    return (bytes >> s0 & 0xff) | (bytes >> s1 & 0xff) << 8 | (bytes >> s2 & 0xff) << 16 | (bytes >> s3 & 0xff) << 24;
  }
};

template <bool Left, bool Wrap> struct Shf {
  static uint64_t apply(const Instr &, uint64_t a, uint64_t b, uint64_t c) {
    uint64_t both = static_cast<uint32_t>(a) | b << 32;
    uint32_t n = static_cast<uint32_t>(c);
    n = Wrap ? n & 31 : std::min(n, 32u);
    return static_cast<uint32_t>(Left ? both >> (32 - n) : both >> n);
  }
};

struct Bmsk {
  static uint64_t apply(const Instr &instr, uint64_t a, uint64_t b) {
    uint32_t pos = static_cast<uint32_t>(a), len = static_cast<uint32_t>(b);
    pos = instr.flags ? pos & 31 : pos; // .wrap
    len = instr.flags ? len & 31 : len;
    if (pos >= 32 || !len)
      return 0;
    return static_cast<uint32_t>((len >= 32 ? ~0u : (1u << len) - 1) << pos);
  }
};
template <bool Signed> struct Szext {
  static uint64_t apply(const Instr &instr, uint64_t a, uint64_t b) {
    uint32_t n = static_cast<uint32_t>(b), value = static_cast<uint32_t>(a);
    n = instr.flags ? n & 31 : n;
    if (n >= 32)
      return value;
    if (!n)
      return 0;
    uint32_t mask = (1u << n) - 1;
    return Signed && (value >> (n - 1) & 1) ? value | ~mask : value & mask;
  }
};

//===----------------------------------------------------------------------===//
// Decoding
//===----------------------------------------------------------------------===//

enum PredicateOp : uint8_t { PredAnd, PredOr, PredXor, PredNot };

void predicateLogic(Warp &warp, const Instr &instr, uint32_t lanes) {
  uint32_t a = warp.predicateSource(instr, 0), b = instr.kind == PredNot ? 0 : warp.predicateSource(instr, 1);
  uint32_t result = instr.kind == PredAnd ? a & b : instr.kind == PredOr ? a | b : instr.kind == PredXor ? a ^ b : ~a;
  warp.setPredicate(instr.p[0], lanes, result);
}

void decodeLogic(Decoder &decoder) {
  const std::string &opcode = decoder.opcode();
  ptx::Type type = decoder.type();
  if (type == ptx::Type::Pred) {
    Instr &out = decoder.out;
    out.kind = opcode == "and" ? PredAnd : opcode == "or" ? PredOr : opcode == "xor" ? PredXor : PredNot;
    out.run = predicateLogic;
    out.p[0] = decoder.predicateDestination(decoder.operand(0));
    decoder.predicateSource(decoder.operand(1), out.p[2], out.negated[0]);
    if (out.kind != PredNot)
      decoder.predicateSource(decoder.operand(2), out.p[3], out.negated[1]);
    return;
  }
  if (opcode == "not" || opcode == "cnot") {
    decodeSources(decoder, type, 1);
    return setHandler(decoder, opcode == "not" ? unaryInteger<Not>(type) : unaryInteger<Cnot>(type));
  }
  decodeSources(decoder, type, 2);
  setHandler(decoder, opcode == "and"  ? binaryInteger<And>(type)
                      : opcode == "or" ? binaryInteger<Or>(type)
                                       : binaryInteger<Xor>(type));
}

void decodeShift(Decoder &decoder) {
  ptx::Type type = decoder.type();
  decodeSources(decoder, type, {type, ptx::Type::B32});
  bool left = decoder.opcode() == "shl", isSigned = ptx::isSigned(type);
  switch (ptx::bitsOf(type)) {
  case 16:
    return setHandler(decoder, left       ? binaryBits<Shl<uint16_t>>
                               : isSigned ? binaryBits<Shr<int16_t>>
                                          : binaryBits<Shr<uint16_t>>);
  case 32:
    return setHandler(decoder, left       ? binaryBits<Shl<uint32_t>>
                               : isSigned ? binaryBits<Shr<int32_t>>
                                          : binaryBits<Shr<uint32_t>>);
  default:
    return setHandler(decoder, left       ? binaryBits<Shl<uint64_t>>
                               : isSigned ? binaryBits<Shr<int64_t>>
                                          : binaryBits<Shr<uint64_t>>);
  }
}

void decodeCount(Decoder &decoder) {
  const std::string &opcode = decoder.opcode();
  decoder.out.flags = decoder.flag("shiftamt");
  ptx::Type type = decoder.type();
  decodeSources(decoder, type, 1, opcode == "brev" ? type : ptx::Type::B32);
  decoder.out.width = static_cast<uint8_t>(ptx::bytesOf(type));
  if (opcode == "bfind") {
    setHandler(decoder, type == ptx::Type::U32   ? unaryBits<Bfind<uint32_t>>
                        : type == ptx::Type::S32 ? unaryBits<Bfind<int32_t>>
                        : type == ptx::Type::U64 ? unaryBits<Bfind<uint64_t>>
                        : type == ptx::Type::S64 ? unaryBits<Bfind<int64_t>>
                                                 : nullptr);
    return;
  }
  bool fits = type == ptx::Type::B32 || type == ptx::Type::B64;
  setHandler(decoder, !fits              ? nullptr
                      : opcode == "popc" ? unaryBits<Popc>
                      : opcode == "clz"  ? unaryBits<Clz>
                                         : unaryBits<Brev>);
}

void decodeField(Decoder &decoder) {
  ptx::Type type = decoder.type();
  if (decoder.opcode() == "bfi") {
    decodeSources(decoder, type, {type, type, ptx::Type::B32, ptx::Type::B32});
    return setHandler(decoder, ptx::bitsOf(type) == 64 ? bfiLanes<uint64_t> : bfiLanes<uint32_t>);
  }
  decodeSources(decoder, type, {type, ptx::Type::B32, ptx::Type::B32});
  setHandler(decoder, type == ptx::Type::U32   ? ternaryBits<Bfe<uint32_t>>
                      : type == ptx::Type::S32 ? ternaryBits<Bfe<int32_t>>
                      : type == ptx::Type::U64 ? ternaryBits<Bfe<uint64_t>>
                      : type == ptx::Type::S64 ? ternaryBits<Bfe<int64_t>>
                                               : nullptr);
}

// lop3.{and,or}: the predicate says whether the result is not zero, combined with another one.
void lop3Predicate(Warp &warp, const Instr &instr, uint32_t lanes) {
  ternaryBits<Lop3>(warp, instr, lanes);
  const uint64_t *d = warp.source(instr.d[0]);
  uint32_t nonzero = 0, with = warp.predicateSource(instr, 0);
  forLanes(lanes, [&](unsigned lane) { nonzero |= uint32_t(d[lane] != 0) << lane; });
  warp.setPredicate(instr.p[0], lanes, instr.flags ? nonzero | with : nonzero & with);
}

void decodeLop3(Decoder &decoder) {
  std::string_view combine = decoder.takeAny({"or", "and"});
  decoder.type();
  decoder.expectOperands(combine.empty() ? 5 : 6, combine.empty() ? 5 : 6);
  for (unsigned i = 0; i < 3; ++i)
    decoder.out.s[i] = decoder.value(i + 1, ptx::Type::B32);
  decoder.out.kind = static_cast<uint8_t>(decoder.immediate(4));
  decoder.out.run = combine.empty() ? ternaryBits<Lop3> : lop3Predicate;
  if (combine.empty()) {
    decoder.out.d[0] = decoder.destination(0, ptx::Type::B32);
    return;
  }
  decoder.require(70, 82, "lop3 with a predicate");
  const ptx::Operand &results = decoder.operand(0);
  if (results.kind != ptx::Operand::Pair)
    decoder.fail("lop3 with a predicate needs two destinations");
  decoder.out.flags = combine == "or";
  decoder.out.d[0] = decoder.destination(results.elements[0], ptx::Type::B32);
  decoder.out.p[0] = decoder.predicateDestination(results.elements[1]);
  decoder.predicateSource(decoder.operand(5), decoder.out.p[2], decoder.out.negated[0]);
}

void decodePrmt(Decoder &decoder) {
  decoder.type();
  std::string_view mode = decoder.takeAny({"f4e", "b4e", "rc8", "ecl", "ecr", "rc16"});
  decodeSources(decoder, ptx::Type::B32, 3);
  decoder.out.kind = mode == "f4e"    ? F4e
                     : mode == "b4e"  ? B4e
                     : mode == "rc8"  ? Rc8
                     : mode == "ecl"  ? Ecl
                     : mode == "ecr"  ? Ecr
                     : mode == "rc16" ? Rc16
                                      : Plain;
  decoder.out.run = ternaryBits<Prmt>;
  if (!mode.empty() || !decoder.isImmediate(3) || (decoder.immediate(3) & 0x8888))
    return;
  for (unsigned i = 0; i < 4; ++i)
    decoder.out.imm |= (decoder.immediate(3) >> (4 * i) & 7) * 8 << (8 * i);
  decoder.out.run = binaryBits<PrmtConstant>;
}

void decodeShf(Decoder &decoder) {
  bool left = decoder.takeAny({"l", "r"}) == "l", wrap = decoder.takeAny({"wrap", "clamp"}) == "wrap";
  decoder.type();
  decodeSources(decoder, ptx::Type::B32, 3);
  decoder.out.run = left ? (wrap ? ternaryBits<Shf<true, true>> : ternaryBits<Shf<true, false>>)
                         : (wrap ? ternaryBits<Shf<false, true>> : ternaryBits<Shf<false, false>>);
}

void decodeMask(Decoder &decoder) {
  decoder.require(70, 76, "'" + decoder.opcode() + "'");
  decoder.out.flags = decoder.takeAny({"wrap", "clamp"}) == "wrap";
  bool isSigned = decoder.type() == ptx::Type::S32;
  decodeSources(decoder, ptx::Type::B32, 2);
  decoder.out.run = decoder.opcode() == "bmsk" ? binaryBits<Bmsk>
                    : isSigned                 ? binaryBits<Szext<true>>
                                               : binaryBits<Szext<false>>;
}

} // namespace

void addBitOps(DecodeTable &table) {
  for (const char *opcode : {"and", "or", "xor", "not", "cnot"})
    table[opcode] = decodeLogic;
  table["shl"] = table["shr"] = decodeShift;
  for (const char *opcode : {"popc", "clz", "brev", "bfind"})
    table[opcode] = decodeCount;
  table["bfe"] = table["bfi"] = decodeField;
  table["lop3"] = decodeLop3;
  table["prmt"] = decodePrmt;
  table["shf"] = decodeShf;
  table["bmsk"] = table["szext"] = decodeMask;
}

} // namespace gpusim
