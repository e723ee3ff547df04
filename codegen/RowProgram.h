//===- RowProgram.h - fused row kernels as loops over one row --------*- C++ -*-===//
// The target-independent form of a fused row region: stages that the emitters of every target execute for each row.

#ifndef MORAY_CODEGEN_ROWPROGRAM_H
#define MORAY_CODEGEN_ROWPROGRAM_H

#include "codegen/KernelSpec.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include <variant>
#include <vector>

namespace moray::codegen {

/// Where the elements of one row are. Arguments are indices into moray_kernel_args.operands.
struct RowMemory {
  enum Base : uint8_t {
    Own,       // arg + row * pitch
    Shared,    // arg: the same for every row (a weight vector)
    Indexed,   // arg + index[row] * pitch, index = int32 operand indexArg
    CacheSlot, // slot of the row's position in the paged cache `arg`; indexArg = the first of the five pointers of
               // !lm.rows
    Scratch,   // `column` elements into the worker's scratch, always f32
  } base = Own;
  DType type = DType::F32;
  int arg = -1, indexArg = -1;
  uint64_t pitch = 0;       // bytes from row to row; CacheSlot: bytes of one token
  uint64_t column = 0;      // first element
  uint64_t rowElements = 0; // elements of the whole row, which bound what a vector load may touch
  uint64_t page = 0;        // CacheSlot: tokens of one page

  /// The same row memory seen from another column: what pointers are shared by.
  bool sameRow(const RowMemory &o) const;
  bool operator==(const RowMemory &o) const { return sameRow(o) && type == o.type && column == o.column; }
  std::string str() const;
};

/// An elementwise value of a loop, in f32; `round`: rounded to bf16 (and widened again), because the SSA value it
/// stands for is bf16.
struct RowNode {
  enum Kind : uint8_t {
    Load,      // memory
    Round,     // a
    Add,       // a + b
    Swiglu,    // silu(a) * b
    Normalise, // (a * scalar) * b
    Combine,   // sum_j gates[row, j] * memory(ranks[row, j]), j ascending from 0, products rounded
  } kind = Load;
  bool round = false;
  unsigned a = 0, b = 0; // earlier nodes of the same loop
  unsigned scalar = 0;   // Normalise: row scalar
  RowMemory memory;      // Load; Combine: source rows, indexArg = ranks [rows, top]
  int gatesArg = -1;     // Combine: f32 [rows, top]
  uint64_t top = 0;
};

struct RowStore {
  unsigned node;
  RowMemory to;
};
/// scalar = 1 / sqrt(sum(node^2) / width + eps). The sum has 128 partials (element i belongs to i mod 128, ascending,
/// fma from 0), added by the tree +64, +32, ..., +1. A sum that is not finite is a fault.
struct RowReduction {
  unsigned node, scalar;
  float eps;
};
/// E4M3 codes and f32 scales of groups of 128 elements from element 0 (spec fp8.md 4). A group that is not finite is a
/// fault.
struct RowQuantise {
  unsigned node;
  RowMemory codes, scales;
  bool powerOfTwo;
};

/// One pass over `width` elements: nodes in order, stores, reductions, quantisers.
struct RowLoop {
  uint64_t width = 0;
  std::vector<RowNode> nodes;
  std::vector<RowStore> stores;
  std::vector<RowReduction> reductions;
  std::vector<RowQuantise> quantises;
};
/// Rotates the last `rotated` of every `headDim` elements by (cos, sin)[rotated / 2]; the others are copied. Products
/// are rounded, then added. Interleaved: pairs (2i, 2i+1); half-split: (i, i + rotated / 2).
struct RowRope {
  RowMemory from, cos, sin;
  std::vector<RowMemory> to;
  uint64_t width = 0, headDim = 0, rotated = 0;
  bool halfSplit = false, round = false;
};
/// cos and sin of f32(position * invFreq[i]), times the multiplier.
struct RowRopeTable {
  int positionsArg = -1;
  std::vector<float> invFreq;
  float multiplier = 1;
  std::vector<RowMemory> cos, sin;
};
using RowStage = std::variant<RowLoop, RowRope, RowRopeTable>;

/// A fused row kernel. Every row of `domain` runs all stages in order; a task is a few rows.
struct RowProgram : KernelBody {
  RowDomain domain;
  std::vector<RowStage> stages;
  uint64_t scratchElements = 0; // f32 per worker
  unsigned scalars = 0;         // row scalars

  /// Calls `visit` for every memory that a stage reads or writes.
  void forEachMemory(llvm::function_ref<void(const RowMemory &)> visit) const;
  /// Elements that all stages together walk for one row.
  uint64_t elementsPerRow() const;
  std::string key() const override;
};

} // namespace moray::codegen

#endif
