//===- RowPieces.h - a lane's share of 128 row elements -----------------*- C++ -*-===//
// Loads, stores and the fixed row reduction of kernels in which a warp takes groups of 128 elements of a row.

#ifndef MORAY_CODEGEN_NVPTX_ROWPIECES_H
#define MORAY_CODEGEN_NVPTX_ROWPIECES_H

#include "codegen/NVPTX/GpuBuilder.h"

namespace moray::codegen {

/// Elements that a warp takes at once, which is also the number of partial sums of a row reduction (element i belongs
/// to partial i mod 128) and a group of the quantiser.
constexpr uint64_t kRowGroup = 128;
/// Neighbours that a lane takes of them: lane l has elements 4 l .. 4 l + 3.
constexpr unsigned kPerLane = kRowGroup / GpuBuilder::kWarp;

/// Where a lane's four elements are in memory.
struct LaneMemory {
  DType type;             // F32 or BF16; F8E4M3 for stores of codes
  mlir::Value address;    // of the lane's first element
  unsigned alignment;     // in bytes, of four elements
  unsigned count;         // elements of the group that exist (static, at most 128); lanes do not touch others
  bool invariant = false; // no thread of the launch writes them
};

/// The four elements as f32; those that do not exist are zero.
mlir::Value loadFour(GpuBuilder &g, const LaneMemory &from);
/// Stores those that exist: f32 rounded to the type, codes (i8) as they are.
void storeFour(GpuBuilder &g, mlir::Value four, const LaneMemory &to);

/// The tree +64, +32, ..., +1 over 128 partial sums, of which each lane has four neighbours; the sum in every lane.
mlir::Value sumFours(GpuBuilder &g, mlir::Value partials);
/// The same tree where lane l has partials l, l + 32, l + 64, l + 96.
mlir::Value sumStrided(GpuBuilder &g, mlir::ValueRange partials);

/// Keys (i32) whose unsigned order is the order of f32s that are not NaN; the two zeros are equal.
mlir::Value orderedKey(GpuBuilder &g, mlir::Value x);

} // namespace moray::codegen

#endif
