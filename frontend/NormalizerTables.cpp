// Copies the generated composition tables in the order the runtime searches them.
#include "frontend/NormalizerTables.h"

#include <algorithm>
#include <tuple>

namespace moray::frontend {
namespace {

struct CombiningRange {
  uint32_t first, last;
  uint8_t combiningClass;
};
struct Decomposition {
  uint32_t code;
  uint32_t parts[4];
};
struct Composition {
  uint32_t first, second, code;
};

#include "frontend/UnicodeComposition.inc"

} // namespace

void addNfcTables(schema::TokenizerT &tables) {
  for (const CombiningRange &range : kCombiningClasses)
    tables.combining.emplace_back(range.first, range.last, range.combiningClass);
  for (const Decomposition &entry : kDecompositions)
    tables.decompositions.emplace_back(entry.code, entry.parts[0], entry.parts[1], entry.parts[2], entry.parts[3]);
  for (const Composition &entry : kCompositions)
    tables.compositions.emplace_back(entry.first, entry.second, entry.code);
  std::sort(tables.compositions.begin(), tables.compositions.end(),
            [](const schema::Composition &a, const schema::Composition &b) {
              return std::tuple(a.first(), a.second()) < std::tuple(b.first(), b.second());
            });
}

} // namespace moray::frontend
