// Executes regex programs; see runtime/schema/tokenizer.fbs for the instructions.
#include "runtime/tokenizer/matcher.h"
#include "runtime/tokenizer/utf8.h"

namespace moray::rt {

using schema::RegexInst;
using schema::RegexOp;

bool containsCodePoint(const schema::Tokenizer &tokenizer, uint32_t set, uint32_t codePoint) {
  const schema::CodeSet *entry = tokenizer.sets()->Get(set);
  if (codePoint < 64)
    return entry->ascii_low() >> codePoint & 1;
  if (codePoint < 128)
    return entry->ascii_high() >> (codePoint - 64) & 1;
  if (entry->range_count() == 0)
    return false;
  const auto *ranges = tokenizer.ranges();
  uint32_t low = entry->first_range(), high = low + entry->range_count();
  while (high - low > 1) {
    uint32_t middle = low + (high - low) / 2;
    (codePoint < ranges->Get(middle)->first() ? high : low) = middle;
  }
  return codePoint >= ranges->Get(low)->first() && codePoint <= ranges->Get(low)->last();
}

bool Matcher::split(const schema::RegexProgram &program, const char *newText, TextRange newRange,
                    GrowingArray<TextRange> &pieces) {
  code = reinterpret_cast<const RegexInst *>(program.code()->Data());
  slots = program.memo_slots();
  text = newText;
  range = newRange;
  steps = 0;
  stepLimit = uint64_t(freeSteps) * (range.end - range.begin);
  remembers = outOfMemory = false;
  uint32_t position = range.begin, gap = range.begin;
  while (position < range.end) {
    size_t next = position;
    uint32_t codePoint = nextCodePoint(text, next, range.end);
    if (containsCodePoint(tokenizer, program.first_set(), codePoint)) {
      uint32_t end = match(position);
      if (outOfMemory)
        return false;
      if (end > position) {
        if ((gap < position && !pieces.append({gap, position})) || !pieces.append({position, end}))
          return false;
        position = gap = end;
        continue;
      }
    }
    position = static_cast<uint32_t>(next);
  }
  return gap == range.end || pieces.append({gap, range.end});
}

uint32_t Matcher::match(uint32_t start) {
  stack.clear();
  uint32_t pc = 0, position = start;
  while (!outOfMemory) {
    if (code[pc].op() == RegexOp::Match)
      return position;
    if (++steps > stepLimit && !remembers) {
      // The states on the stack are not marked; they will be when they are entered again.
      size_t bits = size_t(slots) * (range.end - range.begin + 1);
      remembers = failed.assignZero(bits / 64 + 1);
      outOfMemory = !remembers;
    }
    if (!step(pc, position) && !backtrack(pc, position))
      return start;
  }
  return start;
}

// Executes one instruction; false when it fails.
bool Matcher::step(uint32_t &pc, uint32_t &position) {
  const RegexInst &instruction = code[pc];
  switch (instruction.op()) {
  case RegexOp::Set: {
    if (position == range.end)
      return false;
    size_t next = position;
    if (!containsCodePoint(tokenizer, instruction.arg(), nextCodePoint(text, next, range.end)))
      return false;
    position = static_cast<uint32_t>(next);
    ++pc;
    return true;
  }
  case RegexOp::Run:
    if (!run(instruction, pc, position))
      return false;
    ++pc;
    return true;
  case RegexOp::Split:
    if (!enterOnce(instruction.slot(), position) || !push({instruction.arg(), position, position}))
      return false;
    ++pc;
    return true;
  case RegexOp::Jump:
    pc = instruction.arg();
    return true;
  case RegexOp::Ahead:
  case RegexOp::NotAhead:
    ++pc;
    return nextIsIn(instruction.arg(), position) == (instruction.op() == RegexOp::Ahead);
  case RegexOp::End:
    ++pc;
    return position == range.end;
  case RegexOp::Match:
    return true;
  }
  return false;
}

// Takes as many code points as possible. The state "the loop at position p" is remembered for every p it passes, and
// the run stops before a p that is known to fail with all that follows it.
bool Matcher::run(const RegexInst &instruction, uint32_t pc, uint32_t &position) {
  uint32_t low = position;
  if (!enterOnce(instruction.slot(), position))
    return false;
  while (position < range.end) {
    size_t next = position;
    if (!containsCodePoint(tokenizer, instruction.arg(), nextCodePoint(text, next, range.end)) ||
        !enterOnce(instruction.slot(), static_cast<uint32_t>(next)))
      break;
    position = static_cast<uint32_t>(next);
    ++steps;
  }
  return position == low || push({pc + 1, static_cast<uint32_t>(previousStart(text, position, low)), low});
}

bool Matcher::backtrack(uint32_t &pc, uint32_t &position) {
  if (stack.empty() || outOfMemory)
    return false;
  Choice &choice = stack[stack.size() - 1];
  pc = choice.pc;
  position = choice.position;
  if (choice.position > choice.low)
    choice.position = previousStart(text, choice.position, choice.low);
  else
    stack.popBack();
  return true;
}

bool Matcher::push(Choice choice) {
  outOfMemory = !stack.append(choice);
  return !outOfMemory;
}

// False when the choice `slot` was made at `position` before: it failed then, or a better attempt at it is still under
// way.
bool Matcher::enterOnce(uint32_t slot, uint32_t position) {
  if (!remembers)
    return true;
  size_t bit = size_t(slot) * (range.end - range.begin + 1) + (position - range.begin);
  uint64_t mask = uint64_t(1) << (bit % 64);
  if (failed[bit / 64] & mask)
    return false;
  failed[bit / 64] |= mask;
  return true;
}

bool Matcher::nextIsIn(uint32_t set, uint32_t position) const {
  if (position == range.end)
    return false;
  size_t next = position;
  return containsCodePoint(tokenizer, set, nextCodePoint(text, next, range.end));
}

} // namespace moray::rt
