//===- WeightRows.h - rows of stored and derived weights --------------*- C++ -*-===//
// Evaluates weight recipes row by row, so that no weight is ever held whole.

#ifndef MORAY_CODEGEN_PACKAGE_WEIGHTROWS_H
#define MORAY_CODEGEN_PACKAGE_WEIGHTROWS_H

#include "codegen/KernelRegion.h"
#include "codegen/Package/WeightSource.h"
#include "dialects/LM/LM.h"
#include "mlir/IR/BuiltinOps.h"

namespace moray::codegen {

/// A weight as rows of K elements: a vector is one row, [E, O, K] is E * O rows.
struct WeightShape {
  explicit WeightShape(lm::WeightOp weight);
  DType type;
  uint64_t rows, columns;
  uint64_t rowsPerExpert; // rows of one expert; all rows for rank 1 and 2
  uint64_t rowBytes() const { return columns * byteWidth(type); }
  uint64_t pitch; // bytes from row to row in the artifact
};

class WeightRows {
public:
  /// `lastLayer`: the layer in which `last` sources apply.
  WeightRows(mlir::ModuleOp module, WeightSource &source, int64_t lastLayer)
      : symbols(module), source(source), lastLayer(lastLayer) {}

  /// Rows [first, first + count) of a weight in `layer` (ignored for global weights), dense, into `out` (count *
  /// rowBytes).
  llvm::Error read(lm::WeightOp weight, int64_t layer, uint64_t first, uint64_t count, uint8_t *out);

private:
  llvm::Error readStored(lm::WeightOp weight, int64_t layer, uint64_t first, uint64_t count, uint8_t *out);
  llvm::Error readConcat(lm::WeightOp weight, lm::ConcatAttr recipe, int64_t layer, uint64_t row, uint8_t *out);
  llvm::Error readPadded(lm::WeightOp weight, lm::PadRowsAttr recipe, int64_t layer, uint64_t row, uint8_t *out);
  llvm::Error readCodes(lm::WeightOp weight, lm::QuantizeCodesAttr recipe, int64_t layer, uint64_t row, uint8_t *out);
  llvm::Error readScales(lm::WeightOp weight, lm::QuantizeScalesAttr recipe, int64_t layer, uint64_t row, uint8_t *out);
  llvm::Error readDequantized(lm::WeightOp weight, lm::DequantizeAttr recipe, int64_t layer, uint64_t row,
                              uint8_t *out);
  /// The block row of 128 weight rows (fewer at the end of an expert) that contains `row`, as f32, with its scales;
  /// cached.
  llvm::Error loadBlock(lm::WeightOp dense, int64_t layer, uint64_t row, bool powerOfTwo);
  llvm::Error readFloats(lm::WeightOp weight, int64_t layer, uint64_t first, uint64_t count, std::vector<float> &out);
  lm::WeightOp lookup(mlir::FlatSymbolRefAttr name) { return symbols.lookup<lm::WeightOp>(name.getValue()); }

  struct Block {
    lm::WeightOp weight;
    int64_t layer = -1;
    bool powerOfTwo = false;
    uint64_t firstRow = 0, rows = 0;
    std::vector<float> values, scales;
  };
  mlir::SymbolTable symbols;
  WeightSource &source;
  int64_t lastLayer;
  Block block;
};

} // namespace moray::codegen

#endif
