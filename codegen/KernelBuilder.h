//===- KernelBuilder.h - helper that writes kernels ------------------*- C++ -*-===//
// Short names for the arith, scf and llvm operations that the emitters of every target use, and access to what a kernel
// receives.

#ifndef MORAY_CODEGEN_KERNELBUILDER_H
#define MORAY_CODEGEN_KERNELBUILDER_H

#include "codegen/KernelSpec.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Builders.h"

namespace moray::codegen {

/// Builds the body of one kernel at an insertion point. Addresses are pointers of any address space, offsets are i64
/// bytes unless said otherwise; bf16 values in memory are i16, FP8 codes i8. Float operations never fuse or
/// reassociate. Values may be scalars or vectors wherever it makes sense.
class KernelBuilder {
public:
  using Value = mlir::Value;
  using Values = llvm::SmallVector<mlir::Value>;

  /// `function` is the kernel; the insertion point is moved to the end of its entry block.
  KernelBuilder(mlir::OpBuilder &builder, mlir::LLVM::LLVMFuncOp function);
  virtual ~KernelBuilder() = default;

  mlir::OpBuilder &b;
  mlir::Location loc;
  mlir::Type i1, i8, i16, i32, i64, f16, f32, f64;
  static mlir::VectorType vec(unsigned lanes, mlir::Type element) {
    return mlir::VectorType::get({int64_t(lanes)}, element);
  }

  // ---- what the kernel receives (read once, at the top of the entry block) ----
  virtual Value operand(unsigned index) = 0; // pointer
  virtual Value live(unsigned index) = 0;    // i64; index as in kernel_abi.h
  virtual Value capacity(Symbol symbol) = 0; // i64; T..C only
  virtual Value layer() = 0;                 // i64
  virtual Value task() = 0;                  // i64
  virtual Value scratch() = 0;               // pointer, 64-byte aligned
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

  // ---- memory ----
  Value at(Value base, Value byteOffset);
  Value at(Value base, int64_t byteOffset);
  Value load(mlir::Type type, Value address, unsigned alignment = 0); // 0: of the element
  void store(Value value, Value address, unsigned alignment = 0);
  Value widenBf16(Value i16s);
  virtual Value roundToBf16(Value f32s); // bits as i16, nearest even; NaNs must be those that the target makes
  /// f32 rounded to bf16 and widened again.
  Value quantiseBf16(Value f32s) { return widenBf16(roundToBf16(f32s)); }

  // ---- control ----
  /// for (iv = lower; iv < upper; iv += step), signed.
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

protected:
  /// Address of the fault word.
  virtual Value faultWord() = 0;
  /// The value that `make` builds at the top of the entry block the first time that `name` is asked for.
  Value inPrologue(const std::string &name, llvm::function_ref<Value()> make);
  mlir::Type shaped(Value like, mlir::Type element);
  mlir::LLVM::LLVMFuncOp function;

private:
  mlir::Operation *prologueEnd = nullptr; // argument loads go behind it, so that they dominate everything
  std::vector<std::pair<std::string, Value>> prologue;
};

} // namespace moray::codegen

#endif
