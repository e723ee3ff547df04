// Builds the body of one layer kind; used by Builder.cpp.
#ifndef MORAY_FRONTEND_LAYERBUILDER_H
#define MORAY_FRONTEND_LAYERBUILDER_H

#include "frontend/ModelConfig.h"
#include "frontend/TensorInventory.h"

#include "dialects/LM/LM.h"
#include "mlir/IR/Builders.h"

namespace moray::frontend {

/// The declared type of a stored slot, or of its scales: rank 3 `[experts, ..]` for expert slots.
mlir::RankedTensorType weightType(mlir::Builder &builder, const StoredSlot &slot);
mlir::RankedTensorType scaleType(mlir::Builder &builder, const StoredSlot &slot);

/// tensor<?x width x f32>.
mlir::RankedTensorType rowsOf(mlir::Builder &builder, int64_t width);

/// Values a layer program works on. `residual` is replaced by the layer's result.
struct LayerValues {
  mlir::Value layer, residual, rows, cache, cos, sin;
};

/// Emits attention and feed-forward of the layer kind `kind` with the given slots, which are those of layerSlots().
class LayerBuilder {
public:
  LayerBuilder(mlir::OpBuilder &builder, const ModelConfig &config, llvm::StringRef kind,
               llvm::ArrayRef<StoredSlot> slots)
      : builder(builder), loc(builder.getUnknownLoc()), config(config), kind(kind), slots(slots) {}

  mlir::Value build(const LayerValues &values);

private:
  const StoredSlot *find(llvm::StringRef id) const;
  mlir::Value weight(llvm::StringRef id);
  mlir::Value scales(llvm::StringRef id); // null for an unquantised slot
  mlir::Value norm(mlir::Value rows, llvm::StringRef id, double eps);
  mlir::Value linear(mlir::Value rows, llvm::StringRef id);
  mlir::Value slice(mlir::Value rows, int64_t offset, int64_t width);
  mlir::Value rope(mlir::Value rows, int64_t headDim);
  mlir::Value add(mlir::Value a, mlir::Value b);
  mlir::Value mlp(mlir::Value rows, const std::string &prefix);
  mlir::Value attention(mlir::Value rows);
  mlir::Value experts(mlir::Value rows);
  lm::ScaleFormatAttr scaleFormat();

  mlir::OpBuilder &builder;
  mlir::Location loc;
  const ModelConfig &config;
  llvm::StringRef kind;
  llvm::ArrayRef<StoredSlot> slots;
  LayerValues values;
};

} // namespace moray::frontend

#endif // MORAY_FRONTEND_LAYERBUILDER_H
