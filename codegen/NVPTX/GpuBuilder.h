//===- GpuBuilder.h - helper that writes GPU kernels -----------------*- C++ -*-===//
// What the nvptx emitters need beyond KernelBuilder: arguments, threads, shared memory, warp and matrix instructions.

#ifndef MORAY_CODEGEN_NVPTX_GPUBUILDER_H
#define MORAY_CODEGEN_NVPTX_GPUBUILDER_H

#include "codegen/KernelBuilder.h"
#include "codegen/Target.h"

namespace moray::codegen {

/// The GPU kernel interface of runtime/schema/kernel_abi.h. Global memory is address space 1, shared memory 3. All
/// threads of a block build the same code; everything that synchronises must be reached by all of them.
class GpuBuilder : public KernelBuilder {
public:
  /// `function` has the parameters of kernel_abi.h for `operandCount` operands and `threads` threads per block.
  GpuBuilder(mlir::OpBuilder &builder, mlir::LLVM::LLVMFuncOp function, const GpuTarget &target, unsigned operandCount,
             unsigned threads);

  const GpuTarget &target;
  const unsigned threads; // of a block
  mlir::Type global, shared;
  static constexpr unsigned kWarp = 32;

  Value operand(unsigned index) override;
  Value live(unsigned index) override;
  Value capacity(Symbol symbol) override;
  Value layer() override;
  Value task() override; // block number as i64
  Value scratch() override;

  /// Asks the assembler for code of which `blocks` blocks fit on a multiprocessor. Without it, it may aim at more and
  /// spill.
  void setBlocksPerMultiprocessor(unsigned blocks);

  // ---- threads (i32) ----
  Value thread(); // in the block
  Value lane();   // in the warp
  Value warp();   // in the block
  Value blocks(); // of the launch

  // ---- shared memory ----
  /// Static memory of the block, uninitialised.
  Value sharedArray(uint64_t bytes, unsigned alignment = 16);
  /// Start of the dynamic shared memory (GpuStage::dynamicShared bytes), 128-byte aligned.
  Value dynamicShared();
  /// Constants of the kernel's own, in constant memory.
  Value constantTable(llvm::ArrayRef<float> values);
  /// Bytes of all sharedArray calls, each aligned.
  uint64_t staticSharedBytes() const { return sharedBytes; }

  // ---- synchronisation ----
  void barrier();  // all threads of the block; orders memory
  void syncWarp(); // all lanes of the warp; orders memory
  /// Orders this thread's global memory accesses before later ones, for the whole device.
  void fenceDevice();

  // ---- across the warp; all 32 lanes take part ----
  Value shuffleXor(Value value, unsigned laneMask); // i32, i64 or f32
  Value shuffleUp(Value value, unsigned delta);     // from lane - delta; the first lanes keep their own
  Value broadcastLane(Value value, Value lane);     // from lane (i32)
  Value anyLane(Value condition);                   // i1
  Value ballot(Value condition);                    // i32
  /// Largest unsigned i32 of the warp, and the sum of i32s, in every lane.
  Value maxLanes(Value value);
  Value sumLanes(Value value);
  /// How many lower lanes have `condition`, and how many of all (i32).
  std::pair<Value, Value> rankAmongLanes(Value condition);
  Value popCount(Value value); // i32
  /// From a warp to the block: `before` (i32) plus the `inWarp` (i32, the same in every lane) of all lower warps, and
  /// the sum of all `inWarp`. All threads take part; `memory` is shared memory of 4 bytes per warp.
  std::pair<Value, Value> addWarps(Value before, Value inWarp, Value memory);
  /// Number of zeros below the lowest one of an i32; 32 for 0.
  Value trailingZeros(Value value);

  // ---- memory ----
  /// Loads what no thread of the launch writes: may use the read-only cache.
  Value loadInvariant(mlir::Type type, Value address, unsigned alignment = 0);
  /// Adds to an i32 in global or shared memory; returns the old value. Relaxed, for the whole device.
  Value atomicAdd(Value address, Value value);
  void atomicOr(Value address, Value value);
  /// Stores `code` (i32) into the fault word.
  void storeFault(Value code);
  /// Starts copying 16 bytes from global to shared memory (both 16-byte aligned); the bytes from `bytes` (i32, 0..16)
  /// on become zero, and with 0 nothing is read.
  void copyAsync(Value sharedAddress, Value globalAddress, Value bytes = {});
  void commitAsync();
  /// Waits until at most `pending` of this thread's committed groups are under way. Other threads need a barrier as
  /// well.
  void waitAsync(unsigned pending);

  // ---- elements of a thread's vector ----
  Value extract(Value vector, int64_t element);
  Value insert(Value scalar, Value vector, int64_t element);

  // ---- number formats ----
  /// f32 stored as `type` (F32, BF16), rounded to nearest even.
  void storeNarrow(DType type, Value value, Value address);
  /// By instruction: the integer code of the CPU turns 0x7fffffff, the NaN of a GPU, into a zero.
  Value roundToBf16(Value f32s) override;
  /// Reads one stored element (F32, BF16, F8E4M3) as f32, exactly.
  Value loadWide(DType type, Value address);
  /// An E4M3 code (i8) as f32, exactly.
  Value widenF8(Value code);
  /// Two f32 as packed bf16 (i32): `low` in the lower half, nearest even.
  Value packBf16(Value low, Value high);
  /// Four E4M3 codes in the bytes of an i32 as two packed bf16 pairs (codes 0, 1 and 2, 3), exactly.
  std::pair<Value, Value> widenF8x4(Value codes);

  // ---- matrices; operands and results in the fragment layouts of the PTX manual ----
  /// `count` (1, 2 or 4) 8x8 matrices of 16-bit elements; lane i gives the address of row i % 8 of matrix i / 8.
  Values loadMatrix(Value sharedAddress, unsigned count, bool transposed = false);
  /// D (4 f32) = A (4 i32: 16x16 bf16) * B (2 i32: 16x8 bf16) + C (4 f32).
  Values mmaBf16(mlir::ValueRange a, mlir::ValueRange b, mlir::ValueRange c);
  /// D (4 f32) = A (4 i32: 16x32 e4m3) * B (2 i32: 32x8 e4m3) + C (4 f32); needs hasFp8Mma.
  Values mmaF8(mlir::ValueRange a, mlir::ValueRange b, mlir::ValueRange c);

  /// Calls an LLVM intrinsic by name; `type` may be null for none.
  Value intrinsic(llvm::StringRef name, mlir::Type type, mlir::ValueRange arguments);
  Value c32(int64_t value) { return constI(i32, value); }

protected:
  Value faultWord() override;

private:
  Value trailing(unsigned index);
  Values mma(llvm::StringRef name, mlir::ValueRange a, mlir::ValueRange b, mlir::ValueRange c);
  mlir::LLVM::GlobalOp addShared(llvm::StringRef suffix, uint64_t bytes, unsigned alignment,
                                 mlir::LLVM::Linkage linkage);

  unsigned operandCount;
  unsigned sharedArrays = 0, constantTables = 0;
  uint64_t sharedBytes = 0;
};

} // namespace moray::codegen

#endif
