// Flow of control: branches, branch tables, calls, returns, exit, trap.
#include <cstring>

#include "test/gpusim/exec/lanes.h"

namespace gpusim {
namespace {

using ptx::Operand;

void branch(Warp &warp, const Instr &instr, uint32_t lanes) {
  if (lanes == warp.active) {
    warp.pc = instr.target;
    if (warp.diverged) { // others may be behind or already there
      warp.spill(lanes, instr.target);
      warp.repick = true;
    }
    return;
  }
  warp.spill(warp.active & ~lanes, warp.pc);
  warp.spill(lanes, instr.target);
  warp.repick = true;
}

void branchTable(Warp &warp, const Instr &instr, uint32_t lanes) {
  const std::vector<uint32_t> &targets = warp.program->branchTables[instr.target];
  const uint64_t *index = warp.source(instr.s[0]);
  warp.spill(warp.active, warp.pc);
  forLanes(lanes, [&](unsigned lane) {
    uint32_t i = static_cast<uint32_t>(index[lane]);
    if (i >= targets.size())
      warp.fault(Report::BadInstruction, instr, lane,
                 "index " + std::to_string(i) + " into a branch table of " + std::to_string(targets.size()) +
                     " targets");
    warp.lanePc[lane] = targets[i];
  });
  warp.repick = true;
}

uint8_t *localAt(Warp &warp, unsigned lane, uint32_t offset) {
  return warp.local.data() + size_t(lane) * warp.localCapacity + offset;
}
uint8_t *definedAt(Warp &warp, unsigned lane, uint32_t offset) {
  return warp.localDefined.data() + size_t(lane) * warp.localCapacity + offset;
}

void copyBetweenFrames(Warp &warp, uint32_t lanes, uint32_t to, uint32_t from, uint32_t size) {
  forLanes(lanes, [&](unsigned lane) {
    std::memcpy(localAt(warp, lane, to), localAt(warp, lane, from), size);
    std::memcpy(definedAt(warp, lane, to), definedAt(warp, lane, from), size);
  });
}

void enterCall(Warp &warp, const Instr &instr, uint32_t lanes, uint32_t callee) {
  const CallSite &site = warp.program->calls[instr.target];
  const Function &function = warp.program->functions[callee];
  const Frame caller = warp.frames[warp.frame];
  uint32_t callPc = warp.pc - 1;
  if (caller.depth > 256)
    warp.fault(Report::Budget, instr, __builtin_ctz(lanes), "calls nest deeper than 256");
  uint32_t child = warp.childFrame(callee, callPc);
  warp.enterFrame(warp.frame); // the register file may have moved
  const Frame &entered = warp.frames[child];
  forLanes(lanes,
           [&](unsigned lane) { std::memset(definedAt(warp, lane, entered.localBase), 0, function.frameBytes); });
  if (site.arguments.size() != function.params.size() || site.results.size() != function.returns.size())
    warp.fault(Report::BadInstruction, instr, __builtin_ctz(lanes),
               "the call does not fit the function '" + function.name + "'");
  for (size_t i = 0; i < site.arguments.size(); ++i)
    copyBetweenFrames(warp, lanes, entered.localBase + function.params[i].offset, caller.localBase + site.arguments[i],
                      function.params[i].size);
  warp.predicateFile[entered.predicateBase] = 0;
  warp.predicateFile[entered.predicateBase + 1] = allLanes;
  forLanes(lanes, [&](unsigned lane) {
    warp.laneFrame[lane] = child;
    warp.lanePc[lane] = function.begin;
  });
}

void call(Warp &warp, const Instr &instr, uint32_t lanes) {
  const CallSite &site = warp.program->calls[instr.target];
  warp.spill(warp.active, warp.pc);
  warp.repick = true;
  if (site.function != ptx::noIndex)
    return enterCall(warp, instr, lanes, site.function);
  const uint64_t *addresses = warp.source(instr.s[0]);
  for (uint32_t left = lanes; left;) { // one callee after the other
    unsigned first = __builtin_ctz(left);
    uint64_t address = addresses[first], index = (address - functionWindow) / 16;
    if (address < functionWindow || index >= warp.program->functions.size() || address % 16 ||
        !warp.program->functions[index].defined)
      warp.fault(Report::BadInstruction, instr, first, "calls an address that is no function", address);
    uint32_t same = 0;
    forLanes(left, [&](unsigned lane) { same |= uint32_t(addresses[lane] == address) << lane; });
    left &= ~same;
    enterCall(warp, instr, same, static_cast<uint32_t>(index));
    addresses = warp.source(instr.s[0]); // registers may have moved
  }
}

void exitThreads(Warp &warp, const Instr &, uint32_t lanes) {
  warp.spill(warp.active, warp.pc);
  warp.exitLanes(lanes);
}

void ret(Warp &warp, const Instr &instr, uint32_t lanes) {
  if (warp.frame == 0)
    return exitThreads(warp, instr, lanes);
  const Frame &callee = warp.frames[warp.frame], &caller = warp.frames[callee.parent];
  const CallSite &site = warp.program->calls[warp.program->code[callee.callPc].target];
  const Function &function = warp.program->functions[callee.function];
  warp.spill(warp.active, warp.pc);
  for (size_t i = 0; i < function.returns.size(); ++i)
    copyBetweenFrames(warp, lanes, caller.localBase + site.results[i], callee.localBase + function.returns[i].offset,
                      function.returns[i].size);
  forLanes(lanes, [&](unsigned lane) {
    warp.laneFrame[lane] = callee.parent;
    warp.lanePc[lane] = callee.callPc + 1;
  });
  warp.repick = true;
}

void trap(Warp &warp, const Instr &instr, uint32_t lanes) {
  warp.fault(Report::Trap, instr, __builtin_ctz(lanes),
             instr.kind ? "calls '" + warp.program->functions[instr.imm].name + "'" : "traps");
}

void nothing(Warp &, const Instr &, uint32_t) {}

//===----------------------------------------------------------------------===//
// Decoding
//===----------------------------------------------------------------------===//

void decodeBranch(Decoder &decoder) {
  decoder.flag("uni");
  decoder.expectOperands(1, 1);
  decoder.out.target = decoder.label(0);
  decoder.out.control = Control::Branch;
  decoder.out.run = branch;
}

void decodeBranchTable(Decoder &decoder) {
  decoder.flag("uni");
  decoder.flag("idx");
  decoder.expectOperands(2, 2);
  const Operand &table = decoder.operand(1);
  if (table.kind != Operand::Name || table.symbol.kind != ptx::SymbolKind::Table)
    decoder.fail("brx.idx needs a list of .branchtargets");
  decoder.out.s[0] = decoder.value(0, ptx::Type::U32);
  decoder.out.target = table.symbol.index;
  decoder.out.control = Control::Table;
  decoder.out.run = branchTable;
}

std::vector<uint32_t> frameOffsets(Decoder &decoder, const Operand &list) {
  std::vector<uint32_t> offsets;
  for (const Operand &element : list.elements) {
    if (element.kind != Operand::Name || element.symbol.kind != ptx::SymbolKind::Local)
      decoder.fail("arguments and results of a call must be .param variables");
    offsets.push_back(element.symbol.index);
  }
  return offsets;
}

// call (results), function, (arguments), prototype;
void decodeCall(Decoder &decoder) {
  decoder.flag("uni");
  CallSite site;
  size_t next = 0;
  Instr &out = decoder.out;
  if (decoder.operand(0).kind == Operand::List)
    site.results = frameOffsets(decoder, decoder.operand(next++));
  const Operand &callee = decoder.operand(next++);
  if (next < decoder.operandCount() && decoder.operand(next).kind == Operand::List)
    site.arguments = frameOffsets(decoder, decoder.operand(next));
  if (callee.kind == Operand::Register) {
    out.s[0] = static_cast<int32_t>(callee.slot);
    for (uint32_t i = 0; i < decoder.program.functions.size(); ++i)
      if (!decoder.module.functions[i].entry && decoder.module.functions[i].defined)
        decoder.function.callees.push_back(i);
  } else if (callee.kind == Operand::Name && callee.symbol.kind == ptx::SymbolKind::Function) {
    site.function = callee.symbol.index;
    const ptx::FunctionSyntax &function = decoder.module.functions[site.function];
    if (!function.defined) {
      if (function.name != "__assertfail")
        decoder.fail("the function '" + function.name + "' is declared but not defined");
      out.kind = 1;
      out.imm = site.function;
      out.run = trap;
      return;
    }
    decoder.function.callees.push_back(site.function);
  } else {
    decoder.fail("the callee must be a function or a register");
  }
  out.target = static_cast<uint32_t>(decoder.program.calls.size());
  decoder.program.calls.push_back(std::move(site));
  out.control = Control::Call;
  out.run = call;
}

void decodeRet(Decoder &decoder) {
  decoder.flag("uni");
  decoder.expectOperands(0, 0);
  decoder.out.control = Control::Return;
  decoder.out.run = ret;
}

void decodeExit(Decoder &decoder) {
  decoder.expectOperands(0, 0);
  decoder.out.control = Control::Exit;
  decoder.out.run = exitThreads;
}

void decodeTrap(Decoder &decoder) {
  decoder.expectOperands(0, 0);
  decoder.out.run = trap;
}

void decodeNothing(Decoder &decoder) {
  while (decoder.optionalType() != ptx::Type::None)
    ;
  decoder.out.run = nothing;
}

} // namespace

void addControlOps(DecodeTable &table) {
  table["bra"] = decodeBranch;
  table["brx"] = decodeBranchTable;
  table["call"] = decodeCall;
  table["ret"] = decodeRet;
  table["exit"] = decodeExit;
  table["trap"] = table["brkpt"] = decodeTrap;
  table["nanosleep"] = table["pmevent"] = decodeNothing;
}

} // namespace gpusim
