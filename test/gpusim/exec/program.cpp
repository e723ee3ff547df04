// Queries on a program that is ready to execute.
#include "test/gpusim/exec/program.h"

namespace gpusim {

const Function &Program::functionAt(uint32_t pc) const {
  for (const Function &function : functions)
    if (pc >= function.begin && pc < function.end)
      return function;
  return functions.front(); // not reached: every instruction belongs to a function
}

std::vector<uint32_t> Program::successors(uint32_t pc) const {
  const Instr &instr = code[pc];
  std::vector<uint32_t> next;
  switch (instr.control) {
  case Control::Branch:
    next.push_back(instr.target);
    break;
  case Control::Table:
    next = branchTables[instr.target];
    break;
  case Control::Return:
  case Control::Exit:
    break;
  default:
    next.push_back(pc + 1);
    return next;
  }
  if (instr.guard >= 0)
    next.push_back(pc + 1);
  return next;
}

std::string Program::lineText(unsigned line) const {
  if (line == 0 || line > lines.size())
    return {};
  const std::string &text = lines[line - 1];
  size_t begin = text.find_first_not_of(" \t"), end = text.find_last_not_of(" \t\r");
  return begin == std::string::npos ? std::string() : text.substr(begin, end - begin + 1);
}

} // namespace gpusim
