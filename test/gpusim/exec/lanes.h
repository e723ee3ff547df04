// Handlers of instructions that compute each lane's result from its own operands: a functor per operation and type.
#pragma once

#include <type_traits>

#include "test/gpusim/exec/decoder.h"
#include "test/gpusim/exec/warp.h"

namespace gpusim {

// Registers hold a value in their low bits; what is above is undefined, so each reader truncates.
template <class T> inline T laneAs(uint64_t bits) { return static_cast<T>(bits); }
template <class T> inline uint64_t laneBits(T value) {
  return static_cast<uint64_t>(static_cast<std::make_unsigned_t<T>>(value));
}

template <class T, class Op> void unaryLanes(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *a = warp.source(instr.s[0]);
  uint64_t *d = warp.dest(instr.d[0]);
  forLanes(lanes, [=](unsigned lane) { d[lane] = laneBits(Op::apply(laneAs<T>(a[lane]))); });
}

template <class T, class Op> void binaryLanes(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *a = warp.source(instr.s[0]), *b = warp.source(instr.s[1]);
  uint64_t *d = warp.dest(instr.d[0]);
  forLanes(lanes, [=](unsigned lane) { d[lane] = laneBits(Op::apply(laneAs<T>(a[lane]), laneAs<T>(b[lane]))); });
}

template <class T, class Op> void ternaryLanes(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *a = warp.source(instr.s[0]), *b = warp.source(instr.s[1]), *c = warp.source(instr.s[2]);
  uint64_t *d = warp.dest(instr.d[0]);
  forLanes(lanes, [=](unsigned lane) {
    d[lane] = laneBits(Op::apply(laneAs<T>(a[lane]), laneAs<T>(b[lane]), laneAs<T>(c[lane])));
  });
}

// The same for functors that look at the instruction (modes, constants) and work on 64-bit patterns.
template <class Op> void unaryBits(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *a = warp.source(instr.s[0]);
  uint64_t *d = warp.dest(instr.d[0]);
  forLanes(lanes, [&, a, d](unsigned lane) { d[lane] = Op::apply(instr, a[lane]); });
}

template <class Op> void binaryBits(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *a = warp.source(instr.s[0]), *b = warp.source(instr.s[1]);
  uint64_t *d = warp.dest(instr.d[0]);
  forLanes(lanes, [&, a, b, d](unsigned lane) { d[lane] = Op::apply(instr, a[lane], b[lane]); });
}

template <class Op> void ternaryBits(Warp &warp, const Instr &instr, uint32_t lanes) {
  const uint64_t *a = warp.source(instr.s[0]), *b = warp.source(instr.s[1]), *c = warp.source(instr.s[2]);
  uint64_t *d = warp.dest(instr.d[0]);
  forLanes(lanes, [&, a, b, c, d](unsigned lane) { d[lane] = Op::apply(instr, a[lane], b[lane], c[lane]); });
}

// Chooses the instance for an integer type; null for other types. Bit types count as unsigned.

#define GPUSIM_FOR_INTEGER(NAME, SHAPE)                                                                                \
  template <class Op> Handler NAME(ptx::Type type) {                                                                   \
    switch (type) {                                                                                                    \
    case ptx::Type::U16:                                                                                               \
    case ptx::Type::B16:                                                                                               \
      return SHAPE<uint16_t, Op>;                                                                                      \
    case ptx::Type::S16:                                                                                               \
      return SHAPE<int16_t, Op>;                                                                                       \
    case ptx::Type::U32:                                                                                               \
    case ptx::Type::B32:                                                                                               \
      return SHAPE<uint32_t, Op>;                                                                                      \
    case ptx::Type::S32:                                                                                               \
      return SHAPE<int32_t, Op>;                                                                                       \
    case ptx::Type::U64:                                                                                               \
    case ptx::Type::B64:                                                                                               \
      return SHAPE<uint64_t, Op>;                                                                                      \
    case ptx::Type::S64:                                                                                               \
      return SHAPE<int64_t, Op>;                                                                                       \
    default:                                                                                                           \
      return nullptr;                                                                                                  \
    }                                                                                                                  \
  }
GPUSIM_FOR_INTEGER(unaryInteger, unaryLanes)
GPUSIM_FOR_INTEGER(binaryInteger, binaryLanes)
GPUSIM_FOR_INTEGER(ternaryInteger, ternaryLanes)
#undef GPUSIM_FOR_INTEGER

// Operand layouts shared by most instructions: d, a / d, a, b / d, a, b, c, all of one type.
inline void decodeSources(Decoder &decoder, ptx::Type type, unsigned count, ptx::Type result = ptx::Type::None) {
  decoder.expectOperands(count + 1, count + 1);
  decoder.out.type = type;
  for (unsigned i = 0; i < count; ++i)
    decoder.out.s[i] = decoder.value(i + 1, type);
  decoder.out.d[0] = decoder.destination(0, result == ptx::Type::None ? type : result);
}

// The same with a type for each source.
inline void decodeSources(Decoder &decoder, ptx::Type result, std::initializer_list<ptx::Type> types) {
  decoder.expectOperands(types.size() + 1, types.size() + 1);
  decoder.out.type = result;
  unsigned i = 0;
  for (ptx::Type type : types) {
    decoder.out.s[i] = decoder.value(i + 1, type);
    ++i;
  }
  decoder.out.d[0] = decoder.destination(0, result);
}

inline void setHandler(Decoder &decoder, Handler handler) {
  if (!handler)
    decoder.fail("'" + decoder.opcode() + "' does not exist for this type");
  decoder.out.run = handler;
}

} // namespace gpusim
