//===- LMLinearOps.td - matrix products -------------------------*- tablegen -*-===//
// Linears of the `lm` dialect: plain, and with block-scaled FP8 weights.

#ifndef MORAY_DIALECTS_LM_LMLINEAROPS_TD
#define MORAY_DIALECTS_LM_LMLINEAROPS_TD

def LM_LinearOp : LM_Op<"linear", [Pure]> {
  let summary = "x * W^T (+ bias), accumulated in f32, rounded once";
  let description = [{
    W is `[O, K]` in bf16 or f32, bias `[O]`. With an f32 result it also is the lm_head.

    ```mlir
    %y = lm.linear %x, %w : (tensor<?x256xbf16>, tensor<128x256xbf16>) -> tensor<?x128xbf16>
    %z = lm.linear %x, %w bias %b : (tensor<?x256xbf16>, tensor<128x256xbf16>, tensor<128xbf16>) -> tensor<?x128xbf16>
    ```
  }];
  let arguments = (ins LM_Act:$source, LM_DenseWeight:$weight, Optional<LM_DenseWeight>:$bias);
  let results = (outs LM_Act:$result);
  let assemblyFormat = "$source `,` $weight (`bias` $bias^)? attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def LM_ScaledLinearOp : LM_Op<"scaled_linear", [Pure, AttrSizedOperandSegments]> {
  let summary = "Linear with FP8 codes and 128x128 block scales (spec fp8.md 5)";
  let description = [{
    For each block b of 128 along K a partial sum P_b, then `y = sum_b scale[o / 128, b] * P_b`, b ascending. With f32 or bf16 rows this is w8a16
    (fp8.md 5.5; ref32 with f32); with FP8 rows `source_scales [rows, ceil(K/128)]` multiply as well (5.1).

    ```mlir
    %y = lm.scaled_linear %x, %w scales %s : (tensor<?x256xbf16>, tensor<128x256xf8E4M3FN>, tensor<1x2xf32>) -> tensor<?x128xbf16>
    %z = lm.scaled_linear %c by %cs, %w scales %s
        : (tensor<?x256xf8E4M3FN>, tensor<?x2xf32>, tensor<128x256xf8E4M3FN>, tensor<1x2xf32>) -> tensor<?x128xbf16>
    ```
  }];
  let arguments = (ins LM_ActOrCodes:$source, Optional<LM_F32>:$source_scales, LM_Codes:$weight, LM_F32:$scales, Optional<LM_DenseWeight>:$bias);
  let results = (outs LM_Act:$result);
  let assemblyFormat = [{
    $source (`by` $source_scales^)? `,` $weight `scales` $scales (`bias` $bias^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

#endif
