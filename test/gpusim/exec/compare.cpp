// Comparisons and selection: setp, set, selp, slct, testp.
#include <cmath>

#include "test/gpusim/exec/lanes.h"

namespace gpusim {
namespace {

using ptx::Type;

enum Compare : uint8_t { Eq, Ne, Lt, Le, Gt, Ge, Equ, Neu, Ltu, Leu, Gtu, Geu, Num, Nan };
constexpr std::pair<const char *, Compare> compareNames[] = {
    {"eq", Eq},   {"ne", Ne},   {"lt", Lt},   {"le", Le},   {"gt", Gt},   {"ge", Ge},
    {"lo", Lt},   {"ls", Le},   {"hi", Gt},   {"hs", Ge},   {"equ", Equ}, {"neu", Neu},
    {"ltu", Ltu}, {"leu", Leu}, {"gtu", Gtu}, {"geu", Geu}, {"num", Num}, {"nan", Nan}};

template <class T> bool ordered(Compare compare, T a, T b) {
  switch (compare) {
  case Eq:
  case Equ:
    return a == b;
  case Ne:
  case Neu:
    return a != b;
  case Lt:
  case Ltu:
    return a < b;
  case Le:
  case Leu:
    return a <= b;
  case Gt:
  case Gtu:
    return a > b;
  case Ge:
  case Geu:
    return a >= b;
  default:
    return compare == Num;
  }
}

template <class T> bool compareFloats(Compare compare, T a, T b) {
  bool unordered = a != a || b != b;
  if (unordered)
    return compare >= Equ && compare != Num;
  return ordered(compare, a, b);
}

// Values as the host's numbers.
template <Type type> auto number(const Instr &instr, uint64_t bits) {
  if constexpr (type == Type::F32)
    return asF32(instr.fp.ftz ? flushF32(uint32_t(bits)) : uint32_t(bits));
  else if constexpr (type == Type::F64)
    return asF64(bits);
  else if constexpr (type == Type::F16)
    return halfToFloat(HalfType::F16, uint16_t(bits));
  else if constexpr (type == Type::BF16)
    return halfToFloat(HalfType::BF16, uint16_t(bits));
  else if constexpr (type == Type::S16)
    return int16_t(bits);
  else if constexpr (type == Type::S32)
    return int32_t(bits);
  else if constexpr (type == Type::S64)
    return int64_t(bits);
  else if constexpr (type == Type::U16)
    return uint16_t(bits);
  else if constexpr (type == Type::U32)
    return uint32_t(bits);
  else
    return bits;
}

template <Type type> uint32_t compareLanes(const Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *a = warp.source(instr.s[0]), *b = warp.source(instr.s[1]);
  uint32_t result = 0;
  auto all = [&](auto test) {
    forLanes(lanes, [&](unsigned lane) {
      result |= uint32_t(test(number<type>(instr, a[lane]), number<type>(instr, b[lane]))) << lane;
    });
  };
  Compare compare = Compare(instr.kind);
  if constexpr (ptx::isFloat(type)) {
    all([=](auto x, auto y) { return compareFloats(compare, x, y); });
  } else {
    switch (compare) { // the comparison outside of the loop
    case Eq:
      all([](auto x, auto y) { return x == y; });
      break;
    case Ne:
      all([](auto x, auto y) { return x != y; });
      break;
    case Lt:
      all([](auto x, auto y) { return x < y; });
      break;
    default:
      all([=](auto x, auto y) { return ordered(compare, x, y); });
    }
  }
  return result;
}

// setp.f16x2 and bf16x2: one result per half.
template <HalfType type>
void comparePacked(const Warp &warp, const Instr &instr, uint32_t lanes, uint32_t (&result)[2]) {
  const uint64_t *a = warp.source(instr.s[0]), *b = warp.source(instr.s[1]);
  forLanes(lanes, [&](unsigned lane) {
    for (unsigned half = 0; half < 2; ++half)
      result[half] |= uint32_t(compareFloats(Compare(instr.kind), halfToFloat(type, uint16_t(a[lane] >> (16 * half))),
                                             halfToFloat(type, uint16_t(b[lane] >> (16 * half)))))
                      << lane;
  });
}

enum Combine : uint8_t { NoCombine, CombineAnd, CombineOr, CombineXor };

uint32_t combine(const Warp &warp, const Instr &instr, uint32_t bits) {
  if (instr.flags == NoCombine)
    return bits;
  uint32_t with = warp.predicateSource(instr, 0);
  return instr.flags == CombineAnd ? bits & with : instr.flags == CombineOr ? bits | with : bits ^ with;
}

// The second destination is the combination with the negated comparison.
template <Type type> void setpLanes(Warp &warp, const Instr &instr, uint32_t lanes) {
  uint32_t bits = compareLanes<type>(warp, instr, lanes);
  uint32_t first = combine(warp, instr, bits), second = combine(warp, instr, ~bits);
  warp.setPredicate(instr.p[0], lanes, first);
  warp.setPredicate(instr.p[1], lanes, second);
}

template <HalfType type> void setpPacked(Warp &warp, const Instr &instr, uint32_t lanes) {
  uint32_t bits[2] = {0, 0};
  comparePacked<type>(warp, instr, lanes, bits);
  uint32_t first = combine(warp, instr, bits[0]), second = combine(warp, instr, bits[1]);
  warp.setPredicate(instr.p[0], lanes, first);
  warp.setPredicate(instr.p[1], lanes, second);
}

// set: all ones or 1.0 in the destination's type.
template <Type type> void setLanes(Warp &warp, const Instr &instr, uint32_t lanes) {
  uint32_t bits = combine(warp, instr, compareLanes<type>(warp, instr, lanes));
  uint64_t *d = warp.dest(instr.d[0]);
  forLanes(lanes, [&](unsigned lane) { d[lane] = bits >> lane & 1 ? instr.imm : 0; });
}

template <HalfType type> void setPacked(Warp &warp, const Instr &instr, uint32_t lanes) {
  uint32_t bits[2] = {0, 0};
  comparePacked<type>(warp, instr, lanes, bits);
  uint32_t low = combine(warp, instr, bits[0]), high = combine(warp, instr, bits[1]);
  uint64_t *d = warp.dest(instr.d[0]);
  forLanes(lanes, [&](unsigned lane) {
    d[lane] = (low >> lane & 1 ? instr.imm & 0xffff : 0) | (high >> lane & 1 ? instr.imm & 0xffff0000 : 0);
  });
}

struct Handlers {
  Handler setp = nullptr, set = nullptr;
};

Handlers handlersFor(Type type) {
  switch (type) {
#define GPUSIM_CASE(TYPE, AS)                                                                                          \
  case Type::TYPE:                                                                                                     \
    return {setpLanes<Type::AS>, setLanes<Type::AS>};
    GPUSIM_CASE(B16, U16)
    GPUSIM_CASE(U16, U16)
    GPUSIM_CASE(S16, S16)
    GPUSIM_CASE(B32, U32)
    GPUSIM_CASE(U32, U32)
    GPUSIM_CASE(S32, S32)
    GPUSIM_CASE(B64, U64)
    GPUSIM_CASE(U64, U64)
    GPUSIM_CASE(S64, S64)
    GPUSIM_CASE(F16, F16)
    GPUSIM_CASE(BF16, BF16)
    GPUSIM_CASE(F32, F32)
    GPUSIM_CASE(F64, F64)
#undef GPUSIM_CASE
  case Type::F16x2:
    return {setpPacked<HalfType::F16>, setPacked<HalfType::F16>};
  case Type::BF16x2:
    return {setpPacked<HalfType::BF16>, setPacked<HalfType::BF16>};
  default:
    return {};
  }
}

void decodeCompare(Decoder &decoder) {
  Instr &out = decoder.out;
  bool found = false;
  for (const auto &[name, compare] : compareNames)
    if (!found && decoder.flag(name)) {
      out.kind = compare;
      found = true;
    }
  if (!found)
    decoder.fail("'" + decoder.opcode() + "' needs a comparison");
  std::string_view how = decoder.takeAny({"and", "or", "xor"});
  out.flags = how == "and" ? CombineAnd : how == "or" ? CombineOr : how == "xor" ? CombineXor : NoCombine;
  out.fp.ftz = decoder.flag("ftz");
  bool setp = decoder.opcode() == "setp";
  Type to = setp ? Type::None : decoder.type();
  if (!setp)
    out.imm = to == Type::F32      ? 0x3f800000
              : to == Type::F16    ? 0x3c00
              : to == Type::F16x2  ? 0x3c003c00
              : to == Type::BF16   ? 0x3f80
              : to == Type::BF16x2 ? 0x3f803f80
                                   : 0xffffffffu;
  Type type = decoder.type();
  if (type == Type::BF16 || type == Type::BF16x2)
    decoder.require(90, 78, "a comparison of bf16");
  decoder.expectOperands(3, 4);
  out.type = type;
  out.s[0] = decoder.value(1, type);
  out.s[1] = decoder.value(2, type);
  if ((decoder.operandCount() == 4) != (out.flags != NoCombine))
    decoder.fail("a fourth operand goes with .and, .or or .xor");
  if (out.flags != NoCombine)
    decoder.predicateSource(decoder.operand(3), out.p[2], out.negated[0]);
  Handlers handlers = handlersFor(type);
  setHandler(decoder, setp ? handlers.setp : handlers.set);
  const ptx::Operand &destination = decoder.operand(0);
  if (!setp) {
    out.d[0] = decoder.destination(0, to);
  } else if (destination.kind == ptx::Operand::Pair) {
    out.p[0] = decoder.predicateDestination(destination.elements[0]);
    out.p[1] = decoder.predicateDestination(destination.elements[1]);
  } else {
    out.p[0] = decoder.predicateDestination(destination);
  }
}

void selpLanes(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *a = warp.source(instr.s[0]), *b = warp.source(instr.s[1]);
  uint64_t *d = warp.dest(instr.d[0]);
  uint32_t bits = warp.predicateSource(instr, 0);
  forLanes(lanes, [=](unsigned lane) { d[lane] = bits >> lane & 1 ? a[lane] : b[lane]; });
}

// slct: a where c >= 0 (a NaN is not).
template <bool Float> struct Slct {
  static uint64_t apply(const Instr &instr, uint64_t a, uint64_t b, uint64_t c) {
    bool first = Float ? asF32(instr.fp.ftz ? flushF32(uint32_t(c)) : uint32_t(c)) >= 0 : int32_t(c) >= 0;
    return first ? a : b;
  }
};

void decodeSelect(Decoder &decoder) {
  decoder.expectOperands(4, 4);
  decoder.out.fp.ftz = decoder.flag("ftz");
  Type type = decoder.type();
  decoder.out.s[0] = decoder.value(1, type);
  decoder.out.s[1] = decoder.value(2, type);
  decoder.out.d[0] = decoder.destination(0, type);
  if (decoder.opcode() == "selp") {
    decoder.predicateSource(decoder.operand(3), decoder.out.p[2], decoder.out.negated[0]);
    decoder.out.run = selpLanes;
    return;
  }
  Type by = decoder.type();
  decoder.out.s[2] = decoder.value(3, by);
  setHandler(decoder, by == Type::F32 ? ternaryBits<Slct<true>> : by == Type::S32 ? ternaryBits<Slct<false>> : nullptr);
}

enum Test : uint8_t { Finite, Infinite, IsNumber, NotANumber, Normal, Subnormal };

void testpLanes(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *a = warp.source(instr.s[0]);
  uint32_t result = 0;
  forLanes(lanes, [&](unsigned lane) {
    int kind = instr.type == Type::F64 ? std::fpclassify(asF64(a[lane])) : std::fpclassify(asF32(uint32_t(a[lane])));
    bool holds = false;
    switch (Test(instr.kind)) {
    case Finite:
      holds = kind != FP_NAN && kind != FP_INFINITE;
      break;
    case Infinite:
      holds = kind == FP_INFINITE;
      break;
    case IsNumber:
      holds = kind != FP_NAN;
      break;
    case NotANumber:
      holds = kind == FP_NAN;
      break;
    case Normal: // zero counts as normal
      holds = kind == FP_NORMAL || kind == FP_ZERO;
      break;
    case Subnormal:
      holds = kind == FP_SUBNORMAL;
      break;
    }
    result |= uint32_t(holds) << lane;
  });
  warp.setPredicate(instr.p[0], lanes, result);
}

void decodeTestp(Decoder &decoder) {
  std::string_view test = decoder.takeAny({"finite", "infinite", "number", "notanumber", "normal", "subnormal"});
  decoder.out.kind = test == "finite"       ? Finite
                     : test == "infinite"   ? Infinite
                     : test == "number"     ? IsNumber
                     : test == "notanumber" ? NotANumber
                     : test == "normal"     ? Normal
                                            : Subnormal;
  decoder.out.type = decoder.type();
  decoder.expectOperands(2, 2);
  decoder.out.s[0] = decoder.value(1, decoder.out.type);
  decoder.out.p[0] = decoder.predicateDestination(decoder.operand(0));
  setHandler(decoder, decoder.out.type == Type::F32 || decoder.out.type == Type::F64 ? testpLanes : nullptr);
}

} // namespace

void addCompareOps(DecodeTable &table) {
  table["setp"] = table["set"] = decodeCompare;
  table["selp"] = table["slct"] = decodeSelect;
  table["testp"] = decodeTestp;
}

} // namespace gpusim
