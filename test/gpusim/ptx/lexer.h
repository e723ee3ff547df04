// Splits PTX text into tokens.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace gpusim::ptx {

// What is wrong with a module, and where; ends the parse. Never leaves parseModule.
struct SyntaxError : std::runtime_error {
  SyntaxError(unsigned line, const std::string &message, bool unsupported = false)
      : std::runtime_error(message), line(line), unsupported(unsupported) {}
  unsigned line;
  bool unsupported; // a feature above the claimed device or the module's .version or .target
};

struct Token {
  enum Kind : uint8_t { Identifier, Directive, Number, String, Punctuation, End };
  Kind kind;
  bool glued;            // no space before it
  uint32_t line;         // from 1
  std::string_view text; // a directive's text has no leading dot
};

// The last token is End. Throws SyntaxError. The tokens point into `text`.
std::vector<Token> lex(std::string_view text);

} // namespace gpusim::ptx
