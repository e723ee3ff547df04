// Prints frontend/UnicodeTables.inc from ICU, or compares it with ICU when given its path: generator and oracle in one
// program.
//
// The table is kept in the tree so that a newer ICU cannot change what a tokenizer does. Exit code 77 (skipped) where
// the installed ICU has another Unicode version than the table.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/uscript.h>

namespace {

// Order of UCharCategory.
const char *const kCategories[] = {"Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Me", "Mc", "Nd",
                                   "Nl", "No", "Zs", "Zl", "Zp", "Cc", "Cf", "Co", "Cs", "Pd",
                                   "Ps", "Pe", "Pc", "Po", "Sm", "Sc", "Sk", "So", "Pi", "Pf"};

// Entries separated by commas, lines of at most 120 columns.
class Lines {
public:
  explicit Lines(std::ostream &out) : out(out) {}
  void add(const std::string &entry) {
    if (column + entry.size() + 1 > 120) {
      out << "\n";
      column = 0;
    }
    out << entry << ",";
    column += entry.size() + 1;
  }
  ~Lines() { out << "\n"; }

private:
  std::ostream &out;
  size_t column = 0;
};

std::string hex(UChar32 codePoint) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%X", unsigned(codePoint));
  return text;
}

void writeCategories(std::ostream &out) {
  Lines lines(out);
  int previous = -1;
  for (UChar32 codePoint = 0; codePoint <= 0x10FFFF; ++codePoint) {
    int category = u_charType(codePoint);
    if (category != previous)
      lines.add("{" + hex(codePoint) + "," + kCategories[category] + "}");
    previous = category;
  }
}

template <typename Predicate> void writeRanges(std::ostream &out, Predicate contains) {
  Lines lines(out);
  for (UChar32 codePoint = 0; codePoint <= 0x10FFFF; ++codePoint) {
    if (!contains(codePoint))
      continue;
    UChar32 first = codePoint;
    while (codePoint < 0x10FFFF && contains(codePoint + 1))
      ++codePoint;
    lines.add("{" + hex(first) + "," + hex(codePoint) + "}");
  }
}

std::string heading(const char *what) {
  return std::string("// Unicode ") + U_UNICODE_VERSION + " " + what +
         ". Made by test/Unit/Tokenizer/generate_unicode_tables.cpp; do not edit.\n";
}

// Canonical composition: classes, full decompositions, and the pairs that compose. Hangul syllables are arithmetic and
// left out.
std::string composition() {
  std::ostringstream out;
  out << heading("canonical composition, for the NFC normalizer");
  UErrorCode status = U_ZERO_ERROR;
  const UNormalizer2 *nfc = unorm2_getNFCInstance(&status);
  out << "constexpr CombiningRange kCombiningClasses[] = {\n";
  {
    Lines lines(out);
    for (UChar32 codePoint = 0; codePoint <= 0x10FFFF; ++codePoint) {
      uint8_t combining = u_getCombiningClass(codePoint);
      if (combining == 0)
        continue;
      UChar32 first = codePoint;
      while (u_getCombiningClass(codePoint + 1) == combining)
        ++codePoint;
      lines.add("{" + hex(first) + "," + hex(codePoint) + "," + std::to_string(combining) + "}");
    }
  }
  std::ostringstream pairs;
  {
    Lines lines(out << "};\nconstexpr Decomposition kDecompositions[] = {\n"), pairLines(pairs);
    for (UChar32 codePoint = 0; codePoint <= 0x10FFFF; ++codePoint) {
      UChar text[16];
      int32_t size = unorm2_getDecomposition(nfc, codePoint, text, 16, &status);
      if (size < 0 || (codePoint >= 0xAC00 && codePoint <= 0xD7A3))
        continue;
      std::string entry = "{" + hex(codePoint) + ",{";
      for (int32_t at = 0; at < size;) {
        UChar32 part;
        entry += at ? "," : "";
        U16_NEXT(text, at, size, part);
        entry += hex(part);
      }
      lines.add(entry + "}}");
      size = unorm2_getRawDecomposition(nfc, codePoint, text, 16, &status);
      UChar32 first, second = 0;
      int32_t at = 0;
      U16_NEXT(text, at, size, first);
      if (at < size)
        U16_NEXT(text, at, size, second);
      if (second && unorm2_composePair(nfc, first, second) == codePoint)
        pairLines.add("{" + hex(first) + "," + hex(second) + "," + hex(codePoint) + "}");
    }
  }
  out << "};\nconstexpr Composition kCompositions[] = {\n" << pairs.str() << "};\n";
  return out.str();
}

std::string properties() {
  std::ostringstream out;
  out << heading("properties of the regex compiler");
  out << "inline constexpr const char *kUnicodeVersion = \"" << U_UNICODE_VERSION << "\";\n";
  out << "// First code point of each run of equal general category.\nconstexpr CategoryRun kCategoryRuns[] = {\n";
  writeCategories(out);
  out << "};\nconstexpr CodePointRange kWhiteSpace[] = {\n";
  writeRanges(out, [](UChar32 c) { return u_hasBinaryProperty(c, UCHAR_WHITE_SPACE); });
  out << "};\n// Alphabetic code points that are neither letters, marks nor letter numbers: they too are word "
         "characters.\n";
  out << "constexpr CodePointRange kOtherAlphabetic[] = {\n";
  writeRanges(out, [](UChar32 c) {
    return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) && !(U_GET_GC_MASK(c) & (U_GC_L_MASK | U_GC_M_MASK | U_GC_NL_MASK));
  });
  out << "};\nconstexpr CodePointRange kHan[] = {\n";
  writeRanges(out, [](UChar32 c) {
    UErrorCode status = U_ZERO_ERROR;
    return uscript_getScript(c, &status) == USCRIPT_HAN;
  });
  out << "};\n";
  return out.str();
}

} // namespace

// properties|composition [FILE]: prints the table, or compares it with FILE.
int main(int count, char **arguments) {
  std::string kind = count > 1 ? arguments[1] : "";
  if (kind != "properties" && kind != "composition") {
    std::cout << "usage: properties|composition [FILE]\n";
    return 2;
  }
  std::string table = kind == "properties" ? properties() : composition();
  if (count < 3) {
    std::cout << table;
    return 0;
  }
  std::ifstream file(arguments[2]);
  std::stringstream text;
  text << file.rdbuf();
  if (text.str().find("Unicode " U_UNICODE_VERSION " ") == std::string::npos) {
    std::cout << "skipped: ICU has Unicode " U_UNICODE_VERSION ", the table another version\n";
    return 77;
  }
  if (text.str() == table)
    return 0;
  std::cout << arguments[2] << " differs from ICU; regenerate it with this program\n";
  return 1;
}
