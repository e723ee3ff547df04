// Decoding of instructions: modifiers and operands, as all instruction families need them.
#include <algorithm>
#include <cstring>

#include "test/gpusim/exec/decoder.h"

namespace gpusim {
namespace {

const DecodeTable &decodeTable() {
  static const DecodeTable table = [] {
    DecodeTable result;
    for (auto add : {addArithmeticOps, addBitOps, addApproxOps, addCompareOps, addConvertOps, addMoveOps, addMemoryOps,
                     addAtomicOps, addAsyncCopyOps, addControlOps, addBarrierOps, addWarpOps, addMatrixOps})
      add(result);
    return result;
  }();
  return table;
}

} // namespace

void Decoder::fail(const std::string &message) const { throw ptx::SyntaxError(source->line, message); }

void Decoder::require(unsigned sm, unsigned version, const std::string &what) const {
  auto dotted = [](unsigned v) { return std::to_string(v / 10) + "." + std::to_string(v % 10); };
  if (program.sm < sm)
    throw ptx::SyntaxError(source->line,
                           what + " needs .target sm_" + std::to_string(sm) + " or later, the module says sm_" +
                               std::to_string(program.sm),
                           true);
  if (program.version < version)
    throw ptx::SyntaxError(
        source->line,
        what + " needs .version " + dotted(version) + " or later, the module says " + dotted(program.version), true);
}

void Decoder::decode(const ptx::Instruction &instruction) {
  source = &instruction;
  modifiers = instruction.modifiers;
  auto known = decodeTable().find(instruction.opcode);
  if (known == decodeTable().end())
    fail("the instruction '" + instruction.opcode + "' is not known");
  out = Instr{};
  out.line = instruction.line;
  out.guard = instruction.guard;
  out.guardNegated = instruction.guardNegated;
  known->second(*this);
  for (const std::string &left : modifiers)
    if (!left.empty())
      fail("the modifier ." + left + " of '" + instruction.opcode + "' is not known here");
  if (out.run)
    program.code.push_back(out);
}

//===----------------------------------------------------------------------===//
// Modifiers
//===----------------------------------------------------------------------===//

bool Decoder::hasFlag(std::string_view name) const {
  return std::find(modifiers.begin(), modifiers.end(), name) != modifiers.end();
}

bool Decoder::flag(std::string_view name) {
  auto found = std::find(modifiers.begin(), modifiers.end(), name);
  if (found == modifiers.end())
    return false;
  found->clear();
  return true;
}

std::string_view Decoder::takeAny(std::initializer_list<std::string_view> names) {
  for (std::string_view name : names)
    if (flag(name))
      return name;
  return {};
}

ptx::Type Decoder::optionalType() {
  for (std::string &modifier : modifiers) {
    ptx::Type found = modifier.empty() ? ptx::Type::None : ptx::typeNamed(modifier);
    if (found != ptx::Type::None) {
      modifier.clear();
      return found;
    }
  }
  return ptx::Type::None;
}

ptx::Type Decoder::type() {
  ptx::Type found = optionalType();
  if (found == ptx::Type::None)
    fail("'" + source->opcode + "' needs a type");
  return found;
}

FpMode Decoder::fpMode() {
  FpMode mode;
  std::string_view round = takeAny({"rn", "rz", "rm", "rp"});
  mode.round = round == "rz" ? Round::Rz : round == "rm" ? Round::Rm : round == "rp" ? Round::Rp : Round::Rn;
  mode.ftz = flag("ftz");
  mode.sat = flag("sat");
  return mode;
}

ptx::Space Decoder::space() {
  static constexpr std::pair<std::string_view, ptx::Space> spaces[] = {
      {"global", ptx::Space::Global},      {"shared", ptx::Space::Shared},     {"shared::cta", ptx::Space::Shared},
      {"local", ptx::Space::Local},        {"const", ptx::Space::Const},       {"param", ptx::Space::Param},
      {"param::entry", ptx::Space::Param}, {"param::func", ptx::Space::Param},
  };
  for (const auto &[name, space] : spaces)
    if (flag(name))
      return space;
  return ptx::Space::Generic;
}

void Decoder::ignoreCacheOperators() {
  takeAny({"ca", "cg", "cs", "lu", "cv", "wb", "wt"});
  for (std::string &modifier : modifiers)
    if (modifier.compare(0, 4, "L1::") == 0 || modifier.compare(0, 4, "L2::") == 0)
      modifier.clear();
}

//===----------------------------------------------------------------------===//
// Operands
//===----------------------------------------------------------------------===//

const ptx::Operand &Decoder::operand(size_t i) const {
  if (i >= source->operands.size())
    fail("'" + source->opcode + "' needs more operands");
  return source->operands[i];
}

void Decoder::expectOperands(size_t least, size_t most) {
  if (operandCount() < least || operandCount() > most)
    fail("'" + source->opcode + "' takes " + std::to_string(least) +
         (least == most ? "" : " to " + std::to_string(most)) + " operands, not " + std::to_string(operandCount()));
}

// Loads, stores and conversions take wider registers, too; there are none of 8 bits.
void Decoder::checkWidth(const ptx::Operand &operand, ptx::Type type) const {
  unsigned has = ptx::bitsOf(operand.type), needs = ptx::bitsOf(type);
  const std::string &opcode = source->opcode;
  bool wider = opcode == "ld" || opcode == "ldu" || opcode == "st" || opcode == "cvt" || needs == 8;
  if (wider ? has < needs : has != needs)
    fail("a register of " + std::to_string(has) + " bits where '" + opcode + "' works on " + std::to_string(needs));
}

int32_t Decoder::destination(const ptx::Operand &operand, ptx::Type type) {
  if (operand.kind == ptx::Operand::Sink) {
    if (sink == noSlot)
      sink = temporary();
    return sink;
  }
  if (operand.kind != ptx::Operand::Register)
    fail("the destination must be a register");
  if (type != ptx::Type::None)
    checkWidth(operand, type);
  return static_cast<int32_t>(operand.slot);
}

int32_t Decoder::destination(size_t i, ptx::Type type) { return destination(operand(i), type); }

int32_t Decoder::constant(uint64_t bits) {
  auto [entry, isNew] = poolIndex.try_emplace({bits, ptx::noIndex}, ~static_cast<int32_t>(function.pool.size()));
  if (isNew)
    function.pool.push_back({bits, ptx::noIndex});
  return entry->second;
}

int32_t Decoder::sharedAddress(uint32_t variable, uint64_t offset) {
  auto [entry, isNew] = poolIndex.try_emplace({offset, variable}, ~static_cast<int32_t>(function.pool.size()));
  if (isNew) {
    function.pool.push_back({offset, variable});
    function.poolHasShared = true;
    function.sharedVariables.push_back(variable);
  }
  return entry->second;
}

// A literal as the bits of `type`: 1.0 is a double, 0f... a float, both also stand for the other type.
uint64_t Decoder::floatBits(const ptx::Operand &operand, ptx::Type type) const {
  if (operand.type == ptx::Type::F32 && (type == ptx::Type::F64)) {
    return bitsOf(static_cast<double>(asF32(static_cast<uint32_t>(operand.value))));
  }
  if (operand.type == ptx::Type::F64 && ptx::bitsOf(type) == 32)
    return bitsOf(static_cast<float>(asF64(operand.value)));
  return operand.value;
}

int32_t Decoder::value(const ptx::Operand &operand, ptx::Type type) {
  switch (operand.kind) {
  case ptx::Operand::Register:
    checkWidth(operand, type);
    return static_cast<int32_t>(operand.slot);
  case ptx::Operand::Immediate: {
    if (operand.type != ptx::Type::None)
      return constant(floatBits(operand, type));
    uint64_t bits = operand.value;
    if (type == ptx::Type::F32)
      bits = bitsOf(static_cast<float>(static_cast<int64_t>(bits)));
    else if (type == ptx::Type::F64)
      bits = bitsOf(static_cast<double>(static_cast<int64_t>(bits)));
    else if (unsigned width = ptx::bitsOf(type); width < 64)
      bits &= (1ull << width) - 1;
    return constant(bits);
  }
  case ptx::Operand::Special: {
    int32_t slot = temporary();
    decodeSpecial(*this, operand.name, slot);
    return slot;
  }
  case ptx::Operand::Name:
    break;
  default:
    fail("an operand must be a register, a constant or a variable's name");
  }
  switch (operand.symbol.kind) {
  case ptx::SymbolKind::Variable:
    if (module.variables[operand.symbol.index].space == ptx::Space::Shared)
      return sharedAddress(operand.symbol.index, operand.value);
    return constant(program.addresses[operand.symbol.index] + operand.value);
  case ptx::SymbolKind::Function:
    return constant(functionWindow + 16 * uint64_t(operand.symbol.index));
  case ptx::SymbolKind::EntryParam:
    return constant(operand.symbol.index + operand.value);
  case ptx::SymbolKind::Local: {
    int32_t slot = temporary();
    Instr save = out;
    decodeSpecial(*this, "(frame)", slot);
    program.code.back().imm = operand.symbol.index + operand.value;
    out = save;
    return slot;
  }
  default:
    fail("'" + operand.name + "' is no value");
  }
}

int32_t Decoder::value(size_t i, ptx::Type type) { return value(operand(i), type); }

int32_t Decoder::predicateDestination(const ptx::Operand &operand) {
  if (operand.kind == ptx::Operand::Sink)
    return -1;
  if (operand.kind != ptx::Operand::Predicate)
    fail("the destination must be a predicate");
  return static_cast<int32_t>(operand.slot);
}

void Decoder::predicateSource(const ptx::Operand &operand, int32_t &slot, bool &negated) {
  negated = operand.negated;
  if (operand.kind == ptx::Operand::Immediate) {
    slot = operand.value != 0;
    return;
  }
  if (operand.kind != ptx::Operand::Predicate)
    fail("the operand must be a predicate");
  slot = static_cast<int32_t>(operand.slot);
}

uint64_t Decoder::immediate(size_t i) const {
  if (operand(i).kind != ptx::Operand::Immediate)
    fail("operand " + std::to_string(i + 1) + " must be a constant");
  return operand(i).value;
}

MemoryOperand Decoder::memory(size_t i, ptx::Space &space) {
  const ptx::Operand &address = operand(i);
  if (address.kind != ptx::Operand::Address)
    fail("operand " + std::to_string(i + 1) + " must be an address");
  MemoryOperand result;
  result.offset = address.value;
  if (address.elements.empty()) {
    result.base = constant(0);
    return result;
  }
  const ptx::Operand &base = address.elements[0];
  if (base.kind == ptx::Operand::Name && base.symbol.kind == ptx::SymbolKind::Local) {
    if (space != ptx::Space::Param && space != ptx::Space::Local)
      fail("'" + base.name + "' lies in local memory");
    space = ptx::Space::Local;
    result.frameRelative = true;
    result.offset += base.symbol.index;
    result.base = constant(0);
    return result;
  }
  if (base.kind == ptx::Operand::Name && base.symbol.kind == ptx::SymbolKind::Variable && space == ptx::Space::Generic)
    space = module.variables[base.symbol.index].space; // a name needs no window
  // A parameter of a device function whose address is in a register lies in local memory.
  if (space == ptx::Space::Param && !function.entry)
    space = ptx::Space::Local;
  // Addresses in windows may have 32 bits.
  result.base = base.kind == ptx::Operand::Register ? static_cast<int32_t>(base.slot) : value(base, ptx::Type::B64);
  return result;
}

std::vector<const ptx::Operand *> Decoder::elements(size_t i) const {
  const ptx::Operand &whole = operand(i);
  std::vector<const ptx::Operand *> list;
  if (whole.kind != ptx::Operand::Vector)
    list.push_back(&whole);
  for (const ptx::Operand &element : whole.elements)
    list.push_back(&element);
  return list;
}

uint32_t Decoder::slotList(std::vector<int32_t> list) {
  program.slotLists.push_back({std::move(list)});
  return static_cast<uint32_t>(program.slotLists.size() - 1);
}

uint32_t Decoder::label(size_t i) const {
  const ptx::Operand &target = operand(i);
  if (target.kind != ptx::Operand::Name || target.symbol.kind != ptx::SymbolKind::Label)
    fail("the target must be a label of this function");
  return target.symbol.index;
}

} // namespace gpusim
