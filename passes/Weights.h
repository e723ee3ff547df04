// Derived weights: finds or makes the lm.weight of a recipe and its value in a layer.
#ifndef MORAY_PASSES_WEIGHTS_H
#define MORAY_PASSES_WEIGHTS_H

#include "dialects/LM/LM.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"

namespace moray {

/// The `lm.weight_of` that defines `value`, or null.
lm::WeightOfOp weightOf(mlir::Value value);
/// True for f8E4M3FN tensors.
bool isFP8(mlir::Value value);
mlir::Type elementTypeOf(mlir::Value value);

/// Makes weights with recipes; equal recipes of equal type are made once per module. Not to be used while symbols are
/// renamed elsewhere.
class DerivedWeights {
public:
  explicit DerivedWeights(mlir::ModuleOp module);

  /// The symbol behind a weight_of.
  lm::WeightOp find(lm::WeightOfOp use);
  /// Weight with `recipe`, made after `after` under a unique name like `name`.
  lm::WeightOp derive(llvm::StringRef name, mlir::Attribute recipe, mlir::RankedTensorType type, lm::WeightOp after);
  /// Stored weight read from `source` (`last`: in the last layer, may be null), made after `after`.
  lm::WeightOp store(llvm::StringRef name, llvm::StringRef source, mlir::StringAttr last, bool perLayer,
                     lm::WeightOp after);
  /// Value of `weight` for the layer of `like`, inserted where `builder` stands.
  mlir::Value use(mlir::OpBuilder &builder, lm::WeightOp weight, lm::WeightOfOp like);

  /// Rows of `parts` one after the other, every part but the last padded to `align` rows; null if a part is no
  /// weight_of or if the parts differ in layer, element type, rank or columns.
  mlir::Value concat(mlir::OpBuilder &builder, mlir::ValueRange parts, int64_t align);
  /// FP8 codes and scales of `dense` [.., O, K].
  std::pair<mlir::Value, mlir::Value> quantise(mlir::OpBuilder &builder, lm::WeightOfOp dense, lm::ScaleFormat format);
  /// `codes * scales` in bf16.
  mlir::Value dequantise(mlir::OpBuilder &builder, lm::WeightOfOp codes, lm::WeightOfOp scales);

  /// Erases weight_of ops without use, then stored or derived weights that nothing refers to.
  void eraseUnused();

private:
  lm::WeightOp insert(lm::WeightOp weight, lm::WeightOp after);

  mlir::ModuleOp module;
  mlir::SymbolTable symbols;
};

/// First row of part `index` in DerivedWeights::concat.
int64_t concatOffset(mlir::ValueRange parts, size_t index, int64_t align);
/// Alignment of parts in a concat of weights like `weight`: scale rows must stay row / 128 for FP8 codes.
int64_t concatAlign(mlir::Value weight);

} // namespace moray

#endif
