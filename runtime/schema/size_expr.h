// Evaluates the size expressions of artifact.fbs with checked arithmetic; shared by the packager and the loader.
#pragma once
#include "artifact_generated.h"
#include <cstddef>
#include <cstdint>

namespace moray::schema {

enum class ExprError {
  None,
  Empty,
  TooLong,
  StackUnderflow,
  StackOverflow,
  UnknownKind,
  UnknownSymbol,
  Overflow,
  DivisionByZero,
  Leftover
};

inline const char *describe(ExprError error) {
  switch (error) {
  case ExprError::None:
    return "no error";
  case ExprError::Empty:
    return "the expression is empty";
  case ExprError::TooLong:
    return "the expression is too long";
  case ExprError::StackUnderflow:
    return "an operator has too few operands";
  case ExprError::StackOverflow:
    return "the expression is nested too deeply";
  case ExprError::UnknownKind:
    return "an operator is unknown";
  case ExprError::UnknownSymbol:
    return "a symbol is unknown";
  case ExprError::Overflow:
    return "the value exceeds 64 bits";
  case ExprError::DivisionByZero:
    return "a divisor or alignment is zero";
  case ExprError::Leftover:
    return "operands are left over";
  }
  return "unknown error";
}

constexpr size_t kExprMaxOps = 256;
constexpr size_t kExprMaxStack = 16;
constexpr size_t kSymbolCount = static_cast<size_t>(SymbolId::MAX) + 1;

// Applies one binary operator to a (below) and b (above).
inline ExprError applyExprOp(ExprOpKind kind, uint64_t a, uint64_t b, uint64_t &result) {
  uint64_t sum = 0;
  switch (kind) {
  case ExprOpKind::Add:
    return __builtin_add_overflow(a, b, &result) ? ExprError::Overflow : ExprError::None;
  case ExprOpKind::Mul:
    return __builtin_mul_overflow(a, b, &result) ? ExprError::Overflow : ExprError::None;
  case ExprOpKind::CeilDiv:
    if (b == 0)
      return ExprError::DivisionByZero;
    result = a / b + (a % b != 0);
    return ExprError::None;
  case ExprOpKind::Min:
    result = a < b ? a : b;
    return ExprError::None;
  case ExprOpKind::Max:
    result = a > b ? a : b;
    return ExprError::None;
  case ExprOpKind::Align:
    if (b == 0)
      return ExprError::DivisionByZero;
    if (__builtin_add_overflow(a, a % b == 0 ? 0 : b - a % b, &sum))
      return ExprError::Overflow;
    result = sum;
    return ExprError::None;
  default:
    return ExprError::UnknownKind;
  }
}

// `symbols` holds one value per SymbolId. `result` is written only on success.
inline ExprError evaluateExpr(const ExprOp *ops, size_t count, const uint64_t *symbols, uint64_t &result) {
  if (count == 0)
    return ExprError::Empty;
  if (count > kExprMaxOps)
    return ExprError::TooLong;
  uint64_t stack[kExprMaxStack];
  size_t depth = 0;
  for (size_t i = 0; i < count; ++i) {
    const ExprOpKind kind = ops[i].kind();
    if (kind == ExprOpKind::Const || kind == ExprOpKind::Symbol) {
      if (depth == kExprMaxStack)
        return ExprError::StackOverflow;
      if (kind == ExprOpKind::Symbol && ops[i].value() >= kSymbolCount)
        return ExprError::UnknownSymbol;
      stack[depth++] = kind == ExprOpKind::Const ? ops[i].value() : symbols[ops[i].value()];
      continue;
    }
    if (depth < 2)
      return ExprError::StackUnderflow;
    --depth;
    const ExprError error = applyExprOp(kind, stack[depth - 1], stack[depth], stack[depth - 1]);
    if (error != ExprError::None)
      return error;
  }
  if (depth != 1)
    return ExprError::Leftover;
  result = stack[0];
  return ExprError::None;
}

// A missing vector is an empty expression.
inline ExprError evaluateExpr(const flatbuffers::Vector<const ExprOp *> *ops, const uint64_t *symbols,
                              uint64_t &result) {
  if (!ops)
    return ExprError::Empty;
  return evaluateExpr(reinterpret_cast<const ExprOp *>(ops->Data()), ops->size(), symbols, result);
}

} // namespace moray::schema
