// The parser's state; its methods are split over parser.cpp (declarations) and parser_body.cpp (functions' bodies).
#pragma once

#include <deque>
#include <string>
#include <unordered_map>

#include "test/gpusim/ptx/ast.h"
#include "test/gpusim/ptx/lexer.h"

namespace gpusim::ptx {

class Parser {
public:
  explicit Parser(std::string_view text) : tokens(lex(text)) {}
  ModuleSyntax run();

private:
  struct Registers {
    uint32_t slot;
    uint32_t count; // 0: the name itself; else name0 ... name(count-1)
    Type type;
  };
  struct Scope {
    uint32_t parent;
    std::unordered_map<std::string_view, Registers> registers;
    std::unordered_map<std::string_view, Symbol> symbols;
  };
  struct Declaration {
    std::string_view name;
    Type type = Type::None;
    uint32_t align = 1;
    unsigned vector = 1;
    uint64_t count = 1;   // elements
    bool unsized = false; // []
    uint32_t line = 0;
    uint64_t size() const { return uint64_t(bytesOf(type)) * vector * count; }
  };

  // Tokens.
  const Token &peek(size_t ahead = 0) const { return tokens[std::min(at + ahead, tokens.size() - 1)]; }
  const Token &next() { return tokens[at + 1 < tokens.size() ? at++ : at]; }
  bool isPunct(char c, size_t ahead = 0) const;
  bool accept(char c);
  void expect(char c);
  bool acceptDirective(std::string_view name);
  [[noreturn]] void fail(const std::string &message) const;
  // Bounds the recursion of the parser.
  struct Nest {
    explicit Nest(Parser &parser) : parser(parser) {
      if (++parser.nesting > 32)
        parser.fail("nested too deeply");
    }
    ~Nest() { --parser.nesting; }
    Parser &parser;
  };
  std::string_view identifier();
  uint64_t unsignedNumber();
  int64_t constant(); // an integer with an optional sign
  void skipThrough(char c);
  void place(uint32_t &end, uint64_t size, uint32_t align, uint32_t &offset); // the next offset in a frame or buffer

  // Module scope (parser.cpp).
  void versionAndTarget();
  void moduleItem();
  void variable(Space space, bool external, bool inFunction);
  Declaration declaration();
  void arrayBounds(Declaration &declared);
  void initialiser(Variable &variable, const Declaration &declared);
  void initialValues(Variable &variable, Type type, uint64_t &offset);
  void initialValue(Variable &variable, Type type, uint64_t offset);
  void function(bool entry);
  std::vector<Param> paramList();
  void layoutParams(FunctionSyntax &function, std::vector<Param> &list);
  void performanceDirectives(FunctionSyntax &function);
  void threeNumbers(std::array<uint32_t, 3> &out);
  void skipSection();

  // Bodies (parser_body.cpp).
  void body();
  void openScope(uint32_t parent);
  void statement();
  bool bodyDirective();
  void registers();
  void frameVariable();
  void label();
  void instruction();
  Operand operand();
  Operand singleOperand();
  Operand named(std::string_view name);
  Operand number();
  Operand address();
  Operand sequence(Operand::Kind kind, char close);
  bool lookupRegister(std::string_view name, Operand &out) const;
  Symbol lookupSymbol(std::string_view name) const;
  void resolveLabels();
  void resolveLabel(Operand &operand, unsigned line);
  void define(std::string_view name, Symbol symbol);

  std::vector<Token> tokens;
  size_t at = 0;
  unsigned nesting = 0; // of operands and initial values
  ModuleSyntax module;
  std::unordered_map<std::string_view, Symbol> globals;

  // Of the function being parsed.
  FunctionSyntax *current = nullptr;
  std::deque<Scope> scopes;
  uint32_t scope = noIndex;
  struct BranchTable {
    uint32_t scope, line;
    std::vector<std::string_view> labels;
  };
  std::vector<BranchTable> tables;
};

} // namespace gpusim::ptx
