//===- CmdEnums.td - enumerations of the cmd dialect ---------------*- tablegen -*-===//
// Kept apart from the ops, so that another dialect may include those without generating these again.

#ifndef MORAY_DIALECTS_CMD_CMDENUMS_TD
#define MORAY_DIALECTS_CMD_CMDENUMS_TD

include "mlir/IR/EnumAttr.td"

def Cmd_ProgramKind : I32EnumAttr<"ProgramKind", "What a program is (schema ProgramKind)", [
  I32EnumAttrCase<"Step", 0, "step">, I32EnumAttrCase<"Layer", 1, "layer">, I32EnumAttrCase<"Sample", 2, "sample">,
  I32EnumAttrCase<"Score", 3, "score">, I32EnumAttrCase<"StepDist", 4, "step_dist">,
  I32EnumAttrCase<"StepOverlap", 5, "step_overlap">]> {
  let cppNamespace = "::moray::cmd";
  let genSpecializedAttr = 0;
}

def Cmd_Collective : I32EnumAttr<"Collective", "What moves between ranks (schema CollectiveKind)", [
  I32EnumAttrCase<"Dispatch", 0, "dispatch">, I32EnumAttrCase<"Combine", 1, "combine">]> {
  let cppNamespace = "::moray::cmd";
  let genSpecializedAttr = 0;
}

def Cmd_Input : I32EnumAttr<"Input", "Memory that the engine owns (schema InputId)", [
  I32EnumAttrCase<"Tokens", 0, "tokens">, I32EnumAttrCase<"Positions", 1, "positions">, I32EnumAttrCase<"RowSeq", 2, "row_seq">,
  I32EnumAttrCase<"CuRows", 3, "cu_rows">, I32EnumAttrCase<"PageTable", 4, "page_table">, I32EnumAttrCase<"CtxLen", 5, "ctx_len">,
  I32EnumAttrCase<"OutRows", 6, "out_rows">, I32EnumAttrCase<"Logits", 7, "logits">, I32EnumAttrCase<"SampleParams", 8, "sample_params">,
  I32EnumAttrCase<"Sampled", 9, "sampled">, I32EnumAttrCase<"Targets", 10, "targets">, I32EnumAttrCase<"LogProbs", 11, "log_probs">]> {
  let cppNamespace = "::moray::cmd";
  let genSpecializedAttr = 0;
}

#endif
