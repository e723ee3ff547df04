// Reading code points from UTF-8 text.
#ifndef MORAY_FRONTEND_UTF8_H
#define MORAY_FRONTEND_UTF8_H

#include <cstdint>
#include <string_view>

namespace moray::frontend {

inline constexpr uint32_t kInvalidUtf8 = UINT32_MAX;

// The code point at byte `at`, which is moved behind it. Anything but shortest-form UTF-8 of a scalar value gives
// kInvalidUtf8 and moves by one byte.
inline uint32_t decodeUtf8(std::string_view text, size_t &at) {
  uint8_t lead = uint8_t(text[at++]);
  if (lead < 0x80)
    return lead;
  int more = lead >= 0xC2 && lead <= 0xDF ? 1 : (lead & 0xF0) == 0xE0 ? 2 : lead >= 0xF0 && lead <= 0xF4 ? 3 : 0;
  if (!more || at + size_t(more) > text.size())
    return kInvalidUtf8;
  uint32_t codePoint = lead & (0x3F >> more);
  for (int i = 0; i < more; ++i) {
    uint8_t next = uint8_t(text[at + size_t(i)]);
    if ((next & 0xC0) != 0x80)
      return kInvalidUtf8;
    codePoint = codePoint << 6 | (next & 0x3F);
  }
  constexpr uint32_t smallest[] = {0, 0x80, 0x800, 0x10000};
  if (codePoint < smallest[more] || codePoint > 0x10FFFF || (codePoint >= 0xD800 && codePoint <= 0xDFFF))
    return kInvalidUtf8;
  at += size_t(more);
  return codePoint;
}

} // namespace moray::frontend

#endif // MORAY_FRONTEND_UTF8_H
