//===- MoEOps.td - mixture of experts ---------------------------*- tablegen -*-===//
// The `moe` dialect: routers, experts as one op, and the grouped form they are lowered to (spec model.md 4.9, 4.10).

#ifndef MORAY_DIALECTS_MOE_MOEOPS_TD
#define MORAY_DIALECTS_MOE_MOEOPS_TD

include "mlir/IR/OpBase.td"
include "dialects/MoE/MoEEnums.td"
include "dialects/LM/LMBase.td"

def MoE_Dialect : Dialect {
  let name = "moe";
  let cppNamespace = "::moray::moe";
  let summary = "Mixture of experts";
  let description = [{
    E experts, K chosen per row. `moe.experts` is the textbook op; `dispatch`, `grouped_linear` and `combine` are its grouped form over slots:
    the live rows x K (row, expert) pairs sorted by expert, then by row. `dispatch_ranks` and `combine_ranks` move slots between ranks.
  }];
  let dependentDialects = ["::moray::lm::LMDialect"];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
}

def MoE_RouterAttr : AttrDef<MoE_Dialect, "Router"> {
  let mnemonic = "router";
  let summary = "Every router of the family";
  let description = [{
    `weights = normalise ? s / (sum s + 1e-20) : s`, then `* scale`, with s the unbiased scores of the chosen experts in selection order. The importer
    folds the family rule into these two: V2 with norm_topk has scale 1; K = 1 has normalise false.
  }];
  let parameters = (ins EnumParameter<MoE_Scoring>:$scoring, EnumParameter<MoE_Method>:$method, "int64_t":$groups, "int64_t":$keep, "int64_t":$top,
                        "bool":$normalise, "::mlir::FloatAttr":$scale);
  let assemblyFormat = [{
    `<` $scoring `,` $method `,` `groups` `=` $groups `,` `keep` `=` $keep `,` `top` `=` $top `,` `normalise` `=` $normalise `,` `scale` `=` $scale `>`
  }];
  let genVerifyDecl = 1;
}

def MoE_ExchangeType : TypeDef<MoE_Dialect, "Exchange"> {
  let mnemonic = "exchange";
  let summary = "An exchange of rows between ranks that has begun: where every received slot came from";
}

/// What the order of collectives is about; keeps them from being erased, merged or moved past each other.
def MoE_Communicator : Resource<"::moray::moe::Communicator">;

class MoE_Op<string mnemonic, list<Trait> traits = []> : Op<MoE_Dialect, mnemonic, traits>;

def MoE_RouteOp : MoE_Op<"route", [Pure]> {
  let summary = "Router: logits, scores, selection and weights of every row";
  let description = [{
    Logits are f32 products of the row with W `[E, H]`. Ties: the larger value wins, then the smaller index. NaN is a fault.
    Results: ids `[rows, K]` in selection order, weights `[rows, K]` f32.

    ```mlir
    %ids, %g = moe.route %x, %w bias %b {router = #moe.router<sigmoid, noaux_tc, groups = 4, keep = 2, top = 4, normalise = true, scale = 2.5 : f32>}
        : (tensor<?x256xbf16>, tensor<16x256xbf16>, tensor<16xf32>) -> (tensor<?x4xi32>, tensor<?x4xf32>)
    ```
  }];
  let arguments = (ins LM_Act:$source, LM_DenseWeight:$weight, Optional<LM_F32>:$bias, MoE_RouterAttr:$router);
  let results = (outs LM_I32:$ids, LM_F32:$gates);
  let assemblyFormat = "$source `,` $weight (`bias` $bias^)? attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def MoE_ExpertsOp : MoE_Op<"experts", [Pure]> {
  let summary = "sum over chosen experts of weight * down(silu(gate x) * up x), ascending expert index, in f32";
  let description = [{
    Weights are `[E, Fe, H]`, `[E, Fe, H]`, `[E, H, Fe]`. `activation` is the type of every inner linear's operand: f32, bf16 (results of the three linears
    and of silu*up are rounded to bf16) or f8E4M3FN (as bf16, and operands are quantised 1x128 in `format`). The sum is f32 `[rows, H]`.

    ```mlir
    %r = moe.experts %x, %ids, %g gate %wg up %wu down %wd scales %sg, %su, %sd {activation = bf16, format = #lm<scale_format f32>}
        : (tensor<?x256xbf16>, tensor<?x4xi32>, tensor<?x4xf32>, tensor<16x64x256xf8E4M3FN>, tensor<16x64x256xf8E4M3FN>, tensor<16x256x64xf8E4M3FN>,
           tensor<16x1x2xf32>, tensor<16x1x2xf32>, tensor<16x2x1xf32>) -> tensor<?x256xf32>
    ```
  }];
  let arguments = (ins LM_Act:$source, LM_I32:$ids, LM_F32:$gates, LM_WeightTensor:$gate, LM_WeightTensor:$up, LM_WeightTensor:$down,
                       Variadic<LM_F32>:$scales, TypeAttr:$activation, LM_ScaleFormatAttr:$format);
  let results = (outs LM_F32:$result);
  let assemblyFormat = [{
    $source `,` $ids `,` $gates `gate` $gate `up` $up `down` $down (`scales` $scales^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def MoE_DispatchOp : MoE_Op<"dispatch", [Pure]> {
  let summary = "Sorts the (row, chosen expert) pairs by expert, then by row";
  let description = [{
    Results: offsets `[E + 1]` (first slot of each expert, then the live slot count), tokens `[slots]` (row of each slot), ranks `[rows, K]` (slot of the
    row's j-th expert in ascending expert order) and gates `[rows, K]` (weights in that order). Only live rows take part.

    ```mlir
    %off, %tok, %rank, %gs = moe.dispatch %ids, %g : tensor<?x4xi32>, tensor<?x4xf32> -> tensor<17xi32>, tensor<?xi32>, tensor<?x4xi32>, tensor<?x4xf32>
    ```
  }];
  let arguments = (ins LM_I32:$ids, LM_F32:$gates);
  let results = (outs LM_I32:$offsets, LM_I32:$tokens, LM_I32:$ranks, LM_F32:$sorted_gates);
  let assemblyFormat = [{
    $ids `,` $gates attr-dict `:` type($ids) `,` type($gates) `->` type($offsets) `,` type($tokens) `,` type($ranks) `,` type($sorted_gates)
  }];
  let hasVerifier = 1;
}

def MoE_GroupedLinearOp : MoE_Op<"grouped_linear", [Pure, AttrSizedOperandSegments]> {
  let summary = "One linear per expert over the slots of that expert";
  let description = [{
    Slot i of expert e (offsets[e] <= i < offsets[e+1]) multiplies `W[e]` `[O, K]` with row `tokens[i]` of the source when `rows` is given, else with row i.
    Same reduction order as lm.linear / lm.scaled_linear. Experts without slots do no work.

    ```mlir
    %y = moe.grouped_linear %x rows %tok, %off, %w scales %s
        : (tensor<?x256xbf16>, tensor<?xi32>, tensor<17xi32>, tensor<16x192x256xf8E4M3FN>, tensor<16x2x2xf32>) -> tensor<?x192xbf16>
    ```
  }];
  let arguments = (ins LM_ActOrCodes:$source, Optional<LM_F32>:$source_scales, Optional<LM_I32>:$tokens, LM_I32:$offsets,
                       LM_WeightTensor:$weight, Optional<LM_F32>:$scales);
  let results = (outs LM_Act:$result);
  let assemblyFormat = [{
    $source (`by` $source_scales^)? (`rows` $tokens^)? `,` $offsets `,` $weight (`scales` $scales^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def MoE_CombineOp : MoE_Op<"combine", [Pure]> {
  let summary = "sum over j of gates[t, j] * source[ranks[t, j]], j ascending (ascending expert), in f32";
  let description = [{
    Each term is an f32 product, added in order to 0 without contraction (spec model.md 4.10).

    ```mlir
    %r = moe.combine %y, %rank, %gs : tensor<?x256xbf16>, tensor<?x4xi32>, tensor<?x4xf32> -> tensor<?x256xf32>
    ```
  }];
  let arguments = (ins LM_Act:$source, LM_I32:$ranks, LM_F32:$gates);
  let results = (outs LM_F32:$result);
  let assemblyFormat = "$source `,` $ranks `,` $gates attr-dict `:` type($source) `,` type($ranks) `,` type($gates) `->` type($result)";
  let hasVerifier = 1;
}

def MoE_DispatchRanksOp : MoE_Op<"dispatch_ranks", [MemoryEffects<[MemRead<MoE_Communicator>, MemWrite<MoE_Communicator>]>]> {
  let summary = "Sends the rows of the slots to the ranks of their experts";
  let description = [{
    Every rank holds some of the experts and rows of its own. Slots are those of moe.dispatch: tokens (row of each slot) and offsets (first slot of each
    expert). Results: the rows received (a row is sent once to each rank that needs it), the row of each received slot, and the first received slot of each
    expert; experts of other ranks have none. Received slots are in the order (expert, source rank, row). All ranks execute the same sequence of
    dispatches and combines, ranks without rows too. The exchange is ended by one moe.combine_ranks, before the next one begins. Scales of a quantised row
    (`by`) travel with it. Gates `[rows, K]` are the weights of a row's slots in ascending expert order, for combines that add before they return.

    With one rank this is the identity.

    ```mlir
    %xr, %tokr, %offr, %exchange = moe.dispatch_ranks %x, %tok, %off, %g
        : (tensor<?x256xbf16>, tensor<?xi32>, tensor<17xi32>, tensor<?x4xf32>) -> (tensor<?x256xbf16>, tensor<?xi32>, tensor<17xi32>, !moe.exchange)
    ```
  }];
  let arguments = (ins LM_ActOrCodes:$source, Optional<LM_F32>:$scales, LM_I32:$tokens, LM_I32:$offsets, LM_F32:$gates);
  let results = (outs LM_ActOrCodes:$received, Optional<LM_F32>:$received_scales, LM_I32:$received_tokens, LM_I32:$received_offsets,
                      MoE_ExchangeType:$exchange);
  let assemblyFormat = "$source (`by` $scales^)? `,` $tokens `,` $offsets `,` $gates attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def MoE_CombineRanksOp : MoE_Op<"combine_ranks",
    [MemoryEffects<[MemRead<MoE_Communicator>, MemWrite<MoE_Communicator>]>, AllTypesMatch<["source", "result"]>]> {
  let summary = "Returns the result of every received slot to its rank, in the order of that rank's slots";
  let description = [{
    Row i of the result belongs to slot i before the dispatch, `gates` are what it has to be multiplied with. With `exact` combine (spec parallel.md 3) no
    value changes and the gates are those of the dispatch; other modes are chosen at load. Ends the exchange.

    ```mlir
    %e, %gr = moe.combine_ranks %er, %exchange : (tensor<?x256xbf16>, !moe.exchange) -> (tensor<?x256xbf16>, tensor<?x4xf32>)
    ```
  }];
  let arguments = (ins LM_Act:$source, MoE_ExchangeType:$exchange);
  let results = (outs LM_Act:$result, LM_F32:$gates);
  let assemblyFormat = "$source `,` $exchange attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

#endif
