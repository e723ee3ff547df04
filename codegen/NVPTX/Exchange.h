//===- Exchange.h - what the kernels of dispatch and combine share -----*- C++ -*-===//
// Sizes and addresses of runtime/schema/exchange_abi.h as values of a kernel, and what blocks and warps do together.

#ifndef MORAY_CODEGEN_NVPTX_EXCHANGE_H
#define MORAY_CODEGEN_NVPTX_EXCHANGE_H

#include "codegen/NVPTX/GpuBuilder.h"
#include "exchange_abi.h"
#include "kernel_abi.h"

namespace moray::codegen {

/// Counts and sizes are i64, words of memory i32.
class ExchangeFrame {
public:
  using Value = mlir::Value;
  using Values = GpuBuilder::Values;

  /// Operands 0 and 1 are the parameters and the step; `handle` is the number of the handle.
  ExchangeFrame(GpuBuilder &g, unsigned handle);

  GpuBuilder &g;
  Value rank, ranks, experts, top, slotsPerRank, rowBytes, scaleBytes, resultBytes; // moray_exchange_params
  Value stepLow, stepHigh, mostRows;                                                // moray_exchange_step
  Value slots;                                                                      // moray_exchange_slots
  Value metaBytes;                                                                  // moray_exchange_meta_bytes

  /// Address of word `index` (i64 or a number) behind `base`.
  Value word(Value base, Value index) { return g.at(base, g.shl(index, 2)); }
  Value word(Value base, int64_t index) { return g.at(base, 4 * index); }
  Value loadWord(Value base, Value index) { return g.load(g.i32, word(base, index)); }
  Value wide(Value word) { return g.zext(word, g.i64); }
  /// Quotient of two numbers below 2^32: half the instructions of a wide one.
  Value divide(Value a, Value c) { return wide(g.divu(g.trunc(a, g.i32), g.trunc(c, g.i32))); }

  // ---- addresses of words of the handle ----
  Value received() { return word(handle, MORAY_HANDLE_RECEIVED); }
  Value home() { return word(handle, MORAY_HANDLE_HOME); }
  Value sent(Value destination) { return word(word(handle, MORAY_HANDLE_SENT), destination); }
  Value valid(Value source) { return sent(g.add(ranks, source)); }
  Value row(Value destination, Value index);
  Value slotPlace(Value slot);
  Value resultPlace(Value slot);

  // ---- parts of a meta block ----
  Value metaOffsets(Value meta) { return word(meta, MORAY_META_OFFSETS); }
  Value metaSlotRows(Value meta) { return word(metaOffsets(meta), g.add(experts, 1)); }

  Value threadIndex() { return wide(g.thread()); } // in the block
  /// body(i) for this thread's share of [0, count).
  void forThreads(Value count, llvm::function_ref<void(Value i)> body) {
    g.forLoop(threadIndex(), count, g.c64(g.threads), body);
  }
  /// body(i) for this warp's share of [0, count) among all warps of the launch.
  void forWarps(Value count, llvm::function_ref<void(Value i)> body);

  // ---- the block together ----
  /// Replaces i32 `values` [count] in shared memory by the sums of those before each; returns the sum of all. `memory`
  /// as for GpuBuilder::addWarps. Barriers before and after are the caller's.
  Value scan(Value values, Value count, Value memory);
  /// Whether any thread has `condition`.
  Value anyThread(Value condition, Value memory);
  /// The last i32 of ascending `begins` [count] in shared memory that is at most `value` (i32), as i64; begins[0] is.
  Value lastAtMost(Value begins, Value count, Value value, unsigned mostCount);

  /// Copies `bytes`, a multiple of 4, by the lanes of a warp. Both ends are 16-byte aligned where `bytes` is a multiple
  /// of 16.
  void copyRow(Value from, Value to, Value bytes);
  Value faultCode(Value reason, Value source); // reason and result i32

private:
  Value parameter(unsigned byteOffset, unsigned operand = 0);
  void copyVectors(mlir::Type type, Value from, Value to, Value bytes);
  Value handle, rowsWords, slotPlaceWords, resultPlaceWords;
};

// One body per kernel.
void emitExchangePlan(GpuBuilder &g);
void emitExchangeCheck(GpuBuilder &g);
void emitExchangeMerge(GpuBuilder &g);

} // namespace moray::codegen

#endif
