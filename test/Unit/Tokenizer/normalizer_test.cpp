// NFC by our tables: fixed cases of each rule, and, where ICU has the same Unicode version, random text against it.
#include "frontend/CodePointSet.h"
#include "frontend/NormalizerTables.h"
#include "runtime/tokenizer/normalizer.h"
#include "runtime/tokenizer/utf8.h"
#include "tokenizer_fixture.h"
#include <chrono>
#include <random>
#ifdef MORAY_HAVE_ICU
#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#endif

using namespace moray;

namespace {

class Normalizer : public testing::Test {
protected:
  void SetUp() override {
    schema::TokenizerT tables;
    frontend::addNfcTables(tables);
    buffer = test::serialise(tables);
  }
  std::string nfc(const std::string &text) {
    rt::NfcNormalizer normalizer(*flatbuffers::GetRoot<schema::Tokenizer>(buffer.data()));
    rt::GrowingArray<char> out;
    EXPECT_TRUE(normalizer.normalize({text.data(), text.size()}, out));
    return std::string(out.begin(), out.end());
  }
  std::vector<uint8_t> buffer;
};

TEST_F(Normalizer, rules) {
  EXPECT_EQ(nfc(""), "");
  EXPECT_EQ(nfc("e\u0301"), "\u00E9");
  EXPECT_EQ(nfc("\u212B"), "\u00C5");               // a singleton
  EXPECT_EQ(nfc("\u0958"), "\u0915\u093C");         // excluded from composition
  EXPECT_EQ(nfc("a\u0301\u0323"), "\u1EA1\u0301");  // reordered, then composed
  EXPECT_EQ(nfc("a\u0305\u0301"), "a\u0305\u0301"); // blocked by a mark of the same class
  EXPECT_EQ(nfc("\u0301a"), "\u0301a");             // a mark without a starter
  EXPECT_EQ(nfc("\u1112\u1161\u11AB"), "\uD55C");   // Hangul
  EXPECT_EQ(nfc("\uD558\u11AB"), "\uD55C");
  EXPECT_EQ(nfc("\uD55C\u11AB"), "\uD55C\u11AB");       // a syllable that has its tail
  EXPECT_EQ(nfc("\U0001D15E"), "\U0001D157\U0001D165"); // four bytes a character
}

TEST_F(Normalizer, longRunsOfMarks) {
  std::string text = "a";
  for (int i = 0; i < 200000; ++i)
    text += i % 2 ? "\u0301" : "\u0323";
  auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(nfc(text).size(), text.size()); // one mark of two bytes joins, the letter then has three
  std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_LT(seconds.count(), 5.0); // measured: 0.05 s
}

#ifdef MORAY_HAVE_ICU
std::string icuNfc(const std::vector<uint32_t> &codes) {
  UErrorCode status = U_ZERO_ERROR;
  std::u16string source, target;
  for (uint32_t code : codes) {
    if (code >= 0x10000)
      source += {char16_t(0xD7C0 + (code >> 10)), char16_t(0xDC00 | (code & 0x3FF))};
    else
      source += char16_t(code);
  }
  target.resize(source.size() * 4 + 1);
  int32_t size = unorm2_normalize(unorm2_getNFCInstance(&status), source.data(), int32_t(source.size()), target.data(),
                                  int32_t(target.size()), &status);
  std::string text;
  char bytes[4];
  for (int32_t at = 0; at < size;) {
    UChar32 code;
    U16_NEXT(target.data(), at, size, code);
    text.append(bytes, rt::encodeCodePoint(uint32_t(code), bytes));
  }
  return text;
}

TEST_F(Normalizer, equalsIcu) {
  if (frontend::unicodeVersion() != U_UNICODE_VERSION)
    GTEST_SKIP() << "ICU has Unicode " U_UNICODE_VERSION;
  std::mt19937 random(9);
  // Blocks rich in marks, pairs and exclusions, and everything.
  const std::pair<uint32_t, uint32_t> blocks[] = {
      {0x41, 0x7A},     {0xC0, 0x24F},    {0x300, 0x36F},   {0x900, 0xDFF},     {0x1100, 0x11FF},   {0x1E00, 0x1FFF},
      {0xAC00, 0xD7A3}, {0xF900, 0xFB4F}, {0x3040, 0x30FF}, {0x11000, 0x119FF}, {0x1D150, 0x1D1FF}, {0, 0x10FFFF}};
  for (int round = 0; round < 50000; ++round) {
    std::vector<uint32_t> codes;
    std::string text;
    char bytes[4];
    for (uint32_t n = 1 + random() % 8; n > 0; --n) {
      auto [first, last] = blocks[random() % std::size(blocks)];
      uint32_t code = first + random() % (last - first + 1);
      if (code >= 0xD800 && code <= 0xDFFF)
        continue;
      codes.push_back(code);
      text.append(bytes, rt::encodeCodePoint(code, bytes));
    }
    ASSERT_EQ(nfc(text), icuNfc(codes)) << testing::PrintToString(codes);
  }
}

TEST_F(Normalizer, everyCodePointEqualsIcu) {
  if (frontend::unicodeVersion() != U_UNICODE_VERSION)
    GTEST_SKIP() << "ICU has Unicode " U_UNICODE_VERSION;
  char bytes[4];
  for (uint32_t code = 1; code <= 0x10FFFF; ++code)
    if (code < 0xD800 || code > 0xDFFF) {
      ASSERT_EQ(nfc(std::string(bytes, rt::encodeCodePoint(code, bytes))), icuNfc({code})) << code;
    }
}
#endif

} // namespace
