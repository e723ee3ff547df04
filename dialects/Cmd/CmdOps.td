//===- CmdOps.td - what the runtime does ------------------------*- tablegen -*-===//
// The `cmd` dialect: programs over buffers with symbolic size and lifetime; the artifact stores them one to one.

#ifndef MORAY_DIALECTS_CMD_CMDOPS_TD
#define MORAY_DIALECTS_CMD_CMDOPS_TD

include "mlir/IR/OpBase.td"
include "dialects/Cmd/CmdEnums.td"
include "dialects/LM/LMBase.td"
include "mlir/IR/SymbolInterfaces.td"

def Cmd_Dialect : Dialect {
  let name = "cmd";
  let cppNamespace = "::moray::cmd";
  let summary = "Programs over buffers";
  let description = [{
    No tensor semantics: a program allocates buffers, launches kernels on them and calls layer programs with a layer number. The loader gets the
    same lists from the artifact, packs buffers by lifetime and runs them.
  }];
  let dependentDialects = ["::moray::lm::LMDialect"];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
}

def Cmd_BufferType : TypeDef<Cmd_Dialect, "Buffer"> {
  let mnemonic = "buffer";
  let summary = "Device memory that holds elements of one type, row-major without padding";
  let parameters = (ins "::mlir::Type":$elementType);
  let assemblyFormat = "`<` $elementType `>`";
}

def Cmd_ExprAttr : AttrDef<Cmd_Dialect, "Expr"> {
  let mnemonic = "expr";
  let summary = "Size expression over the declared symbols";
  let description = [{
    Postfix code of pairs (kind, value) as in schema ExprOp: const, symbol, `+`, `*`, ceildiv, min, max, align. Printed infix:
    `#cmd.expr<T * 4224 + align(N, 64)>`. Symbols: T B N P C (capacities), R (ranks), rows decode seqs outs prefill received (of each
    step).
  }];
  let parameters = (ins ArrayRefParameter<"int64_t">:$code);
  let hasCustomAssemblyFormat = 1;
  let extraClassDeclaration = [{
    /// Kinds of schema ExprOpKind, in its order.
    enum Kind : int64_t { Const = 0, Symbol = 1, Add = 2, Mul = 3, CeilDiv = 4, Min = 5, Max = 6, Align = 7 };
    /// Names of the symbols in the order of schema SymbolId.
    static ::llvm::ArrayRef<::llvm::StringRef> symbolNames();
    /// Product of `symbols` and `factor`; a plain constant without symbols. The names must be among symbolNames().
    static ExprAttr product(::mlir::MLIRContext *context, ::llvm::ArrayRef<::llvm::StringRef> symbols, int64_t factor);
  }];
}

def Cmd_ProgramKindAttr : EnumAttr<Cmd_Dialect, Cmd_ProgramKind, "program_kind">;

def Cmd_CollectiveAttr : EnumAttr<Cmd_Dialect, Cmd_Collective, "collective">;

def Cmd_InputAttr : EnumAttr<Cmd_Dialect, Cmd_Input, "input">;

class Cmd_Op<string mnemonic, list<Trait> traits = []> : Op<Cmd_Dialect, mnemonic, traits>;

/// The micro-batch that a command belongs to.
defvar Cmd_Batch = ConfinedAttr<DefaultValuedOptionalAttr<I64Attr, "0">, [IntMinValue<0>, IntMaxValue<1>]>;

def Cmd_KernelOp : Cmd_Op<"kernel", [Symbol, IsolatedFromAbove, SingleBlock, HasParent<"::mlir::ModuleOp">]> {
  let summary = "An outlined kernel region: what codegen compiles once";
  let description = [{
    The region is that of an lm.kernel (ends with lm.yield). Operands of a launch are the block arguments (an !lm.rows counts as five buffers), then the
    results. A result that an op writes in place (mla.absorb_value `into`) shares the buffer of that operand.

    ```mlir
    cmd.kernel @gemm_0 gemm over rows {
    ^bb0(%a: tensor<?x256xbf16>, %b: tensor<128x256xbf16>):
      %0 = lm.linear %a, %b : (tensor<?x256xbf16>, tensor<128x256xbf16>) -> tensor<?x128xbf16>
      lm.yield %0 : tensor<?x128xbf16>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, LM_KernelClassAttr:$kernel_class, LM_DomainAttr:$domain, OptionalAttr<I64Attr>:$slots_per_row);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name $kernel_class `over` $domain (`of` $slots_per_row^)? attr-dict-with-keyword $body";
  let hasVerifier = 1;
}

def Cmd_InvokeOp : Cmd_Op<"invoke", [DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "Applies an outlined kernel to tensors (between outlining and lowering)";
  let description = [{
    ```mlir
    %y = cmd.invoke @gemm_0(%x, %w) : (tensor<?x256xbf16>, tensor<128x256xbf16>) -> tensor<?x128xbf16>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, Variadic<AnyType>:$inputs);
  let results = (outs Variadic<AnyType>:$outputs);
  let assemblyFormat = "$kernel `(` $inputs `)` attr-dict `:` functional-type($inputs, $outputs)";
}

def Cmd_ProgramOp : Cmd_Op<"program", [Symbol, IsolatedFromAbove, SingleBlock, NoTerminator, HasParent<"::mlir::ModuleOp">]> {
  let summary = "A list of commands; block arguments are the parameters of a layer program";
  let description = [{
    ```mlir
    cmd.program @dense layer {
    ^bb0(%h: !cmd.buffer<f32>):
      %t = cmd.buffer <T * 1024> lifetime [0, 1] : !cmd.buffer<f32>
      %w = cmd.weight @dense.in_norm : !cmd.buffer<bf16>
      cmd.launch @row_0(%h, %w, %t) : !cmd.buffer<f32>, !cmd.buffer<bf16>, !cmd.buffer<f32>
      cmd.launch @row_1(%t, %h) : !cmd.buffer<f32>, !cmd.buffer<f32>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, Cmd_ProgramKindAttr:$kind);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name $kind attr-dict-with-keyword $body";
  let hasVerifier = 1;
}

def Cmd_BufferOp : Cmd_Op<"buffer", [HasParent<"ProgramOp">]> {
  let summary = "Local memory of a program";
  let description = [{
    `lifetime [first, last]` are numbers of the program's commands (launch, call, copy, collective) in order: the first write and the last use.

    ```mlir
    %t = cmd.buffer <T * 1024> lifetime [0, 1] : !cmd.buffer<f32>
    ```
  }];
  let arguments = (ins Cmd_ExprAttr:$bytes, OptionalAttr<I64Attr>:$first, OptionalAttr<I64Attr>:$last);
  let results = (outs Res<Cmd_BufferType, "", [MemAlloc]>:$result);
  let assemblyFormat = "$bytes (`lifetime` `[` $first^ `,` $last `]`)? attr-dict `:` type($result)";
}

def Cmd_InputOp : Cmd_Op<"input", [HasParent<"ProgramOp">, Pure]> {
  let summary = "Memory that the engine owns";
  let description = [{
    ```mlir
    %tokens = cmd.input tokens : !cmd.buffer<i32>
    ```
  }];
  let arguments = (ins Cmd_InputAttr:$input);
  let results = (outs Cmd_BufferType:$result);
  let assemblyFormat = "$input attr-dict `:` type($result)";
}

def Cmd_WeightOp : Cmd_Op<"weight", [HasParent<"ProgramOp">, Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "The stored bytes of a weight (of the current layer)";
  let description = [{
    ```mlir
    %w = cmd.weight @dense.in_norm : !cmd.buffer<bf16>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$weight);
  let results = (outs Cmd_BufferType:$result);
  let assemblyFormat = "$weight attr-dict `:` type($result)";
}

def Cmd_CacheOp : Cmd_Op<"cache", [HasParent<"ProgramOp">, Pure]> {
  let summary = "The latent cache of the current layer";
  let description = [{
    ```mlir
    %c = cmd.cache : !cmd.buffer<bf16>
    ```
  }];
  let results = (outs Cmd_BufferType:$result);
  let assemblyFormat = "attr-dict `:` type($result)";
}

def Cmd_LaunchOp : Cmd_Op<"launch", [HasParent<"ProgramOp">, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "Runs a kernel on buffers: operands, then results";
  let description = [{
    ```mlir
    cmd.launch @gemm_0(%x, %w, %y) : !cmd.buffer<bf16>, !cmd.buffer<bf16>, !cmd.buffer<bf16>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, Variadic<Cmd_BufferType>:$args, Cmd_Batch:$batch);
  let assemblyFormat = "$kernel `(` $args `)` (`batch` $batch^)? attr-dict `:` type($args)";
}

def Cmd_CallOp : Cmd_Op<"call", [HasParent<"ProgramOp">, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "Runs a layer program for layers [first, first + count), in place on its arguments";
  let description = [{
    ```mlir
    cmd.call @moe[3, 58](%h) : !cmd.buffer<bf16>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$callee, I64Attr:$first, I64Attr:$count, Variadic<Cmd_BufferType>:$args, Cmd_Batch:$batch);
  let assemblyFormat = "$callee `[` $first `,` $count `]` `(` $args `)` (`batch` $batch^)? attr-dict `:` type($args)";
}

def Cmd_CopyOp : Cmd_Op<"copy", [HasParent<"ProgramOp">, TypesMatchWith<"target has the type of the source", "source", "target", "$_self">]> {
  let summary = "Copies bytes between buffers";
  let description = [{
    ```mlir
    cmd.copy %a to %b bytes <T * 1024> : !cmd.buffer<f32>
    ```
  }];
  let arguments = (ins Cmd_BufferType:$source, Cmd_BufferType:$target, Cmd_ExprAttr:$bytes, Cmd_Batch:$batch);
  let assemblyFormat = "$source `to` $target `bytes` $bytes (`batch` $batch^)? attr-dict `:` type($source)";
}

def Cmd_CollectiveOp : Cmd_Op<"collective", [HasParent<"ProgramOp">]> {
  let summary = "Moves rows between ranks; every rank runs the same collectives in the same order";
  let description = [{
    `dispatch`(x, tokens, offsets, gates, xr, tokens_r, offsets_r [, scales, scales_r]) and `combine`(e_r, e, gates_out) are moe.dispatch_ranks and
    moe.combine_ranks over buffers. A combine belongs to the dispatch of its batch before it. `row_bytes` is the size of a row of x or e, `scale_bytes`
    that of a row of scales. `start` only begins it; until the `wait` of the same batch, its buffers are not touched.

    ```mlir
    cmd.collective start combine(%er, %e, %g) row_bytes 512 batch 1 : !cmd.buffer<bf16>, !cmd.buffer<bf16>, !cmd.buffer<f32>
    cmd.collective wait combine() batch 1
    ```
  }];
  let arguments = (ins Cmd_CollectiveAttr:$collective, Variadic<Cmd_BufferType>:$args, DefaultValuedOptionalAttr<I64Attr, "0">:$row_bytes,
                       DefaultValuedOptionalAttr<I64Attr, "0">:$scale_bytes, UnitAttr:$start, UnitAttr:$wait, Cmd_Batch:$batch);
  let assemblyFormat = [{
    (`start` $start^)? (`wait` $wait^)? $collective `(` $args `)` (`row_bytes` $row_bytes^)? (`scale_bytes` $scale_bytes^)? (`batch` $batch^)? attr-dict
    (`:` type($args)^)?
  }];
  let hasVerifier = 1;
}

#endif
