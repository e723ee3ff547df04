// Addresses and checked bytes: what loads, stores, atomics, asynchronous copies and ldmatrix have in common.
#pragma once

#include <cstring>
#include <utility>

#include "test/gpusim/exec/lanes.h"

namespace gpusim {

using Addresses = uint64_t[32];

// The lanes' addresses of an instruction's memory operand.
inline void gatherAddresses(const Warp &warp, const MemoryOperand &operand, uint32_t lanes, Addresses &addresses) {
  const uint64_t *base = warp.source(operand.base);
  uint64_t offset = operand.offset + (operand.frameRelative ? warp.localBase : 0);
  forLanes(lanes, [&, base, offset](unsigned lane) { addresses[lane] = base[lane] + offset; });
}

// The window of a generic address; Global where it is none of the others.
inline ptx::Space spaceOf(uint64_t generic) {
  if (generic - sharedWindow < windowSize)
    return ptx::Space::Shared;
  if (generic - localWindow < windowSize)
    return ptx::Space::Local;
  if (generic - paramWindow < windowSize)
    return ptx::Space::Param;
  return ptx::Space::Global;
}
inline uint64_t windowBase(ptx::Space space) {
  return space == ptx::Space::Shared  ? sharedWindow
         : space == ptx::Space::Local ? localWindow
         : space == ptx::Space::Param ? paramWindow
                                      : 0;
}

// Calls body(space, lanes) once for each space that the lanes' addresses lie in; generic addresses become offsets in
// their window.
template <class F> void bySpace(ptx::Space space, uint32_t lanes, Addresses &addresses, F &&body) {
  if (space != ptx::Space::Generic) {
    // Shared, local and parameter addresses have 32 bits; the upper half of a register may hold anything.
    if (space == ptx::Space::Shared)
      forLanes(lanes, [&](unsigned lane) { addresses[lane] = static_cast<uint32_t>(addresses[lane]); });
    return body(space, lanes);
  }
  for (uint32_t left = lanes; left;) {
    ptx::Space here = spaceOf(addresses[__builtin_ctz(left)]);
    uint32_t same = 0;
    forLanes(left, [&](unsigned lane) { same |= uint32_t(spaceOf(addresses[lane]) == here) << lane; });
    uint64_t base = windowBase(here);
    forLanes(same, [&](unsigned lane) { addresses[lane] -= base; });
    left &= ~same;
    body(here, same);
  }
}

// Faults unless the addresses are multiples of `bytes` (a power of two).
void checkAligned(const Warp &warp, const Instr &instr, uint32_t lanes, const Addresses &addresses, uint32_t bytes,
                  ptx::Space space);
[[noreturn]] void badAddress(const Warp &warp, const Instr &instr, unsigned lane, uint64_t address, uint32_t bytes,
                             ptx::Space space, const char *what);
[[noreturn]] void undefinedBytes(const Warp &warp, const Instr &instr, unsigned lane, uint64_t address, uint32_t bytes,
                                 ptx::Space space);

// Where the lanes' bytes of global memory lie. One look-up serves all lanes when one allocation holds the whole span.
class GlobalSpan {
public:
  GlobalSpan(const Warp &warp, const Instr &instr, uint32_t lanes, const Addresses &addresses, uint32_t bytes,
             const char *what)
      : warp(warp), instr(instr), bytes(bytes), what(what) {
    uint64_t low = ~0ull, high = 0;
    forLanes(lanes, [&](unsigned lane) {
      low = addresses[lane] < low ? addresses[lane] : low;
      high = addresses[lane] > high ? addresses[lane] : high;
    });
    first = low;
    whole = warp.block->memory->resolve(low, high - low + bytes);
  }
  HostRange at(unsigned lane, uint64_t address) const {
    if (whole.kind == AccessKind::Inside)
      return {AccessKind::Inside, whole.bytes + (address - first), whole.defined + (address - first), whole.constant};
    HostRange range = warp.block->memory->resolve(address, bytes);
    if (range.kind != AccessKind::Inside)
      badAddress(warp, instr, lane, address, bytes, ptx::Space::Global, what);
    return range;
  }
  HostRange writable(unsigned lane, uint64_t address) const {
    HostRange range = at(lane, address);
    if (range.constant)
      badAddress(warp, instr, lane, address, bytes, ptx::Space::Const, "writes (the memory is constant)");
    return range;
  }

private:
  const Warp &warp;
  const Instr &instr;
  uint32_t bytes;
  const char *what;
  uint64_t first = 0;
  HostRange whole;
};

// A lane's bytes of shared memory, inside its bounds.
inline uint8_t *sharedBytes(const Warp &warp, const Instr &instr, unsigned lane, uint64_t address, uint32_t bytes,
                            const char *what) {
  std::vector<uint8_t> &shared = warp.block->shared;
  if (address > shared.size() || bytes > shared.size() - address)
    badAddress(warp, instr, lane, address, bytes, ptx::Space::Shared, what);
  return shared.data() + address;
}

// All bytes are defined.
inline bool allDefined(const uint8_t *defined, uint32_t bytes) {
  constexpr uint64_t ones = 0x0101010101010101ull;
  uint32_t i = 0;
  for (; i + 8 <= bytes; i += 8) {
    uint64_t eight;
    std::memcpy(&eight, defined + i, 8);
    if (eight != ones)
      return false;
  }
  for (; i < bytes; ++i)
    if (!defined[i])
      return false;
  return true;
}

} // namespace gpusim
