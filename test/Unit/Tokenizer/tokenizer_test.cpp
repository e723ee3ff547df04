// Byte-pair encoding, added tokens, streaming, and long inputs.
#include "tokenizer_fixture.h"
#include <chrono>
#include <random>

using namespace moray;
using namespace moray::test;
using rt::AddBos;

namespace {

frontend::TokenizerSources sourcesOf(const nlohmann::json &tokenizer, const std::string &config = "") {
  return {tokenizer.dump(), config, ""};
}

nlohmann::json addedToken(int id, const std::string &content) {
  return {{"id", id}, {"content", content}, {"special", true}, {"normalized", false}};
}

std::vector<std::string> piecesOf(const LoadedTokenizer &loaded, const std::string &text) {
  std::vector<std::string> pieces;
  for (int32_t id : loaded.encode(text)) {
    rt::Bytes piece = loaded.tokenizer.piece(id);
    pieces.emplace_back(piece.begin(), piece.end());
  }
  return pieces;
}

using Pieces = std::vector<std::string>;

TEST(Tokenizer, mergeOrder) {
  LoadedTokenizer loaded(sourcesOf(miniTokenizer({{"a", "b"}, {"b", "c"}, {"ab", "c"}, {"c", "d"}, {"a", "a"}})));
  EXPECT_EQ(piecesOf(loaded, "abcd"), (Pieces{"abc", "d"}));
  EXPECT_EQ(piecesOf(loaded, "bcd"), (Pieces{"bc", "d"}));
  EXPECT_EQ(piecesOf(loaded, "aaaa"), (Pieces{"aa", "aa"}));
  EXPECT_EQ(piecesOf(loaded, "aaa"), (Pieces{"aa", "a"}));
  EXPECT_EQ(piecesOf(loaded, "abab"), (Pieces{"ab", "ab"}));
  EXPECT_EQ(piecesOf(loaded, "aabcd"), (Pieces{"a", "abc", "d"}));
}

// The definition, without a heap: merge the leftmost pair of lowest rank until none is left.
Pieces mergeNaively(std::string text, const std::vector<std::pair<std::string, std::string>> &merges) {
  Pieces pieces;
  for (char c : text)
    pieces.emplace_back(1, c);
  for (bool changed = true; changed;) {
    changed = false;
    for (const auto &[left, right] : merges) {
      for (size_t i = 0; i + 1 < pieces.size() && !changed; ++i)
        if (pieces[i] == left && pieces[i + 1] == right) {
          pieces[i] += right;
          pieces.erase(pieces.begin() + std::ptrdiff_t(i) + 1);
          changed = true;
        }
      if (changed)
        break;
    }
  }
  return pieces;
}

TEST(Tokenizer, mergesEqualTheDefinition) {
  std::mt19937 random(3);
  for (int round = 0; round < 40; ++round) {
    std::vector<std::pair<std::string, std::string>> merges;
    Pieces known = {"a", "b", "c"};
    while (merges.size() < 12) {
      std::pair pair(known[random() % known.size()], known[random() % known.size()]);
      std::string merged = pair.first + pair.second;
      if (merged.size() > 8 || std::find(known.begin(), known.end(), merged) != known.end())
        continue;
      merges.push_back(pair);
      known.push_back(merged);
    }
    LoadedTokenizer loaded(sourcesOf(miniTokenizer(merges)));
    for (int i = 0; i < 20; ++i) {
      std::string text;
      for (uint32_t n = random() % 30; n > 0; --n)
        text += "abc"[random() % 3];
      ASSERT_EQ(piecesOf(loaded, text), mergeNaively(text, merges)) << text;
    }
  }
}

TEST(Tokenizer, bytesOutsideTheVocabularyAreDropped) {
  LoadedTokenizer loaded(sourcesOf(miniTokenizer({{"a", "b"}})));
  EXPECT_EQ(piecesOf(loaded, std::string("a\0b\xC3\xA9", 5)), (Pieces{"ab"}));
  EXPECT_EQ(loaded.tokenizer.piece(-1).size(), 0u);
  EXPECT_TRUE(loaded.tokenizer.isUnknown(1 << 20));
}

TEST(Tokenizer, addedTokensLeftmostLongest) {
  nlohmann::json file = miniTokenizer({});
  file["added_tokens"] = {addedToken(200, "<a>"), addedToken(201, "<a><b>"), addedToken(202, "b><c")};
  LoadedTokenizer loaded(sourcesOf(file));
  EXPECT_EQ(piecesOf(loaded, "x<a><b><c>"), (Pieces{"x", "<a><b>", "<", "c", ">"}));
  EXPECT_EQ(piecesOf(loaded, "<a><b<a>"), (Pieces{"<a>", "<", "b", "<a>"}));
  EXPECT_EQ(loaded.encode("<a>", AddBos::No, false).size(), 3u);
  EXPECT_EQ(loaded.tokenizer.size(), 203u);
  EXPECT_TRUE(loaded.tokenizer.isUnknown(199)); // a gap
  rt::DecodeOptions skip;
  skip.skipSpecial = true;
  EXPECT_EQ(loaded.decode({200, 0, 199, 500, -1, 201}, skip), "!");
}

// Tokens with `normalized: true` come second, in the text that the first kind left.
TEST(Tokenizer, addedTokensInTwoPasses) {
  nlohmann::json file = miniTokenizer({});
  file["added_tokens"] = {addedToken(200, "ab"), addedToken(201, "bcd")};
  file["added_tokens"][0]["normalized"] = true;
  LoadedTokenizer loaded(sourcesOf(file));
  EXPECT_EQ(piecesOf(loaded, "abcdab"), (Pieces{"a", "bcd", "ab"}));
}

// Raw tokens are found before the text is normalised, the others after.
TEST(Tokenizer, addedTokensAroundNormalizing) {
  nlohmann::json file = miniTokenizer({});
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}}}};
  file["added_tokens"] = {addedToken(200, "e\u0301"), addedToken(201, "KK")};
  file["added_tokens"][1]["normalized"] = true;
  LoadedTokenizer loaded(sourcesOf(file));
  EXPECT_EQ(piecesOf(loaded, "e\u0301x\u212AK"), (Pieces{"e\u0301", "x", "KK"})); // U+212A is K in NFC
}

TEST(Tokenizer, addedTokenOptions) {
  nlohmann::json file = miniTokenizer({});
  file["added_tokens"] = {addedToken(200, "<l>"), addedToken(201, "<r>"), addedToken(202, "word")};
  file["added_tokens"][0]["lstrip"] = true;
  file["added_tokens"][1]["rstrip"] = true;
  file["added_tokens"][2]["single_word"] = true;
  LoadedTokenizer loaded(sourcesOf(file));
  EXPECT_EQ(piecesOf(loaded, "a \u3000<l> b"), (Pieces{"a", "<l>", " ", "b"}));
  EXPECT_EQ(piecesOf(loaded, "a <r> \n b"), (Pieces{"a", " ", "<r>", "b"}));
  EXPECT_EQ(piecesOf(loaded, "<r>  <l>"), (Pieces{"<r>", "<l>"}));
  EXPECT_EQ(piecesOf(loaded, "-word-"), (Pieces{"-", "word", "-"}));
  EXPECT_EQ(loaded.encode("sword").size(), 5u);
  EXPECT_EQ(loaded.encode("word\u00E9").size(), 4u); // a letter of other bytes, which this vocabulary drops
}

TEST(Tokenizer, tokensAroundTheText) {
  nlohmann::json file = miniTokenizer({});
  file["added_tokens"] = {addedToken(200, "<s>"), addedToken(201, "</s>")};
  const std::string config =
      R"({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": true, "add_eos_token": true})";
  LoadedTokenizer loaded(sourcesOf(file, config));
  EXPECT_EQ(loaded.encode("!", AddBos::Auto), (Ids{200, 0, 201}));
  EXPECT_EQ(loaded.encode("!", AddBos::Yes), (Ids{200, 0}));
  EXPECT_EQ(loaded.encode("", AddBos::Auto), (Ids{200, 201}));
  EXPECT_EQ(loaded.encode("", AddBos::No), (Ids{}));
  file["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single", {{{"SpecialToken", {{"id", "<s>"}}}}, {{"Sequence", {{"id", "A"}}}}}},
                            {"special_tokens", {{"<s>", {{"ids", {200}}}}}}};
  LoadedTokenizer once(sourcesOf(file, config));
  EXPECT_EQ(once.encode("!", AddBos::Auto), (Ids{200, 0, 201})) << "BOS is not doubled";
  LoadedTokenizer without(sourcesOf(miniTokenizer({})));
  rt::GrowingArray<int32_t> ids;
  rt::EncodeOptions yes;
  yes.addBos = AddBos::Yes;
  rt::Status status = without.tokenizer.encode({"a", 1}, yes, ids);
  EXPECT_EQ(moray_status_code(status.get()), 5002);
}

// ByteLevel with its own regex and a space in front.
TEST(Tokenizer, byteLevelDefaults) {
  nlohmann::json file = miniTokenizer({{"\u0120", "a"}, {"'", "s"}});
  file["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"}, {"pattern", {{"String", "|"}}}, {"behavior", "Isolated"}}, {{"type", "ByteLevel"}}}}};
  LoadedTokenizer loaded(sourcesOf(file));
  EXPECT_EQ(piecesOf(loaded, "a's|a"), (Pieces{" a", "'s", " ", "|", " a"}));
  EXPECT_EQ(piecesOf(loaded, " a"), (Pieces{" a"}));
}

TEST(Tokenizer, digits) {
  nlohmann::json file = miniTokenizer({{"1", "2"}, {"12", "3"}});
  auto with = [&](bool individual) {
    file["pre_tokenizer"] = {{"type", "Sequence"},
                             {"pretokenizers",
                              {{{"type", "Digits"}, {"individual_digits", individual}},
                               {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
    return LoadedTokenizer(sourcesOf(file));
  };
  EXPECT_EQ(piecesOf(with(true), "a123"), (Pieces{"a", "1", "2", "3"}));
  EXPECT_EQ(piecesOf(with(false), "a123"), (Pieces{"a", "123"}));
}

std::string randomText(std::mt19937 &random, size_t length) {
  std::string text;
  while (text.size() < length) {
    const uint32_t limits[] = {0x80, 0x800, 0x10000, 0x110000};
    uint32_t c = random() % limits[random() % 4];
    if (c >= 0xD800 && c < 0xE000)
      continue;
    if (c < 0x80)
      text += char(c);
    else if (c < 0x800)
      text += {char(0xC0 | c >> 6), char(0x80 | (c & 63))};
    else if (c < 0x10000)
      text += {char(0xE0 | c >> 12), char(0x80 | (c >> 6 & 63)), char(0x80 | (c & 63))};
    else
      text += {char(0xF0 | c >> 18), char(0x80 | (c >> 12 & 63)), char(0x80 | (c >> 6 & 63)), char(0x80 | (c & 63))};
  }
  return text;
}

TEST(Tokenizer, decodeInvertsEncode) {
  std::mt19937 random(11);
  for (const char *name : {"deepseek-v3", "deepseek-llm"}) {
    auto loaded = LoadedTokenizer::golden(name);
    for (int i = 0; i < 500; ++i) {
      std::string text = randomText(random, random() % 60);
      Ids ids = loaded->encode(text, AddBos::No, i % 2 == 0);
      ASSERT_EQ(loaded->decode(ids), text);
      ASSERT_EQ(loaded->decodeStream(ids), text);
    }
  }
}

TEST(Tokenizer, longInputs) {
  for (const char *name : {"deepseek-v3", "deepseek-llm"}) {
    auto loaded = LoadedTokenizer::golden(name);
    std::mt19937 random(5);
    const std::string digits(1 << 18, '7');
    for (const std::string &text :
         {std::string(1 << 20, ' ') + "x", std::string(1 << 18, 'a'), std::string(1 << 18, '\n'), digits,
          std::string(1 << 18, '<'), randomText(random, 1 << 18)}) {
      auto start = std::chrono::steady_clock::now();
      Ids ids = loaded->encode(text);
      std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      EXPECT_LT(seconds.count(), 10.0) << name << ": " << int(text[0]); // measured: below 0.5 s
      EXPECT_EQ(loaded->decode(ids), text);
    }
  }
}

TEST(Tokenizer, textIsBounded) {
  LoadedTokenizer loaded(sourcesOf(miniTokenizer({})));
  rt::GrowingArray<int32_t> ids;
  rt::Status status = loaded.tokenizer.encode({"", rt::kMaxTextBytes + 1}, {}, ids);
  EXPECT_EQ(moray_status_code(status.get()), 5002);
}

} // namespace
