// Bodies of PTX functions: scopes, register declarations, labels, instructions and their operands.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "test/gpusim/ptx/parser_impl.h"

namespace gpusim::ptx {
namespace {

constexpr uint32_t maxRegisters = 1 << 20; // of a function

} // namespace

void Parser::openScope(uint32_t parent) {
  scopes.push_back({parent, {}, {}});
  scope = static_cast<uint32_t>(scopes.size() - 1);
}

void Parser::define(std::string_view name, Symbol symbol) {
  if (scope != noIndex)
    scopes[scope].symbols[name] = symbol;
  else
    globals[name] = symbol;
}

void Parser::body() {
  scopes.clear();
  tables.clear();
  openScope(noIndex);
  SymbolKind kind = current->entry ? SymbolKind::EntryParam : SymbolKind::Local;
  for (const std::vector<Param> *list : {&current->params, &current->returns})
    for (const Param &param : *list)
      define(param.name, {kind, param.offset, param.size});
  expect('{');
  unsigned depth = 1;
  while (depth) {
    if (peek().kind == Token::End)
      fail("the module ends inside '" + current->name + "'");
    if (accept('{')) {
      openScope(scope);
      ++depth;
    } else if (accept('}')) {
      scope = scopes[scope].parent;
      --depth;
    } else {
      statement();
    }
  }
  scope = noIndex;
  resolveLabels();
}

void Parser::statement() {
  if (accept(';'))
    return;
  if (peek().kind == Token::Directive) {
    if (!bodyDirective())
      fail("the directive ." + std::string(peek().text) + " is not known");
  } else if (peek().kind == Token::Identifier && isPunct(':', 1)) {
    label();
  } else {
    instruction();
  }
}

bool Parser::bodyDirective() {
  if (acceptDirective("reg")) {
    registers();
  } else if (acceptDirective("local") || acceptDirective("param")) {
    frameVariable();
  } else if (acceptDirective("shared")) {
    variable(Space::Shared, false, true);
  } else if (acceptDirective("global") || acceptDirective("const")) {
    variable(tokens[at - 1].text == "global" ? Space::Global : Space::Const, false, true);
  } else if (acceptDirective("extern")) {
    if (!acceptDirective("shared"))
      fail("expected .extern .shared");
    variable(Space::Shared, true, true);
  } else if (acceptDirective("pragma")) {
    skipThrough(';');
  } else if (peek().text == "loc" || peek().text == "file") {
    unsigned line = peek().line;
    while (peek().line == line && peek().kind != Token::End)
      next();
  } else {
    return false;
  }
  return true;
}

// .reg .type name<count>, name, ...;
void Parser::registers() {
  if (peek().kind != Token::Directive || typeNamed(peek().text) == Type::None)
    fail("expected a register type");
  Type type = typeNamed(next().text);
  if (bitsOf(type) > 64)
    fail("registers of 128 bits are not supported");
  do {
    std::string_view name = identifier();
    uint32_t count = 0;
    if (accept('<')) {
      uint64_t number = unsignedNumber();
      if (number > maxRegisters)
        fail("more than " + std::to_string(maxRegisters) + " registers");
      count = static_cast<uint32_t>(number);
      expect('>');
    }
    uint32_t &slots = type == Type::Pred ? current->predicateSlots : current->registerSlots;
    scopes[scope].registers[name] = {slots, count, type};
    current->registers.push_back({std::string(name), slots, count, type == Type::Pred});
    slots += std::max(1u, count);
    if (slots > maxRegisters)
      fail("more than " + std::to_string(maxRegisters) + " registers");
    if (type != Type::Pred)
      current->registerWords += std::max(1u, count) * (bitsOf(type) > 32 ? 2 : 1);
  } while (accept(','));
  expect(';');
}

void Parser::frameVariable() {
  do {
    Declaration declared = declaration();
    arrayBounds(declared);
    uint32_t offset = 0;
    place(current->frameBytes, declared.size(), std::max(1u, declared.align), offset);
    define(declared.name, {SymbolKind::Local, offset, declared.size()});
  } while (accept(','));
  expect(';');
}

void Parser::label() {
  std::string_view name = identifier();
  expect(':');
  if (acceptDirective("branchtargets")) {
    define(name, {SymbolKind::Table, static_cast<uint32_t>(tables.size()), 0});
    tables.push_back({scope, peek().line, {}});
    do
      tables.back().labels.push_back(identifier());
    while (accept(','));
    expect(';');
  } else if (acceptDirective("callprototype") || acceptDirective("calltargets")) {
    define(name, {SymbolKind::Prototype, 0, 0});
    skipThrough(';');
  } else {
    define(name, {SymbolKind::Label, static_cast<uint32_t>(current->body.size()), 0});
  }
}

void Parser::instruction() {
  Instruction result;
  result.line = peek().line;
  if (accept('@')) {
    result.guardNegated = accept('!');
    Operand guard = singleOperand();
    if (guard.kind != Operand::Predicate)
      fail("a guard must be a predicate register");
    result.guard = static_cast<int32_t>(guard.slot);
    result.line = peek().line;
  }
  result.opcode = identifier();
  while (peek().kind == Token::Directive && peek().glued)
    result.modifiers.emplace_back(next().text);
  while (!isPunct(';')) {
    result.operands.push_back(operand());
    if (!accept(','))
      break;
  }
  expect(';');
  current->body.push_back(std::move(result));
}

//===----------------------------------------------------------------------===//
// Operands
//===----------------------------------------------------------------------===//

Operand Parser::operand() {
  Operand first = singleOperand();
  if (!accept('|'))
    return first;
  Operand pair;
  pair.kind = Operand::Pair;
  pair.elements.push_back(std::move(first));
  pair.elements.push_back(singleOperand());
  return pair;
}

Operand Parser::sequence(Operand::Kind kind, char close) {
  Operand result;
  result.kind = kind;
  while (!isPunct(close)) {
    result.elements.push_back(singleOperand());
    if (!accept(','))
      break;
  }
  expect(close);
  return result;
}

Operand Parser::singleOperand() {
  Nest nest(*this);
  if (accept('('))
    return sequence(Operand::List, ')');
  if (accept('{'))
    return sequence(Operand::Vector, '}');
  if (accept('['))
    return address();
  if (accept('!')) {
    Operand result = singleOperand();
    result.negated = !result.negated;
    return result;
  }
  if (isPunct('-') || isPunct('+')) {
    bool negative = next().text[0] == '-';
    Operand result = number();
    if (!negative)
      return result;
    if (result.type == Type::F32)
      result.value ^= 1ull << 31;
    else if (result.type == Type::F64)
      result.value ^= 1ull << 63;
    else
      result.value = 0 - result.value;
    return result;
  }
  if (peek().kind == Token::Number)
    return number();
  return named(identifier());
}

// 123, 0x7f, 0b1, 017, 12U; 0f3F800000, 0d3FF0000000000000, 1.5, 1e3.
Operand Parser::number() {
  Operand result;
  result.kind = Operand::Immediate;
  std::string text(peek().text);
  char second = text.size() > 1 && text[0] == '0' ? static_cast<char>(std::tolower(text[1])) : ' ';
  if (peek().kind == Token::Number && (second == 'f' || second == 'd')) {
    size_t digits = second == 'f' ? 8 : 16;
    char *end = nullptr;
    result.value = std::strtoull(text.c_str() + 2, &end, 16);
    if (*end || text.size() != 2 + digits)
      fail("'" + text + "' is no floating-point literal");
    result.type = second == 'f' ? Type::F32 : Type::F64;
    next();
    return result;
  }
  bool decimal = second != 'x' && text.find_first_of(".eE") != std::string::npos;
  if (peek().kind == Token::Number && decimal) {
    double value = std::strtod(text.c_str(), nullptr);
    std::memcpy(&result.value, &value, 8);
    result.type = Type::F64;
    next();
    return result;
  }
  result.value = unsignedNumber();
  return result;
}

Operand Parser::address() {
  Operand result;
  result.kind = Operand::Address;
  if (peek().kind == Token::Identifier) {
    Operand base = named(identifier());
    result.value = base.value; // a name's own offset
    base.value = 0;
    result.elements.push_back(std::move(base));
  } else {
    result.value = static_cast<uint64_t>(constant());
  }
  while (isPunct('+') || isPunct('-')) {
    bool negative = next().text[0] == '-';
    uint64_t offset = static_cast<uint64_t>(constant());
    result.value += negative ? 0 - offset : offset;
  }
  if (!accept(']'))
    fail("addresses are [register], [name] or [number] with an offset");
  return result;
}

bool Parser::lookupRegister(std::string_view name, Operand &out) const {
  size_t stem = name.size();
  while (stem && std::isdigit(static_cast<unsigned char>(name[stem - 1])))
    --stem;
  for (uint32_t s = scope; s != noIndex; s = scopes[s].parent) {
    const auto &known = scopes[s].registers;
    auto set = [&](const Registers &range, uint32_t index) {
      out.kind = range.type == Type::Pred ? Operand::Predicate : Operand::Register;
      out.type = range.type;
      out.slot = range.slot + index;
    };
    auto exact = known.find(name);
    if (exact != known.end() && exact->second.count == 0)
      return set(exact->second, 0), true;
    // Names such as a<10> may themselves end in digits: try every split.
    for (size_t split = name.size() - 1; split + 1 > stem && split > 0; --split) {
      auto range = known.find(name.substr(0, split));
      if (range == known.end() || range->second.count == 0)
        continue;
      uint32_t index = static_cast<uint32_t>(std::strtoul(std::string(name.substr(split)).c_str(), nullptr, 10));
      if (index < range->second.count)
        return set(range->second, index), true;
    }
  }
  return false;
}

Symbol Parser::lookupSymbol(std::string_view name) const {
  for (uint32_t s = scope; s != noIndex; s = scopes[s].parent) {
    auto known = scopes[s].symbols.find(name);
    if (known != scopes[s].symbols.end() && known->second.kind != SymbolKind::Label)
      return known->second;
  }
  auto known = globals.find(name);
  return known == globals.end() ? Symbol{} : known->second;
}

Operand Parser::named(std::string_view name) {
  Operand result;
  if (name == "_")
    return result;
  if (scope != noIndex && lookupRegister(name, result))
    return result;
  if (name == "WARP_SZ") {
    result.kind = Operand::Immediate;
    result.value = 32;
    return result;
  }
  result.name = name;
  if (name[0] == '%') {
    result.kind = Operand::Special;
    result.name = name.substr(1);
    while (peek().kind == Token::Directive && peek().glued)
      result.name += "." + std::string(next().text);
    return result;
  }
  result.kind = Operand::Name;
  result.symbol = lookupSymbol(name);
  if (result.symbol.kind == SymbolKind::None)
    result.slot = scope; // a label, perhaps a later one
  else if (isPunct('+'))
    result.value = (next(), unsignedNumber());
  return result;
}

//===----------------------------------------------------------------------===//
// Labels
//===----------------------------------------------------------------------===//

void Parser::resolveLabel(Operand &operand, unsigned line) {
  for (uint32_t s = operand.slot; s != noIndex; s = scopes[s].parent) {
    auto known = scopes[s].symbols.find(operand.name);
    if (known != scopes[s].symbols.end()) {
      operand.symbol = known->second;
      return;
    }
  }
  auto known = globals.find(operand.name);
  if (known == globals.end())
    throw SyntaxError(line, "'" + operand.name + "' is not declared");
  operand.symbol = known->second;
}

void Parser::resolveLabels() {
  for (Instruction &instruction : current->body)
    for (Operand &operand : instruction.operands) {
      if (operand.kind == Operand::Name && operand.symbol.kind == SymbolKind::None)
        resolveLabel(operand, instruction.line);
      for (Operand &element : operand.elements)
        if (element.kind == Operand::Name && element.symbol.kind == SymbolKind::None)
          resolveLabel(element, instruction.line);
    }
  for (const BranchTable &table : tables) {
    std::vector<uint32_t> targets;
    for (std::string_view label : table.labels) {
      Operand operand;
      operand.kind = Operand::Name;
      operand.name = label;
      operand.slot = table.scope;
      resolveLabel(operand, table.line);
      if (operand.symbol.kind != SymbolKind::Label)
        throw SyntaxError(table.line, "'" + operand.name + "' is no label");
      targets.push_back(operand.symbol.index);
    }
    current->branchTables.push_back(std::move(targets));
  }
}

} // namespace gpusim::ptx
