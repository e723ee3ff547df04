// Syntax of #cmd.expr: infix text from and to postfix code.
#include "dialects/Cmd/Cmd.h"

#include "mlir/IR/DialectImplementation.h"

using namespace mlir;
using namespace moray::cmd;

static constexpr StringRef kSymbols[] = {"T",      "B",    "N",    "P",       "C", "rows",
                                         "decode", "seqs", "outs", "prefill", "R", "received"};
static constexpr std::pair<StringRef, ExprAttr::Kind> kFunctions[] = {
    {"ceildiv", ExprAttr::CeilDiv}, {"min", ExprAttr::Min}, {"max", ExprAttr::Max}, {"align", ExprAttr::Align}};

ArrayRef<StringRef> ExprAttr::symbolNames() { return kSymbols; }

ExprAttr ExprAttr::product(MLIRContext *context, ArrayRef<StringRef> symbols, int64_t factor) {
  SmallVector<int64_t> code;
  auto multiply = [&](int64_t kind, int64_t value) {
    bool first = code.empty();
    code.append({kind, value});
    if (!first)
      code.append({Mul, 0});
  };
  for (StringRef symbol : symbols) {
    int64_t index = llvm::find(kSymbols, symbol) - std::begin(kSymbols);
    assert(index < static_cast<int64_t>(std::size(kSymbols)) && "unknown symbol");
    multiply(Symbol, index);
  }
  multiply(Const, factor);
  return get(context, code);
}

namespace {
/// Recursive descent: sum := product (+ product)*, product := atom (* atom)*.
class ExprParser {
public:
  explicit ExprParser(AsmParser &parser) : parser(parser) {}

  ParseResult parseSum() {
    if (parseProduct())
      return failure();
    while (succeeded(parser.parseOptionalPlus()))
      if (parseProduct() || emit(ExprAttr::Add))
        return failure();
    return success();
  }

  SmallVector<int64_t> code;

private:
  ParseResult emit(int64_t kind, int64_t value = 0) {
    code.append({kind, value});
    return success();
  }

  ParseResult parseProduct() {
    if (parseAtom())
      return failure();
    while (succeeded(parser.parseOptionalStar()))
      if (parseAtom() || emit(ExprAttr::Mul))
        return failure();
    return success();
  }

  ParseResult parseAtom() {
    int64_t number;
    OptionalParseResult literal = parser.parseOptionalInteger(number);
    if (literal.has_value())
      return failed(*literal) || number < 0
                 ? ParseResult(parser.emitError(parser.getCurrentLocation(), "expected a number >= 0"))
                 : emit(ExprAttr::Const, number);
    if (succeeded(parser.parseOptionalLParen()))
      return failure(parseSum() || parser.parseRParen());
    StringRef name;
    SMLoc location = parser.getCurrentLocation();
    if (parser.parseKeyword(&name))
      return failure();
    for (auto [function, kind] : kFunctions)
      if (name == function)
        return failure(parser.parseLParen() || parseSum() || parser.parseComma() || parseSum() ||
                       parser.parseRParen() || emit(kind));
    const StringRef *symbol = llvm::find(kSymbols, name);
    if (symbol == std::end(kSymbols))
      return parser.emitError(location) << "unknown symbol '" << name
                                        << "', expected one of T B N P C R rows decode seqs outs prefill received";
    return emit(ExprAttr::Symbol, symbol - std::begin(kSymbols));
  }

  AsmParser &parser;
};
} // namespace

Attribute ExprAttr::parse(AsmParser &parser, Type) {
  ExprParser expr(parser);
  if (parser.parseLess() || expr.parseSum() || parser.parseGreater())
    return {};
  return get(parser.getContext(), expr.code);
}

void ExprAttr::print(AsmPrinter &printer) const {
  // A stack of texts; `tight` says that the text needs no parentheses inside a product.
  struct Text {
    std::string text;
    bool tight;
  };
  SmallVector<Text> stack;
  ArrayRef<int64_t> code = getCode();
  for (size_t i = 0; i < code.size(); i += 2) {
    int64_t kind = code[i], value = code[i + 1];
    if (kind == Const || kind == Symbol) {
      stack.push_back({kind == Const ? std::to_string(value) : kSymbols[value].str(), true});
      continue;
    }
    Text right = stack.pop_back_val(), left = stack.pop_back_val();
    auto wrap = [](const Text &text) { return text.tight ? text.text : "(" + text.text + ")"; };
    if (kind == Add) {
      stack.push_back({left.text + " + " + wrap(right), false});
    } else if (kind == Mul) {
      stack.push_back({wrap(left) + " * " + wrap(right), true});
    } else {
      StringRef name = llvm::find_if(kFunctions, [&](auto &function) { return function.second == kind; })->first;
      stack.push_back({(name + "(" + left.text + ", " + right.text + ")").str(), true});
    }
  }
  printer << "<" << stack.back().text << ">";
}
