// What the importer of tokenizer.json refuses, with its codes, and what it only warns about.
#include "tokenizer_fixture.h"
#include <filesystem>
#include <fstream>

using namespace moray;
using namespace moray::test;
using nlohmann::json;

namespace {

json sequence(const char *list, std::vector<json> components) { return {{"type", "Sequence"}, {list, components}}; }

json split(json pattern, const char *behavior = "Isolated", bool invert = false) {
  return {{"type", "Split"}, {"pattern", std::move(pattern)}, {"behavior", behavior}, {"invert", invert}};
}

json added(int64_t id, const std::string &content) { return {{"id", id}, {"content", content}, {"special", false}}; }

TEST(TokenizerImport, unsupportedComponents) { // E2501
  json file = miniTokenizer({});
  auto expectNamed = [&](const char *part, json value, const char *name) {
    json changed = file;
    changed[part] = std::move(value);
    std::string message = expectImportError(2501, changed);
    EXPECT_NE(message.find(name), std::string::npos) << message;
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  expectNamed("normalizer", {{"type", "NFKC"}}, "NFKC");
  expectNamed("normalizer", sequence("normalizers", {{{"type", "Lowercase"}}}), "Lowercase");
  expectNamed("pre_tokenizer", {{"type", "Metaspace"}}, "Metaspace");
  expectNamed("pre_tokenizer", sequence("pretokenizers", {{{"type", "Whitespace"}}, file["pre_tokenizer"]}),
              "Whitespace");
  expectNamed("pre_tokenizer", nullptr, "(none)");
  expectNamed("pre_tokenizer", sequence("pretokenizers", {split({{"Regex", "a"}})}), "(none)");
  expectNamed("post_processor", {{"type", "BertProcessing"}}, "BertProcessing");
  expectNamed("decoder", {{"type", "WordPiece"}}, "WordPiece");
  expectNamed("decoder", nullptr, "0 ByteLevel");
  file["model"]["type"] = "Unigram";
  EXPECT_NE(expectImportError(2501, file).find("Unigram"), std::string::npos);
}

TEST(TokenizerImport, unsupportedOptions) { // E2502
  const json file = miniTokenizer({});
  auto expectOption = [&](const char *part, json value) {
    json changed = file;
    changed[part] = std::move(value);
    expectImportError(2502, changed);
  };
  expectOption("pre_tokenizer", sequence("pretokenizers", {split({{"Regex", "a"}}, "Removed")}));
  expectOption("pre_tokenizer", sequence("pretokenizers", {split({{"Regex", "a"}}, "Isolated", true)}));
  expectOption("pre_tokenizer", sequence("pretokenizers", {file["pre_tokenizer"], split({{"Regex", "a"}})}));
  expectOption("post_processor", {{"type", "TemplateProcessing"}, {"single", {{{"Sequence", {{"id", "B"}}}}}}});
  expectOption("post_processor", {{"type", "TemplateProcessing"}, {"single", json::array()}});
  json normalized = file;
  normalized["normalizer"] = {{"type", "NFC"}};
  normalized["added_tokens"] = {added(200, "\u00E9")};
  normalized["added_tokens"][0]["normalized"] = true;
  expectImportError(2502, normalized);
  auto expectModel = [&](const char *key, json value) {
    json changed = file;
    changed["model"][key] = std::move(value);
    expectImportError(2502, changed);
  };
  expectModel("dropout", 0.1);
  expectModel("continuing_subword_prefix", "##");
  expectModel("end_of_word_suffix", "</w>");
  expectModel("byte_fallback", true); // the mini vocabulary lacks most bytes
}

TEST(TokenizerImport, vocabulary) { // E2503
  json file = miniTokenizer({});
  file["model"]["vocab"]["a"] = 0; // the id of '!'
  EXPECT_NE(expectImportError(2503, file).find("id 0"), std::string::npos);
  file["model"]["vocab"]["a"] = -1;
  expectImportError(2503, file);
  file["model"]["vocab"]["a"] = 1 << 24;
  expectImportError(2503, file);
  file = miniTokenizer({});
  file["added_tokens"] = {added(int64_t(1) << 24, "x")};
  expectImportError(2503, file);
}

TEST(TokenizerImport, merges) { // E2504 and E2505
  json file = miniTokenizer({});
  for (json merge : {json("ab"), json("a b c"), json({"a", "b", "c"}), json(1)}) {
    file["model"]["merges"] = {merge};
    EXPECT_NE(expectImportError(2504, file).find("merges[0]"), std::string::npos);
  }
  for (const char *merge : {"a \u00E9", "\u00E9 a", "a b"}) {
    file["model"]["merges"] = {merge};
    expectImportError(2505, file);
  }
}

TEST(TokenizerImport, addedTokens) { // E2506
  json file = miniTokenizer({});
  for (std::vector<json> list : {std::vector<json>{added(200, "")},
                                 {added(200, "x1"), added(201, "x1")},
                                 {added(200, "x1"), added(200, "x2")},
                                 {added(0, "x")},
                                 {added(200, "a")}}) {
    file["added_tokens"] = list;
    expectImportError(2506, file);
  }
  file["added_tokens"] = {added(0, "!")}; // the same entry as in the vocabulary
  LoadedTokenizer loaded({file.dump(), "", ""});
  EXPECT_EQ(loaded.encode("!"), (Ids{0}));
}

TEST(TokenizerImport, specialTokens) { // E2507
  json file = miniTokenizer({});
  expectImportError(2507, file, R"({"add_bos_token": true})");
  expectImportError(2507, file, R"({"add_eos_token": true, "eos_token": "<none>"})");
  json unknown = file;
  unknown["model"]["unk_token"] = "<unk>";
  expectImportError(2507, unknown);
  file["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single", {{{"SpecialToken", {{"id", "<s>"}}}}, {{"Sequence", {{"id", "A"}}}}}},
                            {"special_tokens", json::object()}};
  expectImportError(2507, file);
}

TEST(TokenizerImport, wrongTypes) { // E2037 with the path
  json file = miniTokenizer({});
  file["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single", {{{"SpecialToken", {{"id", "<s>"}}}}, {{"Sequence", {{"id", "A"}}}}}},
                            {"special_tokens", {{"<s>", {{"ids", {100000}}}}}}};
  expectImportError(2037, file);
  for (const char *pointer : {"/model", "/model/vocab", "/model/merges", "/added_tokens", "/pre_tokenizer/type",
                              "/model/type", "/pre_tokenizer/use_regex"}) {
    json changed = miniTokenizer({});
    changed[json::json_pointer(pointer)] = 1;
    std::string message = expectImportError(2037, changed);
    EXPECT_NE(message.find("tokenizer.json"), std::string::npos) << message;
  }
  expectImportError(2037, miniTokenizer({}), R"({"bos_token": 1})");
  expectImportError(2037, miniTokenizer({}), "[]");
  expectImportError(2032, miniTokenizer({}), "{");
}

TEST(TokenizerImport, warnings) {
  json file = miniTokenizer({{"a", "b"}, {"a", "b"}});
  LoadedTokenizer loaded({file.dump(), R"({"bos_token": "<none>"})", R"({"eos_token": "!"})"});
  EXPECT_EQ(loaded.warnings.size(), 2u);
  EXPECT_EQ(loaded.tokenizer.bos(), -1);
  EXPECT_EQ(loaded.tokenizer.eos(), 0);
}

TEST(TokenizerImport, directory) { // E2500, and the files of a checkpoint
  namespace fs = std::filesystem;
  frontend::Warnings warnings;
  auto loaded = frontend::importTokenizer(dataPath("deepseek-v3"), warnings);
  ASSERT_TRUE(loaded) << loaded.error().text();
  EXPECT_EQ((*loaded)->token_flags.size(), 2021u);
  EXPECT_EQ((*loaded)->bos, 0);
  fs::path folder = fs::temp_directory_path() / ("moray-tokenizer-" + std::to_string(getpid()));
  fs::create_directories(folder);
  auto none = frontend::importTokenizer(folder.string(), warnings);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code(), 2500);
  std::ofstream(folder / "tiktoken.model") << "IQ== 0\n";
  auto tiktoken = frontend::importTokenizer(folder.string(), warnings);
  ASSERT_FALSE(tiktoken);
  EXPECT_NE(tiktoken.error().message().find("tiktoken.model"), std::string::npos);
  fs::remove_all(folder);
}

TEST(TokenizerImport, deterministic) {
  frontend::Warnings warnings;
  auto first = frontend::importTokenizer(dataPath("llama3"), warnings);
  auto second = frontend::importTokenizer(dataPath("llama3"), warnings);
  EXPECT_EQ(serialise(**first), serialise(**second));
}

} // namespace
