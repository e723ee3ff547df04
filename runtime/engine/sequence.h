// One request: its tokens, its pages and how far it has come.
#pragma once
#include "moray/runtime.h"
#include <vector>

namespace moray::rt {
class Engine;
}

struct moray_sequence {
  moray::rt::Engine *engine = nullptr;
  moray_sequence_options options = {};
  std::vector<int32_t> tokens; // prompt, then what was generated; capacity for all of it from the start
  std::vector<int32_t> pages;  // page number of every cache_page tokens; taken on admission, capacity from the start
  size_t promptTokens = 0;
  size_t tokenLimit = 0; // tokens at which it ends
  uint32_t pagesNeeded = 0;
  size_t computed = 0; // rows that are in the cache
  size_t polled = 0;   // generated tokens that the caller has taken
  moray_finish finish = MORAY_FINISH_NONE;
  bool keepsLogits = false, keepsLogProbs = false; // someone reads them
  uint32_t home = 0;                               // rank that computes it, on rank 0
  uint64_t number = 0;                             // in the order of addition on rank 0
  uint64_t addedNs = 0, startedNs = 0, firstTokenNs = 0, lastTokenNs = 0;

  bool done() const { return finish != MORAY_FINISH_NONE; }
  bool decoding() const { return computed >= promptTokens; }
  bool wantsLogits(size_t position) const { return keepsLogits && position < options.logits_rows; }
  bool wantsScore(size_t position) const { return keepsLogProbs && position + 1 < promptTokens; }
  // The row whose logits give the next token.
  bool wantsSample(size_t position) const { return !options.prompt_only && position + 1 == tokens.size(); }
};
