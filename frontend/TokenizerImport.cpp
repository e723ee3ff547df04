// Builds the vocabulary, merge and added-token tables of a tokenizer and ties them to its components.
#include "frontend/TokenizerImport.h"
#include "frontend/Json.h"
#include "frontend/TokenizerPipeline.h"
#include "frontend/Utf8.h"
#include "runtime/schema/tokenizer_tables.h"

#include <algorithm>
#include <filesystem>
#include <unordered_map>

namespace moray::frontend {
namespace {

using nlohmann::json;
using schema::TokenFlags;

// The bytes a vocabulary entry stands for. Entries with a character outside the byte alphabet stand for themselves.
std::string tokenBytes(const std::string &entry, bool &inAlphabet) {
  std::string bytes;
  for (size_t at = 0; at < entry.size();) {
    uint32_t codePoint = decodeUtf8(entry, at);
    int byte = codePoint == kInvalidUtf8 ? -1 : schema::byteOfChar(codePoint);
    if (byte < 0) {
      inAlphabet = false;
      return entry;
    }
    bytes.push_back(char(byte));
  }
  inAlphabet = true;
  return bytes;
}

std::string utf8(uint32_t codePoint) { // below U+0800: the byte alphabet
  if (codePoint < 0x80)
    return std::string(1, char(codePoint));
  return {char(0xC0 | codePoint >> 6), char(0x80 | (codePoint & 0x3F))};
}

// Slots of an open-addressing table that stays at most half full.
size_t tableSize(size_t entries) {
  size_t size = 2;
  while (size < 2 * entries)
    size *= 2;
  return size;
}

class TokenizerCompiler {
public:
  explicit TokenizerCompiler(Warnings &warnings) : warnings(warnings) {}

  Expected<std::unique_ptr<schema::TokenizerT>> compile(const TokenizerSources &sources);

private:
  Status readVocabulary(const json &model);
  Status readAddedTokens(const json &file);
  Status addToken(const json &entry, const std::string &where, std::vector<uint32_t> (&byPass)[2]);
  Status checkModel(const json &model);
  Status readByteTokens(const json &model);
  Status readMerges(const json &model);
  Expected<std::pair<std::string, std::string>> mergeParts(const json &entry, const std::string &where);
  void writeTokens();
  void writePieceTable();
  void writeTrie(const std::vector<uint32_t> &tokens);
  Status readConfig(const TokenizerSources &sources);
  Expected<int32_t> specialToken(const json &config, const json &map, const char *key);

  struct Token {
    std::string content; // as spelled in the file
    std::string bytes;
    uint8_t flags = 0;
    bool present = false;    // the file has this id
    bool inAlphabet = false; // a vocabulary entry made of byte characters
  };

  Warnings &warnings;
  std::unique_ptr<schema::TokenizerT> tables = std::make_unique<schema::TokenizerT>();
  std::vector<Token> tokens;                         // by id
  std::unordered_map<std::string, uint32_t> idOf;    // vocabulary
  std::unordered_map<std::string, uint32_t> addedOf; // added tokens
};

Expected<std::unique_ptr<schema::TokenizerT>> TokenizerCompiler::compile(const TokenizerSources &sources) {
  Expected<json> file = parseJson(sources.tokenizer, "tokenizer.json");
  if (!file)
    return file.error();
  const json *model = findMember(*file, "model");
  if (!model || !model->is_object())
    return jsonTypeError("tokenizer.json: model", model, "an object");
  CodeSetTable sets(*tables);
  tables->word_set = sets.add(wordSet());
  tables->space_set = sets.add(whiteSpaceSet());
  tables->unicode_version = unicodeVersion();
  Status status = checkModel(*model);
  if (status)
    status = compileNormalizer(*file, *tables);
  if (status)
    status = checkDecoder(*file);
  if (status)
    status = compilePreTokenizer(*file, sets, *tables);
  if (status)
    status = readVocabulary(*model);
  if (status)
    status = readByteTokens(*model);
  if (status)
    status = readMerges(*model);
  if (status)
    status = readAddedTokens(*file);
  if (!status)
    return status.error();
  writeTokens();
  writePieceTable();
  status = compilePostProcessor(*file, *tables);
  if (status)
    status = readConfig(sources);
  if (!status)
    return status.error();
  return std::move(tables);
}

// Refuses what would change the result; the flags that the tables carry are read here.
Status TokenizerCompiler::checkModel(const json &model) {
  const std::string where = "tokenizer.json: model";
  Expected<std::string> type = stringMember(model, "type", where);
  if (!type)
    return type.error();
  if (*type != "BPE")
    return Error::describe(kTokenizerComponent, where + ".type", "'" + *type + "'", "'BPE'",
                           "only byte-level BPE tokenizers are supported");
  Expected<double> dropout = doubleMember(model, "dropout", where, 0);
  if (!dropout)
    return dropout.error();
  if (*dropout != 0)
    return Error::describe(kTokenizerOption, where + ".dropout", std::to_string(*dropout), "0 or null", "remove it");
  for (const char *key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    Expected<std::string> affix = stringMember(model, key, where, "");
    if (!affix)
      return affix.error();
    if (!affix->empty())
      return Error::describe(kTokenizerOption, where + "." + key, "'" + *affix + "'", "an empty string or null",
                             "this tokenizer is not byte-level BPE");
  }
  Expected<bool> ignoreMerges = boolMember(model, "ignore_merges", where, false);
  if (!ignoreMerges)
    return ignoreMerges.error();
  tables->ignore_merges = *ignoreMerges;
  return Status();
}

Status TokenizerCompiler::readVocabulary(const json &model) {
  const std::string where = "tokenizer.json: model.vocab";
  const json *vocabulary = findMember(model, "vocab");
  if (!vocabulary || !vocabulary->is_object())
    return jsonTypeError(where, vocabulary, "an object");
  for (const auto &[entry, id] : *vocabulary->get_ptr<const json::object_t *>()) {
    const std::string entryWhere = where + "[\"" + entry + "\"]";
    if (!id.is_number_unsigned() || id.get<uint64_t>() > uint64_t(kTokenizerMaxId))
      return Error::describe(kTokenizerVocabulary, entryWhere, id.dump(), "an id of 0 to 16777215", "correct the file");
    uint32_t index = id.get<uint32_t>();
    if (index >= tokens.size())
      tokens.resize(index + 1);
    Token &token = tokens[index];
    if (token.present)
      return Error::describe(kTokenizerVocabulary, entryWhere,
                             "id " + std::to_string(index) + ", which \"" + token.content + "\" has", "unique ids",
                             "correct the file");
    token.present = true;
    token.content = entry;
    token.bytes = tokenBytes(entry, token.inAlphabet);
    idOf.emplace(entry, index);
  }
  return Status();
}

// The first symbol of each byte. Bytes that no UTF-8 text contains need none.
Status TokenizerCompiler::readByteTokens(const json &model) {
  const std::string where = "tokenizer.json: model";
  Expected<bool> byteFallback = boolMember(model, "byte_fallback", where, false);
  if (!byteFallback)
    return byteFallback.error();
  Expected<bool> fuseUnknown = boolMember(model, "fuse_unk", where, false);
  if (!fuseUnknown)
    return fuseUnknown.error();
  Expected<std::string> unknown = stringMember(model, "unk_token", where, "");
  if (!unknown)
    return unknown.error();
  int32_t unknownId = -1;
  if (!unknown->empty()) {
    auto entry = idOf.find(*unknown);
    if (entry == idOf.end())
      return Error::describe(kTokenizerSpecial, where + ".unk_token",
                             "'" + *unknown + "', which is not in the vocabulary", "one of its entries",
                             "correct the file");
    unknownId = int32_t(entry->second);
  }
  for (uint32_t byte = 0; byte < 256; ++byte) {
    auto entry = idOf.find(utf8(schema::charOfByte(uint8_t(byte))));
    bool needed = byte < 0xC0 || (byte >= 0xC2 && byte <= 0xF4);
    if (entry == idOf.end() && needed && (*byteFallback || (unknownId >= 0 && *fuseUnknown)))
      return Error::describe(kTokenizerOption, where + (*byteFallback ? ".byte_fallback" : ".fuse_unk"),
                             "true with a vocabulary that lacks byte " + std::to_string(byte),
                             "a vocabulary with all 256 byte characters", "this tokenizer is not byte-level BPE");
    tables->byte_tokens.push_back(entry == idOf.end() ? unknownId : int32_t(entry->second));
  }
  return Status();
}

// "a b", split at its single space, or ["a", "b"].
Expected<std::pair<std::string, std::string>> TokenizerCompiler::mergeParts(const json &entry,
                                                                            const std::string &where) {
  if (const auto *text = entry.get_ptr<const std::string *>()) {
    size_t space = text->find(' ');
    if (space != std::string::npos && text->find(' ', space + 1) == std::string::npos)
      return std::pair(text->substr(0, space), text->substr(space + 1));
  } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() && entry[1].is_string())
    return std::pair(*entry[0].get_ptr<const std::string *>(), *entry[1].get_ptr<const std::string *>());
  return Error::describe(kTokenizerMerge, where, entry.dump(), "\"a b\" with one space or [\"a\", \"b\"]",
                         "correct the file");
}

Status TokenizerCompiler::readMerges(const json &model) {
  const json *merges = findMember(model, "merges");
  if (!merges || !merges->is_array())
    return jsonTypeError("tokenizer.json: model.merges", merges, "an array");
  if (merges->empty())
    return Status();
  size_t slots = tableSize(merges->size());
  tables->merges.assign(slots, schema::MergeSlot(schema::kFreeMergeSlot, 0, 0, 0));
  for (size_t rank = 0; rank < merges->size(); ++rank) {
    const std::string where = "tokenizer.json: model.merges[" + std::to_string(rank) + "]";
    Expected<std::pair<std::string, std::string>> parts = mergeParts((*merges)[rank], where);
    if (!parts)
      return parts.error();
    uint32_t ids[3];
    const std::string *names[] = {&parts->first, &parts->second, nullptr};
    const std::string merged = parts->first + parts->second;
    names[2] = &merged;
    for (int i = 0; i < 3; ++i) {
      auto entry = idOf.find(*names[i]);
      if (entry == idOf.end())
        return Error::describe(kTokenizerMergeSymbol, where, "\"" + *names[i] + "\", which is not in the vocabulary",
                               "both parts and their concatenation in model.vocab", "correct the file");
      ids[i] = entry->second;
    }
    size_t slot = schema::hashPair(ids[0], ids[1]) & (slots - 1);
    auto isFree = [&] { return tables->merges[slot].left() == schema::kFreeMergeSlot; };
    while (!isFree() && (tables->merges[slot].left() != ids[0] || tables->merges[slot].right() != ids[1]))
      slot = (slot + 1) & (slots - 1);
    if (!isFree())
      warnings.add("tokenizer.json: model.merges: a pair is listed twice, its later rank is used");
    tables->merges[slot] = schema::MergeSlot(ids[0], ids[1], uint32_t(rank), ids[2]);
  }
  return Status();
}

Status TokenizerCompiler::readAddedTokens(const json &file) {
  const json *list = findMember(file, "added_tokens");
  if (!list || list->is_null())
    return Status();
  if (!list->is_array())
    return jsonTypeError("tokenizer.json: added_tokens", list, "an array");
  std::vector<uint32_t> byPass[2];
  for (size_t i = 0; i < list->size(); ++i)
    if (Status status = addToken((*list)[i], "tokenizer.json: added_tokens[" + std::to_string(i) + "]", byPass);
        !status)
      return status;
  if (!list->empty())
    for (const std::vector<uint32_t> &pass : byPass)
      writeTrie(pass);
  return Status();
}

Status TokenizerCompiler::addToken(const json &entry, const std::string &where, std::vector<uint32_t> (&byPass)[2]) {
  Expected<int64_t> id = intMember(entry, "id", where);
  if (!id)
    return id.error();
  Expected<std::string> content = stringMember(entry, "content", where);
  if (!content)
    return content.error();
  const char *const keys[] = {"special", "single_word", "lstrip", "rstrip", "normalized"};
  const TokenFlags bits[] = {TokenFlags::Special, TokenFlags::SingleWord, TokenFlags::StripLeft,
                             TokenFlags::StripRight};
  bool values[5];
  for (int i = 0; i < 5; ++i) {
    Expected<bool> value = boolMember(entry, keys[i], where, false);
    if (!value)
      return value.error();
    values[i] = *value;
  }
  if (*id < 0 || *id > kTokenizerMaxId)
    return Error::describe(kTokenizerVocabulary, where + ".id", std::to_string(*id), "an id of 0 to 16777215",
                           "correct the file");
  if (size_t(*id) >= tokens.size())
    tokens.resize(size_t(*id) + 1);
  Token &token = tokens[size_t(*id)];
  auto known = idOf.find(*content);
  bool contradicts = (token.present && token.content != *content) || (known != idOf.end() && known->second != *id);
  if (content->empty() || contradicts || !addedOf.emplace(*content, uint32_t(*id)).second)
    return Error::describe(kTokenizerAdded, where, "token \"" + *content + "\" with id " + std::to_string(*id),
                           "content that is not empty, listed once, and the only one of its id", "correct the file");
  // Such a token would have to be normalised itself.
  bool ascii = std::all_of(content->begin(), content->end(), [](char c) { return uint8_t(c) < 0x80; });
  if (values[4] && !ascii && !tables->decompositions.empty())
    return Error::describe(kTokenizerOption, where, "normalized: true for \"" + *content + "\"",
                           "ASCII content under NFC", "set it to false");
  token.present = true;
  token.content = token.bytes = *content;
  token.flags = uint8_t(TokenFlags::Added);
  for (int i = 0; i < 4; ++i)
    if (values[i])
      token.flags |= uint8_t(bits[i]);
  byPass[values[4]].push_back(uint32_t(tables->added.size()));
  tables->added.emplace_back(uint32_t(*id), TokenFlags(token.flags));
  return Status();
}

// One trie over the bytes of the added tokens with these indices; nodes in breadth-first order, so edges of a node are
// adjacent.
void TokenizerCompiler::writeTrie(const std::vector<uint32_t> &indices) {
  std::vector<std::pair<std::string, uint32_t>> sorted;
  for (uint32_t index : indices)
    sorted.emplace_back(tokens[tables->added[index].id()].content, index);
  std::sort(sorted.begin(), sorted.end());
  struct Range {
    size_t begin, end, depth; // of `sorted`: the tokens that share the node's `depth` bytes
  };
  std::vector<Range> ranges = {{0, sorted.size(), 0}};
  uint32_t root = uint32_t(tables->trie_nodes.size());
  tables->trie_roots.push_back(root);
  for (size_t node = 0; node < ranges.size(); ++node) {
    auto [begin, end, depth] = ranges[node];
    int32_t added = -1;
    if (begin < end && sorted[begin].first.size() == depth)
      added = int32_t(sorted[begin++].second);
    uint32_t firstEdge = uint32_t(tables->trie_edges.size());
    while (begin < end) {
      uint8_t byte = uint8_t(sorted[begin].first[depth]);
      size_t next = begin;
      while (next < end && uint8_t(sorted[next].first[depth]) == byte)
        ++next;
      tables->trie_edges.emplace_back(byte, root + uint32_t(ranges.size()));
      ranges.push_back({begin, next, depth + 1});
      begin = next;
    }
    tables->trie_nodes.emplace_back(firstEdge, uint32_t(tables->trie_edges.size()) - firstEdge, added);
  }
}

void TokenizerCompiler::writeTokens() {
  for (const Token &token : tokens) {
    tables->token_offsets.push_back(uint32_t(tables->token_bytes.size()));
    tables->token_bytes.insert(tables->token_bytes.end(), token.bytes.begin(), token.bytes.end());
    tables->token_flags.push_back(token.flags);
  }
  tables->token_offsets.push_back(uint32_t(tables->token_bytes.size()));
}

// A piece is made of byte characters, so only such entries can equal it.
void TokenizerCompiler::writePieceTable() {
  if (!tables->ignore_merges)
    return;
  size_t slots = tableSize(tokens.size());
  tables->piece_slots.assign(slots, 0);
  for (const auto &[entry, id] : idOf) {
    bool inAlphabet;
    std::string bytes = tokenBytes(entry, inAlphabet);
    if (!inAlphabet)
      continue;
    size_t slot = schema::hashPiece(bytes.data(), bytes.size()) & (slots - 1);
    while (tables->piece_slots[slot])
      slot = (slot + 1) & (slots - 1);
    tables->piece_slots[slot] = id + 1;
  }
}

// The id of bos_token, eos_token or pad_token: a name, or an object with its content; -1 where none is named.
Expected<int32_t> TokenizerCompiler::specialToken(const json &config, const json &map, const char *key) {
  const json *entry = findMember(config, key);
  std::string where = std::string("tokenizer_config.json: ") + key;
  if (!entry || entry->is_null()) {
    entry = findMember(map, key);
    where = std::string("special_tokens_map.json: ") + key;
  }
  if (!entry || entry->is_null())
    return -1;
  const json *content = entry->is_object() ? findMember(*entry, "content") : entry;
  if (!content || !content->is_string())
    return jsonTypeError(where, content, "a string, or an object with content");
  const std::string &name = *content->get_ptr<const std::string *>();
  if (auto added = addedOf.find(name); added != addedOf.end())
    return int32_t(added->second);
  if (auto known = idOf.find(name); known != idOf.end())
    return int32_t(known->second);
  warnings.add(where + ": '" + name + "' is not a token of tokenizer.json and is ignored");
  return -1;
}

Status TokenizerCompiler::readConfig(const TokenizerSources &sources) {
  json config = json::object(), map = json::object();
  for (auto [text, target, name] : {std::tuple(&sources.config, &config, "tokenizer_config.json"),
                                    std::tuple(&sources.specialTokensMap, &map, "special_tokens_map.json")}) {
    if (text->empty())
      continue;
    Expected<json> parsed = parseJson(*text, name);
    if (!parsed)
      return parsed.error();
    if (!parsed->is_object())
      return jsonTypeError(name, &*parsed, "an object");
    *target = std::move(*parsed);
  }
  int32_t ids[3];
  const char *const keys[] = {"bos_token", "eos_token", "pad_token"};
  for (int i = 0; i < 3; ++i) {
    Expected<int32_t> id = specialToken(config, map, keys[i]);
    if (!id)
      return id.error();
    ids[i] = *id;
  }
  tables->bos = ids[0];
  tables->eos = ids[1];
  tables->pad = ids[2];
  for (int i = 0; i < 2; ++i) {
    const char *key = i ? "add_eos_token" : "add_bos_token";
    Expected<bool> add = boolMember(config, key, "tokenizer_config.json", false);
    if (!add)
      return add.error();
    if (!*add)
      continue;
    if (ids[i] < 0)
      return Error::describe(kTokenizerSpecial, std::string("tokenizer_config.json: ") + key, "true",
                             std::string("a ") + keys[i] + " that tokenizer.json contains",
                             "name it or set this to false");
    std::vector<uint32_t> &side = i ? tables->auto_suffix : tables->auto_prefix;
    // A post-processor that already adds the token is not doubled.
    if (side.empty() || (i ? side.back() : side.front()) != uint32_t(ids[i]))
      side.insert(i ? side.end() : side.begin(), uint32_t(ids[i]));
  }
  return Status();
}

} // namespace

Expected<std::unique_ptr<schema::TokenizerT>> compileTokenizer(const TokenizerSources &sources, Warnings &warnings) {
  return TokenizerCompiler(warnings).compile(sources);
}

Expected<std::unique_ptr<schema::TokenizerT>> importTokenizer(const std::string &directory, Warnings &warnings) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  TokenizerSources sources;
  for (auto [name, text] :
       {std::pair("tokenizer.json", &sources.tokenizer), std::pair("tokenizer_config.json", &sources.config),
        std::pair("special_tokens_map.json", &sources.specialTokensMap)}) {
    fs::path path = fs::path(directory) / name;
    if (!fs::exists(path, ignored))
      continue;
    Expected<std::string> content = readTextFile(path.string());
    if (!content)
      return content.error();
    *text = std::move(*content);
  }
  if (!sources.tokenizer.empty())
    return compileTokenizer(sources, warnings);
  bool tiktoken = fs::exists(fs::path(directory) / "tiktoken.model", ignored);
  return Error::describe(kTokenizerMissing, directory, tiktoken ? "only tiktoken.model" : "no tokenizer.json",
                         "tokenizer.json", "add one to run the model on text; token ids work without it");
}

} // namespace moray::frontend
