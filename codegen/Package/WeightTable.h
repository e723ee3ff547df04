//===- WeightTable.h - every weight of the artifact once --------------*- C++ -*-===//
// Collects the weights of all targets; what holds the same bytes is one entry.

#ifndef MORAY_CODEGEN_PACKAGE_WEIGHTTABLE_H
#define MORAY_CODEGEN_PACKAGE_WEIGHTTABLE_H

#include "dialects/LM/LM.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

namespace moray::codegen {

/// One weight of the artifact and where its layers go.
struct PlacedWeight {
  std::string name;      // unique in the artifact
  mlir::ModuleOp module; // holds `weight` and what its recipe reads
  lm::WeightOp weight;
  std::vector<int64_t> layers; // layers that have it, ascending; {0} for a global weight
};

/// What `weight` holds, as text: type and recipe down to the tensors of the checkpoint. Equal texts mean equal bytes,
/// whatever the symbols are called.
std::string weightContent(mlir::SymbolTable &symbols, lm::WeightOp weight);

class WeightTable {
public:
  /// The entry with the content of `weight` (of `module`), which is added if it is new; a name that is taken by another
  /// content gets a number. `layers` are added to those of the entry; global weights take {0}.
  unsigned add(mlir::ModuleOp module, mlir::SymbolTable &symbols, lm::WeightOp weight, llvm::ArrayRef<int64_t> layers);
  const std::vector<PlacedWeight> &all() const { return weights; }

private:
  std::vector<PlacedWeight> weights;
  llvm::StringMap<unsigned> byContent;
  llvm::StringSet<> names;
};

} // namespace moray::codegen

#endif
