//===- MLAEnums.td - enumerations of the mla dialect ---------------*- tablegen -*-===//
// Kept apart from the ops, so that another dialect may include those without generating these again.

#ifndef MORAY_DIALECTS_MLA_MLAENUMS_TD
#define MORAY_DIALECTS_MLA_MLAENUMS_TD

include "mlir/IR/EnumAttr.td"

def MLA_RowRange : I32EnumAttr<"RowRange", "Which rows an attention works on", [
  I32EnumAttrCase<"All", 0, "all">, I32EnumAttrCase<"Prefill", 1, "prefill">]> {
  let cppNamespace = "::moray::mla";
  let genSpecializedAttr = 0;
}

#endif
