// Byte-pair encoding of one piece of text.
#pragma once
#include "runtime/tokenizer/growing_array.h"
#include "tokenizer_generated.h"

namespace moray::rt {

// Keeps its working memory between pieces. O(n log n) in the length of a piece.
class BpeEncoder {
public:
  explicit BpeEncoder(const schema::Tokenizer &tokenizer) : tokenizer(tokenizer) {}

  // Appends the ids of `size` bytes. False: out of memory.
  [[nodiscard]] bool encode(const char *bytes, uint32_t size, GrowingArray<int32_t> &ids);

private:
  struct Symbol {
    uint32_t id, previous, next; // neighbours, kNone at the ends
  };
  struct Candidate {
    uint32_t rank, position, result; // merge of the symbol at `position` with its right neighbour
  };
  static constexpr uint32_t kNone = UINT32_MAX;

  bool start(const char *bytes, uint32_t size);
  bool propose(uint32_t left);
  void apply(const Candidate &candidate);
  const schema::MergeSlot *findMerge(uint32_t left, uint32_t right) const;
  int32_t wholePiece(const char *bytes, uint32_t size) const;

  const schema::Tokenizer &tokenizer;
  GrowingArray<Symbol> symbols;
  GrowingArray<Candidate> heap;
};

} // namespace moray::rt
