// Set algebra on sorted ranges, and the lookup of Unicode properties in the generated tables.
#include "frontend/CodePointSet.h"

#include <algorithm>
#include <iterator>

namespace moray::frontend {
namespace {

enum Category : uint8_t {
  // clang-format off
  Cn, Lu, Ll, Lt, Lm, Lo, Mn, Me, Mc, Nd, Nl, No, Zs, Zl, Zp, Cc, Cf, Co, Cs, Pd, Ps, Pe, Pc, Po, Sm, Sc, Sk, So, Pi, Pf
  // clang-format on
};
constexpr std::string_view kCategoryNames[] = {"Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Me", "Mc", "Nd",
                                               "Nl", "No", "Zs", "Zl", "Zp", "Cc", "Cf", "Co", "Cs", "Pd",
                                               "Ps", "Pe", "Pc", "Po", "Sm", "Sc", "Sk", "So", "Pi", "Pf"};

struct CategoryRun {
  uint32_t first;
  Category category;
};

#include "frontend/UnicodeProperties.inc"

// The union of the categories whose name starts with `prefix`.
CodePointSet categorySet(std::string_view prefix) {
  std::vector<CodePointRange> ranges;
  for (size_t i = 0; i < std::size(kCategoryRuns); ++i) {
    uint32_t last = i + 1 < std::size(kCategoryRuns) ? kCategoryRuns[i + 1].first - 1 : kMaxCodePoint;
    if (kCategoryNames[kCategoryRuns[i].category].substr(0, prefix.size()) == prefix)
      ranges.push_back({kCategoryRuns[i].first, last});
  }
  return CodePointSet(std::move(ranges));
}

template <size_t N> CodePointSet tableSet(const CodePointRange (&table)[N]) {
  return CodePointSet(std::vector<CodePointRange>(std::begin(table), std::end(table)));
}

} // namespace

CodePointSet::CodePointSet(std::vector<CodePointRange> ranges) : sorted(std::move(ranges)) {
  std::sort(sorted.begin(), sorted.end(),
            [](const CodePointRange &a, const CodePointRange &b) { return a.first < b.first; });
  size_t kept = 0;
  for (const CodePointRange &range : sorted) {
    if (kept && range.first <= sorted[kept - 1].last + 1)
      sorted[kept - 1].last = std::max(sorted[kept - 1].last, range.last);
    else
      sorted[kept++] = range;
  }
  sorted.resize(kept);
}

bool CodePointSet::contains(uint32_t codePoint) const {
  auto after = std::upper_bound(sorted.begin(), sorted.end(), codePoint,
                                [](uint32_t value, const CodePointRange &range) { return value < range.first; });
  return after != sorted.begin() && codePoint <= std::prev(after)->last;
}

CodePointSet CodePointSet::united(const CodePointSet &other) const {
  std::vector<CodePointRange> ranges = sorted;
  ranges.insert(ranges.end(), other.sorted.begin(), other.sorted.end());
  return CodePointSet(std::move(ranges));
}

CodePointSet CodePointSet::intersected(const CodePointSet &other) const {
  return complemented().united(other.complemented()).complemented();
}

CodePointSet CodePointSet::complemented() const {
  CodePointSet result;
  uint32_t next = 0;
  for (const CodePointRange &range : sorted) {
    if (range.first > next)
      result.sorted.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kMaxCodePoint)
    result.sorted.push_back({next, kMaxCodePoint});
  return result;
}

std::optional<CodePointSet> unicodeProperty(std::string_view name) {
  if (name == "Any")
    return CodePointSet::all();
  if (name == "White_Space" || name == "Space")
    return whiteSpaceSet();
  if (name == "Han")
    return tableSet(kHan);
  for (std::string_view category : kCategoryNames)
    if (name == category || (name.size() == 1 && name[0] == category[0]))
      return categorySet(name);
  return std::nullopt;
}

CodePointSet whiteSpaceSet() { return tableSet(kWhiteSpace); }

CodePointSet wordSet() {
  CodePointSet set = tableSet(kOtherAlphabetic);
  for (std::string_view category : {"L", "M", "Nd", "Nl", "Pc"})
    set = set.united(categorySet(category));
  return set;
}

std::string unicodeVersion() { return kUnicodeVersion; }

} // namespace moray::frontend
