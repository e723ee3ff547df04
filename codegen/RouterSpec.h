//===- RouterSpec.h - what router and permute kernels compute --------*- C++ -*-===//
// Specs of the mixture-of-experts kernels around the grouped matrix products: selection of experts, sorting of (row,
// expert) pairs.

#ifndef MORAY_CODEGEN_ROUTERSPEC_H
#define MORAY_CODEGEN_ROUTERSPEC_H

#include "codegen/KernelSpec.h"

namespace moray::codegen {

/// Logits z = x W^T in f32 (row dots of RowProgram's order), scores, selection and weights of every row (spec
/// model.md 4.9). Operands: x [rows, hidden], w [experts, hidden] with padded rows, bias [experts] f32 or absent;
/// results ids [rows, top] i32 in selection order, gates [rows, top] f32. Logits that are not finite are a fault.
struct RouterBody : KernelBody {
  enum Selection : uint8_t { All, GroupMax, GroupTopTwo }; // how groups are scored; All: no groups
  DType x = DType::BF16, w = DType::BF16;
  uint64_t experts = 0, hidden = 0, groups = 1, keep = 1, top = 1;
  bool softmax = false, normalise = false;
  Selection selection = All;
  float scale = 1;
  RowDomain domain;
  int xArg = -1, wArg = -1, biasArg = -1, idsArg = -1, gatesArg = -1;
  std::string key() const override;
};

/// Stable counting sort of the live (row, expert) pairs by expert. Operands ids, gates [rows, top]; results offsets
/// [experts + 1], tokens [slots], ranks and gates [rows, top] in ascending expert order.
struct PermuteBody : KernelBody {
  uint64_t experts = 0, top = 1;
  RowDomain domain;
  int idsArg = -1, gatesArg = -1, offsetsArg = -1, tokensArg = -1, ranksArg = -1, sortedArg = -1;
  std::string key() const override;
};

} // namespace moray::codegen

#endif
