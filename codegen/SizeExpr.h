//===- SizeExpr.h - sizes as postfix expressions over step symbols --*- C++ -*-===//
// A value class that builds the size expressions of the artifact (schema ExprOp): task counts, scratch and buffer
// bytes.

#ifndef MORAY_CODEGEN_SIZEEXPR_H
#define MORAY_CODEGEN_SIZEEXPR_H

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace moray::codegen {

/// Same order and values as schema ExprOpKind.
enum class ExprKind : uint8_t { Const, Symbol, Add, Mul, CeilDiv, Min, Max, Align };
/// Same order and values as schema SymbolId: capacities T..C and the number of ranks R are bound at load, the live
/// counts for every step. ReceivedRows bounds the rows of all ranks that a rank may have to work on.
enum class Symbol : uint8_t { T, B, N, P, C, Rows, DecodeRows, Seqs, Outs, PrefillRows, R, ReceivedRows };

struct ExprOp {
  ExprKind kind;
  uint64_t value; // Const: the value; Symbol: the symbol's number; else 0
  bool operator==(const ExprOp &o) const { return kind == o.kind && value == o.value; }
};

/// An unsigned 64-bit expression in postfix form. Constants are folded, neutral elements vanish. Overflow is the
/// evaluator's business.
class SizeExpr {
public:
  SizeExpr(uint64_t constant = 0) : ops{{ExprKind::Const, constant}} {}
  SizeExpr(Symbol symbol) : ops{{ExprKind::Symbol, uint64_t(symbol)}} {}

  const std::vector<ExprOp> &postfix() const { return ops; }
  bool isConst() const { return ops.size() == 1 && ops[0].kind == ExprKind::Const; }
  bool isConst(uint64_t value) const { return isConst() && ops[0].value == value; }
  bool operator==(const SizeExpr &o) const { return ops == o.ops; }

  friend SizeExpr operator+(const SizeExpr &a, const SizeExpr &b) {
    return a.isConst(0) ? b : b.isConst(0) ? a : combine(ExprKind::Add, a, b);
  }
  friend SizeExpr operator*(const SizeExpr &a, const SizeExpr &b) {
    return a.isConst(1) ? b : b.isConst(1) ? a : combine(ExprKind::Mul, a, b);
  }
  static SizeExpr ceilDiv(const SizeExpr &a, const SizeExpr &b) {
    return b.isConst(1) ? a : combine(ExprKind::CeilDiv, a, b);
  }
  static SizeExpr min(const SizeExpr &a, const SizeExpr &b) { return combine(ExprKind::Min, a, b); }
  static SizeExpr max(const SizeExpr &a, const SizeExpr &b) { return combine(ExprKind::Max, a, b); }
  /// a rounded up to a multiple of b.
  static SizeExpr align(const SizeExpr &a, const SizeExpr &b) {
    return b.isConst(1) ? a : combine(ExprKind::Align, a, b);
  }

private:
  static uint64_t fold(ExprKind kind, uint64_t a, uint64_t b) {
    switch (kind) {
    case ExprKind::Add:
      return a + b;
    case ExprKind::Mul:
      return a * b;
    case ExprKind::CeilDiv:
      return b ? a / b + (a % b != 0) : 0;
    case ExprKind::Min:
      return std::min(a, b);
    case ExprKind::Max:
      return std::max(a, b);
    default:
      return b ? (a / b + (a % b != 0)) * b : 0;
    }
  }
  static SizeExpr combine(ExprKind kind, const SizeExpr &a, const SizeExpr &b) {
    if (a.isConst() && b.isConst())
      return SizeExpr(fold(kind, a.ops[0].value, b.ops[0].value));
    SizeExpr r = a;
    r.ops.insert(r.ops.end(), b.ops.begin(), b.ops.end());
    r.ops.push_back({kind, 0});
    return r;
  }
  std::vector<ExprOp> ops;
};

} // namespace moray::codegen

#endif
