//===- VectorBuilder.h - helper that writes vector kernels ----------*- C++ -*-===//
// Short names for the arith, vector, scf and llvm operations that the x86 emitters use, and the number formats of the
// weights.

#ifndef MORAY_CODEGEN_X86_VECTORBUILDER_H
#define MORAY_CODEGEN_X86_VECTORBUILDER_H

#include "codegen/KernelSpec.h"
#include "codegen/Target.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Builders.h"

namespace moray::codegen {

/// Builds the body of one kernel at an insertion point. Addresses are `!llvm.ptr`, offsets are i64 bytes unless said
/// otherwise; bf16 values in memory are i16, FP8 codes i8. Float operations never fuse or reassociate. Values may be
/// scalars or vectors wherever it makes sense.
class VectorBuilder {
public:
  using Value = mlir::Value;
  using Values = llvm::SmallVector<mlir::Value>;

  /// `function` is the kernel; the insertion point is moved to the end of its entry block.
  VectorBuilder(mlir::OpBuilder &builder, mlir::LLVM::LLVMFuncOp function, const Target &target);

  const Target &target;
  mlir::OpBuilder &b;
  mlir::Location loc;
  mlir::Type i1, i8, i16, i32, i64, f16, f32, f64, ptr;
  static mlir::VectorType vec(unsigned lanes, mlir::Type element) {
    return mlir::VectorType::get({int64_t(lanes)}, element);
  }

  // ---- what the kernel receives (loaded once, at the top of the entry block) ----
  Value operand(unsigned index); // ptr
  Value live(unsigned index);    // i64; index as in kernel_abi.h
  Value capacity(Symbol symbol); // i64; T..C only
  Value layer();                 // i64
  Value task();                  // i64
  Value scratch();               // ptr, 64-byte aligned
  /// Live rows of a domain as i64 (for Prefill: rows - decode).
  Value rows(const RowDomain &domain);
  /// Stores layer + 1 into the fault word if `condition` (i1).
  void faultIf(Value condition);

  // ---- constants ----
  Value constI(mlir::Type type, int64_t value); // scalar or vector type
  Value constF(mlir::Type type, double value);
  Value c64(int64_t value) { return constI(i64, value); }
  Value f(float value) { return constF(f32, value); }
  Value f(float value, unsigned lanes) { return constF(vec(lanes, f32), value); }
  Value splat(Value scalar, unsigned lanes);

  // ---- integers ----
  Value add(Value a, Value c);
  Value sub(Value a, Value c);
  Value mul(Value a, Value c);
  Value divu(Value a, Value c);
  Value remu(Value a, Value c);
  Value minu(Value a, Value c);
  Value maxu(Value a, Value c);
  Value andi(Value a, Value c);
  Value ori(Value a, Value c);
  Value xori(Value a, Value c);
  Value shl(Value a, unsigned bits);
  Value shrl(Value a, unsigned bits); // logical
  Value shra(Value a, unsigned bits); // arithmetic
  Value add(Value a, int64_t c) { return c ? add(a, constI(a.getType(), c)) : a; }
  Value sub(Value a, int64_t c) { return c ? sub(a, constI(a.getType(), c)) : a; }
  Value mul(Value a, int64_t c) { return c == 1 ? a : mul(a, constI(a.getType(), c)); }
  Value divu(Value a, int64_t c) { return c == 1 ? a : divu(a, constI(a.getType(), c)); }
  Value remu(Value a, int64_t c) { return remu(a, constI(a.getType(), c)); }
  Value minu(Value a, int64_t c) { return minu(a, constI(a.getType(), c)); }
  Value andi(Value a, int64_t c) { return andi(a, constI(a.getType(), c)); }
  Value ceilDiv(Value a, int64_t c) { return divu(add(a, c - 1), c); }
  Value cmp(mlir::arith::CmpIPredicate predicate, Value a, Value c);
  Value ult(Value a, Value c) { return cmp(mlir::arith::CmpIPredicate::ult, a, c); }
  Value ult(Value a, int64_t c) { return ult(a, constI(a.getType(), c)); }
  Value eq(Value a, Value c) { return cmp(mlir::arith::CmpIPredicate::eq, a, c); }
  Value eq(Value a, int64_t c) { return eq(a, constI(a.getType(), c)); }
  Value select(Value condition, Value a, Value c);
  Value zext(Value a, mlir::Type elementType); // shape kept
  Value sext(Value a, mlir::Type elementType);
  Value trunc(Value a, mlir::Type elementType);

  // ---- floats ----
  Value addf(Value a, Value c);
  Value subf(Value a, Value c);
  Value mulf(Value a, Value c);
  Value divf(Value a, Value c);
  Value negf(Value a);
  Value fma(Value a, Value c, Value d); // a * c + d, rounded once
  Value sqrt(Value a);
  Value absf(Value a);
  Value maxf(Value a, Value c); // x86 maxps: the second operand if either is NaN or both are zero
  Value minf(Value a, Value c);
  Value cmpf(mlir::arith::CmpFPredicate predicate, Value a, Value c);
  Value bitcast(Value a, mlir::Type elementType); // same element width
  Value toFloat(Value a, mlir::Type elementType); // from signed integer
  Value toInt(Value a, mlir::Type elementType);   // to signed integer, towards zero
  Value extf(Value a, mlir::Type elementType);
  Value truncf(Value a, mlir::Type elementType); // f64 -> f32
  /// i1 (or vector of): exponent all ones.
  Value isNotFinite(Value a);

  // ---- vectors ----
  Value shuffle(Value a, Value c, llvm::ArrayRef<int64_t> lanes);
  Value extract(Value vector, int64_t lane);
  Value insert(Value scalar, Value vector, int64_t lane);
  /// Any lane of a vector of i1.
  Value anyLane(Value mask);
  /// Sum of a power-of-two vector by the tree + lanes/2, ..., +2, +1: lane i is added to lane i + half, which stands on
  /// the right.
  Value treeSum(Value vector);
  /// The tree sums of `n` 16-lane vectors (n = 1, 2, 4, 8 or 16) as one vector of n lanes; bit-equal to treeSum.
  Value treeSums(llvm::ArrayRef<Value> vectors);

  // ---- memory ----
  Value at(Value base, Value byteOffset);
  Value at(Value base, int64_t byteOffset);
  Value load(mlir::Type type, Value address, unsigned alignment = 0); // 0: of the element
  void store(Value value, Value address, unsigned alignment = 0);
  void prefetch(Value address); // for reading, into all levels
  /// Loads `lanes` elements stored as `type` (F32, BF16, F8E4M3) and widens them to f32. FP8 comes out as value * 2^-8,
  /// exactly.
  Value loadWide(DType type, Value address, unsigned lanes);
  /// Two vectors of 16 FP8 codes, one behind the other in memory, widened as by loadWide. The halves go through the 64
  /// bytes at `bounce`: a conversion from memory needs one vector port less than one from a register.
  std::pair<Value, Value> loadF8Pair(Value address, Value bounce);
  /// The first `count` of `lanes` elements, the rest zero; reads nothing beyond address + count elements. `rowElements`
  /// elements before and including the last one belong to the same row (they may be read too).
  Value loadWideTail(DType type, Value address, unsigned lanes, unsigned count, uint64_t rowElements);
  /// Rounds f32 to `type` (F32 or BF16: nearest even; NaNs must be canonical) and stores.
  void storeNarrow(DType type, Value value, Value address);
  Value widenBf16(Value i16s);
  Value widenF8(Value i8s);      // value * 2^-8 as f32
  Value roundToBf16(Value f32s); // bits as i16
  /// f32 rounded to bf16 and widened again.
  Value quantiseBf16(Value f32s) { return widenBf16(roundToBf16(f32s)); }

  // ---- control ----
  /// for (iv = lower; iv < upper; iv += step), unsigned.
  void forLoop(Value lower, Value upper, Value step, llvm::function_ref<void(Value iv)> body);
  Values forLoop(Value lower, Value upper, Value step, mlir::ValueRange init,
                 llvm::function_ref<Values(Value iv, mlir::ValueRange carried)> body);
  void forLoop(int64_t lower, Value upper, int64_t step, llvm::function_ref<void(Value iv)> body) {
    forLoop(c64(lower), upper, c64(step), body);
  }
  Values forLoop(int64_t lower, Value upper, int64_t step, mlir::ValueRange init,
                 llvm::function_ref<Values(Value iv, mlir::ValueRange carried)> body) {
    return forLoop(c64(lower), upper, c64(step), init, body);
  }
  void ifThen(Value condition, llvm::function_ref<void()> then);
  void ifElse(Value condition, llvm::function_ref<void()> then, llvm::function_ref<void()> otherwise);
  Values ifElse(Value condition, mlir::TypeRange types, llvm::function_ref<Values()> then,
                llvm::function_ref<Values()> otherwise);

private:
  mlir::LLVM::LLVMFuncOp function;
  mlir::Operation *prologueEnd = nullptr; // argument loads go behind it, so that they dominate everything
  std::vector<std::pair<std::string, Value>> prologue;
  Value inPrologue(const std::string &name, llvm::function_ref<Value()> make);
  mlir::Type shaped(Value like, mlir::Type element);
};

} // namespace moray::codegen

#endif
