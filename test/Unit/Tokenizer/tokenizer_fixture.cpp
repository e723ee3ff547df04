// Implementation of the shared helpers of the tokenizer tests.
#include "tokenizer_fixture.h"
#include "runtime/tokenizer/matcher.h"
#include <fstream>

namespace moray::test {

std::vector<uint8_t> serialise(const schema::TokenizerT &tables) {
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(schema::CreateTokenizer(builder, &tables));
  return {builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize()};
}

LoadedTokenizer::LoadedTokenizer(const frontend::TokenizerSources &sources) {
  frontend::Warnings found;
  frontend::Expected<std::unique_ptr<schema::TokenizerT>> tables = frontend::compileTokenizer(sources, found);
  if (!tables) {
    ADD_FAILURE() << tables.error().text();
    std::abort();
  }
  for (const auto &[text, count] : found.all())
    warnings.push_back(text);
  buffer = serialise(**tables);
  flatbuffers::Verifier verifier(buffer.data(), buffer.size());
  EXPECT_TRUE(verifier.VerifyBuffer<schema::Tokenizer>(nullptr));
  rt::Status status = tokenizer.open(flatbuffers::GetRoot<schema::Tokenizer>(buffer.data()));
  EXPECT_TRUE(status.ok()) << moray_status_message(status.get());
}

std::unique_ptr<LoadedTokenizer> LoadedTokenizer::golden(const std::string &name) {
  frontend::TokenizerSources sources;
  sources.tokenizer = *frontend::readTextFile(dataPath(name + "/tokenizer.json"));
  sources.config = *frontend::readTextFile(dataPath(name + "/tokenizer_config.json"));
  return std::make_unique<LoadedTokenizer>(sources);
}

Ids LoadedTokenizer::encode(const std::string &text, rt::AddBos addBos, bool parseSpecial) const {
  rt::GrowingArray<int32_t> ids;
  rt::EncodeOptions options;
  options.addBos = addBos;
  options.parseSpecial = parseSpecial;
  rt::Status status = tokenizer.encode({text.data(), text.size()}, options, ids);
  EXPECT_TRUE(status.ok()) << moray_status_message(status.get());
  return Ids(ids.begin(), ids.end());
}

std::string LoadedTokenizer::decode(const Ids &ids, rt::DecodeOptions options) const {
  rt::GrowingArray<char> text;
  rt::Status status = tokenizer.decode({ids.data(), ids.size()}, options, text);
  EXPECT_TRUE(status.ok()) << moray_status_message(status.get());
  return std::string(text.begin(), text.end());
}

std::string LoadedTokenizer::decodeStream(const Ids &ids, rt::DecodeOptions options) const {
  rt::StreamDecoder decoder(tokenizer, options);
  std::vector<char> chunk(decoder.maxChunkBytes());
  std::string text;
  auto take = [&](size_t size) {
    EXPECT_LE(size, chunk.size());
    if (size) {
      EXPECT_NE(uint8_t(chunk[0]) & 0xC0, 0x80) << "a chunk starts inside a code point";
    }
    text.append(chunk.data(), size);
  };
  for (int32_t id : ids)
    take(decoder.push(id, chunk.data()));
  take(decoder.finish(chunk.data()));
  return text;
}

std::vector<std::string> LoadedTokenizer::preTokenize(const std::string &text) const {
  const schema::Tokenizer &tables = tokenizer.tables();
  rt::Matcher matcher(tables);
  rt::GrowingArray<rt::TextRange> pieces, refined;
  EXPECT_TRUE(pieces.append({0, uint32_t(text.size())}));
  for (const schema::PreTokenizerStage *stage : *tables.stages()) {
    refined.clear();
    for (const rt::TextRange &piece : pieces)
      EXPECT_TRUE(matcher.split(*tables.programs()->Get(stage->program()), text.data(), piece, refined));
    pieces.swap(refined);
  }
  std::vector<std::string> result;
  for (const rt::TextRange &piece : pieces)
    result.push_back(text.substr(piece.begin, piece.end - piece.begin));
  return result;
}

std::string dataPath(const std::string &name) { return MORAY_TOKENIZER_DATA + name; }

std::vector<nlohmann::json> readJsonLines(const std::string &name) {
  std::ifstream file(dataPath(name));
  EXPECT_TRUE(file) << name;
  std::vector<nlohmann::json> rows;
  for (std::string line; std::getline(file, line);)
    rows.push_back(*frontend::parseJson(line, name));
  return rows;
}

nlohmann::json miniTokenizer(const std::vector<std::pair<std::string, std::string>> &merges) {
  nlohmann::json vocabulary = nlohmann::json::object(), list = nlohmann::json::array();
  int id = 0;
  for (char c = 0x21; c < 0x7F; ++c)
    vocabulary[std::string(1, c)] = id++;
  vocabulary["\u0120"] = id++;
  for (const auto &[left, right] : merges) {
    vocabulary.emplace(left + right, id);
    ++id;
    list.push_back(left + " " + right);
  }
  return {{"added_tokens", nlohmann::json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", list}}}};
}

std::string expectImportError(int code, const nlohmann::json &tokenizer, const std::string &config) {
  frontend::Warnings warnings;
  frontend::TokenizerSources sources;
  sources.tokenizer = tokenizer.dump();
  sources.config = config;
  auto tables = frontend::compileTokenizer(sources, warnings);
  if (tables) {
    ADD_FAILURE() << "accepted, expected error " << code;
    return "";
  }
  EXPECT_EQ(tables.error().code(), code) << tables.error().text();
  return tables.error().message();
}

} // namespace moray::test
