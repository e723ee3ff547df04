// UTF-8: stepping through text that is known to be valid, and repairing text that is not.
#pragma once
#include <cstddef>
#include <cstdint>

namespace moray::rt {

// The code point at `at` < `end`, which is moved behind it. For valid text; on anything else it gives some value and
// stays in bounds.
inline uint32_t nextCodePoint(const char *text, size_t &at, size_t end) {
  const auto *bytes = reinterpret_cast<const uint8_t *>(text);
  uint32_t lead = bytes[at++];
  if (lead < 0xC0)
    return lead;
  uint32_t more = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
  if (end - at < more)
    return lead;
  uint32_t codePoint = lead & (0x3F >> more);
  for (uint32_t i = 0; i < more; ++i)
    codePoint = codePoint << 6 | (bytes[at++] & 0x3F);
  return codePoint;
}

// The start of the code point that ends at `at` > `begin`.
inline size_t previousStart(const char *text, size_t at, size_t begin) {
  do
    --at;
  while (at > begin && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80);
  return at;
}

// Writes a code point below 2^21 and returns its size, at most 4.
inline size_t encodeCodePoint(uint32_t codePoint, char *out) {
  if (codePoint < 0x80) {
    out[0] = static_cast<char>(codePoint);
    return 1;
  }
  size_t size = codePoint < 0x800 ? 2 : codePoint < 0x10000 ? 3 : 4;
  for (size_t i = size - 1; i > 0; --i, codePoint >>= 6)
    out[i] = static_cast<char>(0x80 | (codePoint & 0x3F));
  constexpr uint8_t leads[] = {0, 0, 0xC0, 0xE0, 0xF0};
  out[0] = static_cast<char>(leads[size] | codePoint);
  return size;
}

// Turns a stream of bytes into valid UTF-8: U+FFFD for each maximal subpart of an ill-formed sequence (Unicode,
// section 3.9). An incomplete sequence that is still valid is held back until the next byte or `finish`.
class Utf8Repairer {
public:
  static constexpr size_t kMaxOutput = 7; // of one push: a replacement character and a whole code point

  // Writes what `byte` completes and returns the number of bytes written.
  size_t push(uint8_t byte, char *out);
  // Writes a replacement character if a sequence was held back.
  size_t finish(char *out);
  // Whether anything was replaced so far.
  bool replaced() const { return replacedAny; }

private:
  size_t replace(char *out);
  size_t start(uint8_t byte, char *out);

  uint8_t held[4] = {};
  uint8_t heldSize = 0, wantedSize = 0;
  bool replacedAny = false;
};

} // namespace moray::rt
