// Golden vectors of independent implementations: encode, decode, pre-tokens and ill-formed input.
#include "tokenizer_fixture.h"

using namespace moray::test;
using moray::rt::AddBos;
using moray::rt::DecodeOptions;

namespace {

const char *const kStructures[] = {"deepseek-v3", "deepseek-llm", "qwen2", "llama3"};

DecodeOptions hfDecode(bool skipSpecial = false) {
  DecodeOptions options;
  options.hfStrict = true;
  options.skipSpecial = skipSpecial;
  return options;
}

std::string stringOr(const nlohmann::json &row, const char *key, const std::string &fallback) {
  return row.contains(key) ? row[key].get<std::string>() : fallback;
}

TEST(TokenizerVectors, encodeAndDecodeBack) {
  std::vector<nlohmann::json> rows = readJsonLines("vectors.jsonl");
  ASSERT_EQ(rows.size(), 3000u);
  for (const char *name : kStructures) {
    auto loaded = LoadedTokenizer::golden(name);
    for (const nlohmann::json &row : rows) {
      if (!row.contains(name)) // only the first rows hold the structures of other families
        continue;
      const std::string text = row["text"].get<std::string>();
      const nlohmann::json &expected = row[name];
      Ids ids = expected["ids"].get<Ids>();
      ASSERT_EQ(loaded->encode(text), ids) << name << ": " << text;
      std::string decoded = stringOr(expected, "decode", text);
      ASSERT_EQ(loaded->decode(ids, hfDecode()), decoded) << name;
      ASSERT_EQ(loaded->decodeStream(ids, hfDecode()), decoded) << name;
      ASSERT_EQ(loaded->decode(ids, hfDecode(true)), stringOr(expected, "decode_skip_special", decoded)) << name;
    }
  }
}

// The post-processor as Hugging Face runs it, with the BOS of tokenizer_config in front where that asks for one.
TEST(TokenizerVectors, specialTokensAroundTheText) {
  for (const char *name : kStructures) {
    auto loaded = LoadedTokenizer::golden(name);
    bool configBos = std::string(name).substr(0, 8) == "deepseek";
    for (const nlohmann::json &row : readJsonLines("vectors.jsonl")) {
      if (!row.contains(name))
        continue;
      const nlohmann::json &expected = row[name];
      Ids ids = expected.contains("ids_special") ? expected["ids_special"].get<Ids>() : expected["ids"].get<Ids>();
      if (configBos)
        ids.insert(ids.begin(), loaded->tokenizer.bos());
      ASSERT_EQ(loaded->encode(row["text"].get<std::string>(), AddBos::Auto), ids) << name;
    }
  }
}

TEST(TokenizerVectors, decodeOfAnyIds) {
  std::vector<nlohmann::json> rows = readJsonLines("decode.jsonl");
  ASSERT_EQ(rows.size(), 300u);
  for (const char *name : kStructures) {
    auto loaded = LoadedTokenizer::golden(name);
    for (const nlohmann::json &row : rows) {
      Ids ids = row[name]["ids"].get<Ids>();
      ASSERT_EQ(loaded->decode(ids, hfDecode()), row[name]["decode"].get<std::string>()) << name;
      ASSERT_EQ(loaded->decodeStream(ids, hfDecode()), row[name]["decode"].get<std::string>()) << name;
      ASSERT_EQ(loaded->decode(ids, hfDecode(true)), row[name]["decode_skip_special"].get<std::string>()) << name;
    }
  }
}

TEST(TokenizerVectors, preTokens) {
  for (const nlohmann::json &row : readJsonLines("pretokens.jsonl")) {
    auto loaded = LoadedTokenizer::golden(row["tokenizer"].get<std::string>());
    EXPECT_EQ(loaded->preTokenize(row["text"].get<std::string>()), row["pretokens"].get<std::vector<std::string>>());
  }
}

TEST(TokenizerVectors, illFormedInput) {
  auto loaded = LoadedTokenizer::golden("deepseek-v3");
  for (const nlohmann::json &row : readJsonLines("invalid_utf8.jsonl")) {
    std::string hex = row["bytes"].get<std::string>(), bytes;
    for (size_t i = 0; i < hex.size(); i += 2)
      bytes.push_back(char(std::stoi(hex.substr(i, 2), nullptr, 16)));
    EXPECT_EQ(loaded->encode(bytes), row["deepseek-v3"].get<Ids>()) << hex;
    EXPECT_EQ(loaded->decode(loaded->encode(bytes)), row["text"].get<std::string>()) << hex;
  }
}

// Added tokens that are single byte characters: verbatim by default, a byte in hf_strict mode (spec 7.3).
TEST(TokenizerVectors, byteCharactersAsAddedTokens) {
  auto loaded = LoadedTokenizer::golden("deepseek-llm");
  Ids ids = loaded->encode("F\u00FChrer");
  EXPECT_EQ(ids[1], 1814);
  EXPECT_EQ(loaded->decode(ids), "F\u00FChrer");
  EXPECT_EQ(loaded->decode(ids, hfDecode()), "F\uFFFDhrer");
}

} // namespace
