// Weights of the interpreted module: stored tensors of a checkpoint and recipes over them.
#ifndef MORAY_TEST_REFERENCE_WEIGHTS_H
#define MORAY_TEST_REFERENCE_WEIGHTS_H

#include "dialects/LM/LM.h"
#include "frontend/WeightReader.h"
#include "test/Reference/Ops.h"

#include "llvm/ADT/DenseMap.h"

namespace moray::reference {

/// The element type of a tensor type; nothing for types the interpreter does not know.
std::optional<Element> elementOf(mlir::Type type);

/// Values of lm.weight symbols, evaluated on first use and kept. The checkpoint must outlive the store.
class Weights {
public:
  /// `layerCount`: number of layers of the model, decides where `last` replaces a template. Diagnostics come from the
  /// module's context.
  Weights(const frontend::Checkpoint &checkpoint, int64_t layerCount);

  /// The weight of a layer (0 for weights that are not per layer). Emits an error on `op` and fails when the checkpoint
  /// lacks the tensor or holds another shape or type, or when a recipe does not give the declared shape.
  mlir::FailureOr<std::shared_ptr<const Tensor>> get(lm::WeightOp op, int64_t layer);

private:
  using Result = mlir::FailureOr<std::shared_ptr<const Tensor>>;
  mlir::FailureOr<Tensor> load(lm::WeightOp op, int64_t layer);
  mlir::LogicalResult readInto(lm::WeightOp op, const std::string &name, mlir::ArrayRef<int64_t> shape, float *out);
  mlir::FailureOr<Tensor> evaluate(lm::WeightOp op, int64_t layer);
  Result source(lm::WeightOp op, mlir::FlatSymbolRefAttr symbol, int64_t layer);

  const frontend::Checkpoint &checkpoint;
  frontend::Warnings warnings;
  frontend::WeightReader reader;
  int64_t layerCount;
  llvm::DenseMap<std::pair<mlir::Operation *, int64_t>, std::shared_ptr<const Tensor>> known;
};

} // namespace moray::reference

#endif
