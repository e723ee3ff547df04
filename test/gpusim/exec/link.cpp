// From a parsed module to a program: decodes all functions, resolves branches, lays out shared memory per kernel.
#include <algorithm>

#include "test/gpusim/exec/decoder.h"

namespace gpusim {
namespace {

void decodeFunction(Program &program, Function &function, const ptx::ModuleSyntax &module,
                    const ptx::FunctionSyntax &syntax) {
  function.begin = static_cast<uint32_t>(program.code.size());
  std::vector<uint32_t> starts; // first instruction of each one in the syntax
  Decoder decoder(program, function, module);
  size_t tablesBefore = program.branchTables.size();
  for (const std::vector<uint32_t> &table : syntax.branchTables)
    program.branchTables.push_back(table);
  for (const ptx::Instruction &instruction : syntax.body) {
    starts.push_back(static_cast<uint32_t>(program.code.size()));
    decoder.decode(instruction);
  }
  // Falling off the end returns; it also gives labels at the end an instruction.
  starts.push_back(static_cast<uint32_t>(program.code.size()));
  ptx::Instruction last;
  last.opcode = "ret";
  last.line = syntax.body.empty() ? syntax.line : syntax.body.back().line;
  decoder.decode(last);
  function.end = static_cast<uint32_t>(program.code.size());
  for (uint32_t pc = function.begin; pc < function.end; ++pc) {
    Instr &instr = program.code[pc];
    if (instr.control == Control::Branch)
      instr.target = starts[instr.target];
    else if (instr.control == Control::Table)
      instr.target += static_cast<uint32_t>(tablesBefore);
  }
  for (size_t i = tablesBefore; i < program.branchTables.size(); ++i)
    for (uint32_t &target : program.branchTables[i])
      target = starts[target];
  function.poolLanes.resize(function.pool.size() * 32);
  for (size_t i = 0; i < function.pool.size(); ++i)
    std::fill_n(function.poolLanes.begin() + i * 32, 32, function.pool[i].value);
}

// All functions that `from` may call, itself first. Indirect calls may reach every function whose address is taken;
// they count as calls of all.
std::vector<uint32_t> callClosure(const Program &program, uint32_t from) {
  std::vector<uint32_t> found{from};
  for (size_t i = 0; i < found.size(); ++i)
    for (uint32_t callee : program.functions[found[i]].callees)
      if (std::find(found.begin(), found.end(), callee) == found.end())
        found.push_back(callee);
  return found;
}

KernelLayout layoutKernel(const Program &program, uint32_t kernel) {
  KernelLayout layout;
  layout.functions = callClosure(program, kernel);
  std::vector<uint32_t> used;
  for (uint32_t function : layout.functions)
    for (uint32_t variable : program.functions[function].sharedVariables)
      if (std::find(used.begin(), used.end(), variable) == used.end())
        used.push_back(variable);
  std::sort(used.begin(), used.end());
  uint32_t end = 0, dynamicAlign = 1;
  for (uint32_t variable : used) {
    const ptx::Variable &shared = program.variables[variable];
    if (shared.dynamic) {
      dynamicAlign = std::max(dynamicAlign, shared.align);
      continue;
    }
    end = (end + shared.align - 1) / shared.align * shared.align;
    if (shared.size > windowSize - end)
      throw ptx::SyntaxError(shared.line, "more shared memory than any device has");
    layout.shared.push_back({variable, end, static_cast<uint32_t>(shared.size)});
    end += static_cast<uint32_t>(shared.size);
  }
  end = (end + dynamicAlign - 1) / dynamicAlign * dynamicAlign;
  layout.staticBytes = end;
  for (uint32_t variable : used)
    if (program.variables[variable].dynamic)
      layout.shared.push_back({variable, end, ~0u - end});
  return layout;
}

} // namespace

void link(Program &program, const ptx::ModuleSyntax &module) {
  program.functions.resize(module.functions.size());
  for (size_t i = 0; i < module.functions.size(); ++i) {
    const ptx::FunctionSyntax &syntax = module.functions[i];
    Function &function = program.functions[i];
    function.name = syntax.name;
    function.entry = syntax.entry;
    function.defined = syntax.defined;
    function.registerSlots = syntax.registerSlots;
    function.predicateSlots = syntax.predicateSlots;
    function.frameBytes = syntax.frameBytes;
    function.params = syntax.params;
    function.returns = syntax.returns;
    function.registers = syntax.registers;
  }
  for (size_t i = 0; i < module.functions.size(); ++i)
    if (module.functions[i].defined)
      decodeFunction(program, program.functions[i], module, module.functions[i]);
  program.layouts.resize(program.functions.size());
  for (size_t i = 0; i < program.functions.size(); ++i)
    if (program.functions[i].entry && program.functions[i].defined)
      program.layouts[i] = layoutKernel(program, static_cast<uint32_t>(i));
}

} // namespace gpusim
