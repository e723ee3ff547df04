//===- LMRowOps.td - ops that work row by row -------------------*- tablegen -*-===//
// Row-wise operators of the `lm` dialect: every result row depends on the same row of the operands (and on weights) alone.

#ifndef MORAY_DIALECTS_LM_LMROWOPS_TD
#define MORAY_DIALECTS_LM_LMROWOPS_TD

def LM_EmbedOp : LM_Op<"embed", [Pure]> {
  let summary = "x_t = W[id_t]";
  let description = [{
    Token ids are checked by the engine before the step (spec model.md 4.1).

    ```mlir
    %h = lm.embed %tokens, %w : tensor<?xi32>, tensor<4096x256xbf16> -> tensor<?x256xf32>
    ```
  }];
  let arguments = (ins LM_I32:$tokens, LM_DenseWeight:$weight);
  let results = (outs LM_Act:$result);
  let assemblyFormat = "$tokens `,` $weight attr-dict `:` type($tokens) `,` type($weight) `->` type($result)";
  let hasVerifier = 1;
}

def LM_GatherRowsOp : LM_Op<"gather_rows", [Pure]> {
  let summary = "Rows of a tensor picked by an index tensor (the rows whose logits are wanted)";
  let description = [{
    ```mlir
    %o = lm.gather_rows %h, %out_rows : tensor<?x256xbf16>, tensor<?xi32> -> tensor<?x256xbf16>
    ```
  }];
  let arguments = (ins LM_Act:$source, LM_I32:$indices);
  let results = (outs LM_Act:$result);
  let assemblyFormat = "$source `,` $indices attr-dict `:` type($source) `,` type($indices) `->` type($result)";
  let hasVerifier = 1;
}

def LM_SliceOp : LM_Op<"slice", [Pure]> {
  let summary = "Columns [offset, offset + width of the result)";
  let description = [{
    ```mlir
    %z = lm.slice %kv[0] : tensor<?x80xf32> -> tensor<?x64xf32>
    ```
  }];
  let arguments = (ins LM_Act:$source, I64Attr:$offset);
  let results = (outs LM_Act:$result);
  let assemblyFormat = "$source `[` $offset `]` attr-dict `:` type($source) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def LM_CastOp : LM_Op<"cast", [Pure]> {
  let summary = "Rounds to (or widens from) bf16";
  let description = [{
    ```mlir
    %y = lm.cast %x : tensor<?x256xf32> -> tensor<?x256xbf16>
    ```
  }];
  let arguments = (ins LM_Act:$source);
  let results = (outs LM_Act:$result);
  let assemblyFormat = "$source attr-dict `:` type($source) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def LM_AddOp : LM_Op<"add", [Pure]> {
  let summary = "Elementwise sum in f32, rounded once";
  let description = [{
    ```mlir
    %a = lm.add %h, %o : tensor<?x256xbf16>, tensor<?x256xbf16> -> tensor<?x256xbf16>
    ```
  }];
  let arguments = (ins LM_Act:$lhs, LM_Act:$rhs);
  let results = (outs LM_Act:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($lhs) `,` type($rhs) `->` type($result)";
  let hasVerifier = 1;
}

def LM_SwigluOp : LM_Op<"swiglu", [Pure]> {
  let summary = "silu(gate) * up, formed in f32, rounded once (spec model.md 4.8)";
  let description = [{
    ```mlir
    %h = lm.swiglu %gate, %up : tensor<?x576xbf16>, tensor<?x576xbf16> -> tensor<?x576xbf16>
    ```
  }];
  let arguments = (ins LM_Act:$gate, LM_Act:$up);
  let results = (outs LM_Act:$result);
  let assemblyFormat = "$gate `,` $up attr-dict `:` type($gate) `,` type($up) `->` type($result)";
  let hasVerifier = 1;
}

def LM_RmsNormOp : LM_Op<"rms_norm", [Pure]> {
  let summary = "w * x / sqrt(mean(x^2) + eps) in f32, rounded once (spec model.md 4.2)";
  let description = [{
    ```mlir
    %y = lm.rms_norm %x, %w {eps = 1.0e-6 : f32} : tensor<?x256xbf16>, tensor<256xbf16> -> tensor<?x256xbf16>
    ```
  }];
  let arguments = (ins LM_Act:$source, LM_DenseWeight:$weight, F32Attr:$eps);
  let results = (outs LM_Act:$result);
  let assemblyFormat = "$source `,` $weight attr-dict `:` type($source) `,` type($weight) `->` type($result)";
  let hasVerifier = 1;
}

def LM_RopeTableOp : LM_Op<"rope_table", [Pure]> {
  let summary = "cos and sin of f32(position * inv_freq_i), times the multiplier (spec model.md 4.4.5)";
  let description = [{
    The angle is the f32 product; cos and sin are those of that f32 number. Results are `[rows, r / 2]` f32.

    ```mlir
    %cos, %sin = lm.rope_table %rows {inv_freq = array<f32: 1.0, 0.1>, multiplier = 1.0 : f32} : tensor<?x2xf32>, tensor<?x2xf32>
    ```
  }];
  let arguments = (ins LM_RowsType:$rows, DenseF32ArrayAttr:$inv_freq, F32Attr:$multiplier);
  let results = (outs LM_F32:$cos, LM_F32:$sin);
  let assemblyFormat = "$rows attr-dict `:` type($cos) `,` type($sin)";
  let hasVerifier = 1;
}

def LM_RopeOp : LM_Op<"rope", [Pure]> {
  let summary = "Rotates the last r elements of every head (r = 2 x width of cos)";
  let description = [{
    `head_dim` divides the width; in every head the last r elements are rotated, the others pass through (rounded to the result type).

    ```mlir
    %q1 = lm.rope %q, %cos, %sin {head_dim = 48 : i64, layout = #lm<rope_layout interleaved>}
        : tensor<?x192xf32>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x192xf32>
    ```
  }];
  let arguments = (ins LM_Act:$source, LM_F32:$cos, LM_F32:$sin, I64Attr:$head_dim, LM_RopeLayoutAttr:$layout);
  let results = (outs LM_Act:$result);
  let assemblyFormat = "$source `,` $cos `,` $sin attr-dict `:` type($source) `,` type($cos) `,` type($sin) `->` type($result)";
  let hasVerifier = 1;
}

def LM_QuantizeOp : LM_Op<"quantize", [Pure]> {
  let summary = "1x128 online activation quantisation to E4M3 (spec fp8.md 4)";
  let description = [{
    Groups of 128 columns start at column 0; the last may be partial. Results: codes `[rows, K]` and f32 scales `[rows, ceil(K/128)]`.

    ```mlir
    %c, %s = lm.quantize %x {format = #lm<scale_format f32>} : tensor<?x256xbf16> -> tensor<?x256xf8E4M3FN>, tensor<?x2xf32>
    ```
  }];
  let arguments = (ins LM_Act:$source, LM_ScaleFormatAttr:$format);
  let results = (outs LM_Codes:$codes, LM_F32:$scales);
  let assemblyFormat = "$source attr-dict `:` type($source) `->` type($codes) `,` type($scales)";
  let hasVerifier = 1;
}

def LM_SampleOp : LM_Op<"sample", [Pure]> {
  let summary = "Draws one token per row from temperature, top-k, top-p and (seed, position)";
  let description = [{
    `params` are rows of `moray_sample_params` (kernel_abi.h) as bytes. Where temperature <= 0, or so small that max / temperature is infinite: the
    largest logit, the smallest id of equals. Otherwise (spec checkpoint.md 4):
    1. x = logit / temperature in f32; w = floor(exp(x - max x) * 2^40) as an integer, so that sums do not depend on their order;
    2. top-k > 0 keeps the k largest x, smaller ids first among equals;
    3. top-p < 1 keeps of these the shortest prefix (descending x, then ascending id) with sum of w >= ceil(top_p * W) in f64, W the sum of w
       after step 2, and one id at least;
    4. random = mix(mix(seed + G) + (position + 1) G), G = 0x9E3779B97F4A7C15, mix = the finaliser of SplitMix64:
       z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9; z = (z ^ z >> 27) * 0x94D049BB133111EB; z ^ z >> 31;
    5. the token is the smallest id whose sum of w over the kept ids <= it exceeds floor(random * W' / 2^64), W' the sum of the kept w.

    ```mlir
    %t = lm.sample %logits, %params : tensor<?x4096xf32>, tensor<?x24xui8> -> tensor<?xi32>
    ```
  }];
  let arguments = (ins LM_F32:$logits, RankedTensorOf<[UI8]>:$params);
  let results = (outs LM_I32:$result);
  let assemblyFormat = "$logits `,` $params attr-dict `:` type($logits) `,` type($params) `->` type($result)";
  let hasVerifier = 1;
}

def LM_LogProbOp : LM_Op<"log_prob", [Pure]> {
  let summary = "Natural log of softmax(logits) at one target id per row";
  let description = [{
    ```mlir
    %p = lm.log_prob %logits, %targets : tensor<?x4096xf32>, tensor<?xi32> -> tensor<?xf32>
    ```
  }];
  let arguments = (ins LM_F32:$logits, LM_I32:$targets);
  let results = (outs LM_F32:$result);
  let assemblyFormat = "$logits `,` $targets attr-dict `:` type($logits) `,` type($targets) `->` type($result)";
  let hasVerifier = 1;
}

#endif
