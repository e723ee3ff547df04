// Merges by rank with a heap over a linked list of symbols; candidates that a merge made stale are discarded when they
// come up.
#include "runtime/tokenizer/bpe.h"
#include "runtime/schema/tokenizer_tables.h"
#include <algorithm>

namespace moray::rt {

bool BpeEncoder::encode(const char *bytes, uint32_t size, GrowingArray<int32_t> &ids) {
  if (int32_t whole = wholePiece(bytes, size); whole >= 0)
    return ids.append(whole);
  if (!start(bytes, size))
    return false;
  // Lowest rank first, leftmost among equals.
  auto later = [](const Candidate &a, const Candidate &b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  std::make_heap(heap.begin(), heap.end(), later);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    Candidate best = heap[heap.size() - 1];
    heap.popBack();
    const Symbol &left = symbols[best.position];
    if (left.id == kNone || left.next == kNone)
      continue;
    const schema::MergeSlot *merge = findMerge(left.id, symbols[left.next].id);
    if (!merge || merge->result() != best.result)
      continue;
    apply(best);
    for (uint32_t position : {symbols[best.position].previous, best.position}) {
      size_t before = heap.size();
      if (!propose(position))
        return false;
      if (heap.size() > before)
        std::push_heap(heap.begin(), heap.end(), later);
    }
  }
  for (uint32_t i = symbols.empty() ? kNone : 0; i != kNone; i = symbols[i].next)
    if (!ids.append(static_cast<int32_t>(symbols[i].id)))
      return false;
  return true;
}

// One symbol per byte, and a candidate for each pair that has a merge. Bytes outside the vocabulary are dropped.
bool BpeEncoder::start(const char *bytes, uint32_t size) {
  symbols.clear();
  heap.clear();
  if (!symbols.reserve(size))
    return false;
  const auto *byteTokens = tokenizer.byte_tokens();
  for (uint32_t i = 0; i < size; ++i) {
    int32_t id = byteTokens->Get(static_cast<uint8_t>(bytes[i]));
    if (id < 0)
      continue;
    uint32_t position = static_cast<uint32_t>(symbols.size());
    if (!symbols.append({static_cast<uint32_t>(id), position - 1, position + 1}))
      return false;
  }
  if (symbols.empty())
    return true;
  symbols[0].previous = kNone;
  symbols[symbols.size() - 1].next = kNone;
  for (uint32_t i = 0; i + 1 < symbols.size(); ++i)
    if (!propose(i))
      return false;
  return true;
}

// Appends the merge of `left` with its right neighbour, if there is one, without restoring the heap.
bool BpeEncoder::propose(uint32_t left) {
  if (left == kNone || symbols[left].next == kNone)
    return true;
  const schema::MergeSlot *merge = findMerge(symbols[left].id, symbols[symbols[left].next].id);
  return !merge || heap.append({merge->rank(), left, merge->result()});
}

void BpeEncoder::apply(const Candidate &candidate) {
  Symbol &left = symbols[candidate.position];
  Symbol &right = symbols[left.next];
  left.id = candidate.result;
  left.next = right.next;
  if (right.next != kNone)
    symbols[right.next].previous = candidate.position;
  right.id = kNone;
}

const schema::MergeSlot *BpeEncoder::findMerge(uint32_t left, uint32_t right) const {
  const auto *merges = tokenizer.merges();
  if (!merges || merges->size() == 0)
    return nullptr;
  uint32_t mask = merges->size() - 1;
  for (uint32_t slot = static_cast<uint32_t>(schema::hashPair(left, right)) & mask;; slot = (slot + 1) & mask) {
    const schema::MergeSlot *entry = merges->Get(slot);
    if (entry->left() == schema::kFreeMergeSlot)
      return nullptr;
    if (entry->left() == left && entry->right() == right)
      return entry;
  }
}

// With ignore_merges: the id whose bytes are the piece; else -1.
int32_t BpeEncoder::wholePiece(const char *bytes, uint32_t size) const {
  const auto *slots = tokenizer.piece_slots();
  if (!tokenizer.ignore_merges() || !slots || slots->size() == 0)
    return -1;
  uint32_t mask = slots->size() - 1;
  const auto *offsets = tokenizer.token_offsets();
  for (uint32_t slot = static_cast<uint32_t>(schema::hashPiece(bytes, size)) & mask; slots->Get(slot) != 0;
       slot = (slot + 1) & mask) {
    uint32_t id = slots->Get(slot) - 1;
    uint32_t begin = offsets->Get(id);
    if (offsets->Get(id + 1) - begin == size && memcmp(tokenizer.token_bytes()->Data() + begin, bytes, size) == 0)
      return static_cast<int32_t>(id);
  }
  return -1;
}

} // namespace moray::rt
