// The three steps of NFC (Unicode, section 3.11): decompose, reorder marks, compose.
#include "runtime/tokenizer/normalizer.h"
#include "runtime/tokenizer/utf8.h"
#include <algorithm>

namespace moray::rt {
namespace {

// Hangul syllables are computed: L, V and T parts (Unicode, section 3.12).
constexpr uint32_t kSyllables = 0xAC00, kLeads = 0x1100, kVowels = 0x1161, kTails = 0x11A7;
constexpr uint32_t kLeadCount = 19, kVowelCount = 21, kTailCount = 28,
                   kSyllableCount = kLeadCount * kVowelCount * kTailCount;

uint32_t hangulComposite(uint32_t first, uint32_t second) {
  if (first - kLeads < kLeadCount && second - kVowels < kVowelCount)
    return kSyllables + ((first - kLeads) * kVowelCount + second - kVowels) * kTailCount;
  bool openSyllable = first - kSyllables < kSyllableCount && (first - kSyllables) % kTailCount == 0;
  return openSyllable && second - kTails - 1 < kTailCount - 1 ? first + second - kTails : 0;
}

} // namespace

bool NfcNormalizer::mayChange(Span<const char> text) const {
  if (!tables.decompositions() || tables.decompositions()->size() == 0)
    return false;
  for (char c : text)
    if (static_cast<uint8_t>(c) >= 0xCC) // the lead byte of U+0300
      return true;
  return false;
}

bool NfcNormalizer::normalize(Span<const char> text, GrowingArray<char> &out) {
  characters.clear();
  out.clear();
  for (size_t at = 0; at < text.size();)
    if (!decompose(nextCodePoint(text.data(), at, text.size())))
      return false;
  reorder();
  compose();
  char bytes[4];
  for (const Character &character : characters)
    if (!out.append(bytes, encodeCodePoint(character.code, bytes)))
      return false;
  return true;
}

bool NfcNormalizer::decompose(uint32_t code) {
  if (code - kSyllables < kSyllableCount) {
    uint32_t index = code - kSyllables, tail = index % kTailCount;
    return addPart(kLeads + index / (kVowelCount * kTailCount)) &&
           addPart(kVowels + index / kTailCount % kVowelCount) && (tail == 0 || addPart(kTails + tail));
  }
  const auto *table = tables.decompositions();
  uint32_t low = 0, high = table->size();
  while (high - low > 1) {
    uint32_t middle = low + (high - low) / 2;
    (code < table->Get(middle)->code() ? high : low) = middle;
  }
  const schema::Decomposition *entry = table->Get(low);
  if (entry->code() != code)
    return addPart(code);
  for (uint32_t part : {entry->part0(), entry->part1(), entry->part2(), entry->part3()})
    if (part != 0 && !addPart(part))
      return false;
  return true;
}

bool NfcNormalizer::addPart(uint32_t code) { return characters.append({code, combiningClass(code)}); }

// Sorts each run of marks by class; equal classes keep their order.
void NfcNormalizer::reorder() {
  for (size_t begin = 0; begin < characters.size(); ++begin) {
    size_t end = begin;
    while (end < characters.size() && characters[end].combiningClass != 0)
      ++end;
    if (end - begin < 2)
      continue;
    // The position in the class makes an unstable sort stable; runs are shorter than 2^24 but for hostile text, where
    // order is moot.
    for (size_t i = begin; i < end; ++i)
      characters[i].combiningClass |= static_cast<uint32_t>((i - begin) & 0xFFFFFF) << 8;
    std::sort(characters.begin() + begin, characters.begin() + end, [](const Character &a, const Character &b) {
      uint32_t classA = a.combiningClass & 0xFF, classB = b.combiningClass & 0xFF;
      return classA != classB ? classA < classB : a.combiningClass < b.combiningClass;
    });
    for (size_t i = begin; i < end; ++i)
      characters[i].combiningClass &= 0xFF;
    begin = end;
  }
}

// Joins each mark or starter to the last starter, unless something of the same or a higher class stands between them.
void NfcNormalizer::compose() {
  constexpr uint32_t noStarter = 256;
  uint32_t lastClass = noStarter;
  size_t starter = 0, kept = 0;
  for (size_t i = 0; i < characters.size(); ++i) {
    Character next = characters[i];
    if (lastClass < next.combiningClass || lastClass == 0)
      if (uint32_t joined = composite(characters[starter].code, next.code)) {
        characters[starter].code = joined;
        continue;
      }
    if (next.combiningClass == 0)
      starter = kept;
    if (next.combiningClass == 0 || lastClass != noStarter)
      lastClass = next.combiningClass;
    characters[kept++] = next;
  }
  characters.truncate(kept);
}

uint32_t NfcNormalizer::combiningClass(uint32_t code) const {
  const auto *table = tables.combining();
  if (code < 0x300 || !table || table->size() == 0)
    return 0;
  uint32_t low = 0, high = table->size();
  while (high - low > 1) {
    uint32_t middle = low + (high - low) / 2;
    (code < table->Get(middle)->first() ? high : low) = middle;
  }
  const schema::CombiningRange *range = table->Get(low);
  return code >= range->first() && code <= range->last() ? range->combining_class() : 0;
}

// The character that `first` and `second` compose to; 0 where they do not.
uint32_t NfcNormalizer::composite(uint32_t first, uint32_t second) const {
  if (uint32_t syllable = hangulComposite(first, second))
    return syllable;
  const auto *table = tables.compositions();
  if (!table || table->size() == 0)
    return 0;
  uint64_t wanted = uint64_t(first) << 32 | second;
  uint32_t low = 0, high = table->size();
  while (high - low > 1) {
    uint32_t middle = low + (high - low) / 2;
    const schema::Composition *entry = table->Get(middle);
    (wanted < (uint64_t(entry->first()) << 32 | entry->second()) ? high : low) = middle;
  }
  const schema::Composition *entry = table->Get(low);
  return entry->first() == first && entry->second() == second ? entry->code() : 0;
}

} // namespace moray::rt
