// Decoding token by token; also the one implementation of decoding a whole list.
#include "runtime/schema/tokenizer_tables.h"
#include "runtime/tokenizer/tokenizer.h"

namespace moray::rt {
namespace {

// Whether all characters of an added token belong to the byte alphabet.
bool isByteText(Bytes content) {
  const char *text = reinterpret_cast<const char *>(content.data());
  for (size_t at = 0; at < content.size();)
    if (schema::byteOfChar(nextCodePoint(text, at, content.size())) < 0)
      return false;
  return true;
}

} // namespace

size_t StreamDecoder::push(int32_t id, char *out) {
  if (tokenizer.isUnknown(id)) {
    ++unknown;
    return 0;
  }
  if (options.skipSpecial && tokenizer.isSpecial(id))
    return 0;
  Bytes piece = tokenizer.piece(id);
  size_t written = 0;
  if (!options.hfStrict || !tokenizer.isAdded(id) || !isByteText(piece)) {
    for (uint8_t byte : piece)
      written += repairer.push(byte, out + written);
    return written;
  }
  const char *text = reinterpret_cast<const char *>(piece.data());
  for (size_t at = 0; at < piece.size();) {
    int byte = schema::byteOfChar(nextCodePoint(text, at, piece.size()));
    written += repairer.push(static_cast<uint8_t>(byte), out + written);
  }
  return written;
}

size_t StreamDecoder::finish(char *out) {
  size_t written = repairer.finish(out);
  repairer = Utf8Repairer();
  return written;
}

} // namespace moray::rt
