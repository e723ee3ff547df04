// cp.async: copies from global to shared memory that count as done only after their issuer has waited for them.
//
// The bytes are copied at once; the shadow of shared memory marks them as pending until the wait.
#include <algorithm>

#include "test/gpusim/exec/access.h"

namespace gpusim {
namespace {

using ptx::Space;
using ptx::Type;

uint32_t openGroup(Warp &warp, unsigned lane) {
  if (!warp.openGroup[lane])
    warp.openGroup[lane] = warp.block->shadow.openGroup();
  return warp.openGroup[lane];
}

void copyLanes(Warp &warp, const Instr &instr, uint32_t lanes) {
  Addresses to, from;
  gatherAddresses(warp, instr.memory, lanes, to);
  const uint64_t *source = warp.source(instr.s[0]);
  forLanes(lanes, [&](unsigned lane) {
    to[lane] = static_cast<uint32_t>(to[lane]);
    from[lane] = source[lane] + instr.imm;
  });
  uint32_t size = instr.width;
  checkAligned(warp, instr, lanes, to, size, Space::Shared);
  checkAligned(warp, instr, lanes, from, size, Space::Global);
  const uint64_t *sizes = instr.s[1] == noSlot ? nullptr : warp.source(instr.s[1]);
  uint32_t ignored = instr.p[2] >= 0 ? warp.predicateSource(instr, 0) : 0;
  Block &block = *warp.block;
  forLanes(lanes, [&](unsigned lane) {
    uint32_t bytes = ignored >> lane & 1 ? 0 : sizes ? static_cast<uint32_t>(sizes[lane]) : size;
    if (bytes > size)
      warp.fault(Report::BadInstruction, instr, lane,
                 "src-size " + std::to_string(bytes) + " is above cp-size " + std::to_string(size));
    uint8_t *destination = sharedBytes(warp, instr, lane, to[lane], size, "writes");
    uint8_t value[16] = {};
    if (bytes) {
      HostRange range = block.memory->resolve(from[lane], bytes);
      if (range.kind != AccessKind::Inside)
        badAddress(warp, instr, lane, from[lane], bytes, Space::Global, "reads");
      if (!allDefined(range.defined, bytes))
        undefinedBytes(warp, instr, lane, from[lane], bytes, Space::Global);
      std::memcpy(value, range.bytes, bytes);
    }
    block.shadow.access(warp, instr, lane, static_cast<uint32_t>(to[lane]), size, SharedAccess::AsyncWrite, nullptr,
                        openGroup(warp, lane));
    std::memcpy(destination, value, size);
  });
}

void commitLane(Warp &warp, unsigned lane) {
  warp.pendingGroups[lane].push_back(warp.openGroup[lane]); // 0: an empty group
  warp.openGroup[lane] = 0;
}

void waitLane(Warp &warp, unsigned lane, size_t keep) {
  std::vector<uint32_t> &pending = warp.pendingGroups[lane];
  size_t done = pending.size() > keep ? pending.size() - keep : 0;
  for (size_t i = 0; i < done; ++i)
    if (pending[i])
      warp.block->shadow.complete(pending[i], warp.epoch);
  pending.erase(pending.begin(), pending.begin() + static_cast<ptrdiff_t>(done));
}

void commit(Warp &warp, const Instr &, uint32_t lanes) {
  forLanes(lanes, [&](unsigned lane) { commitLane(warp, lane); });
}

void waitGroup(Warp &warp, const Instr &instr, uint32_t lanes) {
  forLanes(lanes, [&](unsigned lane) { waitLane(warp, lane, instr.imm); });
}

void waitAll(Warp &warp, const Instr &, uint32_t lanes) {
  forLanes(lanes, [&](unsigned lane) {
    commitLane(warp, lane);
    waitLane(warp, lane, 0);
  });
}

// cp.async.{ca,cg}.shared.global [to], [from], size{, src-size or ignore-src}{, policy};
void decodeCopy(Decoder &decoder) {
  Instr &out = decoder.out;
  std::string_view level = decoder.takeAny({"ca", "cg"});
  Space first = decoder.space(), second = decoder.space();
  if (first != Space::Global || second != Space::Shared) // in the order of space()'s table
    decoder.fail("cp.async copies from .global to .shared");
  decoder.ignoreCacheOperators();
  decoder.expectOperands(3, 5);
  Space to = Space::Shared, from = Space::Global;
  out.memory = decoder.memory(0, to);
  MemoryOperand source = decoder.memory(1, from);
  out.s[0] = source.base;
  out.imm = source.offset;
  uint64_t size = decoder.immediate(2);
  if (!(size == 16 || (level == "ca" && (size == 4 || size == 8))))
    decoder.fail("cp.async copies 16 bytes, .ca also 4 or 8");
  out.width = static_cast<uint8_t>(size);
  bool more = decoder.operandCount() > 3;
  if (more && decoder.operand(3).kind == ptx::Operand::Predicate)
    decoder.predicateSource(decoder.operand(3), out.p[2], out.negated[0]);
  else if (more)
    out.s[1] = decoder.value(3, Type::U32);
  out.run = copyLanes;
}

void decodeCp(Decoder &decoder) {
  if (!decoder.flag("async"))
    decoder.fail("only cp.async is known");
  decoder.require(80, 70, "cp.async");
  if (decoder.flag("commit_group")) {
    decoder.out.run = commit;
  } else if (decoder.flag("wait_all")) {
    decoder.out.run = waitAll;
  } else if (decoder.flag("wait_group")) {
    decoder.expectOperands(1, 1);
    decoder.out.imm = decoder.immediate(0);
    decoder.out.run = waitGroup;
  } else {
    decodeCopy(decoder);
  }
}

} // namespace

void addAsyncCopyOps(DecodeTable &table) { table["cp"] = decodeCp; }

} // namespace gpusim
