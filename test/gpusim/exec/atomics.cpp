// atom and red on global and shared memory. Lanes go one after the other; global operations are atomic among host
// threads, too.
#include <algorithm>

#include "test/gpusim/exec/access.h"

namespace gpusim {
namespace {

using ptx::Space;
using ptx::Type;

enum Flags : uint8_t { Acquire = 1, Release = 2 };
enum Op : uint8_t { Add, Min, Max, And, Or, Xor, Inc, Dec, Exchange, CompareSwap };

uint64_t addHalves(Type type, uint64_t a, uint64_t b) {
  switch (type) {
  case Type::F16:
    return halfOp(HalfOp::Add, HalfType::F16, uint16_t(a), uint16_t(b), 0);
  case Type::BF16:
    return halfOp(HalfOp::Add, HalfType::BF16, uint16_t(a), uint16_t(b), 0);
  case Type::F16x2:
    return halfOp2(HalfOp::Add, HalfType::F16, uint32_t(a), uint32_t(b), 0);
  default:
    return halfOp2(HalfOp::Add, HalfType::BF16, uint32_t(a), uint32_t(b), 0);
  }
}

// `ftz`: in global memory, f32 addition flushes subnormals.
uint64_t addValues(Type type, uint64_t a, uint64_t b, bool ftz) {
  switch (type) {
  case Type::F32: {
    FpMode mode;
    mode.ftz = ftz;
    return addF32(uint32_t(a), uint32_t(b), mode);
  }
  case Type::F64:
    return addF64(a, b);
  case Type::F16:
  case Type::BF16:
  case Type::F16x2:
  case Type::BF16x2:
    return addHalves(type, a, b);
  default:
    return a + b;
  }
}

uint64_t extreme(Type type, bool max, uint64_t a, uint64_t b) {
  switch (type) {
  case Type::S32:
    return static_cast<uint32_t>(max ? std::max(int32_t(a), int32_t(b)) : std::min(int32_t(a), int32_t(b)));
  case Type::S64:
    return static_cast<uint64_t>(max ? std::max(int64_t(a), int64_t(b)) : std::min(int64_t(a), int64_t(b)));
  case Type::U32:
    return max ? std::max(uint32_t(a), uint32_t(b)) : std::min(uint32_t(a), uint32_t(b));
  default:
    return max ? std::max(a, b) : std::min(a, b);
  }
}

// The new value of a location that holds `old`; b is the operand, c the replacement of a compare-and-swap.
uint64_t update(const Instr &instr, uint64_t old, uint64_t b, uint64_t c, bool ftz) {
  switch (Op(instr.kind)) {
  case Add:
    return addValues(instr.type, old, b, ftz);
  case Min:
  case Max:
    return extreme(instr.type, instr.kind == Max, old, b);
  case And:
    return old & b;
  case Or:
    return old | b;
  case Xor:
    return old ^ b;
  case Inc:
    return uint32_t(old) >= uint32_t(b) ? 0 : uint32_t(old) + 1;
  case Dec:
    return uint32_t(old) == 0 || uint32_t(old) > uint32_t(b) ? uint32_t(b) : uint32_t(old) - 1;
  case Exchange:
    return b;
  case CompareSwap:
    return old == b ? c : old;
  }
  return old;
}

template <class T> T atomicUpdate(const Instr &instr, uint8_t *bytes, uint64_t b, uint64_t c, bool ftz) {
  T *location = reinterpret_cast<T *>(bytes);
  T old = __atomic_load_n(location, __ATOMIC_SEQ_CST);
  b = static_cast<T>(b);
  while (!__atomic_compare_exchange_n(location, &old, static_cast<T>(update(instr, old, b, c, ftz)), false,
                                      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
    ;
  return old;
}

// Where the lane's location lies, after all checks.
template <class T>
uint8_t *location(Warp &warp, const Instr &instr, const GlobalSpan *span, unsigned lane, uint64_t address,
                  Space space) {
  if (space == Space::Shared) {
    uint8_t *bytes = sharedBytes(warp, instr, lane, address, sizeof(T), "an atomic on");
    warp.block->shadow.access(warp, instr, lane, static_cast<uint32_t>(address), sizeof(T), SharedAccess::Atomic);
    return bytes;
  }
  HostRange range = span->writable(lane, address);
  bool writesOnly = instr.kind == Exchange && instr.d[0] == noSlot;
  if (!writesOnly && !allDefined(range.defined, sizeof(T)))
    undefinedBytes(warp, instr, lane, address, sizeof(T), space);
  std::memset(range.defined, 1, sizeof(T));
  return range.bytes;
}

template <class T> void atomic(Warp &warp, const Instr &instr, uint32_t lanes) {
  Addresses addresses;
  gatherAddresses(warp, instr.memory, lanes, addresses);
  const uint64_t *b = warp.source(instr.s[0]), *c = instr.kind == CompareSwap ? warp.source(instr.s[1]) : b;
  uint64_t *d = instr.d[0] == noSlot ? nullptr : warp.dest(instr.d[0]);
  bySpace(instr.space, lanes, addresses, [&](Space space, uint32_t some) {
    unsigned first = __builtin_ctz(some);
    if (space == Space::Local || space == Space::Param)
      badAddress(warp, instr, first, addresses[first], sizeof(T), space,
                 "an atomic (which needs global or shared memory) on");
    checkAligned(warp, instr, some, addresses, sizeof(T), space);
    std::optional<GlobalSpan> span;
    if (space != Space::Shared)
      span.emplace(warp, instr, some, addresses, sizeof(T), "an atomic on");
    forLanes(some, [&](unsigned lane) {
      uint8_t *bytes = location<T>(warp, instr, span ? &*span : nullptr, lane, addresses[lane], space);
      uint64_t place = addresses[lane] + (space == Space::Shared ? sharedWindow : 0);
      warp.observe(lane, place, instr.flags & Acquire);
      T old = atomicUpdate<T>(instr, bytes, b[lane], c[lane], space != Space::Shared);
      warp.publish(lane, place, instr.flags & Release, false);
      if (d)
        d[lane] = old;
    });
  });
}

void checkType(Decoder &decoder, Op op, Type type) {
  bool half = type == Type::F16 || type == Type::BF16 || type == Type::F16x2 || type == Type::BF16x2;
  if ((ptx::isFloat(type) || half) && op != Add)
    decoder.fail("floating-point atomics exist for .add only");
  if (half)
    decoder.flag("noftz");
  if (type == Type::BF16 || type == Type::BF16x2)
    decoder.require(90, 78, "an atomic of bf16");
}

// atom{.sem}{.scope}{.space}.op.type d, [a], b{, c}; red has no d.
void decodeAtomic(Decoder &decoder) {
  bool red = decoder.opcode() == "red";
  Instr &out = decoder.out;
  std::string_view order = decoder.takeAny({"relaxed", "acquire", "release", "acq_rel"});
  out.flags = (order == "acquire" || order == "acq_rel" ? Acquire : 0) |
              (order == "release" || order == "acq_rel" ? Release : 0);
  decoder.takeAny({"cta", "cluster", "gpu", "sys"});
  out.space = decoder.space();
  decoder.ignoreCacheOperators();
  static constexpr std::pair<const char *, Op> ops[] = {
      {"add", Add}, {"min", Min}, {"max", Max}, {"and", And},       {"or", Or},
      {"xor", Xor}, {"inc", Inc}, {"dec", Dec}, {"exch", Exchange}, {"cas", CompareSwap}};
  bool found = false;
  for (const auto &[name, op] : ops)
    if (!found && decoder.flag(name)) {
      out.kind = op;
      found = true;
    }
  if (!found || (red && out.kind >= Exchange))
    decoder.fail("'" + decoder.opcode() + "' needs an operation");
  out.type = decoder.type();
  checkType(decoder, Op(out.kind), out.type);
  size_t first = red ? 0 : 1;
  decoder.expectOperands(first + 2, first + 3);
  if (!red)
    out.d[0] = decoder.destination(0, out.type);
  out.memory = decoder.memory(first, out.space);
  out.s[0] = decoder.value(first + 1, out.type);
  if (out.kind == CompareSwap)
    out.s[1] = decoder.value(first + 2, out.type);
  unsigned bits = ptx::bitsOf(out.type);
  setHandler(decoder, bits == 16   ? atomic<uint16_t>
                      : bits == 32 ? atomic<uint32_t>
                      : bits == 64 ? atomic<uint64_t>
                                   : nullptr);
}

} // namespace

void addAtomicOps(DecodeTable &table) { table["atom"] = table["red"] = decodeAtomic; }

} // namespace gpusim
