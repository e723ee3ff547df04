// Splits text by the regex programs of a tokenizer: leftmost, first alternative wins, in time linear in the text.
#pragma once
#include "runtime/tokenizer/growing_array.h"
#include "tokenizer_generated.h"

namespace moray::rt {

// Bytes [begin, end) of a text.
struct TextRange {
  uint32_t begin, end;
};

// Whether a set of `tokenizer` contains a code point.
bool containsCodePoint(const schema::Tokenizer &tokenizer, uint32_t set, uint32_t codePoint);

// A backtracking matcher with an explicit stack. Programs cannot loop without consuming text, and once an input costs
// more than a few steps a byte, every (choice, position) that failed is remembered, also across attempts, so no choice
// is explored twice from one place. That memory is complete because the outcome of a choice depends on nothing but its
// position.
class Matcher {
public:
  explicit Matcher(const schema::Tokenizer &tokenizer) : tokenizer(tokenizer) {}

  // Appends to `pieces` the successive matches of `program` in `range` and the gaps between them. False: out of memory.
  [[nodiscard]] bool split(const schema::RegexProgram &program, const char *text, TextRange range,
                           GrowingArray<TextRange> &pieces);

  // Steps a byte before failures are remembered; 0 remembers from the start. For tests.
  uint32_t freeSteps = 32;

private:
  // Where to go on after a failure: at `pc` and `position`, or, for a Run, at any position down to `low`.
  struct Choice {
    uint32_t pc, position, low;
  };

  // The end of the match that starts at `start`; `start` itself without one.
  uint32_t match(uint32_t start);
  bool step(uint32_t &pc, uint32_t &position);
  bool backtrack(uint32_t &pc, uint32_t &position);
  bool run(const schema::RegexInst &instruction, uint32_t pc, uint32_t &position);
  bool push(Choice choice);
  bool enterOnce(uint32_t slot, uint32_t position);
  bool nextIsIn(uint32_t set, uint32_t position) const;

  const schema::Tokenizer &tokenizer;
  GrowingArray<Choice> stack;
  GrowingArray<uint64_t> failed; // bit slot * (size + 1) + position - range.begin
  // Of the split in progress:
  const schema::RegexInst *code = nullptr;
  uint32_t slots = 0;
  const char *text = nullptr;
  TextRange range = {0, 0};
  uint64_t steps = 0, stepLimit = 0;
  bool remembers = false, outOfMemory = false;
};

} // namespace moray::rt
