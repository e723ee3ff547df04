// Encoding: added tokens, then the pre-tokenizer stages, then byte-pair encoding of each piece. Decoding: bytes, then
// repair.
#include "runtime/tokenizer/tokenizer.h"
#include "runtime/schema/tokenizer_tables.h"
#include "runtime/tokenizer/bpe.h"
#include "runtime/tokenizer/matcher.h"
#include "runtime/tokenizer/normalizer.h"

namespace moray::rt {

using schema::TokenFlags;

namespace {

bool has(TokenFlags flags, TokenFlags flag) { return (flags & flag) != TokenFlags::NONE; }

// An added token in the text.
struct Found {
  uint32_t begin, end, added;
};

// One call of encode. Functions that return bool fail only for lack of memory.
class Encoding {
public:
  Encoding(const Tokenizer &tokenizer, bool parseSpecial, GrowingArray<int32_t> &ids)
      : tokenizer(tokenizer), tables(tokenizer.tables()),
        parsesAdded(parseSpecial && tables.trie_roots() && tables.trie_roots()->size() == kPasses), normalizer(tables),
        matcher(tables), bpe(tables), ids(ids) {}

  bool repair(Span<const char> input);
  bool addAll() {
    TextRange whole = {0, static_cast<uint32_t>(text.size())};
    return parsesAdded ? addPass(0, whole) : addBehindPass(0, whole);
  }

private:
  // Added tokens are searched twice: those of the raw text, and in what is between them, once normalised, the others.
  static constexpr uint32_t kPasses = 2;

  bool addPass(uint32_t pass, TextRange range);
  bool addBehindPass(uint32_t pass, TextRange range);
  bool findAdded(uint32_t root, uint32_t from, uint32_t end, Found &found) const;
  bool touchesWord(const Found &found, TextRange range) const;
  void absorbSpace(TokenFlags flags, uint32_t low, uint32_t high, Found &found) const;
  bool addPlain(TextRange range);
  bool prefixSpaces();

  const Tokenizer &tokenizer;
  const schema::Tokenizer &tables;
  const bool parsesAdded;
  NfcNormalizer normalizer;
  Matcher matcher;
  BpeEncoder bpe;
  GrowingArray<int32_t> &ids;
  Span<const char> text;
  GrowingArray<char> repaired;             // the text, where the input had to be changed
  GrowingArray<char> normalized;           // the text between two raw added tokens, where normalising changes it
  GrowingArray<TextRange> pieces, refined; // of the plain range in progress, before and after a stage
  const char *pieceText = nullptr;         // what pieces are ranges of
  GrowingArray<char> spaced, respaced;     // that text with spaces put before pieces
};

// Ill-formed input is copied and repaired; well-formed input is used where it lies.
bool Encoding::repair(Span<const char> input) {
  Utf8Repairer check;
  char scratch[Utf8Repairer::kMaxOutput];
  for (char c : input)
    check.push(static_cast<uint8_t>(c), scratch);
  check.finish(scratch);
  text = input;
  if (!check.replaced())
    return true;
  if (!repaired.reserve(input.size() * 3))
    return false;
  Utf8Repairer repairer;
  for (char c : input)
    if (!repaired.append(scratch, repairer.push(static_cast<uint8_t>(c), scratch)))
      return false;
  if (!repaired.append(scratch, repairer.finish(scratch)))
    return false;
  text = {repaired.data(), repaired.size()};
  return true;
}

// Splits `range` at the added tokens of trie number `pass`.
bool Encoding::addPass(uint32_t pass, TextRange range) {
  uint32_t root = tables.trie_roots()->Get(pass), done = range.begin;
  Found found;
  for (uint32_t from = range.begin; findAdded(root, from, range.end, found); from = found.end) {
    const schema::AddedToken *token = tables.added()->Get(found.added);
    if (has(token->flags(), TokenFlags::SingleWord) && touchesWord(found, range))
      continue;
    absorbSpace(token->flags(), done, range.end, found);
    if (found.begin > done && !addBehindPass(pass, {done, found.begin}))
      return false;
    if (!ids.append(static_cast<int32_t>(token->id())))
      return false;
    done = found.end;
  }
  return done == range.end || addBehindPass(pass, {done, range.end});
}

// Text that contains no added token of trie number `pass`.
bool Encoding::addBehindPass(uint32_t pass, TextRange range) {
  if (pass + 1 == kPasses)
    return addPlain(range);
  Span<const char> raw = text, part(text.data() + range.begin, range.end - range.begin);
  if (normalizer.mayChange(part)) {
    if (!normalizer.normalize(part, normalized))
      return false;
    text = {normalized.data(), normalized.size()};
    range = {0, static_cast<uint32_t>(normalized.size())};
  }
  bool added = parsesAdded ? addPass(pass + 1, range) : addPlain(range);
  text = raw;
  return added;
}

// The leftmost, and there the longest, added token in [from, end).
bool Encoding::findAdded(uint32_t root, uint32_t from, uint32_t end, Found &found) const {
  const auto *nodes = tables.trie_nodes();
  const auto *edges = tables.trie_edges();
  for (uint32_t begin = from; begin < end; ++begin) {
    if (!tokenizer.mayStartAdded(static_cast<uint8_t>(text[begin])))
      continue;
    found.end = begin;
    const schema::TrieNode *node = nodes->Get(root);
    for (uint32_t at = begin; at < end && node;) {
      uint8_t byte = static_cast<uint8_t>(text[at]);
      uint32_t low = node->first_edge(), high = low + node->edge_count();
      while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        (byte < edges->Get(middle)->byte() ? high : low) = middle;
      }
      node = low < high && edges->Get(low)->byte() == byte ? nodes->Get(edges->Get(low)->child()) : nullptr;
      ++at;
      if (node && node->added() >= 0)
        found = {begin, at, static_cast<uint32_t>(node->added())};
    }
    if (found.end > begin)
      return true;
  }
  return false;
}

bool Encoding::touchesWord(const Found &found, TextRange range) const {
  if (found.begin > range.begin) {
    size_t at = previousStart(text.data(), found.begin, range.begin);
    if (containsCodePoint(tables, tables.word_set(), nextCodePoint(text.data(), at, found.begin)))
      return true;
  }
  size_t at = found.end;
  return at < range.end && containsCodePoint(tables, tables.word_set(), nextCodePoint(text.data(), at, range.end));
}

// Extends `found` over white space, to the left not below `low`, to the right not beyond `high`.
void Encoding::absorbSpace(TokenFlags flags, uint32_t low, uint32_t high, Found &found) const {
  while (has(flags, TokenFlags::StripLeft) && found.begin > low) {
    size_t start = previousStart(text.data(), found.begin, low), at = start;
    if (!containsCodePoint(tables, tables.space_set(), nextCodePoint(text.data(), at, found.begin)))
      break;
    found.begin = static_cast<uint32_t>(start);
  }
  while (has(flags, TokenFlags::StripRight) && found.end < high) {
    size_t at = found.end;
    if (!containsCodePoint(tables, tables.space_set(), nextCodePoint(text.data(), at, high)))
      break;
    found.end = static_cast<uint32_t>(at);
  }
}

// Text without added tokens.
bool Encoding::addPlain(TextRange range) {
  pieceText = text.data();
  pieces.clear();
  if (!pieces.append(range))
    return false;
  for (uint32_t i = 0; tables.stages() && i < tables.stages()->size(); ++i) {
    const schema::PreTokenizerStage *stage = tables.stages()->Get(i);
    if (stage->kind() == schema::PreTokenizerKind::PrefixSpace) {
      if (!prefixSpaces())
        return false;
      continue;
    }
    const schema::RegexProgram *program = tables.programs()->Get(stage->program());
    refined.clear();
    for (const TextRange &piece : pieces)
      if (!matcher.split(*program, pieceText, piece, refined))
        return false;
    pieces.swap(refined);
  }
  for (const TextRange &piece : pieces)
    if (!bpe.encode(pieceText + piece.begin, piece.end - piece.begin, ids))
      return false;
  return true;
}

bool Encoding::prefixSpaces() {
  respaced.clear();
  for (TextRange &piece : pieces) {
    uint32_t begin = static_cast<uint32_t>(respaced.size());
    if ((pieceText[piece.begin] != ' ' && !respaced.append(' ')) ||
        !respaced.append(pieceText + piece.begin, piece.end - piece.begin))
      return false;
    piece = {begin, static_cast<uint32_t>(respaced.size())};
  }
  spaced.swap(respaced);
  pieceText = spaced.data();
  return true;
}

Status outOfMemory(size_t bytes) { return fail(kE5001, "out of memory while encoding %zu bytes of text", bytes); }

bool appendIds(const flatbuffers::Vector<uint32_t> *from, GrowingArray<int32_t> &ids) {
  for (uint32_t i = 0; from && i < from->size(); ++i)
    if (!ids.append(static_cast<int32_t>(from->Get(i))))
      return false;
  return true;
}

} // namespace

Status Tokenizer::open(const schema::Tokenizer *newTable) {
  MORAY_TRY(verifyTokenizer(*newTable));
  table = newTable;
  count = table->token_offsets()->size() - 1;
  longestPiece = 0;
  for (uint32_t id = 0; id < count; ++id)
    if (size_t bytes = piece(static_cast<int32_t>(id)).size(); bytes > longestPiece)
      longestPiece = bytes;
  for (uint64_t &word : addedStart)
    word = 0;
  for (uint32_t i = 0; table->trie_roots() && i < table->trie_roots()->size(); ++i) {
    const schema::TrieNode *root = table->trie_nodes()->Get(table->trie_roots()->Get(i));
    for (uint32_t edge = root->first_edge(); edge < root->first_edge() + root->edge_count(); ++edge) {
      uint8_t byte = table->trie_edges()->Get(edge)->byte();
      addedStart[byte / 64] |= uint64_t(1) << (byte % 64);
    }
  }
  return Status();
}

Bytes Tokenizer::piece(int32_t id) const {
  if (id < 0 || static_cast<uint32_t>(id) >= count)
    return Bytes();
  uint32_t begin = table->token_offsets()->Get(static_cast<uint32_t>(id));
  uint32_t end = table->token_offsets()->Get(static_cast<uint32_t>(id) + 1);
  return begin == end ? Bytes() : Bytes(table->token_bytes()->Data() + begin, end - begin);
}

bool Tokenizer::isUnknown(int32_t id) const { return piece(id).empty(); }

bool Tokenizer::hasFlag(int32_t id, TokenFlags flag) const {
  return id >= 0 && static_cast<uint32_t>(id) < count &&
         has(TokenFlags(table->token_flags()->Get(static_cast<uint32_t>(id))), flag);
}

Status Tokenizer::encode(Span<const char> text, const EncodeOptions &options, GrowingArray<int32_t> &ids) const {
  if (text.size() > kMaxTextBytes)
    return fail(kE5002, "found a text of %zu bytes, expected at most %zu; tokenize it in parts", text.size(),
                kMaxTextBytes);
  if (options.addBos == AddBos::Yes && bos() < 0)
    return fail(kE5002, "a BOS token is wanted, but the tokenizer names none; choose auto or no");
  if (options.addBos == AddBos::Yes && !ids.append(bos()))
    return outOfMemory(text.size());
  if (options.addBos == AddBos::Auto && !appendIds(table->auto_prefix(), ids))
    return outOfMemory(text.size());
  if (!text.empty()) {
    Encoding encoding(*this, options.parseSpecial, ids);
    if (!encoding.repair(text) || !encoding.addAll())
      return outOfMemory(text.size());
  }
  if (options.addBos == AddBos::Auto && !appendIds(table->auto_suffix(), ids))
    return outOfMemory(text.size());
  return Status();
}

Status Tokenizer::decode(Span<const int32_t> ids, const DecodeOptions &options, GrowingArray<char> &text) const {
  StreamDecoder decoder(*this, options);
  GrowingArray<char> chunk;
  if (!chunk.reserve(decoder.maxChunkBytes()))
    return outOfMemory(ids.size());
  for (int32_t id : ids)
    if (!text.append(chunk.data(), decoder.push(id, chunk.data())))
      return outOfMemory(ids.size());
  if (!text.append(chunk.data(), decoder.finish(chunk.data())))
    return outOfMemory(ids.size());
  return Status();
}

} // namespace moray::rt
