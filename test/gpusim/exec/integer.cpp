// Integer arithmetic: add, sub, mul, mad, div, rem, min, max, abs, neg, sad, 24-bit products, dot products, carries.
#include <algorithm>
#include <limits>

#include "test/gpusim/exec/lanes.h"

namespace gpusim {
namespace {

template <class T> using Unsigned = std::make_unsigned_t<T>;
template <class T> struct Wider;
template <> struct Wider<uint16_t> {
  using Type = uint32_t;
};
template <> struct Wider<int16_t> {
  using Type = int32_t;
};
template <> struct Wider<uint32_t> {
  using Type = uint64_t;
};
template <> struct Wider<int32_t> {
  using Type = int64_t;
};
template <> struct Wider<uint64_t> {
  using Type = unsigned __int128;
};
template <> struct Wider<int64_t> {
  using Type = __int128;
};

struct Add {
  template <class T> static T apply(T a, T b) {
    return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  }
};
struct Sub {
  template <class T> static T apply(T a, T b) {
    return static_cast<T>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b));
  }
};
struct MulLo {
  template <class T> static T apply(T a, T b) {
    return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  }
};
struct MulHi {
  template <class T> static T apply(T a, T b) {
    using Wide = typename Wider<T>::Type;
    return static_cast<T>(static_cast<Wide>(a) * static_cast<Wide>(b) >> (sizeof(T) * 8));
  }
};
struct MulWide {
  template <class T> static auto apply(T a, T b) {
    using Wide = std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>;
    return static_cast<Wide>(static_cast<Wide>(a) * static_cast<Wide>(b)); // 64-bit operands do not occur
  }
};
template <class Product> struct Mad {
  template <class T> static T apply(T a, T b, T c) { return Add::apply(Product::apply(a, b), c); }
};
struct MadHiSat { // .s32 only
  static int32_t apply(int32_t a, int32_t b, int32_t c) {
    int64_t sum = int64_t(MulHi::apply(a, b)) + c;
    return static_cast<int32_t>(std::clamp<int64_t>(sum, INT32_MIN, INT32_MAX));
  }
};
struct AddSat {
  static int32_t apply(int32_t a, int32_t b) {
    return static_cast<int32_t>(std::clamp<int64_t>(int64_t(a) + b, INT32_MIN, INT32_MAX));
  }
};
struct SubSat {
  static int32_t apply(int32_t a, int32_t b) {
    return static_cast<int32_t>(std::clamp<int64_t>(int64_t(a) - b, INT32_MIN, INT32_MAX));
  }
};
// The result of a division by zero is not specified; GPUs give all ones.
struct Div {
  template <class T> static T apply(T a, T b) {
    if (b == 0)
      return static_cast<T>(~T(0));
    if (std::is_signed_v<T> && b == static_cast<T>(-1))
      return Sub::apply(T(0), a);
    return static_cast<T>(a / b);
  }
};
struct Rem {
  template <class T> static T apply(T a, T b) {
    if (b == 0)
      return a;
    if (std::is_signed_v<T> && b == static_cast<T>(-1))
      return 0;
    return static_cast<T>(a % b);
  }
};
struct Min {
  template <class T> static T apply(T a, T b) { return std::min(a, b); }
};
struct Max {
  template <class T> static T apply(T a, T b) { return std::max(a, b); }
};
struct MinRelu { // .s32 only
  static int32_t apply(int32_t a, int32_t b) { return std::max(0, std::min(a, b)); }
};
struct MaxRelu {
  static int32_t apply(int32_t a, int32_t b) { return std::max(0, std::max(a, b)); }
};
// Two 16-bit elements in a word.
template <class T, class Op> struct Packed {
  static uint64_t apply(const Instr &, uint64_t a, uint64_t b) {
    uint16_t low = static_cast<uint16_t>(Op::apply(static_cast<T>(a), static_cast<T>(b)));
    uint16_t high = static_cast<uint16_t>(Op::apply(static_cast<T>(a >> 16), static_cast<T>(b >> 16)));
    return low | uint32_t(high) << 16;
  }
};
struct Abs {
  template <class T> static T apply(T a) { return a < 0 ? Sub::apply(T(0), a) : a; }
};
struct Neg {
  template <class T> static T apply(T a) { return Sub::apply(T(0), a); }
};
struct Sad {
  template <class T> static T apply(T a, T b, T c) {
    return Add::apply(c, a < b ? Sub::apply(b, a) : Sub::apply(a, b));
  }
};

// mul.wide and mad.wide: the sources are half as wide as the result and, in mad, as c.
template <class T> void mulWide(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *a = warp.source(instr.s[0]), *b = warp.source(instr.s[1]);
  uint64_t *d = warp.dest(instr.d[0]);
  forLanes(lanes, [=](unsigned lane) { d[lane] = laneBits(MulWide::apply(laneAs<T>(a[lane]), laneAs<T>(b[lane]))); });
}
template <class T> void madWide(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *a = warp.source(instr.s[0]), *b = warp.source(instr.s[1]), *c = warp.source(instr.s[2]);
  uint64_t *d = warp.dest(instr.d[0]);
  forLanes(lanes, [=](unsigned lane) {
    d[lane] = laneBits(MulWide::apply(laneAs<T>(a[lane]), laneAs<T>(b[lane]))) + c[lane];
  });
}

Handler wideHandler(ptx::Type type, bool mad) {
  switch (type) {
  case ptx::Type::U16:
    return mad ? madWide<uint16_t> : mulWide<uint16_t>;
  case ptx::Type::S16:
    return mad ? madWide<int16_t> : mulWide<int16_t>;
  case ptx::Type::U32:
    return mad ? madWide<uint32_t> : mulWide<uint32_t>;
  case ptx::Type::S32:
    return mad ? madWide<int32_t> : mulWide<int32_t>;
  default:
    return nullptr;
  }
}

ptx::Type widened(ptx::Type type) {
  switch (type) {
  case ptx::Type::U16:
    return ptx::Type::U32;
  case ptx::Type::S16:
    return ptx::Type::S32;
  case ptx::Type::U32:
    return ptx::Type::U64;
  default:
    return ptx::Type::S64;
  }
}

//===----------------------------------------------------------------------===//
// Extended precision: the carry flag per lane
//===----------------------------------------------------------------------===//

enum CarryFlags : uint8_t { CarryIn = 1, CarryOut = 2, Subtract = 4, Multiply = 8, High = 16 };

// d = a + b, a - b or a * b + c with the carry flag as input, output or both. Subtraction keeps the borrow in the flag.
template <class T> void carryLanes(Warp &warp, const Instr &instr, uint32_t lanes) {
  using Wide = typename Wider<T>::Type;
  const uint64_t *a = warp.source(instr.s[0]), *b = warp.source(instr.s[1]);
  const uint64_t *c = instr.flags & Multiply ? warp.source(instr.s[2]) : nullptr;
  uint64_t *d = warp.dest(instr.d[0]);
  uint32_t out = 0;
  forLanes(lanes, [&](unsigned lane) {
    Wide in = instr.flags & CarryIn ? warp.carry >> lane & 1 : 0, x = laneAs<T>(a[lane]), y = laneAs<T>(b[lane]);
    if (instr.flags & Multiply) {
      Wide product = x * y;
      x = static_cast<T>(instr.flags & High ? product >> (sizeof(T) * 8) : product);
      y = laneAs<T>(c[lane]);
    }
    Wide sum = instr.flags & Subtract ? x - y - in : x + y + in;
    d[lane] = static_cast<T>(sum);
    out |= static_cast<uint32_t>(sum >> (sizeof(T) * 8) & 1) << lane;
  });
  if (instr.flags & CarryOut)
    warp.carry = (warp.carry & ~lanes) | out;
}

void decodeCarry(Decoder &decoder, ptx::Type type, uint8_t flags) {
  decodeSources(decoder, type, flags & Multiply ? 3 : 2);
  decoder.out.flags = flags;
  switch (ptx::bitsOf(type)) {
  case 32:
    return setHandler(decoder, (flags & Multiply) && ptx::isSigned(type) ? carryLanes<int32_t> : carryLanes<uint32_t>);
  case 64:
    return setHandler(decoder, (flags & Multiply) && ptx::isSigned(type) ? carryLanes<int64_t> : carryLanes<uint64_t>);
  default:
    return setHandler(decoder, nullptr);
  }
}

//===----------------------------------------------------------------------===//
// 24-bit products and dot products
//===----------------------------------------------------------------------===//

template <bool Signed> int64_t product24(uint64_t a, uint64_t b) {
  auto narrow = [](uint64_t x) { return Signed ? int64_t(int32_t(uint32_t(x) << 8) >> 8) : int64_t(x & 0xffffff); };
  return narrow(a) * narrow(b);
}
template <bool Signed, bool High> struct Mul24 {
  static uint64_t apply(const Instr &, uint64_t a, uint64_t b) {
    return static_cast<uint32_t>(product24<Signed>(a, b) >> (High ? 16 : 0));
  }
  static uint64_t apply(const Instr &i, uint64_t a, uint64_t b, uint64_t c) {
    return static_cast<uint32_t>(apply(i, a, b) + c);
  }
};

template <bool SignedA, bool SignedB> struct Dp4a {
  static uint64_t apply(const Instr &, uint64_t a, uint64_t b, uint64_t c) {
    int64_t sum = static_cast<int64_t>(c);
    for (unsigned shift = 0; shift < 32; shift += 8) {
      int64_t x = SignedA ? int64_t(int8_t(a >> shift)) : int64_t(uint8_t(a >> shift));
      sum += x * (SignedB ? int64_t(int8_t(b >> shift)) : int64_t(uint8_t(b >> shift)));
    }
    return static_cast<uint32_t>(sum);
  }
};
// dp2a: two 16-bit elements of a with the low or high two bytes of b (instr.flags: 1 is high).
template <bool SignedA, bool SignedB> struct Dp2a {
  static uint64_t apply(const Instr &instr, uint64_t a, uint64_t b, uint64_t c) {
    int64_t sum = static_cast<int64_t>(c);
    for (unsigned i = 0; i < 2; ++i) {
      unsigned byte = 8 * (i + (instr.flags ? 2 : 0));
      int64_t x = SignedA ? int64_t(int16_t(a >> (16 * i))) : int64_t(uint16_t(a >> (16 * i)));
      sum += x * (SignedB ? int64_t(int8_t(b >> byte)) : int64_t(uint8_t(b >> byte)));
    }
    return static_cast<uint32_t>(sum);
  }
};

template <template <bool, bool> class Op> Handler dotHandler(ptx::Type a, ptx::Type b) {
  bool signedA = a == ptx::Type::S32, signedB = b == ptx::Type::S32;
  if (signedA)
    return signedB ? ternaryBits<Op<true, true>> : ternaryBits<Op<true, false>>;
  return signedB ? ternaryBits<Op<false, true>> : ternaryBits<Op<false, false>>;
}

void decodeDot(Decoder &decoder) {
  bool four = decoder.opcode() == "dp4a";
  if (!four)
    decoder.out.flags = decoder.takeAny({"lo", "hi"}) == "hi";
  ptx::Type a = decoder.type(), b = decoder.type();
  decodeSources(decoder, ptx::Type::B32, 3);
  decoder.out.run = four ? dotHandler<Dp4a>(a, b) : dotHandler<Dp2a>(a, b);
}

void decode24(Decoder &decoder) {
  bool high = decoder.takeAny({"hi", "lo"}) == "hi", mad = decoder.opcode() == "mad24";
  ptx::Type type = decoder.type();
  bool isSigned = type == ptx::Type::S32;
  decodeSources(decoder, type, mad ? 3 : 2);
  auto pick = [&](auto op) { return mad ? ternaryBits<decltype(op)> : binaryBits<decltype(op)>; };
  if (isSigned)
    setHandler(decoder, high ? pick(Mul24<true, true>()) : pick(Mul24<true, false>()));
  else
    setHandler(decoder, high ? pick(Mul24<false, true>()) : pick(Mul24<false, false>()));
}

void decodeMul(Decoder &decoder, ptx::Type type, bool mad, bool carryIn) {
  std::string_view part = decoder.takeAny({"lo", "hi", "wide"});
  bool saturate = decoder.flag("sat"), carryOut = decoder.flag("cc");
  if (part.empty())
    decoder.fail("an integer product needs .lo, .hi or .wide");
  if (carryIn || carryOut) {
    decodeCarry(decoder, type,
                Multiply | (carryIn ? CarryIn : 0) | (carryOut ? CarryOut : 0) | (part == "hi" ? High : 0));
    return;
  }
  if (part == "wide") {
    if (mad)
      decodeSources(decoder, widened(type), {type, type, widened(type)});
    else
      decodeSources(decoder, type, 2, widened(type));
    return setHandler(decoder, wideHandler(type, mad));
  }
  decodeSources(decoder, type, 2 + mad);
  if (saturate)
    return setHandler(decoder, part == "hi" && type == ptx::Type::S32 ? ternaryLanes<int32_t, MadHiSat> : nullptr);
  if (mad)
    setHandler(decoder, part == "lo" ? ternaryInteger<Mad<MulLo>>(type) : ternaryInteger<Mad<MulHi>>(type));
  else
    setHandler(decoder, part == "lo" ? binaryInteger<MulLo>(type) : binaryInteger<MulHi>(type));
}

void decodeAddSub(Decoder &decoder, ptx::Type type, bool subtract, bool carryIn) {
  bool saturate = decoder.flag("sat"), carryOut = decoder.flag("cc");
  if (carryIn || carryOut)
    return decodeCarry(decoder, type, (subtract ? Subtract : 0) | (carryIn ? CarryIn : 0) | (carryOut ? CarryOut : 0));
  decodeSources(decoder, type, 2);
  if (saturate)
    return setHandler(decoder, type != ptx::Type::S32 ? nullptr
                               : subtract             ? binaryLanes<int32_t, SubSat>
                                                      : binaryLanes<int32_t, AddSat>);
  setHandler(decoder, subtract ? binaryInteger<Sub>(type) : binaryInteger<Add>(type));
}

template <class T> Handler packedHandler(const std::string &opcode) {
  return opcode == "add"   ? binaryBits<Packed<T, Add>>
         : opcode == "min" ? binaryBits<Packed<T, Min>>
         : opcode == "max" ? binaryBits<Packed<T, Max>>
                           : nullptr;
}

void decodeMinMax(Decoder &decoder, ptx::Type type) {
  bool relu = decoder.flag("relu"), min = decoder.opcode() == "min";
  decodeSources(decoder, type, 2);
  if (!relu)
    return setHandler(decoder, min ? binaryInteger<Min>(type) : binaryInteger<Max>(type));
  decoder.require(90, 80, "'" + decoder.opcode() + ".relu'");
  setHandler(decoder, type != ptx::Type::S32 ? nullptr
                      : min                  ? binaryLanes<int32_t, MinRelu>
                                             : binaryLanes<int32_t, MaxRelu>);
}

} // namespace

void decodeInteger(Decoder &decoder, ptx::Type type) {
  const std::string &opcode = decoder.opcode();
  if (type == ptx::Type::U16x2 || type == ptx::Type::S16x2) {
    decoder.require(90, 80, "arithmetic of pairs of 16-bit integers");
    decodeSources(decoder, type, 2);
    return setHandler(decoder,
                      type == ptx::Type::U16x2 ? packedHandler<uint16_t>(opcode) : packedHandler<int16_t>(opcode));
  }
  if (opcode == "add" || opcode == "addc")
    return decodeAddSub(decoder, type, false, opcode == "addc");
  if (opcode == "sub" || opcode == "subc")
    return decodeAddSub(decoder, type, true, opcode == "subc");
  if (opcode == "mul")
    return decodeMul(decoder, type, false, false);
  if (opcode == "mad" || opcode == "madc")
    return decodeMul(decoder, type, true, opcode == "madc");
  if (opcode == "abs" || opcode == "neg") {
    decodeSources(decoder, type, 1);
    return setHandler(decoder, opcode == "abs" ? unaryInteger<Abs>(type) : unaryInteger<Neg>(type));
  }
  if (opcode == "sad") {
    decodeSources(decoder, type, 3);
    return setHandler(decoder, ternaryInteger<Sad>(type));
  }
  if (opcode == "min" || opcode == "max")
    return decodeMinMax(decoder, type);
  decodeSources(decoder, type, 2);
  setHandler(decoder, opcode == "div"   ? binaryInteger<Div>(type)
                      : opcode == "rem" ? binaryInteger<Rem>(type)
                                        : nullptr);
}

void addArithmeticOps(DecodeTable &table) {
  auto byType = [](Decoder &decoder) {
    ptx::Type type = decoder.type();
    switch (type) {
    case ptx::Type::F32:
    case ptx::Type::F64:
      return decodeFloat(decoder, type);
    case ptx::Type::F16:
    case ptx::Type::F16x2:
    case ptx::Type::BF16:
    case ptx::Type::BF16x2:
      return decodeHalf(decoder, type);
    default:
      return decodeInteger(decoder, type);
    }
  };
  for (const char *opcode :
       {"add", "addc", "sub", "subc", "mul", "mad", "madc", "div", "rem", "min", "max", "abs", "neg", "sad", "fma"})
    table[opcode] = byType;
  table["mul24"] = table["mad24"] = decode24;
  table["dp4a"] = table["dp2a"] = decodeDot;
}

} // namespace gpusim
