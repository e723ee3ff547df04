//===- LMEnums.td - enumerations of the lm dialect ---------------*- tablegen -*-===//
// Kept apart from the ops, so that another dialect may include those without generating these again.

#ifndef MORAY_DIALECTS_LM_LMENUMS_TD
#define MORAY_DIALECTS_LM_LMENUMS_TD

include "mlir/IR/EnumAttr.td"

def LM_Mode : I32EnumAttr<"Mode", "Numeric mode (spec model.md 0.1)", [
  I32EnumAttrCase<"Ref32", 0, "ref32">, I32EnumAttrCase<"Bf16", 1, "bf16">,
  I32EnumAttrCase<"W8A16", 2, "w8a16">, I32EnumAttrCase<"Fp8", 3, "fp8">]> {
  let cppNamespace = "::moray::lm";
  let genSpecializedAttr = 0;
}

def LM_Order : I32EnumAttr<"Order", "Order of reductions", [
  I32EnumAttrCase<"Deterministic", 0, "deterministic">, I32EnumAttrCase<"Fast", 1, "fast">]> {
  let cppNamespace = "::moray::lm";
  let genSpecializedAttr = 0;
}

def LM_RopeLayout : I32EnumAttr<"RopeLayout", "Which elements form a rotated pair", [
  I32EnumAttrCase<"Interleaved", 0, "interleaved">, I32EnumAttrCase<"HalfSplit", 1, "half_split">]> {
  let cppNamespace = "::moray::lm";
  let genSpecializedAttr = 0;
}

def LM_ScaleFormat : I32EnumAttr<"ScaleFormat", "Format of FP8 block scales", [
  I32EnumAttrCase<"F32", 0, "f32">, I32EnumAttrCase<"UE8M0", 1, "ue8m0">]> {
  let cppNamespace = "::moray::lm";
  let genSpecializedAttr = 0;
}

def LM_KernelClass : I32EnumAttr<"KernelClass", "Class of a kernel region (same order as schema KernelClass)", [
  I32EnumAttrCase<"Gemm", 0, "gemm">, I32EnumAttrCase<"GroupedGemm", 1, "grouped_gemm">,
  I32EnumAttrCase<"Attention", 2, "attention">, I32EnumAttrCase<"Row", 3, "row">,
  I32EnumAttrCase<"Router", 4, "router">, I32EnumAttrCase<"Permute", 5, "permute">,
  I32EnumAttrCase<"Sampling", 6, "sampling">]> {
  let cppNamespace = "::moray::lm";
  let genSpecializedAttr = 0;
}

def LM_Domain : I32EnumAttr<"Domain", "Which live count the leading dimension of a kernel follows", [
  I32EnumAttrCase<"Rows", 0, "rows">, I32EnumAttrCase<"Decode", 1, "decode">, I32EnumAttrCase<"Prefill", 2, "prefill">,
  I32EnumAttrCase<"Outs", 3, "outs">, I32EnumAttrCase<"Slots", 4, "slots">]> {
  let cppNamespace = "::moray::lm";
  let genSpecializedAttr = 0;
}

def LM_ProgramKind : I32EnumAttr<"ProgramKind", "What a program computes (same order as schema ProgramKind)", [
  I32EnumAttrCase<"Step", 0, "step">, I32EnumAttrCase<"Sample", 2, "sample">, I32EnumAttrCase<"Score", 3, "score">,
  I32EnumAttrCase<"StepDist", 4, "step_dist">]> {
  let cppNamespace = "::moray::lm";
  let genSpecializedAttr = 0;
}

#endif
