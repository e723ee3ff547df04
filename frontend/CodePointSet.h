// Sets of Unicode code points and the properties a regex may name, from tables of a pinned Unicode version.
#ifndef MORAY_FRONTEND_CODEPOINTSET_H
#define MORAY_FRONTEND_CODEPOINTSET_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moray::frontend {

inline constexpr uint32_t kMaxCodePoint = 0x10FFFF;

// Code points first..last, both included.
struct CodePointRange {
  uint32_t first, last;
  bool operator==(const CodePointRange &other) const { return first == other.first && last == other.last; }
};

// A set as ascending, disjoint, non-adjacent ranges.
class CodePointSet {
public:
  CodePointSet() = default;
  CodePointSet(std::vector<CodePointRange> ranges);
  static CodePointSet of(uint32_t first, uint32_t last) { return CodePointSet({{first, last}}); }
  static CodePointSet all() { return of(0, kMaxCodePoint); }

  const std::vector<CodePointRange> &ranges() const { return sorted; }
  bool contains(uint32_t codePoint) const;
  bool operator==(const CodePointSet &other) const { return sorted == other.sorted; }

  CodePointSet united(const CodePointSet &other) const;
  CodePointSet intersected(const CodePointSet &other) const;
  CodePointSet complemented() const;

private:
  std::vector<CodePointRange> sorted;
};

// \p{name}: a general category of one or two letters (L, Lu, ...), Any, White_Space or Han. Nothing for other names.
std::optional<CodePointSet> unicodeProperty(std::string_view name);
// \s: White_Space. \w: letters, marks, decimal digits, connectors and the rest of Alphabetic.
CodePointSet whiteSpaceSet();
CodePointSet wordSet();
// The version of the tables, e.g. "15.0".
std::string unicodeVersion();

} // namespace moray::frontend

#endif // MORAY_FRONTEND_CODEPOINTSET_H
