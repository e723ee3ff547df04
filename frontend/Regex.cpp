// Parses a regular expression to a tree, checks that it is bounded, and emits it as matcher instructions.
#include "frontend/Regex.h"
#include "frontend/Utf8.h"

#include <algorithm>

namespace moray::frontend {
namespace {

constexpr int kMaxGroupDepth = 32;
constexpr uint32_t kMaxRepeat = 1000;
constexpr uint32_t kUnbounded = UINT32_MAX;

struct Node {
  enum Kind { Concatenation, Alternation, Repeat, Set, Ahead, NotAhead, End } kind = Concatenation;
  std::vector<Node> children; // of Concatenation and Alternation; one of Repeat
  CodePointSet set;           // of Set, Ahead, NotAhead
  uint32_t min = 0, max = 0;  // of Repeat
  bool lazy = false;          // of Repeat
};

bool matchesEmpty(const Node &node) {
  auto empty = [](const Node &child) { return matchesEmpty(child); };
  switch (node.kind) {
  case Node::Concatenation:
    return std::all_of(node.children.begin(), node.children.end(), empty);
  case Node::Alternation:
    return std::any_of(node.children.begin(), node.children.end(), empty);
  case Node::Repeat:
    return node.min == 0 || matchesEmpty(node.children[0]);
  case Node::Set:
    return false;
  case Node::Ahead:
  case Node::NotAhead:
  case Node::End:
    return true;
  }
  return true;
}

// The code points a match of `node` can start with; those of what follows an empty match are not included.
CodePointSet firstSet(const Node &node) {
  CodePointSet set;
  switch (node.kind) {
  case Node::Concatenation:
    for (const Node &child : node.children) {
      set = set.united(firstSet(child));
      if (!matchesEmpty(child))
        break;
    }
    return set;
  case Node::Alternation:
    for (const Node &child : node.children)
      set = set.united(firstSet(child));
    return set;
  case Node::Repeat:
    return firstSet(node.children[0]);
  case Node::Set:
    return node.set;
  case Node::Ahead:
  case Node::NotAhead:
  case Node::End:
    return set;
  }
  return set;
}

// (?i:...): both cases of ASCII letters, and the two other characters that fold to one.
CodePointSet withBothCases(const CodePointSet &set) {
  CodePointSet result = set;
  for (uint32_t upper = 'A'; upper <= 'Z'; ++upper) {
    uint32_t lower = upper + 32;
    uint32_t other = upper == 'S' ? 0x17F : upper == 'K' ? 0x212A : upper;
    if (!set.contains(upper) && !set.contains(lower) && !set.contains(other))
      continue;
    for (uint32_t c : {upper, lower, other})
      result = result.united(CodePointSet::of(c, c));
  }
  return result;
}

// Recursive descent; the depth is bounded by kMaxGroupDepth. The first error stops everything.
class Parser {
public:
  Parser(const std::string &pattern, const std::string &where) : text(pattern), where(where) {}

  Expected<Node> parse() {
    Node node = parseAlternation();
    if (!failure && at < text.size())
      fail(kRegexSyntax, "an unmatched ')'", "a balanced pattern");
    if (failure)
      return *failure;
    return node;
  }

private:
  void fail(int code, const std::string &found, const std::string &expected) {
    if (!failure)
      failure = Error::describe(code, where + ": pattern byte " + std::to_string(at), found, expected,
                                "see the list of supported constructs in frontend/Regex.h");
  }
  void unsupported(const std::string &found) { fail(kRegexUnsupported, found, "a supported construct"); }

  bool atEnd() const { return failure || at >= text.size(); }
  char peek() const { return at < text.size() ? text[at] : '\0'; }
  bool accept(std::string_view token) {
    if (failure || text.compare(at, token.size(), token) != 0)
      return false;
    at += token.size();
    return true;
  }
  uint32_t nextCodePoint() {
    uint32_t codePoint = decodeUtf8(text, at);
    if (codePoint == kInvalidUtf8)
      fail(kRegexSyntax, "bytes that are not UTF-8", "UTF-8");
    return codePoint;
  }

  Node parseAlternation() {
    Node node;
    node.kind = Node::Alternation;
    if (++depth > kMaxGroupDepth)
      unsupported("groups nested deeper than " + std::to_string(kMaxGroupDepth));
    do
      node.children.push_back(parseConcatenation());
    while (accept("|"));
    --depth;
    return node.children.size() == 1 ? Node(std::move(node.children[0])) : node;
  }

  Node parseConcatenation() {
    Node node;
    while (!atEnd() && peek() != '|' && peek() != ')') {
      Node atom = parseAtom();
      node.children.push_back(parseQuantifier(std::move(atom)));
    }
    return node;
  }

  Node parseAtom() {
    if (accept("("))
      return parseGroup();
    Node node;
    if (accept("$")) {
      node.kind = Node::End;
      return node;
    }
    node.kind = Node::Set;
    if (accept("["))
      node.set = parseClass();
    else if (accept("."))
      node.set = CodePointSet::of('\n', '\n').complemented();
    else if (accept("\\"))
      node.set = parseEscape();
    else if (std::string_view("^*+?").find(peek()) != std::string_view::npos)
      unsupported(std::string("'") + peek() + "' here");
    else {
      uint32_t codePoint = nextCodePoint();
      node.set = CodePointSet::of(codePoint, codePoint);
    }
    return caseAdjusted(std::move(node));
  }

  Node caseAdjusted(Node node) {
    if (!ignoreCase)
      return node;
    const std::vector<CodePointRange> &ranges = node.set.ranges();
    bool single = ranges.size() == 1 && ranges[0].first == ranges[0].last;
    // Case pairs beyond ASCII would need case-folding tables; no tokenizer uses them.
    if (single && ranges[0].first >= 0x80 && unicodeProperty("L")->contains(ranges[0].first))
      unsupported("a letter outside ASCII in (?i:...)");
    node.set = withBothCases(node.set);
    return node;
  }

  Node parseGroup() {
    bool outerCase = ignoreCase;
    bool ahead = accept("?="), notAhead = !ahead && accept("?!");
    if (!ahead && !notAhead && accept("?")) {
      if (accept("i:"))
        ignoreCase = true;
      else if (!accept(":")) {
        unsupported("a group that starts with '(?" + std::string(1, peek()) + "'");
        return Node();
      }
    }
    Node node = parseAlternation();
    if (!accept(")"))
      fail(kRegexSyntax, "the end of the pattern inside a group", "')'");
    ignoreCase = outerCase;
    if (!ahead && !notAhead)
      return node;
    // "(?!\S)" parses to a concatenation of one set.
    Node *single = &node;
    while (single->kind == Node::Concatenation && single->children.size() == 1)
      single = &single->children[0];
    if (single->kind != Node::Set)
      unsupported("a look-ahead on more than one character");
    Node look;
    look.kind = ahead ? Node::Ahead : Node::NotAhead;
    look.set = single->set;
    return look;
  }

  Node parseQuantifier(Node atom) {
    uint32_t min = 0, max = kUnbounded;
    if (accept("+"))
      min = 1;
    else if (accept("?"))
      max = 1;
    else if (peek() == '{') {
      if (!parseBounds(min, max))
        return atom;
    } else if (!accept("*"))
      return atom;
    Node node;
    node.kind = Node::Repeat;
    node.min = min;
    node.max = max;
    node.lazy = accept("?");
    if (!atEnd() && std::string_view("*+?{").find(peek()) != std::string_view::npos)
      unsupported("a quantifier after a quantifier (possessive quantifiers are not supported)");
    if (matchesEmpty(atom))
      fail(kRegexEmptyMatch, "a quantifier on something that can match the empty string", "a body that consumes text");
    node.children.push_back(std::move(atom));
    return node;
  }

  // {n} {n,} {n,m} {,m}.
  bool parseBounds(uint32_t &min, uint32_t &max) {
    accept("{");
    bool hasMin = parseNumber(min);
    max = min;
    bool hasMax = false;
    if (accept(",")) {
      max = kUnbounded;
      hasMax = parseNumber(max);
    }
    if (!accept("}") || (!hasMin && !hasMax) || max < min || max == 0)
      fail(kRegexSyntax, "a malformed {n,m}", "{n}, {n,}, {,m} or {n,m} with n <= m and m > 0");
    if (min > kMaxRepeat || (max != kUnbounded && max > kMaxRepeat))
      unsupported("a count above " + std::to_string(kMaxRepeat));
    return !failure;
  }
  bool parseNumber(uint32_t &number) {
    size_t start = at;
    uint32_t value = 0;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at)
      value = std::min<uint32_t>(value * 10 + uint32_t(text[at] - '0'), kMaxRepeat + 1);
    if (at > start)
      number = value;
    return at > start;
  }

  // After "[": members, ranges, nested classes, and && of lower precedence than union.
  CodePointSet parseClass() {
    bool negated = accept("^");
    CodePointSet result = CodePointSet::all(), part;
    bool first = true;
    if (++depth > kMaxGroupDepth)
      unsupported("classes nested deeper than " + std::to_string(kMaxGroupDepth));
    while (!atEnd() && (first || peek() != ']')) {
      first = false;
      if (accept("&&")) {
        result = result.intersected(part);
        part = CodePointSet();
      } else if (text.compare(at, 2, "[:") == 0)
        unsupported("a POSIX class");
      else if (accept("["))
        part = part.united(parseClass());
      else
        part = part.united(parseMember());
    }
    --depth;
    if (!accept("]"))
      fail(kRegexSyntax, "the end of the pattern inside a class", "']'");
    result = result.intersected(part);
    return negated ? result.complemented() : result;
  }

  // One character, escape, or range.
  CodePointSet parseMember() {
    CodePointSet low = accept("\\") ? parseEscape() : single();
    if (failure || peek() != '-' || at + 1 >= text.size() || text[at + 1] == ']')
      return low;
    if (low.ranges().size() != 1 || low.ranges()[0].first != low.ranges()[0].last) {
      fail(kRegexSyntax, "a range that starts with a class", "a character");
      return low;
    }
    ++at;
    CodePointSet high = accept("\\") ? parseEscape() : single();
    if (failure)
      return low;
    uint32_t first = low.ranges()[0].first;
    if (high.ranges().size() != 1 || high.ranges()[0].first != high.ranges()[0].last ||
        high.ranges()[0].first < first) {
      fail(kRegexSyntax, "a range with a malformed or lower end", "a character that is not before the first");
      return low;
    }
    return CodePointSet::of(first, high.ranges()[0].first);
  }
  CodePointSet single() {
    uint32_t codePoint = nextCodePoint();
    return CodePointSet::of(codePoint, codePoint);
  }

  // After a backslash.
  CodePointSet parseEscape() {
    if (atEnd()) {
      fail(kRegexSyntax, "a backslash at the end", "an escape");
      return CodePointSet();
    }
    char letter = text[at];
    if (letter == 'p' || letter == 'P')
      return parseProperty();
    if (letter == 'x' || letter == 'u')
      return parseCode();
    bool isLetter = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z');
    if (!isLetter && !(letter >= '0' && letter <= '9'))
      return single();
    ++at;
    switch (letter) {
    case 'n':
      return CodePointSet::of('\n', '\n');
    case 'r':
      return CodePointSet::of('\r', '\r');
    case 't':
      return CodePointSet::of('\t', '\t');
    case 'v':
      return CodePointSet::of('\v', '\v');
    case 'f':
      return CodePointSet::of('\f', '\f');
    case 's':
      return whiteSpaceSet();
    case 'S':
      return whiteSpaceSet().complemented();
    case 'd':
      return *unicodeProperty("Nd");
    case 'D':
      return unicodeProperty("Nd")->complemented();
    case 'w':
      return wordSet();
    case 'W':
      return wordSet().complemented();
    default:
      --at;
      unsupported(std::string("the escape \\") + letter);
      return CodePointSet();
    }
  }

  // \p{Name}, \p{^Name}, \P{Name}.
  CodePointSet parseProperty() {
    bool negated = text[at++] == 'P';
    if (!accept("{")) {
      unsupported("\\p without braces");
      return CodePointSet();
    }
    if (accept("^"))
      negated = !negated;
    size_t end = text.find('}', at);
    std::string name = end == std::string::npos ? text.substr(at) : text.substr(at, end - at);
    std::optional<CodePointSet> set = unicodeProperty(name);
    if (end == std::string::npos || !set) {
      unsupported("the property \\p{" + name + "}");
      return CodePointSet();
    }
    at = end + 1;
    return negated ? set->complemented() : *set;
  }

  // \xHH, \x{H...}, \uHHHH.
  CodePointSet parseCode() {
    bool fixed = text[at++] == 'u';
    bool braces = !fixed && accept("{");
    size_t limit = braces ? 6 : fixed ? 4 : 2, digits = 0;
    uint32_t value = 0;
    for (; digits < limit && at < text.size() && std::isxdigit(static_cast<unsigned char>(text[at])); ++digits, ++at)
      value = value * 16 + uint32_t(std::stoi(text.substr(at, 1), nullptr, 16));
    if (digits == 0 || (fixed && digits < 4) || (braces && !accept("}")) || value > kMaxCodePoint)
      fail(kRegexSyntax, "a malformed character code", "\\xHH, \\x{H...} or \\uHHHH of at most 10FFFF");
    return CodePointSet::of(value, value);
  }

  const std::string &text;
  const std::string &where;
  size_t at = 0;
  int depth = 0;
  bool ignoreCase = false;
  std::optional<Error> failure;
};

class Emitter {
public:
  Emitter(CodeSetTable &sets, schema::RegexProgramT &program) : sets(sets), program(program) {}

  // False when the program grows beyond its limits.
  bool emit(const Node &node) {
    if (program.code.size() > kRegexMaxCode || slots > kRegexMaxSlots)
      return false;
    switch (node.kind) {
    case Node::Concatenation:
      return std::all_of(node.children.begin(), node.children.end(), [&](const Node &child) { return emit(child); });
    case Node::Alternation:
      return emitAlternation(node);
    case Node::Repeat:
      return emitRepeat(node);
    case Node::Set:
      add(schema::RegexOp::Set, sets.add(node.set));
      return true;
    case Node::Ahead:
      add(schema::RegexOp::Ahead, sets.add(node.set));
      return true;
    case Node::NotAhead:
      add(schema::RegexOp::NotAhead, sets.add(node.set));
      return true;
    case Node::End:
      add(schema::RegexOp::End, 0);
      return true;
    }
    return false;
  }

  bool finish() {
    add(schema::RegexOp::Match, 0);
    program.memo_slots = uint16_t(slots);
    return program.code.size() <= kRegexMaxCode && slots <= kRegexMaxSlots;
  }

private:
  size_t add(schema::RegexOp op, uint32_t argument) {
    bool choice = op == schema::RegexOp::Run || op == schema::RegexOp::Split;
    program.code.emplace_back(op, uint16_t(choice ? slots++ : 0), argument);
    return program.code.size() - 1;
  }
  uint32_t here() const { return uint32_t(program.code.size()); }
  void setTarget(size_t instruction, uint32_t target) {
    const schema::RegexInst &old = program.code[instruction];
    program.code[instruction] = schema::RegexInst(old.op(), old.slot(), target);
  }

  bool emitAlternation(const Node &node) {
    std::vector<size_t> ends;
    for (size_t i = 0; i + 1 < node.children.size(); ++i) {
      size_t split = add(schema::RegexOp::Split, 0);
      if (!emit(node.children[i]))
        return false;
      ends.push_back(add(schema::RegexOp::Jump, 0));
      setTarget(split, here());
    }
    if (!emit(node.children.back()))
      return false;
    for (size_t end : ends)
      setTarget(end, here());
    return true;
  }

  // A choice between going on (into the body) and `exit`, in the order of the quantifier. Returns the instruction whose
  // target is the exit.
  size_t addChoice(bool lazy) {
    size_t split = add(schema::RegexOp::Split, 0);
    if (!lazy)
      return split;
    size_t exit = add(schema::RegexOp::Jump, 0);
    setTarget(split, here());
    return exit;
  }

  bool emitRepeat(const Node &node) {
    const Node &body = node.children[0];
    for (uint32_t i = 0; i < node.min; ++i)
      if (!emit(body))
        return false;
    if (node.max == kUnbounded) {
      if (body.kind == Node::Set && !node.lazy) {
        add(schema::RegexOp::Run, sets.add(body.set));
        return true;
      }
      uint32_t start = here();
      size_t exit = addChoice(node.lazy);
      if (!emit(body))
        return false;
      add(schema::RegexOp::Jump, start);
      setTarget(exit, here());
      return true;
    }
    std::vector<size_t> exits;
    for (uint32_t i = node.min; i < node.max; ++i) {
      exits.push_back(addChoice(node.lazy));
      if (!emit(body))
        return false;
    }
    for (size_t exit : exits)
      setTarget(exit, here());
    return true;
  }

  CodeSetTable &sets;
  schema::RegexProgramT &program;
  size_t slots = 0;
};

Expected<schema::RegexProgramT> compileTree(const Node &tree, const std::string &pattern, const std::string &where,
                                            CodeSetTable &sets) {
  if (matchesEmpty(tree))
    return Error::describe(kRegexEmptyMatch, where, "a pattern that can match the empty string",
                           "one that consumes text", "such a split has no effect on most positions; correct the file");
  schema::RegexProgramT program;
  program.pattern = pattern;
  program.first_set = sets.add(firstSet(tree));
  Emitter emitter(sets, program);
  if (!emitter.emit(tree) || !emitter.finish())
    return Error::describe(kRegexTooLarge, where,
                           "a pattern of more than " + std::to_string(kRegexMaxCode) + " instructions or " +
                               std::to_string(kRegexMaxSlots) + " choices",
                           "a smaller one", "lower its repetition counts");
  return program;
}

} // namespace

uint32_t CodeSetTable::add(const CodePointSet &set) {
  std::vector<std::pair<uint32_t, uint32_t>> key;
  for (const CodePointRange &range : set.ranges())
    key.emplace_back(range.first, range.last);
  auto [entry, inserted] = known.emplace(std::move(key), uint32_t(tables.sets.size()));
  if (!inserted)
    return entry->second;
  uint64_t ascii[2] = {0, 0};
  for (uint32_t c = 0; c < 128; ++c)
    if (set.contains(c))
      ascii[c / 64] |= uint64_t(1) << (c % 64);
  uint32_t first = uint32_t(tables.ranges.size());
  for (const CodePointRange &range : set.ranges())
    if (range.last >= 128)
      tables.ranges.emplace_back(std::max<uint32_t>(range.first, 128), range.last);
  tables.sets.emplace_back(ascii[0], ascii[1], first, uint32_t(tables.ranges.size()) - first);
  return entry->second;
}

Expected<schema::RegexProgramT> compileRegex(const std::string &pattern, const std::string &where, CodeSetTable &sets) {
  Expected<Node> tree = Parser(pattern, where).parse();
  if (!tree)
    return tree.error();
  return compileTree(*tree, pattern, where, sets);
}

Expected<schema::RegexProgramT> compileLiteral(const std::string &text, const std::string &where, CodeSetTable &sets) {
  Node tree;
  for (size_t at = 0; at < text.size();) {
    Node node;
    node.kind = Node::Set;
    uint32_t codePoint = decodeUtf8(text, at);
    node.set = CodePointSet::of(codePoint, codePoint);
    tree.children.push_back(std::move(node));
  }
  return compileTree(tree, text, where, sets);
}

} // namespace moray::frontend
