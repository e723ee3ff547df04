// Canonical composition (Unicode NFC) by the tables of a tokenizer.
#pragma once
#include "runtime/base/span.h"
#include "runtime/tokenizer/growing_array.h"
#include "tokenizer_generated.h"

namespace moray::rt {

// Keeps its working memory between texts. O(n log n) in the length of the longest run of combining marks, linear
// otherwise.
class NfcNormalizer {
public:
  explicit NfcNormalizer(const schema::Tokenizer &tables) : tables(tables) {}

  // Whether the tokenizer normalises at all, and `text` could change: everything below U+0300 is its own NFC.
  bool mayChange(Span<const char> text) const;
  // Replaces `out` by the NFC of `text`, which must be UTF-8. False: out of memory.
  [[nodiscard]] bool normalize(Span<const char> text, GrowingArray<char> &out);

private:
  struct Character {
    uint32_t code, combiningClass;
  };

  bool decompose(uint32_t code);
  bool addPart(uint32_t code);
  void reorder();
  void compose();
  uint32_t combiningClass(uint32_t code) const;
  uint32_t composite(uint32_t first, uint32_t second) const;

  const schema::Tokenizer &tables;
  GrowingArray<Character> characters;
};

} // namespace moray::rt
