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

std::string tables() {
  std::ostringstream out;
  out << "// Unicode " << U_UNICODE_VERSION
      << " properties of the regex compiler. Made by test/Unit/Tokenizer/generate_unicode_tables.cpp; do not edit.\n";
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

int main(int count, char **arguments) {
  if (count < 2) {
    std::cout << tables();
    return 0;
  }
  std::ifstream file(arguments[1]);
  std::stringstream text;
  text << file.rdbuf();
  if (text.str().find("Unicode " U_UNICODE_VERSION " ") == std::string::npos) {
    std::cout << "skipped: ICU has Unicode " U_UNICODE_VERSION ", the table another version\n";
    return 77;
  }
  if (text.str() == tables())
    return 0;
  std::cout << arguments[1] << " differs from ICU; regenerate it with this program\n";
  return 1;
}
