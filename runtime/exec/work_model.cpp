// Evaluates the size expressions of a kernel's operands at the live counts, and multiplies out its matrices.
#include "runtime/exec/work_model.h"
#include "runtime/artifact/checker.h"
#include <algorithm>

namespace moray::rt {

using schema::ArgKind;
using schema::InputId;
using schema::KernelClass;
using schema::SymbolId;

namespace {

struct Live {
  uint64_t symbols[schema::kSymbolCount];
  uint64_t rows, seqs, outs;

  explicit Live(const ExecPlan &plan) {
    std::copy(plan.symbols, plan.symbols + schema::kSymbolCount, symbols);
    auto at = [this](SymbolId id) -> uint64_t & { return symbols[static_cast<size_t>(id)]; };
    rows = at(SymbolId::T) = at(SymbolId::Rows);
    seqs = at(SymbolId::B) = at(SymbolId::Seqs);
    outs = at(SymbolId::N) = at(SymbolId::Outs);
  }
};

uint64_t inputBytes(const ExecPlan &plan, const Live &live, InputId id) {
  const uint64_t bytes = plan.inputBytes[static_cast<size_t>(id)];
  switch (id) {
  case InputId::Tokens:
  case InputId::Positions:
  case InputId::RowSeq:
    return bytes / plan.capacities.rows * live.rows;
  case InputId::CuRows:
    return (live.seqs + 1) * sizeof(int32_t);
  case InputId::PageTable:
  case InputId::CtxLen:
    return bytes / plan.capacities.seqs * live.seqs;
  default:
    return bytes / plan.capacities.outs * live.outs;
  }
}

} // namespace

Work modelWork(const Artifact &artifact, const ExecPlan &plan, const std::vector<Operand> &operands, uint32_t kernel,
               uint64_t cachedTokens, uint64_t expertsHeld) {
  const Live live(plan);
  const KernelClass klass = plan.code.target->kernels()->Get(kernel)->klass();
  const schema::ModelConfig &model = artifact.model();
  Work work = {0, 0};
  uint64_t elements = 0; // of the largest matrix: outputs * K
  uint64_t rows = live.rows;
  const uint64_t reached = std::min<uint64_t>({live.rows * model.experts_per_token(), model.experts(), expertsHeld});
  for (const Operand &operand : operands) {
    if (operand.kind == ArgKind::Buffer) {
      const schema::Buffer &buffer = *plan.code.target->programs()->Get(operand.program)->buffers()->Get(operand.index);
      uint64_t bytes = 0;
      if (schema::evaluateExpr(buffer.bytes(), live.symbols, bytes) == schema::ExprError::None)
        work.bytes += bytes;
    } else if (operand.kind == ArgKind::Input) {
      work.bytes += inputBytes(plan, live, static_cast<InputId>(operand.index));
      if (static_cast<InputId>(operand.index) == InputId::Logits)
        rows = live.outs;
    } else if (operand.kind == ArgKind::Cache) {
      const uint64_t tokens = klass == KernelClass::Attention ? cachedTokens : live.rows;
      work.bytes += tokens * model.cache_width() * schema::byteSize(plan.code.target->cache_dtype());
    } else if (operand.kind == ArgKind::Weight) {
      const schema::Weight &weight = *artifact.metadata().weights()->Get(operand.index);
      const uint64_t outermost = weight.dims()->Get(0);
      const bool experts = klass == KernelClass::GroupedGemm && weight.dims()->size() >= 3;
      if (experts)
        work.bytes += weight.bytes() / outermost * std::min(reached, outermost);
      else if (klass == KernelClass::Row && weight.dims()->size() >= 2) // a table of which rows are taken
        work.bytes += std::min(weight.bytes(), live.rows * weight.row_pitch());
      else
        work.bytes += weight.bytes();
      uint64_t product = 1;
      for (uint32_t d = experts ? 1 : 0; d < weight.dims()->size(); ++d)
        product *= weight.dims()->Get(d);
      elements = std::max(elements, weight.dims()->size() >= 2 ? product : 0);
    }
  }
  if (klass == KernelClass::Gemm)
    work.flops = 2 * rows * elements;
  if (klass == KernelClass::GroupedGemm)
    work.flops = 2 * live.rows * std::max(1u, model.experts_per_token()) * elements;
  return work;
}

} // namespace moray::rt
