// Hostile tables: whatever an artifact contains, opening it fails or the tokenizer works; never a crash, never an
// endless loop.
#include "tokenizer_fixture.h"
#include <functional>
#include <random>

using namespace moray;
using namespace moray::test;

namespace {

// Opens the buffer as the loader does, and if it is accepted uses everything. Returns the code of the error, 0 if
// accepted.
int exercise(const std::vector<uint8_t> &buffer) {
  flatbuffers::Verifier verifier(buffer.data(), buffer.size());
  if (!verifier.VerifyBuffer<schema::Tokenizer>(nullptr))
    return 4009;
  rt::Tokenizer tokenizer;
  rt::Status status = tokenizer.open(flatbuffers::GetRoot<schema::Tokenizer>(buffer.data()));
  if (!status.ok())
    return moray_status_code(status.get());
  const std::string text =
      "I'm 12345 km,\n\n  away. \u30AB\u30BF\u30AB\u30CA\u3068\u6F22\u5B57x <think>\xFF\xC3 \u00FC  ";
  rt::GrowingArray<int32_t> ids;
  rt::EncodeOptions options;
  if (rt::Status encoded = tokenizer.encode({text.data(), text.size()}, options, ids); !encoded.ok())
    return moray_status_code(encoded.get());
  rt::GrowingArray<char> decoded;
  for (bool strict : {false, true}) {
    rt::DecodeOptions decode;
    decode.hfStrict = strict;
    EXPECT_TRUE(tokenizer.decode({ids.data(), ids.size()}, decode, decoded).ok());
  }
  return 0;
}

schema::TokenizerT goldenTables(const char *name) {
  frontend::Warnings warnings;
  return std::move(**frontend::importTokenizer(dataPath(name), warnings));
}

void expectRefused(const char *what, const std::function<void(schema::TokenizerT &)> &change) {
  schema::TokenizerT tables = goldenTables("llama3");
  change(tables);
  EXPECT_EQ(exercise(serialise(tables)), 4021) << what;
}

TEST(TokenizerMutation, everyIndexIsChecked) { // E4021
  using namespace schema;
  EXPECT_EQ(exercise(serialise(goldenTables("llama3"))), 0);
  expectRefused("no offsets", [](TokenizerT &t) { t.token_offsets.clear(); });
  expectRefused("flags", [](TokenizerT &t) { t.token_flags.pop_back(); });
  expectRefused("descending offsets", [](TokenizerT &t) { t.token_offsets[3] = 0; });
  expectRefused("offset", [](TokenizerT &t) { t.token_offsets.back() += 1; });
  expectRefused("byte tokens", [](TokenizerT &t) { t.byte_tokens.pop_back(); });
  expectRefused("byte token", [](TokenizerT &t) { t.byte_tokens[7] = 1 << 20; });
  expectRefused("byte token", [](TokenizerT &t) { t.byte_tokens[7] = -2; });
  expectRefused("bos", [](TokenizerT &t) { t.bos = int32_t(t.token_flags.size()); });
  expectRefused("prefix", [](TokenizerT &t) { t.auto_prefix = {1u << 30}; });
  expectRefused("prefix size", [](TokenizerT &t) { t.auto_prefix.assign(65, 0); });
  expectRefused("merge size", [](TokenizerT &t) { t.merges.pop_back(); });
  expectRefused("merge id", [](TokenizerT &t) { t.merges[0] = MergeSlot(0, 1, 0, 1 << 20); });
  expectRefused("full merge table", [](TokenizerT &t) { t.merges.assign(t.merges.size(), MergeSlot(0, 0, 0, 0)); });
  expectRefused("full piece table", [](TokenizerT &t) { t.piece_slots.assign(t.piece_slots.size(), 1); });
  expectRefused("piece", [](TokenizerT &t) { t.piece_slots[0] = 1 << 20; });
  expectRefused("added token", [](TokenizerT &t) { t.added[0] = AddedToken(1 << 20, TokenFlags::Added); });
  expectRefused("trie edges", [](TokenizerT &t) { t.trie_nodes[0] = TrieNode(0, 1 << 20, -1); });
  expectRefused("trie token", [](TokenizerT &t) { t.trie_nodes[1] = TrieNode(0, 0, 1000); });
  expectRefused("trie child", [](TokenizerT &t) { t.trie_edges[0] = TrieEdge('<', 1 << 20); });
  expectRefused("trie cycle", [](TokenizerT &t) { t.trie_edges[0] = TrieEdge('<', 0); });
  expectRefused("trie root", [](TokenizerT &t) { t.trie_roots[0] = 1 << 20; });
  expectRefused("trie roots", [](TokenizerT &t) { t.trie_roots.assign(3, 0); });
  expectRefused("set", [](TokenizerT &t) { t.sets[0] = CodeSet(0, 0, 0, 1 << 20); });
  expectRefused("word set", [](TokenizerT &t) { t.word_set = 1000; });
  expectRefused("stage", [](TokenizerT &t) { t.stages[0] = PreTokenizerStage(PreTokenizerKind::Split, 1000); });
  expectRefused("stage kind", [](TokenizerT &t) { t.stages[0] = PreTokenizerStage(PreTokenizerKind(9), 0); });
  expectRefused("stages", [](TokenizerT &t) { t.stages.assign(65, t.stages[0]); });
}

TEST(TokenizerMutation, normalizerTablesAreChecked) { // E4021
  auto expectTables = [](const char *what, const std::function<void(schema::TokenizerT &)> &change) {
    schema::TokenizerT tables = goldenTables("qwen2");
    change(tables);
    EXPECT_EQ(exercise(serialise(tables)), 4021) << what;
  };
  expectTables("class", [](schema::TokenizerT &t) { t.combining[0] = schema::CombiningRange(0x300, 0x301, 256); });
  expectTables("part",
               [](schema::TokenizerT &t) { t.decompositions[0] = schema::Decomposition(0xC0, 0x110000, 0, 0, 0); });
  expectTables("code", [](schema::TokenizerT &t) { t.compositions[0] = schema::Composition(1, 2, 0x110000); });
}

TEST(TokenizerMutation, everyInstructionIsChecked) { // E4021
  using namespace schema;
  auto expectCode = [](const char *what, std::vector<RegexInst> code) {
    expectRefused(what, [&](TokenizerT &t) { t.programs[0]->code = std::move(code); });
  };
  expectCode("empty", {});
  expectCode("operation", {RegexInst(RegexOp(77), 0, 0), RegexInst(RegexOp::Match, 0, 0)});
  expectCode("set", {RegexInst(RegexOp::Set, 0, 1000), RegexInst(RegexOp::Match, 0, 0)});
  expectCode("target", {RegexInst(RegexOp::Jump, 0, 1000)});
  expectCode("slot", {RegexInst(RegexOp::Split, 300, 1), RegexInst(RegexOp::Match, 0, 0)});
  expectCode("no end", {RegexInst(RegexOp::Set, 0, 0)});
  expectCode("loop", {RegexInst(RegexOp::Jump, 0, 0)});
  expectCode("loop of two",
             {RegexInst(RegexOp::Split, 0, 2), RegexInst(RegexOp::Jump, 0, 0), RegexInst(RegexOp::Match, 0, 0)});
  expectCode("loop over a run", {RegexInst(RegexOp::Run, 0, 0), RegexInst(RegexOp::Jump, 0, 0)});
  expectCode("too long", std::vector<RegexInst>(5000, RegexInst(RegexOp::Match, 0, 0)));
  expectRefused("slots", [](TokenizerT &t) { t.programs[0]->memo_slots = 60000; });
  expectRefused("first set", [](TokenizerT &t) { t.programs[0]->first_set = 1000; });
}

// A program that matches the empty string is harmless: such matches are not taken.
TEST(TokenizerMutation, emptyMatch) {
  schema::TokenizerT tables = goldenTables("llama3");
  tables.programs[0]->code = {schema::RegexInst(schema::RegexOp::Match, 0, 0)};
  EXPECT_EQ(exercise(serialise(tables)), 0);
}

TEST(TokenizerMutation, flippedBits) {
  std::mt19937 random(1);
  for (const char *name : {"deepseek-v3", "llama3", "qwen2"}) {
    std::vector<uint8_t> buffer = serialise(goldenTables(name));
    for (int round = 0; round < 600; ++round) {
      size_t at = random() % buffer.size();
      uint8_t old = buffer[at];
      buffer[at] ^= uint8_t(1 << (random() % 8));
      exercise(buffer);
      buffer[at] = old;
    }
    for (size_t size = 0; size < buffer.size(); size += buffer.size() / 97)
      EXPECT_NE(exercise({buffer.begin(), buffer.begin() + std::ptrdiff_t(size)}), 0);
  }
}

// Whole words replaced by values that tend to break things; several at a time.
TEST(TokenizerMutation, replacedWords) {
  std::mt19937 random(2);
  std::vector<uint8_t> original = serialise(goldenTables("deepseek-llm"));
  const uint32_t values[] = {0, 1, 2, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 255, 4096, uint32_t(original.size())};
  for (int round = 0; round < 800; ++round) {
    std::vector<uint8_t> buffer = original;
    for (int change = 0; change < 3; ++change) {
      size_t at = random() % (buffer.size() / 4) * 4;
      uint32_t value = values[random() % 9];
      memcpy(buffer.data() + at, &value, 4);
    }
    exercise(buffer);
  }
}

} // namespace
