// Checks the tables of a tokenizer before anything reads them: no content of a file may lead outside a table or into an
// endless loop.
#include "runtime/schema/tokenizer_tables.h"
#include "runtime/tokenizer/tokenizer.h"

namespace moray::rt {
namespace {

using schema::RegexOp;

constexpr uint32_t kMaxTokens = 1u << 24, kMaxCode = 4097, kMaxSlots = 256, kMaxStages = 64, kMaxAround = 64,
                   kRoots = 2;

template <typename T> uint32_t sizeOf(const flatbuffers::Vector<T> *vector) { return vector ? vector->size() : 0; }

Status bad(const char *table, uint64_t index, const char *expected) {
  return fail(kE4021, "tokenizer: %s[%llu] is out of range, expected %s; the artifact is damaged, compile it again",
              table, static_cast<unsigned long long>(index), expected);
}

// Whether [first, first + count) lies inside a table of `size` entries.
bool inside(uint32_t first, uint32_t count, uint32_t size) { return first <= size && count <= size - first; }

Status verifyVocabulary(const schema::Tokenizer &table) {
  uint32_t offsets = sizeOf(table.token_offsets());
  if (offsets < 1 || offsets - 1 > kMaxTokens || sizeOf(table.token_flags()) != offsets - 1)
    return bad("token_offsets", offsets, "one entry more than tokens, of which there are at most 2^24");
  for (uint32_t i = 0; i < offsets; ++i)
    if (table.token_offsets()->Get(i) < (i ? table.token_offsets()->Get(i - 1) : 0) ||
        table.token_offsets()->Get(i) > sizeOf(table.token_bytes()))
      return bad("token_offsets", i, "ascending offsets inside token_bytes");
  if (sizeOf(table.byte_tokens()) != 256)
    return bad("byte_tokens", sizeOf(table.byte_tokens()), "256 entries");
  for (uint32_t i = 0; i < 256; ++i)
    if (int32_t id = table.byte_tokens()->Get(i); id < -1 || id >= static_cast<int32_t>(offsets - 1))
      return bad("byte_tokens", i, "a token or -1");
  for (const auto *ids : {table.auto_prefix(), table.auto_suffix()}) {
    if (sizeOf(ids) > kMaxAround)
      return bad("auto_prefix", sizeOf(ids), "at most 64 tokens around a text");
    for (uint32_t i = 0; i < sizeOf(ids); ++i)
      if (ids->Get(i) >= offsets - 1)
        return bad("auto_prefix", i, "a token");
  }
  for (int32_t id : {table.bos(), table.eos(), table.pad()})
    if (id < -1 || id >= static_cast<int32_t>(offsets - 1))
      return bad("bos", static_cast<uint64_t>(id), "a token or -1");
  return Status();
}

bool isPowerOfTwo(uint32_t size) { return size != 0 && (size & (size - 1)) == 0; }

// Probing ends at a free slot, so there must be one.
Status verifyHashTables(const schema::Tokenizer &table, uint32_t tokens) {
  uint32_t free = 0;
  for (uint32_t i = 0; i < sizeOf(table.merges()); ++i) {
    const schema::MergeSlot *slot = table.merges()->Get(i);
    if (slot->left() == schema::kFreeMergeSlot)
      ++free;
    else if (slot->left() >= tokens || slot->right() >= tokens || slot->result() >= tokens)
      return bad("merges", i, "tokens");
  }
  if (uint32_t size = sizeOf(table.merges()); size && (!isPowerOfTwo(size) || free == 0))
    return bad("merges", size, "a power of two of slots, one of them free");
  free = 0;
  for (uint32_t i = 0; i < sizeOf(table.piece_slots()); ++i) {
    if (table.piece_slots()->Get(i) > tokens)
      return bad("piece_slots", i, "a token");
    free += table.piece_slots()->Get(i) == 0;
  }
  if (uint32_t size = sizeOf(table.piece_slots()); size && (!isPowerOfTwo(size) || free == 0))
    return bad("piece_slots", size, "a power of two of slots, one of them free");
  return Status();
}

// Children come behind their parents, so a walk down a trie ends.
Status verifyAddedTokens(const schema::Tokenizer &table, uint32_t tokens) {
  for (uint32_t i = 0; i < sizeOf(table.added()); ++i)
    if (table.added()->Get(i)->id() >= tokens)
      return bad("added", i, "a token");
  uint32_t nodes = sizeOf(table.trie_nodes()), edges = sizeOf(table.trie_edges());
  for (uint32_t i = 0; i < nodes; ++i) {
    const schema::TrieNode *node = table.trie_nodes()->Get(i);
    if (!inside(node->first_edge(), node->edge_count(), edges) || node->edge_count() > 256 || node->added() < -1 ||
        (node->added() >= 0 && static_cast<uint32_t>(node->added()) >= sizeOf(table.added())))
      return bad("trie_nodes", i, "at most 256 edges, and an added token or -1");
    for (uint32_t edge = node->first_edge(); edge < node->first_edge() + node->edge_count(); ++edge)
      if (table.trie_edges()->Get(edge)->child() <= i || table.trie_edges()->Get(edge)->child() >= nodes)
        return bad("trie_edges", edge, "a node behind its parent");
  }
  if (uint32_t roots = sizeOf(table.trie_roots()); roots != 0 && roots != kRoots)
    return bad("trie_roots", roots, "two tries or none");
  for (uint32_t i = 0; i < sizeOf(table.trie_roots()); ++i)
    if (table.trie_roots()->Get(i) >= nodes)
      return bad("trie_roots", i, "a node");
  return Status();
}

// The instructions that may be executed after `instruction` without consuming text, at most two; kMaxCode where there
// is none.
struct Followers {
  uint32_t first = kMaxCode, second = kMaxCode;
};
Followers freeFollowers(const schema::RegexInst &instruction, uint32_t pc) {
  switch (instruction.op()) {
  case RegexOp::Set:
  case RegexOp::Match:
    return {};
  case RegexOp::Split:
    return {pc + 1, instruction.arg()};
  case RegexOp::Jump:
    return {instruction.arg(), kMaxCode};
  default:
    return {pc + 1, kMaxCode};
  }
}

// Whether some loop of the program consumes no text. Depth-first search with an explicit stack; `code` is already
// checked.
bool hasFreeLoop(const flatbuffers::Vector<const schema::RegexInst *> &code) {
  enum State : uint8_t { Unseen, Open, Done };
  static_assert(kMaxCode < UINT16_MAX);
  uint8_t state[kMaxCode] = {};
  uint16_t path[kMaxCode];
  for (uint32_t root = 0; root < code.size(); ++root) {
    uint32_t depth = 0;
    if (state[root] == Unseen) {
      state[root] = Open;
      path[depth++] = static_cast<uint16_t>(root);
    }
    while (depth) {
      uint32_t pc = path[depth - 1];
      Followers next = freeFollowers(*code.Get(pc), pc);
      uint32_t unseen = kMaxCode;
      for (uint32_t follower : {next.first, next.second}) {
        if (follower == kMaxCode || state[follower] == Done)
          continue;
        if (state[follower] == Open)
          return true;
        unseen = follower;
      }
      if (unseen == kMaxCode) {
        state[pc] = Done;
        --depth;
      } else {
        state[unseen] = Open;
        path[depth++] = static_cast<uint16_t>(unseen);
      }
    }
  }
  return false;
}

Status verifyProgram(const schema::RegexProgram &program, uint32_t index, uint32_t sets) {
  uint32_t size = sizeOf(program.code());
  if (size == 0 || size > kMaxCode || program.memo_slots() > kMaxSlots || program.first_set() >= sets)
    return bad("programs", index, "1 to 4097 instructions, at most 256 choices, and a first set");
  for (uint32_t pc = 0; pc < size; ++pc) {
    const schema::RegexInst *instruction = program.code()->Get(pc);
    RegexOp op = instruction->op();
    bool usesSet = op == RegexOp::Set || op == RegexOp::Run || op == RegexOp::Ahead || op == RegexOp::NotAhead;
    bool jumps = op == RegexOp::Split || op == RegexOp::Jump;
    bool choice = op == RegexOp::Split || op == RegexOp::Run;
    bool goesOn = op != RegexOp::Match && op != RegexOp::Jump;
    if (op > RegexOp::End || (usesSet && instruction->arg() >= sets) || (jumps && instruction->arg() >= size) ||
        (choice && instruction->slot() >= program.memo_slots()) || (goesOn && pc + 1 == size))
      return bad("programs.code", pc, "an instruction with valid operands");
  }
  if (hasFreeLoop(*program.code()))
    return bad("programs", index, "loops that consume text");
  return Status();
}

// Unsorted tables give wrong text, but only these values reach memory.
Status verifyNormalizer(const schema::Tokenizer &table) {
  constexpr uint32_t maxCode = 0x10FFFF;
  for (uint32_t i = 0; i < sizeOf(table.combining()); ++i)
    if (table.combining()->Get(i)->combining_class() > 0xFF)
      return bad("combining", i, "a class of at most 255");
  for (uint32_t i = 0; i < sizeOf(table.decompositions()); ++i) {
    const schema::Decomposition *entry = table.decompositions()->Get(i);
    for (uint32_t part : {entry->part0(), entry->part1(), entry->part2(), entry->part3()})
      if (part > maxCode)
        return bad("decompositions", i, "code points");
  }
  for (uint32_t i = 0; i < sizeOf(table.compositions()); ++i)
    if (table.compositions()->Get(i)->code() > maxCode)
      return bad("compositions", i, "code points");
  return Status();
}

Status verifyPrograms(const schema::Tokenizer &table) {
  uint32_t sets = sizeOf(table.sets()), programs = sizeOf(table.programs());
  for (uint32_t i = 0; i < sets; ++i)
    if (!inside(table.sets()->Get(i)->first_range(), table.sets()->Get(i)->range_count(), sizeOf(table.ranges())))
      return bad("sets", i, "ranges");
  if (table.word_set() >= sets || table.space_set() >= sets)
    return bad("word_set", table.word_set(), "a set");
  for (uint32_t i = 0; i < programs; ++i)
    MORAY_TRY(verifyProgram(*table.programs()->Get(i), i, sets));
  uint32_t prefixes = 0;
  if (sizeOf(table.stages()) > kMaxStages)
    return bad("stages", sizeOf(table.stages()), "at most 64");
  for (uint32_t i = 0; i < sizeOf(table.stages()); ++i) {
    const schema::PreTokenizerStage *stage = table.stages()->Get(i);
    bool split = stage->kind() == schema::PreTokenizerKind::Split;
    if (!split && (stage->kind() != schema::PreTokenizerKind::PrefixSpace || ++prefixes > 1))
      return bad("stages", i, "Split, or PrefixSpace once");
    if (split && stage->program() >= programs)
      return bad("stages", i, "a program");
  }
  return Status();
}

} // namespace

Status verifyTokenizer(const schema::Tokenizer &table) {
  MORAY_TRY(verifyVocabulary(table));
  uint32_t tokens = table.token_flags() ? table.token_flags()->size() : 0;
  MORAY_TRY(verifyHashTables(table, tokens));
  MORAY_TRY(verifyAddedTokens(table, tokens));
  MORAY_TRY(verifyNormalizer(table));
  return verifyPrograms(table);
}

} // namespace moray::rt
