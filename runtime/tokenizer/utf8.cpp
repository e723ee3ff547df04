// The state machine of well-formed UTF-8 byte sequences (Unicode, table 3-7).
#include "runtime/tokenizer/utf8.h"
#include <cstring>

namespace moray::rt {
namespace {

// Whether `second` may follow `lead`: rules out surrogates, overlong forms and values above U+10FFFF.
bool allowsSecond(uint8_t lead, uint8_t second) {
  uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  return second >= low && second <= high;
}

} // namespace

size_t Utf8Repairer::replace(char *out) {
  replacedAny = true;
  memcpy(out, "\xEF\xBF\xBD", 3);
  return 3;
}

size_t Utf8Repairer::start(uint8_t byte, char *out) {
  if (byte < 0x80) {
    *out = static_cast<char>(byte);
    return 1;
  }
  if (byte < 0xC2 || byte > 0xF4)
    return replace(out);
  held[0] = byte;
  heldSize = 1;
  wantedSize = byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
  return 0;
}

size_t Utf8Repairer::push(uint8_t byte, char *out) {
  if (heldSize == 0)
    return start(byte, out);
  bool continues = heldSize == 1 ? allowsSecond(held[0], byte) : (byte & 0xC0) == 0x80;
  if (!continues) {
    heldSize = 0;
    size_t written = replace(out);
    return written + start(byte, out + written);
  }
  held[heldSize++] = byte;
  if (heldSize < wantedSize)
    return 0;
  heldSize = 0;
  memcpy(out, held, wantedSize);
  return wantedSize;
}

size_t Utf8Repairer::finish(char *out) {
  if (heldSize == 0)
    return 0;
  heldSize = 0;
  return replace(out);
}

} // namespace moray::rt
