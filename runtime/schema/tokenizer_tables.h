// Rules of the tokenizer tables that writer (frontend) and reader (runtime/tokenizer) must share: hashes and the byte
// alphabet.
#ifndef MORAY_RUNTIME_SCHEMA_TOKENIZER_TABLES_H
#define MORAY_RUNTIME_SCHEMA_TOKENIZER_TABLES_H

#include <stddef.h>
#include <stdint.h>

namespace moray::schema {

inline constexpr uint32_t kFreeMergeSlot = 0xFFFFFFFFu;

// First slot to look at for a pair of ids is hashPair(left, right) & (slots - 1); then the following ones, wrapping
// around.
inline uint64_t hashPair(uint32_t left, uint32_t right) {
  uint64_t x = (uint64_t(left) << 32 | right) * 0x9E3779B97F4A7C15u;
  return x ^ (x >> 32);
}

// The same for the bytes of a whole piece (FNV-1a).
inline uint64_t hashPiece(const void *bytes, size_t size) {
  uint64_t x = 0xCBF29CE484222325u;
  for (size_t i = 0; i < size; ++i)
    x = (x ^ static_cast<const uint8_t *>(bytes)[i]) * 0x100000001B3u;
  return x ^ (x >> 32);
}

// The byte-level alphabet: printable bytes stand for themselves, the other 68 for U+0100, U+0101, ... in ascending
// order.
inline bool isPrintableByte(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

inline uint32_t charOfByte(uint8_t byte) {
  if (isPrintableByte(byte))
    return byte;
  uint32_t rank = byte <= 0x20 ? byte : byte <= 0xA0 ? byte - 0x7Fu + 0x21u : 0x43u;
  return 0x100 + rank;
}

// The byte of a character of the alphabet, -1 for any other code point.
inline int byteOfChar(uint32_t codePoint) {
  if (codePoint < 0x100)
    return isPrintableByte(codePoint) ? int(codePoint) : -1;
  uint32_t rank = codePoint - 0x100;
  if (rank > 0x43)
    return -1;
  return int(rank <= 0x20 ? rank : rank <= 0x42 ? rank - 0x21 + 0x7F : 0xAD);
}

} // namespace moray::schema

#endif // MORAY_RUNTIME_SCHEMA_TOKENIZER_TABLES_H
