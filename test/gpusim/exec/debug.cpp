// Debugging aids: the trace of one warp (MORAY_GPUSIM_TRACE) and the dump at a line (MORAY_GPUSIM_BREAK).
#include <cinttypes>
#include <cstdio>

#include "test/gpusim/exec/warp.h"

namespace gpusim {
namespace {

void printLanes(const char *name, const uint64_t *values, uint32_t lanes) {
  std::fprintf(stderr, "    %s:", name);
  forLanes(lanes, [&](unsigned lane) { std::fprintf(stderr, " %" PRIx64, values[lane]); });
  std::fprintf(stderr, "\n");
}

} // namespace

// One line per executed instruction, then what it wrote, lane by lane.
void traceInstruction(const Warp &warp, const Instr &instr, uint32_t lanes) {
  const Block &block = *warp.block;
  if (!block.traced || warp.index != block.options->traceWarp)
    return;
  std::fprintf(stderr, "%s:%" PRIu64 ":%u line %u lanes %08x  %s\n", block.info->name.c_str(), block.linear, warp.index,
               instr.line, lanes, warp.program->lineText(instr.line).c_str());
  if (instr.control != Control::None)
    return;
  for (int32_t slot : instr.d)
    if (slot >= 0)
      printLanes("d", warp.source(slot), lanes);
  for (int32_t slot : {instr.p[0], instr.p[1]})
    if (slot >= 0)
      std::fprintf(stderr, "    p: %08x\n", warp.predicates[slot] & lanes);
}

// The first warp that comes to the line: its registers and the block's shared memory; then the launch goes on.
void dumpAtBreak(const Warp &warp, const Instr &instr, uint32_t lanes) {
  const Block &block = *warp.block;
  if (instr.line != block.options->breakLine || block.info->name != block.options->breakKernel)
    return;
  static std::atomic<bool> done{false};
  if (done.exchange(true))
    return;
  std::fprintf(stderr, "break at line %u: block (%u,%u,%u), warp %u, lanes %08x\n  %s\n", instr.line, block.at.x,
               block.at.y, block.at.z, warp.index, lanes, warp.program->lineText(instr.line).c_str());
  const Function &function = warp.program->functions[warp.frames[warp.frame].function];
  for (uint32_t slot = 0; slot < function.registerSlots; ++slot) {
    char name[32];
    std::snprintf(name, sizeof name, "register %u", slot);
    printLanes(name, warp.source(static_cast<int32_t>(slot)), lanes);
  }
  for (uint32_t slot = 2; slot < function.predicateSlots; ++slot)
    std::fprintf(stderr, "    predicate %u: %08x\n", slot, warp.predicates[slot]);
  for (size_t i = 0; i < block.shared.size(); ++i) {
    if (i % 32 == 0)
      std::fprintf(stderr, "\n  shared %05zx:", i);
    std::fprintf(stderr, i % 4 ? "%02x" : " %02x", block.shared[i]);
  }
  std::fprintf(stderr, "\n");
}

} // namespace gpusim
