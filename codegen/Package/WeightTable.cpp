// Finds weights of equal content in the modules of several targets.
#include "codegen/Package/WeightTable.h"

#include "mlir/IR/AttrTypeSubElements.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace moray;
using namespace moray::codegen;

std::string moray::codegen::weightContent(SymbolTable &symbols, lm::WeightOp weight) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  stream << (weight.getPerLayer() ? "layers " : "global ") << weight.getType() << ' ';
  if (Attribute recipe = weight.getRecipeAttr()) {
    AttrTypeReplacer sources;
    sources.addReplacement([&](SymbolRefAttr name) -> std::optional<std::pair<Attribute, WalkResult>> {
      auto source = symbols.lookup<lm::WeightOp>(name.getRootReference());
      if (!source)
        return std::nullopt;
      return {{FlatSymbolRefAttr::get(name.getContext(), weightContent(symbols, source)), WalkResult::skip()}};
    });
    stream << sources.replace(recipe);
  } else {
    stream << weight.getSourceAttr() << ' ' << weight.getLastAttr();
  }
  return text;
}

unsigned WeightTable::add(ModuleOp module, SymbolTable &symbols, lm::WeightOp weight, ArrayRef<int64_t> layers) {
  auto [entry, inserted] = byContent.try_emplace(weightContent(symbols, weight), weights.size());
  if (inserted) {
    std::string name = weight.getSymName().str();
    for (unsigned number = 2; !names.insert(name).second; ++number)
      name = (weight.getSymName() + "." + Twine(number)).str();
    weights.push_back({name, module, weight, {}});
  }
  std::vector<int64_t> &all = weights[entry->second].layers;
  if (weight.getPerLayer())
    all.insert(all.end(), layers.begin(), layers.end());
  else
    all = {0};
  llvm::sort(all);
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return entry->second;
}
