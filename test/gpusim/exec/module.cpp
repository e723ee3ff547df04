// Loading a module: parse, place variables in global memory, decode, describe the kernels.
#include <algorithm>
#include <cstring>
#include <map>

#include "test/gpusim/exec/decoder.h"
#include "test/gpusim/exec/launch.h"
#include "test/gpusim/memory/global_memory.h"
#include "test/gpusim/ptx/parser.h"

namespace gpusim {
namespace {

std::vector<std::string> splitLines(std::string_view text) {
  std::vector<std::string> lines;
  size_t begin = 0;
  while (begin <= text.size()) {
    size_t end = std::min(text.find('\n', begin), text.size());
    lines.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

const char *spaceName(ptx::Space space) { return space == ptx::Space::Const ? "const" : "global"; }

void releaseVariables(const Program &program, GlobalMemory &memory) {
  for (uint64_t address : program.addresses)
    if (address)
      memory.release(address);
}

void placeVariables(Program &program, GlobalMemory &memory) {
  program.addresses.assign(program.variables.size(), 0);
  for (size_t i = 0; i < program.variables.size(); ++i) {
    const ptx::Variable &variable = program.variables[i];
    if (variable.space == ptx::Space::Shared)
      continue;
    if (variable.external)
      throw ptx::SyntaxError(variable.line, "the variable '" + variable.name + "' is declared but not defined");
    uint64_t size = std::max<uint64_t>(1, variable.size);
    program.addresses[i] = memory.allocate(size, std::string(spaceName(variable.space)) + " " + variable.name);
    if (!program.addresses[i])
      throw ptx::SyntaxError(variable.line, "no device memory is left for the variable '" + variable.name + "'");
  }
  for (size_t i = 0; i < program.variables.size(); ++i) {
    const ptx::Variable &variable = program.variables[i];
    if (!program.addresses[i] || !variable.size)
      continue;
    if (variable.space == ptx::Space::Const)
      memory.makeConstant(program.addresses[i]);
    // Variables without an initial value are zeros.
    HostRange range = memory.resolve(program.addresses[i], variable.size);
    std::memset(range.bytes, 0, variable.size);
    std::copy_n(variable.bytes.data(), std::min<uint64_t>(variable.size, variable.bytes.size()), range.bytes);
    std::memset(range.defined, 1, variable.size);
    for (const ptx::Variable::Fixup &fixup : variable.fixups) {
      bool isVariable = fixup.target.kind == ptx::SymbolKind::Variable;
      if (isVariable && program.variables[fixup.target.index].space == ptx::Space::Shared)
        throw ptx::SyntaxError(variable.line, "the address of a shared variable is no initial value");
      uint64_t value =
          isVariable ? program.addresses[fixup.target.index] : functionWindow + 16 * uint64_t(fixup.target.index);
      value += static_cast<uint64_t>(fixup.addend);
      std::memcpy(range.bytes + fixup.offset, &value, fixup.width);
    }
  }
}

// Bytes of local memory below and including a function, along the deepest chain of calls; recursion counts once.
uint32_t localBytes(const Program &program, uint32_t function, std::vector<bool> &open) {
  if (open[function])
    return 0;
  open[function] = true;
  uint32_t deepest = 0;
  for (uint32_t callee : program.functions[function].callees)
    deepest = std::max(deepest, localBytes(program, callee, open));
  open[function] = false;
  return (program.functions[function].frameBytes + 15) / 16 * 16 + deepest;
}

KernelInfo describe(const Program &program, const ptx::FunctionSyntax &syntax, uint32_t index) {
  KernelInfo info;
  info.name = syntax.name;
  for (const ptx::Param &param : syntax.params)
    info.params.push_back({param.offset, param.size, param.align});
  info.paramBytes = syntax.paramBytes;
  info.staticShared = program.layouts[index].staticBytes;
  std::vector<bool> open(program.functions.size());
  info.localBytes = localBytes(program, index, open);
  auto product = [](const std::array<uint32_t, 3> &n) { return n[0] * n[1] * n[2]; };
  uint32_t limit = std::max(product(syntax.maxThreads), product(syntax.requiredThreads));
  info.maxThreads = limit ? std::min(limit, program.device.maxThreads) : program.device.maxThreads;
  info.requiredThreads = syntax.requiredThreads;
  info.registers = std::clamp(syntax.registerWords, 16u, 255u);
  return info;
}

} // namespace

DeviceModel deviceModel(unsigned sm) {
  DeviceModel model;
  model.sm = sm;
  model.sharedOptIn = sm >= 90 ? 227 << 10 : sm == 80 ? 163 << 10 : 99 << 10;
  return model;
}

std::string ParseError::str() const {
  std::string place = line ? "PTX line " + std::to_string(line) + ": " : "";
  return place + message + (text.empty() ? "" : ": `" + text + "`");
}

Module::Module(std::shared_ptr<const Program> program, GlobalMemory &memory)
    : program(std::move(program)), memory(memory) {}

Module::~Module() { releaseVariables(*program, memory); }

const Kernel *Module::findKernel(std::string_view name) const {
  for (const Kernel &kernel : kernelList)
    if (kernel.info.name == name)
      return &kernel;
  return nullptr;
}

std::optional<ModuleVariable> Module::findVariable(std::string_view name) const {
  for (size_t i = 0; i < program->variables.size(); ++i)
    if (program->addresses[i] && program->variables[i].name == name)
      return ModuleVariable{program->variables[i].name, program->addresses[i], program->variables[i].size};
  return std::nullopt;
}

unsigned Module::ptxVersion() const { return program->version; }
unsigned Module::targetSm() const { return program->sm; }

namespace {

// The first PTX version that knows a target.
unsigned versionOfTarget(unsigned sm) { return sm >= 89 ? 78 : sm >= 87 ? 74 : sm >= 86 ? 71 : sm >= 80 ? 70 : 63; }

void checkTarget(const ptx::ModuleSyntax &syntax, const DeviceModel &device) {
  if (syntax.sm > device.sm)
    throw ptx::SyntaxError(
        0, "the module is for sm_" + std::to_string(syntax.sm) + ", the device is sm_" + std::to_string(device.sm),
        true);
  if (syntax.version < versionOfTarget(syntax.sm))
    throw ptx::SyntaxError(0, "this .version does not know .target sm_" + std::to_string(syntax.sm), true);
}

} // namespace

std::unique_ptr<Module> parseModule(std::string_view text, const DeviceModel &device, GlobalMemory &memory,
                                    ParseError &error) {
  auto program = std::make_shared<Program>();
  program->device = device;
  program->lines = splitLines(text);
  try {
    ptx::ModuleSyntax syntax = ptx::parse(text);
    program->version = syntax.version;
    program->sm = syntax.sm;
    checkTarget(syntax, device);
    program->variables = syntax.variables;
    placeVariables(*program, memory);
    link(*program, syntax);
    auto module = std::make_unique<Module>(program, memory);
    for (uint32_t i = 0; i < syntax.functions.size(); ++i)
      if (syntax.functions[i].entry && syntax.functions[i].defined)
        module->kernelList.push_back({describe(*program, syntax.functions[i], i), program, i});
    return module;
  } catch (const ptx::SyntaxError &problem) {
    releaseVariables(*program, memory);
    error = {problem.line, program->lineText(problem.line), problem.what(), problem.unsupported};
    return nullptr;
  }
}

} // namespace gpusim
