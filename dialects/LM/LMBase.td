//===- LMBase.td - dialect, types, attributes -------------------*- tablegen -*-===//
// What other dialects use of `lm`: the dialect itself, its types, attributes and operand constraints. No ops.

#ifndef MORAY_DIALECTS_LM_LMBASE_TD
#define MORAY_DIALECTS_LM_LMBASE_TD

include "mlir/IR/OpBase.td"
include "dialects/LM/LMEnums.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributeInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def LM_Dialect : Dialect {
  let name = "lm";
  let cppNamespace = "::moray::lm";
  let summary = "What every transformer has, on tensors";
  let description = [{
    Values are tensors of rank 2 `[rows, width]` whose rows are the rows of one step. A rounding point is an element type: an op computes in
    f32 and rounds once to the element type of its result (`f32` or `bf16`). Weights are symbols; bytes never enter the IR.
  }];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
}

//===----------------------------------------------------------------------===//
// Types and attributes
//===----------------------------------------------------------------------===//

def LM_RowsType : TypeDef<LM_Dialect, "Rows"> {
  let mnemonic = "rows";
  let summary = "Which sequence and position each row of the step belongs to";
  let description = [{
    Bundle of positions `[T]`, row_seq `[T]`, cu_rows `[B+1]`, page_table `[B, P]` and ctx_len `[B]` (int32). Rows are sorted
    [decode | prefill]; the live counts travel beside it.
  }];
}

def LM_NumericsAttr : AttrDef<LM_Dialect, "Numerics"> {
  let mnemonic = "numerics";
  let summary = "Numeric mode of a module, attribute `lm.numerics`";
  let parameters = (ins EnumParameter<LM_Mode>:$mode, EnumParameter<LM_Order>:$order);
  let assemblyFormat = "`<` $mode `,` $order `>`";
}

def LM_RopeLayoutAttr : EnumAttr<LM_Dialect, LM_RopeLayout, "rope_layout">;

def LM_ScaleFormatAttr : EnumAttr<LM_Dialect, LM_ScaleFormat, "scale_format">;

def LM_KernelClassAttr : EnumAttr<LM_Dialect, LM_KernelClass, "kernel_class">;

def LM_DomainAttr : EnumAttr<LM_Dialect, LM_Domain, "domain">;

def LM_ProgramKindAttr : EnumAttr<LM_Dialect, LM_ProgramKind, "program_kind">;

class LM_Recipe<string name, string mnem> : AttrDef<LM_Dialect, name> { let mnemonic = mnem; }

def LM_ConcatAttr : LM_Recipe<"Concat", "concat"> {
  let summary = "Rows of several weights one after the other; every part but the last is zero-padded to `align` rows";
  let description = [{
    For FP8 codes align is 128, so that scale row = row / 128 stays true; the scale symbols are concatenated with align 1.
    Works on the second-last dimension (per expert for rank 3).
  }];
  let parameters = (ins ArrayRefParameter<"::mlir::FlatSymbolRefAttr">:$parts, "int64_t":$align);
  let assemblyFormat = "`<` `[` $parts `]` `,` `align` `=` $align `>`";
}
def LM_SliceAttr : LM_Recipe<"SliceRows", "slice_rows"> {
  let summary = "Rows [offset, offset + size) of a weight";
  let parameters = (ins "::mlir::FlatSymbolRefAttr":$source, "int64_t":$offset, "int64_t":$size);
  let assemblyFormat = "`<` $source `,` `offset` `=` $offset `,` `size` `=` $size `>`";
}
def LM_PadAttr : LM_Recipe<"PadRows", "pad_rows"> {
  let summary = "A weight followed by zero rows (scales: ones) up to the type's row count";
  let parameters = (ins "::mlir::FlatSymbolRefAttr":$source);
  let assemblyFormat = "`<` $source `>`";
}
def LM_QuantizeCodesAttr : LM_Recipe<"QuantizeCodes", "quantize_codes"> {
  let summary = "E4M3 codes of a weight quantised in 128x128 blocks (spec fp8.md 7)";
  let parameters = (ins "::mlir::FlatSymbolRefAttr":$source, EnumParameter<LM_ScaleFormat>:$format);
  let assemblyFormat = "`<` $source `,` $format `>`";
}
def LM_QuantizeScalesAttr : LM_Recipe<"QuantizeScales", "quantize_scales"> {
  let summary = "The f32 block scales that belong to quantize_codes of the same weight";
  let parameters = (ins "::mlir::FlatSymbolRefAttr":$source, EnumParameter<LM_ScaleFormat>:$format);
  let assemblyFormat = "`<` $source `,` $format `>`";
}
def LM_DequantizeAttr : LM_Recipe<"Dequantize", "dequantize"> {
  let summary = "code * scale, rounded to the type of the weight (bf16 or f32; spec fp8.md 6)";
  let parameters = (ins "::mlir::FlatSymbolRefAttr":$codes, "::mlir::FlatSymbolRefAttr":$scales);
  let assemblyFormat = "`<` $codes `,` $scales `>`";
}

//===----------------------------------------------------------------------===//
// Operand constraints
//===----------------------------------------------------------------------===//

def LM_Act : RankedTensorOf<[F32, BF16]>;             // activations [rows, width]
def LM_ActOrCodes : RankedTensorOf<[F32, BF16, F8E4M3FN]>;
def LM_F32 : RankedTensorOf<[F32]>;
def LM_Codes : RankedTensorOf<[F8E4M3FN]>;
def LM_I32 : RankedTensorOf<[I32]>;
def LM_WeightTensor : RankedTensorOf<[F32, BF16, F8E4M3FN]>;
def LM_DenseWeight : RankedTensorOf<[F32, BF16]>;

#endif
