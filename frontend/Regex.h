// Compiles the regular expressions of tokenizer.json to programs for the bounded matcher of the runtime.
//
// The subset of Oniguruma's syntax that tokenizers use: literals, classes with ranges, negation and &&, \p{...}, \s \S
// \d \D \w \W, groups (capturing nothing), (?i:...) on ASCII letters, alternation, quantifiers greedy and lazy,
// look-ahead on one character, `$` as the end of the piece. Alternatives are ordered, the first that matches wins.
// Everything else is refused by name, and so is a pattern that can match the empty string.
#ifndef MORAY_FRONTEND_REGEX_H
#define MORAY_FRONTEND_REGEX_H

#include "frontend/CodePointSet.h"
#include "frontend/Error.h"
#include "tokenizer_generated.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace moray::frontend {

inline constexpr int kRegexSyntax = 2520;      // not a regular expression
inline constexpr int kRegexUnsupported = 2521; // a construct outside the subset
inline constexpr int kRegexEmptyMatch = 2522;  // the pattern, or the body of a loop, can match the empty string
inline constexpr int kRegexTooLarge = 2523;    // more than kRegexMaxCode instructions or kRegexMaxSlots choices

inline constexpr size_t kRegexMaxCode = 4096;
inline constexpr size_t kRegexMaxSlots = 256;

// Adds code point sets to the tables of one tokenizer, each distinct set once.
class CodeSetTable {
public:
  explicit CodeSetTable(schema::TokenizerT &tables) : tables(tables) {}
  // The index in tables.sets.
  uint32_t add(const CodePointSet &set);

private:
  schema::TokenizerT &tables;
  std::map<std::vector<std::pair<uint32_t, uint32_t>>, uint32_t> known;
};

// Compiles `pattern`, or the literal text `pattern`. `where` names its place in messages.
Expected<schema::RegexProgramT> compileRegex(const std::string &pattern, const std::string &where, CodeSetTable &sets);
Expected<schema::RegexProgramT> compileLiteral(const std::string &text, const std::string &where, CodeSetTable &sets);

} // namespace moray::frontend

#endif // MORAY_FRONTEND_REGEX_H
