// Text to token ids and back, by the compiled tables of an artifact.
//
// Text is bytes that should be UTF-8: what is not well formed becomes U+FFFD first. Zero bytes are ordinary text.
#pragma once
#include "runtime/base/span.h"
#include "runtime/base/status.h"
#include "runtime/tokenizer/growing_array.h"
#include "runtime/tokenizer/utf8.h"
#include "tokenizer_generated.h"

namespace moray::rt {

// Auto: what the post-processor and the configuration of the tokenizer say. Yes: one BOS in front. No: the text alone,
// as for a rendered chat, which contains its BOS.
enum class AddBos { Auto, Yes, No };

struct EncodeOptions {
  AddBos addBos = AddBos::Auto;
  bool parseSpecial = true; // false: added tokens in the text are plain text, for input that is not trusted
};

struct DecodeOptions {
  bool skipSpecial = false;
  // An added token is emitted as its content; with this, one made only of byte characters is mapped back to bytes, as
  // the Hugging Face library does: the added token U+00FC then decodes to the byte FC, which is U+FFFD.
  bool hfStrict = false;
};

constexpr size_t kMaxTextBytes = size_t(1) << 28; // of one call of encode

// Immutable after `open`; any number of threads may use it.
class Tokenizer {
public:
  // Checks every index of `newTable`, which must have passed the FlatBuffers verifier and outlive this object. Error
  // 4021.
  Status open(const schema::Tokenizer *newTable);

  // Number of ids, unused ones included.
  uint32_t size() const { return count; }
  int32_t bos() const { return table->bos(); }
  int32_t eos() const { return table->eos(); }
  int32_t pad() const { return table->pad(); }
  // The bytes of an id: of an ordinary token what it stands for, of an added token its content. Empty for unknown and
  // unused ids.
  Bytes piece(int32_t id) const;
  // Whether the id has no token: beyond the table or a gap in it.
  bool isUnknown(int32_t id) const;
  bool isSpecial(int32_t id) const { return hasFlag(id, schema::TokenFlags::Special); }
  bool isAdded(int32_t id) const { return hasFlag(id, schema::TokenFlags::Added); }
  size_t maxPieceBytes() const { return longestPiece; }

  // Appends the ids of `text` to `ids`. Errors: 5001 memory, 5002 text longer than kMaxTextBytes, or a BOS wanted that
  // does not exist.
  Status encode(Span<const char> text, const EncodeOptions &options, GrowingArray<int32_t> &ids) const;
  // Appends the text of `ids`. Unknown ids add nothing. Error 5001.
  Status decode(Span<const int32_t> ids, const DecodeOptions &options, GrowingArray<char> &text) const;

  const schema::Tokenizer &tables() const { return *table; }
  // Whether an added token may start with this byte.
  bool mayStartAdded(uint8_t byte) const { return addedStart[byte / 64] >> (byte % 64) & 1; }

private:
  bool hasFlag(int32_t id, schema::TokenFlags flag) const;

  const schema::Tokenizer *table = nullptr;
  uint32_t count = 0;
  size_t longestPiece = 0;
  uint64_t addedStart[4] = {};
};

// Checks everything that reading the tables relies on. Error 4021.
Status verifyTokenizer(const schema::Tokenizer &table);

// Text as it grows token by token. Never splits a code point; the chunks together equal Tokenizer::decode. Allocates
// nothing.
class StreamDecoder {
public:
  StreamDecoder(const Tokenizer &tokenizer, const DecodeOptions &options) : tokenizer(tokenizer), options(options) {}

  // Most bytes that one call writes.
  size_t maxChunkBytes() const { return tokenizer.maxPieceBytes() * 3 + Utf8Repairer::kMaxOutput; }
  // Writes the text that `id` completes to `out` and returns its size.
  size_t push(int32_t id, char *out);
  // The end: writes what was held back (one U+FFFD) and starts anew.
  size_t finish(char *out);
  // Ids seen that no token has.
  uint64_t unknownIds() const { return unknown; }

private:
  const Tokenizer &tokenizer;
  DecodeOptions options;
  Utf8Repairer repairer;
  uint64_t unknown = 0;
};

} // namespace moray::rt
