//===- Permute.cpp - sorting slots by expert ---------------------------------===//
// Emits the counting sort of (row, expert) pairs: one task, two passes over the pairs, deterministic.

#include "codegen/Emitter.h"
#include "codegen/RouterSpec.h"
#include "codegen/X86/VectorBuilder.h"

using namespace mlir;
using namespace moray::codegen;
using Values = VectorBuilder::Values;

static LaunchPlan planPermute(const KernelSpec &kernel, const Target &target) {
  return {SizeExpr(1), SizeExpr(kernel.as<PermuteBody>().experts * 4), "tasks=1"};
}

static llvm::Error emitPermute(const KernelSpec &kernel, const Target &target, VectorBuilder &b) {
  const auto &spec = kernel.as<PermuteBody>();
  int64_t top = spec.top;
  Value rows = b.rows(spec.domain), cursors = b.scratch(), zero = b.constI(b.i32, 0);
  Value ids = b.operand(spec.idsArg), gates = b.operand(spec.gatesArg), offsets = b.operand(spec.offsetsArg);
  Value tokens = b.operand(spec.tokensArg), ranks = b.operand(spec.ranksArg), sorted = b.operand(spec.sortedArg);
  auto word = [&](Value base, Value index) { return b.at(base, b.shl(index, 2)); };
  auto cursorOf = [&](Value id) { return word(cursors, b.zext(id, b.i64)); };

  b.forLoop(0, b.c64(spec.experts), 1, [&](Value e) { b.store(zero, word(cursors, e)); });
  b.forLoop(0, b.mul(rows, top), 1, [&](Value i) {
    Value cursor = cursorOf(b.load(b.i32, word(ids, i)));
    b.store(b.add(b.load(b.i32, cursor), 1), cursor);
  });
  // Counts become first slots, which the second pass uses up.
  Value slots = b.forLoop(0, b.c64(spec.experts), 1, zero, [&](Value e, ValueRange sum) {
    Value count = b.load(b.i32, word(cursors, e));
    b.store(sum[0], word(offsets, e));
    b.store(sum[0], word(cursors, e));
    return Values{b.add(sum[0], count)};
  })[0];
  b.store(slots, b.at(offsets, int64_t(4 * spec.experts)));

  b.forLoop(0, rows, 1, [&](Value row) {
    Value first = b.mul(row, top);
    Values experts;
    for (int64_t j = 0; j < top; ++j)
      experts.push_back(b.load(b.i32, word(ids, b.add(first, j))));
    for (int64_t j = 0; j < top; ++j) {
      Value cursor = cursorOf(experts[j]), slot = b.load(b.i32, cursor);
      b.store(b.add(slot, 1), cursor);
      b.store(b.trunc(row, b.i32), word(tokens, b.zext(slot, b.i64)));
      // Place among the row's experts in ascending order.
      Value place = b.c64(0);
      for (int64_t i = 0; i < top; ++i)
        if (i != j) {
          auto before = i < j ? arith::CmpIPredicate::ule : arith::CmpIPredicate::ult;
          place = b.add(place, b.zext(b.cmp(before, experts[i], experts[j]), b.i64));
        }
      Value target = b.add(first, place);
      b.store(slot, word(ranks, target));
      b.store(b.load(b.f32, word(gates, b.add(first, j))), word(sorted, target));
    }
  });
  return llvm::Error::success();
}

const Emitter moray::codegen::permuteEmitter{KernelClass::Permute, planPermute, emitPermute};
