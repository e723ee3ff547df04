//===- GemmTile.h - one tile of a matrix product --------------------*- C++ -*-===//
// The code shared by the dense and the grouped matrix product: a panel of weight rows times a few activation rows.

#ifndef MORAY_CODEGEN_X86_GEMMTILE_H
#define MORAY_CODEGEN_X86_GEMMTILE_H

#include "codegen/X86/GemmScratch.h"
#include "codegen/X86/VectorBuilder.h"
#include "llvm/Support/Error.h"

namespace moray::codegen {

/// An error where the spec is not one that the emitters can compile.
llvm::Error checkGemm(const GemmBody &spec);

/// Emits Y[m, o] for the activation rows m of a tile and the weight rows of a panel.
///
/// For each block of 128 of K a 16-lane partial P (lane = k mod 16, k ascending, the first step a product), then
/// total = fma(P, scale, total) or total + P, blocks ascending; at the end the tree +8, +4, +2, +1. Every path below
/// keeps this order, so a result depends neither on the number of rows nor on the tile sizes nor on the CPU level.
///
/// Few rows: weights are widened in registers, streamRows of them at once, each its own stream from memory. 1 byte
/// (FP8) or 2 (BF16) and 2 flops per weight and activation row: bound by memory.
///
/// More rows: a panel of panelRows x chunkBlocks * 128 weights is widened once into scratch (L2) and multiplied with
/// packed rows in register tiles of tileRows x tileTokens: tileRows + tileTokens loads for tileRows * tileTokens fmas.
class GemmTile {
public:
  using Value = mlir::Value;
  using Values = VectorBuilder::Values;

  GemmTile(const GemmBody &spec, const TileConfig &config, VectorBuilder &builder);

  /// What a tile works on. `w` and `scales` point at row 0 of the matrix; `firstRow` is the row of the result (and of
  /// the gather list) for m = 0, `count` in [1, rowTile] the number of rows.
  struct Place {
    Value column; // column tile
    Value w, scales;
    Value firstRow, count;
  };
  void emit(const Place &place);

private:
  // Packing.
  void packRows();
  void packRow(Value m, Value source);
  void packScales(Value m, Value sourceRow);
  void loadWeightScales();
  // Few rows.
  void emitStreaming();
  void emitStreamGroup(unsigned tokens, unsigned rows, Value part, Value group);
  // More rows.
  void emitPanels();
  void widenPanel(Value chunk, Value firstBlock, Value endBlock);
  void multiplyPanel(Value chunk, Value firstBlock, Value endBlock);
  void multiplyGroups(Value chunk, Value firstBlock, Value endBlock, Value rowGroup, Value tokenGroup);
  Values multiplyTile(Values totals, Value firstBlock, Value endBlock, Value rowGroup, Value tokenGroup, Value saved);
  Values loadTotals(Value saved);
  void storeTotals(const Values &totals, Value saved);
  void storeResults(const Values &totals, unsigned rows, unsigned tokens, Value firstToken, Value localRow);
  // Both.
  void forParts(unsigned rowsPerGroup, llvm::function_ref<void(Value part, Value group)> body);
  Value weightRow(Value part, Value row);
  Value weightStep(Value block, unsigned step, unsigned steps, unsigned slot, Value &odd);
  Values partialSums(unsigned rows, unsigned tokens, unsigned steps,
                     llvm::function_ref<Value(unsigned row, unsigned step)> weight,
                     llvm::function_ref<Value(unsigned token, unsigned step)> activation);
  Values accumulate(const Values &partials, const Values &totals, unsigned tokens, const Values &wScales,
                    Value xScales);
  void emitEpilogue();
  void emitEpilogueLanes(unsigned lanes, Value m, Value column);

  const GemmBody &spec;
  const TileConfig &config;
  VectorBuilder &v;
  GemmScratch layout;
  Place place;
  Value valid; // columns of the result in this tile
  unsigned parts, partRows;
  uint64_t blocks, fullBlocks;
  unsigned tailSteps; // 16-lane steps of the last, partial block; 0: none
};

} // namespace moray::codegen

#endif
