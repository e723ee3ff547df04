//===- MLAOps.td - multi-head latent attention ------------------*- tablegen -*-===//
// The `mla` dialect: the paged latent cache and attention over it, in expanded and absorbed form (spec model.md 4.5).

#ifndef MORAY_DIALECTS_MLA_MLAOPS_TD
#define MORAY_DIALECTS_MLA_MLAOPS_TD

include "mlir/IR/OpBase.td"
include "dialects/MLA/MLAEnums.td"
include "dialects/LM/LMBase.td"

def MLA_Dialect : Dialect {
  let name = "mla";
  let cppNamespace = "::moray::mla";
  let summary = "Multi-head latent attention over a paged latent cache";
  let description = [{
    The projections around attention are plain `lm` linears; this dialect holds only what touches the cache or the per-head halves of kv_b.
    Heads A, nope n, rope r, value v, latent c. kv_b has head-major rows: n key rows then v value rows per head.
    Roundings inside the ops (P, expanded keys and values) follow the element type of q: none for f32, to bf16 for bf16. Softmax
    runs over ascending blocks of `page` keys with a running maximum m: exp(logit - m) is rounded before it multiplies a value, the sum of the
    unrounded exponentials divides at the end.
  }];
  let dependentDialects = ["::moray::lm::LMDialect"];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
}

class MLA_CacheTypeBase<string name, string mnem> : TypeDef<MLA_Dialect, name> {
  let mnemonic = mnem;
  let parameters = (ins "int64_t":$latent, "int64_t":$rope, "int64_t":$page, "::mlir::Type":$elementType);
  let assemblyFormat = "`<` $latent `,` $rope `,` `page` `=` $page `,` $elementType `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// Elements per token: the normed latent, then the rotated key (interleaved layout).
    int64_t getWidth() const { return getLatent() + getRope(); }
  }];
}
def MLA_CacheType : MLA_CacheTypeBase<"Cache", "cache"> { let summary = "Latent cache of all layers"; }
def MLA_LayerCacheType : MLA_CacheTypeBase<"LayerCache", "layer_cache"> {
  let summary = "Latent cache of one layer: [pages][page][latent + rope]";
}

def MLA_RowRangeAttr : EnumAttr<MLA_Dialect, MLA_RowRange, "row_range">;

class MLA_Op<string mnemonic, list<Trait> traits = []> : Op<MLA_Dialect, mnemonic, traits>;

def MLA_LayerCacheOp : MLA_Op<"layer_cache_of", [Pure]> {
  let summary = "The cache of one layer as a value (enters kernels as an operand)";
  let description = [{
    ```mlir
    %c = mla.layer_cache_of %kv[%l] : !mla.cache<64, 16, page = 64, f32> -> !mla.layer_cache<64, 16, page = 64, f32>
    ```
  }];
  let arguments = (ins MLA_CacheType:$cache, Index:$layer);
  let results = (outs MLA_LayerCacheType:$result);
  let assemblyFormat = "$cache `[` $layer `]` attr-dict `:` type($cache) `->` type($result)";
  let hasVerifier = 1;
}

def MLA_AppendOp : MLA_Op<"append"> {
  let summary = "Writes the normed latent and the rotated key of every row at its position";
  let description = [{
    Row t goes to page `page_table[row_seq[t]][p / page]`, slot `p mod page`. Values are rounded to the element type of the cache.

    ```mlir
    mla.append %c, %rows, %z, %kr : !mla.layer_cache<64, 16, page = 64, f32>, tensor<?x64xf32>, tensor<?x16xf32>
    ```
  }];
  let arguments = (ins Arg<MLA_LayerCacheType, "", [MemWrite]>:$cache, LM_RowsType:$rows, LM_Act:$latent, LM_Act:$rope);
  let assemblyFormat = "$cache `,` $rows `,` $latent `,` $rope attr-dict `:` type($cache) `,` type($latent) `,` type($rope)";
  let hasVerifier = 1;
}

def MLA_AttentionOp : MLA_Op<"attention"> {
  let summary = "Causal attention with keys and values expanded from the latent cache";
  let description = [{
    Every key position is expanded through kv_b (b = z W^T, rounded like a linear's result), in blocks of `page` keys aligned at position 0, ascending, with
    an online softmax: the result of a row does not depend on chunking. `activation` is the type in which the latent enters kv_b: f32, bf16 or
    f8E4M3FN (quantised 1x128, spec fp8.md 6). `row_range prefill` leaves decode rows of the result unwritten.
    q is `[rows, A (n + r)]` with rotated r; the result is `[rows, A v]`.

    ```mlir
    %ctx = mla.attention %q, %c, %rows, %kv_b scales %s {heads = 4, nope = 32, value = 32, scale = 0.144 : f32, activation = f32,
        format = #lm<scale_format f32>, row_range = #mla<row_range all>}
        : (tensor<?x192xf32>, !mla.layer_cache<64, 16, page = 64, f32>, !lm.rows, tensor<256x64xf8E4M3FN>, tensor<2x1xf32>) -> tensor<?x128xf32>
    ```
  }];
  let arguments = (ins LM_Act:$query, Arg<MLA_LayerCacheType, "", [MemRead]>:$cache, LM_RowsType:$rows, LM_WeightTensor:$kv_b,
                       Optional<LM_F32>:$kv_b_scales, I64Attr:$heads, I64Attr:$nope, I64Attr:$value, F32Attr:$scale, TypeAttr:$activation,
                       LM_ScaleFormatAttr:$format, MLA_RowRangeAttr:$row_range);
  let results = (outs LM_Act:$result);
  let assemblyFormat = [{
    $query `,` $cache `,` $rows `,` $kv_b (`scales` $kv_b_scales^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def MLA_AbsorbQueryOp : MLA_Op<"absorb_query", [Pure]> {
  let summary = "q~ = q_nope Uk per head, on decode rows (other rows unwritten)";
  let description = [{
    Uk_a is the first n rows of head a of kv_b. Result `[rows, A c]`.

    ```mlir
    %qt = mla.absorb_query %q, %kv_b scales %s {heads = 4, nope = 32, value = 32} : (tensor<?x192xbf16>, tensor<256x64xf8E4M3FN>, tensor<2x1xf32>) -> tensor<?x256xbf16>
    ```
  }];
  let arguments = (ins LM_Act:$query, LM_WeightTensor:$kv_b, Optional<LM_F32>:$kv_b_scales, I64Attr:$heads, I64Attr:$nope, I64Attr:$value);
  let results = (outs LM_Act:$result);
  let assemblyFormat = "$query `,` $kv_b (`scales` $kv_b_scales^)? attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def MLA_LatentAttentionOp : MLA_Op<"latent_attention"> {
  let summary = "Attention of decode rows against the latent cache itself: u = sum P z";
  let description = [{
    logit = scale * (q~ . z + q_rope . k_rope), softmax in f32 over positions <= own, keys in ascending blocks of `page`.
    q is the rotated `[rows, A (n + r)]` query (only its rope part is read). Result `[rows, A c]`; rows that are not decode rows are unwritten.

    ```mlir
    %u = mla.latent_attention %qt, %q, %c, %rows {heads = 4, scale = 0.144 : f32}
        : tensor<?x256xbf16>, tensor<?x192xbf16>, !mla.layer_cache<64, 16, page = 64, bf16> -> tensor<?x256xbf16>
    ```
  }];
  let arguments = (ins LM_Act:$absorbed, LM_Act:$query, Arg<MLA_LayerCacheType, "", [MemRead]>:$cache, LM_RowsType:$rows, I64Attr:$heads, F32Attr:$scale);
  let results = (outs LM_Act:$result);
  let assemblyFormat = "$absorbed `,` $query `,` $cache `,` $rows attr-dict `:` type($absorbed) `,` type($query) `,` type($cache) `->` type($result)";
  let hasVerifier = 1;
}

def MLA_AbsorbValueOp : MLA_Op<"absorb_value", [Pure]> {
  let summary = "ctx = Uv u per head, on decode rows; other rows come from `into`";
  let description = [{
    Uv_a is the last v rows of head a of kv_b. `into` and the result share memory after lowering.

    ```mlir
    %ctx = mla.absorb_value %u, %kv_b scales %s into %c0 {heads = 4, nope = 32, value = 32}
        : (tensor<?x256xbf16>, tensor<256x64xf8E4M3FN>, tensor<2x1xf32>, tensor<?x128xbf16>) -> tensor<?x128xbf16>
    ```
  }];
  let arguments = (ins LM_Act:$source, LM_WeightTensor:$kv_b, Optional<LM_F32>:$kv_b_scales, LM_Act:$into, I64Attr:$heads, I64Attr:$nope, I64Attr:$value);
  let results = (outs LM_Act:$result);
  let assemblyFormat = "$source `,` $kv_b (`scales` $kv_b_scales^)? `into` $into attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

#endif
