//===- LMOps.td - what every transformer has --------------------*- tablegen -*-===//
// The `lm` dialect: weights as symbols, layers and programs and the kernel region; row ops and linears are in the files included below.

#ifndef MORAY_DIALECTS_LM_LMOPS_TD
#define MORAY_DIALECTS_LM_LMOPS_TD

include "dialects/LM/LMBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/IR/RegionKindInterface.td"
include "mlir/Interfaces/CallInterfaces.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/FunctionInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"

class LM_Op<string mnemonic, list<Trait> traits = []> : Op<LM_Dialect, mnemonic, traits>;

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

def LM_WeightOp : LM_Op<"weight", [Symbol, HasParent<"::mlir::ModuleOp">, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "A weight symbol: shape, element type and where its bytes come from";
  let description = [{
    Stored weights name a tensor of the checkpoint: `{l}` stands for the layer, `{l+1}` for the next one, `{e}` for the expert (then the leading
    dimension counts experts). `last` replaces the template in the last layer of the model (used by rotated norms). Derived weights have a
    recipe over other weight symbols instead; the packager streams it, the interpreter evaluates it.

    ```mlir
    lm.weight @moe.in_norm per_layer from "model.layers.{l}.input_layernorm.weight" : tensor<256xbf16>
    lm.weight @moe.gate_e per_layer from "model.layers.{l}.mlp.experts.{e}.gate_proj.weight" : tensor<16x64x256xf8E4M3FN>
    lm.weight @moe.qkv_a per_layer recipe(#lm.concat<[@moe.q_a, @moe.kv_a], align = 128>) : tensor<208x256xf8E4M3FN>
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, UnitAttr:$per_layer, OptionalAttr<StrAttr>:$source, OptionalAttr<StrAttr>:$last,
                       OptionalAttr<AnyAttr>:$recipe, TypeAttrOf<LM_WeightTensor>:$type);
  let assemblyFormat = "$sym_name (`per_layer` $per_layer^)? (`from` $source^)? (`last` $last^)? (`recipe` `(` $recipe^ `)`)? attr-dict `:` $type";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// The type as a ranked tensor.
    ::mlir::RankedTensorType getTensorType() { return ::llvm::cast<::mlir::RankedTensorType>(getType()); }
    /// Symbols that the recipe reads, in order; empty for stored weights.
    ::llvm::SmallVector<::mlir::FlatSymbolRefAttr> getRecipeSources();
  }];
}

def LM_WeightOfOp : LM_Op<"weight_of", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "The weight of a layer (or the global weight) as a value";
  let description = [{
    Kernels take weights as operands, so two kernels on different weights can share code.

    ```mlir
    %w = lm.weight_of @moe.q_a[%l] : tensor<128x256xf8E4M3FN>
    %e = lm.weight_of @embed : tensor<4096x256xbf16>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$weight, Optional<Index>:$layer);
  let results = (outs LM_WeightTensor:$result);
  let assemblyFormat = "$weight (`[` $layer^ `]`)? attr-dict `:` type($result)";
}

//===----------------------------------------------------------------------===//
// Programs and layers
//===----------------------------------------------------------------------===//

class LM_FuncOp<string mnemonic> : LM_Op<mnemonic, [FunctionOpInterface, IsolatedFromAbove, AutomaticAllocationScope,
                                                    HasParent<"::mlir::ModuleOp">, SingleBlock]> {
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let extraClassDeclaration = [{
    ::llvm::ArrayRef<::mlir::Type> getArgumentTypes() { return getFunctionType().getInputs(); }
    ::llvm::ArrayRef<::mlir::Type> getResultTypes() { return getFunctionType().getResults(); }
    ::mlir::Region *getCallableRegion() { return &getBody(); }
  }];
}

def LM_LayerOp : LM_FuncOp<"layer"> {
  let summary = "One layer kind, called with the layer number";
  let description = [{
    The first argument is the layer number (`index`); weights are found by (symbol, layer). Layers of equal structure share one op.

    ```mlir
    lm.layer @dense(%l: index, %h: tensor<?x256xf32>, %rows: !lm.rows) -> tensor<?x256xf32> {
      %n = lm.weight_of @dense.in_norm[%l] : tensor<256xbf16>
      %x = lm.rms_norm %h, %n {eps = 1.0e-6 : f32} : tensor<?x256xf32>, tensor<256xbf16> -> tensor<?x256xf32>
      lm.return %x : tensor<?x256xf32>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttrOf<FunctionType>:$function_type,
                       OptionalAttr<DictArrayAttr>:$arg_attrs, OptionalAttr<DictArrayAttr>:$res_attrs);
  let hasVerifier = 1;
}

def LM_ProgramOp : LM_FuncOp<"program"> {
  let summary = "An entry point of the artifact: step, sample or score";
  let description = [{
    `step(tokens, rows, cache, out_rows) -> logits`, `sample(logits, params) -> tokens`, `score(logits, targets) -> log-probabilities`. The kind is the
    attribute `lm.kind`.

    ```mlir
    lm.program @step(%tokens: tensor<?xi32>, %rows: !lm.rows, %kv: !mla.cache<64, 16, page = 64, f32>, %outs: tensor<?xi32>)
        -> tensor<?x4096xf32> attributes {lm.kind = #lm<program_kind step>} {
      %w = lm.weight_of @embed : tensor<4096x256xbf16>
      %h = lm.embed %tokens, %w : tensor<?xi32>, tensor<4096x256xbf16> -> tensor<?x256xf32>
      %o = lm.gather_rows %h, %outs : tensor<?x256xf32>, tensor<?xi32> -> tensor<?x256xf32>
      %z = lm.linear %o, %w : (tensor<?x256xf32>, tensor<4096x256xbf16>) -> tensor<?x4096xf32>
      lm.return %z : tensor<?x4096xf32>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttrOf<FunctionType>:$function_type,
                       OptionalAttr<DictArrayAttr>:$arg_attrs, OptionalAttr<DictArrayAttr>:$res_attrs);
  let hasVerifier = 1;
}

def LM_ReturnOp : LM_Op<"return", [Pure, Terminator, ReturnLike, ParentOneOf<["LayerOp", "ProgramOp"]>]> {
  let summary = "Ends a layer or a program";
  let description = [{
    ```mlir
    lm.return %h : tensor<?x256xf32>
    ```
  }];
  let arguments = (ins Variadic<AnyType>:$operands);
  let assemblyFormat = "($operands^ `:` type($operands))? attr-dict";
}

def LM_CallOp : LM_Op<"call", [DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "Runs a layer kind for a range of layer numbers, feeding results back into the leading arguments";
  let description = [{
    For l in [first, first + count): `(a_0 .. a_k) = layer(l, a_0 .. a_k, rest)`, where k is the number of results. Writes the caches among its operands.

    ```mlir
    %h1 = lm.call @moe[3, 58](%h0, %rows, %kv) : (tensor<?x256xf32>, !lm.rows, !mla.cache<64, 16, page = 64, f32>) -> tensor<?x256xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$callee, I64Attr:$first, I64Attr:$count, Variadic<AnyType>:$inputs);
  let results = (outs Variadic<AnyType>:$outputs);
  let assemblyFormat = "$callee `[` $first `,` $count `]` `(` $inputs `)` attr-dict `:` functional-type($inputs, $outputs)";
}

//===----------------------------------------------------------------------===//
// Kernel regions
//===----------------------------------------------------------------------===//

def LM_KernelOp : LM_Op<"kernel", [IsolatedFromAbove, SingleBlock, RecursiveMemoryEffects]> {
  let summary = "A fused group of ops that becomes one kernel";
  let description = [{
    Operands are the block arguments of the region; weights come in as operands, so regions that are equal share code. `domain` says which live
    count the rows follow; for `slots` (sorted pairs of row and expert) `slots_per_row` gives the pairs per row. A row kernel over slots takes the offsets
    of moe.dispatch as its last operand: their last entry counts the slots. The interpreter executes the region like any other ops.

    ```mlir
    %y = lm.kernel gemm over rows (%x, %w : tensor<?x256xbf16>, tensor<128x256xbf16>) -> tensor<?x128xbf16> {
    ^bb0(%a: tensor<?x256xbf16>, %b: tensor<128x256xbf16>):
      %0 = lm.linear %a, %b : (tensor<?x256xbf16>, tensor<128x256xbf16>) -> tensor<?x128xbf16>
      lm.yield %0 : tensor<?x128xbf16>
    }
    ```
  }];
  let arguments = (ins LM_KernelClassAttr:$kernel_class, LM_DomainAttr:$domain, OptionalAttr<I64Attr>:$slots_per_row, Variadic<AnyType>:$inputs);
  let results = (outs Variadic<AnyType>:$outputs);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$kernel_class `over` $domain (`of` $slots_per_row^)? `(` ($inputs^ `:` type($inputs))? `)` (`->` type($outputs)^)? attr-dict-with-keyword $body";
  let hasVerifier = 1;
}

def LM_YieldOp : LM_Op<"yield", [Pure, Terminator, ReturnLike]> {
  let summary = "Results of a kernel region";
  let description = [{
    ```mlir
    lm.yield %0 : tensor<?x128xbf16>
    ```
  }];
  let arguments = (ins Variadic<AnyType>:$operands);
  let assemblyFormat = "($operands^ `:` type($operands))? attr-dict";
}

include "dialects/LM/LMRowOps.td"
include "dialects/LM/LMLinearOps.td"

#endif
