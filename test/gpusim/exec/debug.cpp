// Debugging aids: the trace of one warp (MORAY_GPUSIM_TRACE) and the dump at a line (MORAY_GPUSIM_BREAK).
#include <algorithm>
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

std::string registerName(const Function &function, uint32_t slot, bool predicate) {
  for (const ptx::RegisterRange &range : function.registers)
    if (range.predicate == predicate && slot - range.slot < std::max(1u, range.count))
      return range.name + (range.count ? std::to_string(slot - range.slot) : "");
  return predicate ? "predicate" : "temporary";
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
  const Function &function = warp.program->functions[warp.frames[warp.frame].function];
  for (int32_t slot : instr.d)
    if (slot >= 0)
      printLanes(registerName(function, static_cast<uint32_t>(slot), false).c_str(), warp.source(slot), lanes);
  for (int32_t slot : {instr.p[0], instr.p[1]})
    if (slot >= 0)
      std::fprintf(stderr, "    %s: %08x\n", registerName(function, static_cast<uint32_t>(slot), true).c_str(),
                   warp.predicates[slot] & lanes);
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
  for (const ptx::RegisterRange &range : function.registers)
    for (uint32_t i = 0; i < std::max(1u, range.count); ++i) {
      std::string name = range.name + (range.count ? std::to_string(i) : "");
      if (range.predicate)
        std::fprintf(stderr, "    %s: %08x\n", name.c_str(), warp.predicates[range.slot + i]);
      else
        printLanes(name.c_str(), warp.source(static_cast<int32_t>(range.slot + i)), lanes);
    }
  for (size_t i = 0; i < block.shared.size(); ++i) {
    if (i % 32 == 0)
      std::fprintf(stderr, "\n  shared %05zx:", i);
    std::fprintf(stderr, i % 4 ? "%02x" : " %02x", block.shared[i]);
  }
  std::fprintf(stderr, "\n");
}

} // namespace gpusim
