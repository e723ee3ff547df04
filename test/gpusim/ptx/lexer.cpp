// Splits PTX text into tokens; comments vanish.
#include "test/gpusim/ptx/lexer.h"

#include <cctype>

namespace gpusim::ptx {
namespace {

bool isNameStart(char c) { return std::isalpha(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%'; }
bool isNamePart(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$'; }

class Lexer {
public:
  explicit Lexer(std::string_view text) : text(text) {}

  std::vector<Token> run() {
    while (true) {
      size_t before = at;
      skipSpace();
      glued = before == at && at != 0;
      if (at >= text.size() || text[at] == '\0')
        break;
      token();
    }
    tokens.push_back({Token::End, false, line, {}});
    return std::move(tokens);
  }

private:
  void skipSpace() {
    while (at < text.size()) {
      if (text[at] == '\n') {
        ++line;
        ++at;
      } else if (std::isspace(static_cast<unsigned char>(text[at]))) {
        ++at;
      } else if (text.compare(at, 2, "//") == 0) {
        while (at < text.size() && text[at] != '\n')
          ++at;
      } else if (text.compare(at, 2, "/*") == 0) {
        size_t end = text.find("*/", at + 2);
        if (end == std::string_view::npos)
          throw SyntaxError(line, "a comment has no end");
        for (; at < end + 2; ++at)
          line += text[at] == '\n';
      } else {
        return;
      }
    }
  }

  void add(Token::Kind kind, size_t begin, size_t end) {
    tokens.push_back({kind, glued, line, text.substr(begin, end - begin)});
  }

  size_t nameEnd(size_t from) const {
    while (from < text.size() && isNamePart(text[from]))
      ++from;
    return from;
  }

  // A number keeps its radix prefix and suffix; the parser knows how to read it.
  void number() {
    size_t end = nameEnd(at);
    bool hexLike = end - at > 1 && text[at] == '0' && !std::isdigit(static_cast<unsigned char>(text[at + 1]));
    if (!hexLike && end < text.size() && text[end] == '.') {
      end = nameEnd(end + 1);
    }
    char last = text[end - 1];
    if (!hexLike && (last == 'e' || last == 'E') && end < text.size() && (text[end] == '+' || text[end] == '-'))
      end = nameEnd(end + 1);
    add(Token::Number, at, end);
    at = end;
  }

  void token() {
    char c = text[at];
    if (isNameStart(c)) {
      size_t end = nameEnd(at + 1);
      add(Token::Identifier, at, end);
      at = end;
    } else if (c == '.' && at + 1 < text.size() && isNamePart(text[at + 1])) {
      size_t end = nameEnd(at + 1);
      while (text.compare(end, 2, "::") == 0)
        end = nameEnd(end + 2);
      add(Token::Directive, at + 1, end);
      at = end;
    } else if (std::isdigit(static_cast<unsigned char>(c))) {
      number();
    } else if (c == '"') {
      size_t end = text.find('"', at + 1);
      if (end == std::string_view::npos)
        throw SyntaxError(line, "a string has no end");
      add(Token::String, at + 1, end);
      at = end + 1;
    } else {
      add(Token::Punctuation, at, at + 1);
      ++at;
    }
  }

  std::string_view text;
  size_t at = 0;
  uint32_t line = 1;
  bool glued = false;
  std::vector<Token> tokens;
};

} // namespace

std::vector<Token> lex(std::string_view text) { return Lexer(text).run(); }

} // namespace gpusim::ptx
