// Reports on bad addresses.
#include "test/gpusim/exec/access.h"

namespace gpusim {
namespace {

const char *nameOf(ptx::Space space) {
  switch (space) {
  case ptx::Space::Shared:
    return "shared";
  case ptx::Space::Local:
    return "local";
  case ptx::Space::Param:
    return "param";
  case ptx::Space::Const:
    return "const";
  default:
    return "global";
  }
}

std::string allocationOf(const Warp &warp, uint64_t address, uint32_t bytes, ptx::Space space) {
  const Block &block = *warp.block;
  if (space == ptx::Space::Global || space == ptx::Space::Const)
    return block.memory->describe(address, bytes);
  if (space == ptx::Space::Shared) {
    std::string size = std::to_string(block.shared.size()) + " bytes of shared memory";
    return address < block.shared.size() ? block.sharedName(address) + ", " + size : size;
  }
  if (space == ptx::Space::Param)
    return std::to_string(block.launch->params.size()) + " bytes of parameters";
  return std::to_string(warp.localCapacity) + " bytes of local memory";
}

} // namespace

void checkAligned(const Warp &warp, const Instr &instr, uint32_t lanes, const Addresses &addresses, uint32_t bytes,
                  ptx::Space space) {
  uint64_t bits = 0;
  forLanes(lanes, [&](unsigned lane) { bits |= addresses[lane]; });
  if ((bits & (bytes - 1)) == 0)
    return;
  forLanes(lanes, [&](unsigned lane) {
    if (addresses[lane] & (bytes - 1))
      warp.fault(Report::Misaligned, instr, lane,
                 "an access of " + std::to_string(bytes) + " bytes must be aligned to its size", addresses[lane],
                 nameOf(space), allocationOf(warp, addresses[lane], bytes, space));
  });
}

void badAddress(const Warp &warp, const Instr &instr, unsigned lane, uint64_t address, uint32_t bytes, ptx::Space space,
                const char *what) {
  bool global = space == ptx::Space::Global || space == ptx::Space::Const;
  bool freed = global && warp.block->memory->resolve(address, bytes).kind == AccessKind::UseAfterFree;
  warp.fault(freed ? Report::UseAfterFree : Report::OutOfBounds, instr, lane,
             std::string(what) + " " + std::to_string(bytes) + " bytes", address, nameOf(space),
             allocationOf(warp, address, bytes, space));
}

void undefinedBytes(const Warp &warp, const Instr &instr, unsigned lane, uint64_t address, uint32_t bytes,
                    ptx::Space space) {
  warp.fault(Report::Uninitialised, instr, lane,
             "reads " + std::to_string(bytes) + " bytes of which some were never written", address, nameOf(space),
             allocationOf(warp, address, bytes, space));
}

} // namespace gpusim
