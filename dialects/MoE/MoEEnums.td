//===- MoEEnums.td - enumerations of the moe dialect ---------------*- tablegen -*-===//
// Kept apart from the ops, so that another dialect may include those without generating these again.

#ifndef MORAY_DIALECTS_MOE_MOEENUMS_TD
#define MORAY_DIALECTS_MOE_MOEENUMS_TD

include "mlir/IR/EnumAttr.td"

def MoE_Scoring : I32EnumAttr<"Scoring", "Score of a router logit", [
  I32EnumAttrCase<"Softmax", 0, "softmax">, I32EnumAttrCase<"Sigmoid", 1, "sigmoid">]> {
  let cppNamespace = "::moray::moe";
  let genSpecializedAttr = 0;
}

def MoE_Method : I32EnumAttr<"Method", "How experts are selected (spec model.md 4.9.3)", [
  I32EnumAttrCase<"Greedy", 0, "greedy">, I32EnumAttrCase<"GroupLimitedGreedy", 1, "group_limited_greedy">,
  I32EnumAttrCase<"NoauxTc", 2, "noaux_tc">]> {
  let cppNamespace = "::moray::moe";
  let genSpecializedAttr = 0;
}

#endif
