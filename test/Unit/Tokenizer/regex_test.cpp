// The regex compiler and the matcher together: syntax, semantics against std::regex, bounded time, and what is refused.
#include "frontend/Regex.h"
#include "runtime/tokenizer/matcher.h"
#include "tokenizer_fixture.h"
#include <chrono>
#include <random>
#include <regex>

using namespace moray;
using frontend::CodePointSet;

namespace {

using Pieces = std::vector<std::string>;

// One compiled pattern, split by the runtime.
class Pattern {
public:
  explicit Pattern(const std::string &pattern, bool literal = false) {
    schema::TokenizerT tables;
    frontend::CodeSetTable sets(tables);
    auto program =
        literal ? frontend::compileLiteral(pattern, "test", sets) : frontend::compileRegex(pattern, "test", sets);
    if (!program) {
      ADD_FAILURE() << program.error().text();
      std::abort();
    }
    tables.programs.push_back(std::make_unique<schema::RegexProgramT>(std::move(*program)));
    tables.stages.emplace_back(schema::PreTokenizerKind::Split, 0);
    tables.token_offsets = {0};
    tables.byte_tokens.assign(256, -1);
    buffer = test::serialise(tables);
    rt::Status status = rt::verifyTokenizer(*root());
    EXPECT_TRUE(status.ok()) << moray_status_message(status.get());
  }

  // freeSteps 0: every failure is remembered from the start.
  Pieces split(const std::string &text, uint32_t freeSteps = 32) const {
    rt::Matcher matcher(*root());
    matcher.freeSteps = freeSteps;
    rt::GrowingArray<rt::TextRange> ranges;
    EXPECT_TRUE(matcher.split(*root()->programs()->Get(0), text.data(), {0, uint32_t(text.size())}, ranges));
    Pieces pieces;
    for (const rt::TextRange &range : ranges)
      pieces.push_back(text.substr(range.begin, range.end - range.begin));
    return pieces;
  }

private:
  const schema::Tokenizer *root() const { return flatbuffers::GetRoot<schema::Tokenizer>(buffer.data()); }
  std::vector<uint8_t> buffer;
};

void expectSplit(const char *pattern, const std::string &text, const Pieces &expected) {
  Pattern compiled(pattern);
  EXPECT_EQ(compiled.split(text), expected) << pattern;
  EXPECT_EQ(compiled.split(text, 0), expected) << pattern << ", failures remembered";
}

void expectError(const char *pattern, int code) {
  schema::TokenizerT tables;
  frontend::CodeSetTable sets(tables);
  auto program = frontend::compileRegex(pattern, "tokenizer.json: here", sets);
  ASSERT_FALSE(program) << pattern;
  EXPECT_EQ(program.error().code(), code) << pattern << ": " << program.error().message();
  EXPECT_NE(program.error().message().find("tokenizer.json: here"), std::string::npos);
}

TEST(Regex, constructs) {
  expectSplit("ab|a|abc", "abcab", {"ab", "c", "ab"}); // first alternative, not the longest
  expectSplit("a+?b", "aaab", {"aaab"});
  expectSplit("a{2,3}", "aaaaa", {"aaa", "aa"});
  expectSplit("a{2,3}?", "aaaaa", {"aa", "aa", "a"});
  expectSplit("(?:ab){2}", "ababab", {"abab", "ab"});
  expectSplit("a{,2}b", "aaab", {"a", "aab"});
  expectSplit("[^a-c\\n]+", "abxy\nzc", {"ab", "xy", "\n", "z", "c"});
  expectSplit("[a-z&&[^aeiou]]+", "hello", {"h", "e", "ll", "o"});
  expectSplit("[]a]+", "x]a", {"x", "]a"});
  expectSplit("[a\\-z]+", "a-zb", {"a-z", "b"});
  expectSplit("(?i:'s|'LL)", "'S'ſ'll'x", {"'S", "'ſ", "'ll", "'x"});
  expectSplit("\\s+(?!\\S)|\\s+", "a  \u3000b ", {"a", "  ", "\u3000", "b", " "});
  expectSplit("a(?=b)", "abac", {"a", "bac"});
  expectSplit("\\s+$", " a  ", {" a", "  "});
  expectSplit("\\p{Lu}\\p{^Lu}|\\P{L}", "AbÉß1", {"Ab", "Éß", "1"});
  expectSplit("\\x41|\\u0042|\\x{1F600}", "xA😀B", {"x", "A", "😀", "B"});
  expectSplit(".", "a\nb", {"a", "\n", "b"});
  expectSplit("\\d\\D\\w\\W", "1a2-", {"1a2-"});
  expectSplit("(a|b)+c", "ababcab", {"ababc", "ab"});
  EXPECT_EQ(Pattern("a.+", true).split("xa.+a.."), (Pieces{"x", "a.+", "a.."}));
}

TEST(Regex, refused) {
  for (const char *pattern : {"(a", "a)", "[a", "[b-a]", "a{3,2}", "a{", "\\", "\\x{110000}", "\\u12", "[\\s-a]"})
    expectError(pattern, 2520);
  for (const char *pattern : {"(?<=a)b", "(?>a)", "(?i)a", "a++", "a**", "\\bfoo", "\\p{Cyrillic}", "[[:alpha:]]",
                              "(?!ab)c", "^a", "*a", "a{1001}", "(?i:é)", "\\1"})
    expectError(pattern, 2521);
  for (const char *pattern : {"", "a*", "a|", "(?:a?)+b", "(a*)*b", "$", "(?=a)"})
    expectError(pattern, 2522);
  expectError("(?:a{1000}){5}", 2523);
  expectError("(?:a?){300}b", 2522);
  expectError("(?:ba?){300}", 2523);
  expectError(("a" + std::string(40, '(')).c_str(), 2521);
}

TEST(Regex, setsAndProperties) {
  CodePointSet letters = *frontend::unicodeProperty("L");
  EXPECT_TRUE(letters.contains(0x10FF) && letters.contains('z') && !letters.contains('1'));
  EXPECT_EQ(letters.complemented().complemented(), letters);
  EXPECT_EQ(letters.united(letters.complemented()), CodePointSet::all());
  EXPECT_TRUE(letters.intersected(letters.complemented()).ranges().empty());
  EXPECT_TRUE(frontend::wordSet().contains(0x24B6) && frontend::wordSet().contains('_'));
  EXPECT_TRUE(frontend::whiteSpaceSet().contains(0x85) && !frontend::whiteSpaceSet().contains(0x180E));
  EXPECT_FALSE(frontend::unicodeProperty("Lx"));
  EXPECT_EQ(frontend::unicodeVersion(), "15.0");
}

// Random patterns over {a, b, c}, leftmost-first in ECMAScript's engine as well.
std::string randomPattern(std::mt19937 &random, int depth) {
  auto pick = [&](int n) { return int(random() % uint32_t(n)); };
  std::string text;
  for (int terms = 1 + pick(3); terms > 0; --terms) {
    std::string atom =
        depth && pick(3) == 0 ? "(?:" + randomPattern(random, depth - 1) + ")" : std::string(1, "abc"[pick(3)]);
    if (pick(6) == 0)
      atom = "[ab]";
    const char *const quantifiers[] = {"", "", "*", "+", "?", "{1,2}", "*?", "+?"};
    text += atom + quantifiers[pick(8)];
  }
  return pick(3) == 0 ? text + "|" + randomPattern(random, 0) : text;
}

TEST(Regex, equalsStdRegex) {
  std::mt19937 random(7);
  int compared = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string source = randomPattern(random, 2);
    schema::TokenizerT tables;
    frontend::CodeSetTable sets(tables);
    if (!frontend::compileRegex(source, "test", sets))
      continue; // can match the empty string
    Pattern pattern(source);
    std::regex oracle(source);
    std::string text;
    for (uint32_t n = random() % 14; n > 0; --n)
      text += "abcd"[random() % 4];
    Pieces expected;
    size_t gap = 0;
    for (auto match = std::sregex_iterator(text.begin(), text.end(), oracle); match != std::sregex_iterator();
         ++match) {
      if (size_t(match->position()) > gap)
        expected.push_back(text.substr(gap, size_t(match->position()) - gap));
      expected.push_back(match->str());
      gap = size_t(match->position()) + size_t(match->length());
    }
    if (gap < text.size())
      expected.push_back(text.substr(gap));
    ASSERT_EQ(pattern.split(text), expected) << source << " on " << text;
    ASSERT_EQ(pattern.split(text, 0), expected) << source << " on " << text << ", failures remembered";
    ++compared;
  }
  EXPECT_GT(compared, 1000);
}

// Each of these is quadratic or exponential in a matcher that only backtracks.
TEST(Regex, linearTime) {
  struct Case {
    const char *pattern;
    std::string text;
  };
  const Case cases[] = {
      {"\\s+$", std::string(1 << 18, ' ') + "x"},       {"\\s*[\\r\\n]+|\\s", std::string(1 << 18, ' ')},
      {"(?:a|aa)+b", std::string(1 << 18, 'a')},        {"(?:a+)+b", std::string(1 << 18, 'a')},
      {"(?:[ab]+[a-c]+)+d", std::string(1 << 18, 'a')}, {"(?:a|b|ab)+?c", std::string(1 << 18, 'a')}};
  for (const Case &testCase : cases) {
    auto start = std::chrono::steady_clock::now();
    Pattern(testCase.pattern).split(testCase.text);
    std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    EXPECT_LT(seconds.count(), 5.0) << testCase.pattern; // measured: below 0.1 s; quadratic would take hours
  }
}

} // namespace
