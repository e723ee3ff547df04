// Module-level declarations of PTX: directives, variables with initial values, function headers.
#include "test/gpusim/ptx/parser.h"

#include <algorithm>
#include <cstring>

#include "test/gpusim/ptx/parser_impl.h"

namespace gpusim::ptx {

namespace {

constexpr uint64_t maxBytes = 1ull << 40; // of one variable
constexpr uint64_t maxFrame = 512 << 10;  // local memory of a thread

} // namespace

ModuleSyntax parse(std::string_view text) { return Parser(text).run(); }

bool Parser::isPunct(char c, size_t ahead) const {
  const Token &token = peek(ahead);
  return token.kind == Token::Punctuation && token.text[0] == c;
}

bool Parser::accept(char c) {
  if (!isPunct(c))
    return false;
  next();
  return true;
}

void Parser::expect(char c) {
  if (!accept(c))
    fail(std::string("expected '") + c + "' before '" + std::string(peek().text) + "'");
}

bool Parser::acceptDirective(std::string_view name) {
  if (peek().kind != Token::Directive || peek().text != name)
    return false;
  next();
  return true;
}

void Parser::fail(const std::string &message) const { throw SyntaxError(peek().line, message); }

std::string_view Parser::identifier() {
  if (peek().kind != Token::Identifier)
    fail("expected a name before '" + std::string(peek().text) + "'");
  return next().text;
}

uint64_t Parser::unsignedNumber() {
  if (peek().kind != Token::Number)
    fail("expected a number before '" + std::string(peek().text) + "'");
  std::string text(next().text);
  while (!text.empty() && (text.back() == 'U' || text.back() == 'u'))
    text.pop_back();
  int base = 10;
  size_t skip = 0;
  if (text.size() > 1 && text[0] == '0') {
    char second = text[1];
    base = second == 'x' || second == 'X' ? 16 : second == 'b' || second == 'B' ? 2 : 8;
    skip = base == 8 ? 1 : 2;
  }
  char *end = nullptr;
  uint64_t value = std::strtoull(text.c_str() + skip, &end, base);
  if (*end)
    fail("'" + text + "' is no integer");
  return value;
}

int64_t Parser::constant() {
  bool negative = accept('-');
  if (!negative)
    accept('+');
  uint64_t value = unsignedNumber();
  return static_cast<int64_t>(negative ? 0 - value : value);
}

void Parser::skipThrough(char c) {
  while (!isPunct(c)) {
    if (peek().kind == Token::End)
      fail(std::string("the module ends before '") + c + "'");
    next();
  }
  next();
}

void Parser::place(uint32_t &end, uint64_t size, uint32_t align, uint32_t &offset) {
  uint64_t begin = (uint64_t(end) + align - 1) / align * align;
  if (begin + size > maxFrame)
    fail("the function's parameters and local variables are larger than " + std::to_string(maxFrame) + " bytes");
  offset = static_cast<uint32_t>(begin);
  end = static_cast<uint32_t>(begin + size);
}

ModuleSyntax Parser::run() {
  versionAndTarget();
  while (peek().kind != Token::End)
    moduleItem();
  return std::move(module);
}

void Parser::versionAndTarget() {
  if (!acceptDirective("version"))
    fail("a module begins with .version");
  std::string version(peek().text);
  size_t dot = version.find('.');
  if (peek().kind != Token::Number || dot == std::string::npos)
    fail("expected .version major.minor");
  next();
  module.version = std::atoi(version.c_str()) * 10 + std::atoi(version.c_str() + dot + 1);
  if (!acceptDirective("target"))
    fail("expected .target after .version");
  std::string target(identifier());
  if (target.compare(0, 3, "sm_") != 0)
    fail("expected .target sm_NN");
  module.sm = std::atoi(target.c_str() + 3);
  while (accept(','))
    identifier(); // "debug", "texmode_unified"
  if (acceptDirective("address_size") && unsignedNumber() != 64)
    fail("only .address_size 64 is supported");
}

void Parser::skipSection() {
  // .section .debug_info { ... }: assembler data, no braces inside.
  skipThrough('{');
  skipThrough('}');
}

void Parser::moduleItem() {
  if (accept(';'))
    return;
  bool external = false;
  while (acceptDirective("visible") || acceptDirective("weak") || acceptDirective("common") ||
         peek().text == "extern") {
    if (peek().kind == Token::Directive && peek().text == "extern") {
      external = true;
      next();
    }
  }
  if (peek().kind != Token::Directive)
    fail("unexpected '" + std::string(peek().text) + "' at module scope");
  std::string_view name = next().text;
  if (name == "entry" || name == "func")
    return function(name == "entry");
  if (name == "global" || name == "const" || name == "shared")
    return variable(name == "global" ? Space::Global : name == "const" ? Space::Const : Space::Shared, external, false);
  if (name == "file") {
    unsigned line = peek().line;
    while (peek().line == line && peek().kind != Token::End)
      next();
    return;
  }
  if (name == "section")
    return skipSection();
  if (name == "pragma")
    return skipThrough(';');
  --at;
  fail("the directive ." + std::string(name) + " is not known");
}

//===----------------------------------------------------------------------===//
// Variables
//===----------------------------------------------------------------------===//

// [.align N] [.attribute(...)] [.vN] .type name [bounds]
Parser::Declaration Parser::declaration() {
  Declaration declared;
  uint32_t align = 0;
  while (true) {
    if (acceptDirective("align")) {
      align = static_cast<uint32_t>(unsignedNumber());
      if (align == 0 || align > 4096 || (align & (align - 1)))
        fail("an alignment is a power of two up to 4096");
    } else if (acceptDirective("ptr")) {
      // Of a kernel parameter: .ptr [.space] [.align N]; describes what it points to.
      acceptDirective("global") || acceptDirective("const") || acceptDirective("shared") || acceptDirective("local");
      if (acceptDirective("align"))
        unsignedNumber();
    } else if (acceptDirective("attribute")) {
      skipThrough(')');
    } else if (acceptDirective("v2")) {
      declared.vector = 2;
    } else if (acceptDirective("v4")) {
      declared.vector = 4;
    } else if (peek().kind == Token::Directive && typeNamed(peek().text) != Type::None) {
      declared.type = typeNamed(next().text);
    } else {
      break;
    }
  }
  if (declared.type == Type::None)
    fail("expected a type before '" + std::string(peek().text) + "'");
  declared.line = peek().line;
  declared.name = identifier();
  declared.align = align ? align : std::max(1u, bytesOf(declared.type) * declared.vector);
  return declared;
}

void Parser::arrayBounds(Declaration &declared) {
  while (accept('[')) {
    if (accept(']')) {
      declared.unsized = true;
      continue;
    }
    uint64_t count = unsignedNumber();
    if (count > maxBytes || declared.count * count > maxBytes)
      fail("the array is too large");
    declared.count *= count;
    expect(']');
  }
}

void Parser::variable(Space space, bool external, bool inFunction) {
  do {
    Declaration declared = declaration();
    arrayBounds(declared);
    Variable result;
    result.name = declared.name;
    result.space = space;
    result.align = declared.align;
    result.line = declared.line;
    result.external = external;
    result.dynamic = external && space == Space::Shared;
    result.size = declared.unsized ? 0 : declared.size();
    if (accept('=')) {
      initialiser(result, declared);
      result.size = std::max<uint64_t>(result.size, result.bytes.size());
    }
    Symbol symbol{SymbolKind::Variable, static_cast<uint32_t>(module.variables.size()), result.size};
    auto known = globals.find(declared.name);
    if (!inFunction && known != globals.end() && known->second.kind == SymbolKind::Variable &&
        module.variables[known->second.index].external) {
      module.variables[known->second.index] = std::move(result); // the definition of an earlier .extern
      continue;
    }
    module.variables.push_back(std::move(result));
    define(declared.name, symbol);
  } while (accept(','));
  expect(';');
}

void Parser::initialiser(Variable &variable, const Declaration &declared) {
  uint64_t offset = 0;
  if (isPunct('{'))
    initialValues(variable, declared.type, offset);
  else
    initialValue(variable, declared.type, 0);
}

void Parser::initialValues(Variable &variable, Type type, uint64_t &offset) {
  Nest nest(*this);
  expect('{');
  while (!isPunct('}')) {
    if (isPunct('{')) {
      initialValues(variable, type, offset);
    } else {
      initialValue(variable, type, offset);
      offset += bytesOf(type);
    }
    if (!accept(','))
      break;
  }
  expect('}');
}

void Parser::initialValue(Variable &variable, Type type, uint64_t offset) {
  unsigned width = bytesOf(type);
  if (variable.bytes.size() < offset + width)
    variable.bytes.resize(offset + width);
  if (peek().kind == Token::Identifier) {
    bool wrapped = peek().text == "generic" && isPunct('(', 1);
    if (wrapped) {
      next();
      expect('(');
    }
    std::string_view name = identifier();
    if (wrapped)
      expect(')');
    Symbol symbol = lookupSymbol(name);
    if (symbol.kind != SymbolKind::Variable && symbol.kind != SymbolKind::Function)
      fail("'" + std::string(name) + "' is not declared");
    int64_t addend = isPunct('+') || isPunct('-') ? constant() : 0;
    variable.fixups.push_back({offset, width, symbol, addend});
    return;
  }
  bool negative = accept('-');
  Operand value = number();
  uint64_t bits = negative ? 0 - value.value : value.value;
  if (value.type == Type::F32 || value.type == Type::F64) {
    float single;
    double wide;
    uint32_t low = static_cast<uint32_t>(value.value);
    std::memcpy(&single, &low, 4);
    std::memcpy(&wide, &value.value, 8);
    wide = (negative ? -1 : 1) * (value.type == Type::F32 ? single : wide);
    single = static_cast<float>(wide);
    bits = 0;
    if (width == 4)
      std::memcpy(&bits, &single, 4);
    else
      std::memcpy(&bits, &wide, 8);
  }
  std::memcpy(variable.bytes.data() + offset, &bits, width);
}

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

std::vector<Param> Parser::paramList() {
  std::vector<Param> list;
  expect('(');
  while (!isPunct(')')) {
    if (!acceptDirective("param") && !acceptDirective("reg"))
      fail("expected .param");
    Declaration declared = declaration();
    arrayBounds(declared);
    if (declared.size() > maxFrame)
      fail("the parameter is too large");
    list.push_back({std::string(declared.name), 0, static_cast<uint32_t>(declared.size()), declared.align});
    if (!accept(','))
      break;
  }
  expect(')');
  return list;
}

// Gives each parameter its place: in the kernel's parameter buffer or in the function's frame.
void Parser::layoutParams(FunctionSyntax &function, std::vector<Param> &list) {
  uint32_t &end = function.entry ? function.paramBytes : function.frameBytes;
  for (Param &param : list)
    place(end, param.size, param.align, param.offset);
}

void Parser::threeNumbers(std::array<uint32_t, 3> &out) {
  out = {1, 1, 1};
  for (unsigned i = 0; i < 3; ++i) {
    out[i] = static_cast<uint32_t>(unsignedNumber());
    if (!accept(','))
      break;
  }
}

void Parser::performanceDirectives(FunctionSyntax &function) {
  while (peek().kind == Token::Directive) {
    if (acceptDirective("maxntid")) {
      threeNumbers(function.maxThreads);
    } else if (acceptDirective("reqntid")) {
      threeNumbers(function.requiredThreads);
    } else if (acceptDirective("minnctapersm") || acceptDirective("maxnreg") || acceptDirective("maxnctapersm")) {
      unsignedNumber();
    } else if (acceptDirective("pragma")) {
      skipThrough(';');
    } else if (!acceptDirective("noreturn")) {
      fail("the directive ." + std::string(peek().text) + " is not supported");
    }
  }
}

void Parser::function(bool entry) {
  FunctionSyntax result;
  result.entry = entry;
  result.line = peek().line;
  if (!entry && acceptDirective("attribute"))
    skipThrough(')');
  if (!entry && isPunct('('))
    result.returns = paramList();
  std::string_view name = identifier();
  result.name = name;
  if (isPunct('('))
    result.params = paramList();
  layoutParams(result, result.params);
  layoutParams(result, result.returns);
  performanceDirectives(result);

  uint32_t index = static_cast<uint32_t>(module.functions.size());
  auto known = globals.find(name);
  if (known != globals.end() && known->second.kind == SymbolKind::Function) {
    index = known->second.index;
    if (module.functions[index].defined)
      fail("'" + result.name + "' is defined twice");
    module.functions[index] = std::move(result);
  } else {
    module.functions.push_back(std::move(result));
    globals[name] = {SymbolKind::Function, index, 0};
  }
  if (accept(';'))
    return;
  current = &module.functions[index];
  current->defined = true;
  body();
  current = nullptr;
}

} // namespace gpusim::ptx
