// Every error of the verifiers in dialects/LM.
// RUN: moray-opt %s --split-input-file --verify-diagnostics

// expected-error @+1 {{is declared as 'tensor<?x256xbf16>', expected a static shape of rank 1 to 3}}
lm.weight @w from "w" : tensor<?x256xbf16>

// -----

// expected-error @+1 {{needs either a source (`from`) or a recipe}}
lm.weight @w : tensor<256xbf16>

// -----

// expected-error @+1 {{has an unknown recipe "merge"}}
lm.weight @w recipe("merge") : tensor<256xbf16>

// -----

// expected-error @+1 {{`last` needs a per_layer weight with a source}}
lm.weight @w from "w" last "v" : tensor<256xbf16>

// -----

// expected-error @+1 {{per_layer and the placeholder {l} of source "w" disagree}}
lm.weight @w per_layer from "w" : tensor<256xbf16>

// -----

// expected-error @+1 {{per_layer and the placeholder {l} of source "layers.{l}.w" disagree}}
lm.weight @w from "layers.{l}.w" : tensor<256xbf16>

// -----

// expected-error @+1 {{source "experts.{e}.w" names experts, expected a tensor of rank 3}}
lm.weight @w from "experts.{e}.w" : tensor<64x256xbf16>

// -----

// expected-error @+1 {{has a recipe over @v, which is no lm.weight}}
lm.weight @w recipe(#lm.pad_rows<@v>) : tensor<64x256xbf16>

// -----

lm.weight @v per_layer from "layers.{l}.v" : tensor<64x256xbf16>
// expected-error @+1 {{and its source @v must both be per_layer or both not}}
lm.weight @w recipe(#lm.pad_rows<@v>) : tensor<64x256xbf16>

// -----

lm.weight @v from "v" : tensor<64x256xbf16>
lm.weight @u from "u" : tensor<64x128xbf16>
// expected-error @+1 {{which does not fit the types of its sources}}
lm.weight @w recipe(#lm.concat<[@v, @u], align = 1>) : tensor<128x256xbf16>

// -----

lm.weight @v from "v" : tensor<64x256xbf16>
// expected-error @+1 {{which does not fit the types of its sources}}
lm.weight @w recipe(#lm.concat<[@v, @v], align = 0>) : tensor<128x256xbf16>

// -----

lm.weight @v from "v" : tensor<64x256xbf16>
// expected-error @+1 {{is declared as 'tensor<128x256xbf16>', but its recipe gives 'tensor<192x256xbf16>'}}
lm.weight @w recipe(#lm.concat<[@v, @v], align = 128>) : tensor<128x256xbf16>

// -----

lm.weight @v from "v" : tensor<64x256xbf16>
// expected-error @+1 {{which does not fit the types of its sources}}
lm.weight @w recipe(#lm.slice_rows<@v, offset = 60, size = 8>) : tensor<8x256xbf16>

// -----

lm.weight @v from "v" : tensor<64x256xbf16>
// expected-error @+1 {{which does not fit the types of its sources}}
lm.weight @w recipe(#lm.pad_rows<@v>) : tensor<32x256xbf16>

// -----

lm.weight @v from "v" : tensor<64x256xf8E4M3FN>
// expected-error @+1 {{which does not fit the types of its sources}}
lm.weight @w recipe(#lm.quantize_codes<@v, f32>) : tensor<64x256xf8E4M3FN>

// -----

lm.weight @v from "v" : tensor<256xbf16>
// expected-error @+1 {{which does not fit the types of its sources}}
lm.weight @w recipe(#lm.quantize_scales<@v, f32>) : tensor<2xf32>

// -----

lm.weight @v from "v" : tensor<130x200xf8E4M3FN>
lm.weight @s from "s" : tensor<1x2xf32>
// expected-error @+1 {{which does not fit the types of its sources}}
lm.weight @w recipe(#lm.dequantize<@v, @s>) : tensor<130x200xbf16>

// -----

// expected-error @+1 {{has a recipe that leads back to itself}}
lm.weight @v recipe(#lm.pad_rows<@w>) : tensor<64x256xbf16>
lm.weight @w recipe(#lm.pad_rows<@v>) : tensor<64x256xbf16>

// -----

func.func @f() {
  // expected-error @+1 {{refers to @w, which is no lm.weight}}
  %0 = lm.weight_of @w : tensor<256xbf16>
  return
}

// -----

lm.weight @w from "w" : tensor<256xbf16>
func.func @f() {
  // expected-error @+1 {{has type 'tensor<256xf32>', but @w is 'tensor<256xbf16>'}}
  %0 = lm.weight_of @w : tensor<256xf32>
  return
}

// -----

lm.weight @w per_layer from "{l}.w" : tensor<256xbf16>
func.func @f() {
  // expected-error @+1 {{needs a layer number for @w}}
  %0 = lm.weight_of @w : tensor<256xbf16>
  return
}

// -----

lm.weight @w from "w" : tensor<256xbf16>
func.func @f(%l: index) {
  // expected-error @+1 {{takes no a layer number for @w}}
  %0 = lm.weight_of @w[%l] : tensor<256xbf16>
  return
}

// -----

// expected-error @+1 {{expects the layer number (index) as its first argument}}
lm.layer @l(%h: tensor<?x256xf32>) -> tensor<?x256xf32> {
  lm.return %h : tensor<?x256xf32>
}

// -----

// expected-error @+1 {{must return values of the types of its arguments after the layer number, in order}}
lm.layer @l(%l: index, %rows: !lm.rows, %h: tensor<?x256xf32>) -> tensor<?x256xf32> {
  lm.return %h : tensor<?x256xf32>
}

// -----

lm.layer @l(%l: index, %h: tensor<?x256xf32>, %g: tensor<?x256xbf16>) -> tensor<?x256xf32> {
  // expected-error @+1 {{returns 'tensor<?x256xbf16>', expected 'tensor<?x256xf32>'}}
  lm.return %g : tensor<?x256xbf16>
}

// -----

// expected-error @+1 {{must end with lm.return}}
lm.layer @l(%l: index, %h: tensor<?x256xf32>) -> tensor<?x256xf32> {
  lm.yield %h : tensor<?x256xf32>
}

// -----

// expected-error @+1 {{needs the attribute lm.kind = #lm<program_kind step|sample|score|step_dist>}}
lm.program @p(%h: tensor<?x256xf32>) -> tensor<?x256xf32> {
  lm.return %h : tensor<?x256xf32>
}

// -----

func.func @f(%h: tensor<?x256xf32>) {
  // expected-error @+1 {{refers to @l, which is no lm.layer}}
  %0 = lm.call @l[0, 1](%h) : (tensor<?x256xf32>) -> tensor<?x256xf32>
  return
}

// -----

lm.layer @l(%l: index, %h: tensor<?x256xf32>) -> tensor<?x256xf32> {
  lm.return %h : tensor<?x256xf32>
}
func.func @f(%h: tensor<?x256xf32>) {
  // expected-error @+1 {{has the layer range [0, 0], expected first >= 0 and count >= 1}}
  %0 = lm.call @l[0, 0](%h) : (tensor<?x256xf32>) -> tensor<?x256xf32>
  return
}

// -----

lm.layer @l(%l: index, %h: tensor<?x256xf32>) -> tensor<?x256xf32> {
  lm.return %h : tensor<?x256xf32>
}
func.func @f(%h: tensor<?x128xf32>) {
  // expected-error @+1 {{passes 'tensor<?x128xf32>', expected 'tensor<?x256xf32>'}}
  %0 = lm.call @l[0, 1](%h) : (tensor<?x128xf32>) -> tensor<?x256xf32>
  return
}

// -----

lm.layer @l(%l: index, %h: tensor<?x256xf32>) -> tensor<?x256xf32> {
  lm.return %h : tensor<?x256xf32>
}
func.func @f(%h: tensor<?x256xf32>) {
  // expected-error @+1 {{yields 'tensor<?x128xf32>', expected 'tensor<?x256xf32>'}}
  %0 = lm.call @l[0, 1](%h) : (tensor<?x256xf32>) -> tensor<?x128xf32>
  return
}

// -----

func.func @f(%h: tensor<?x256xf32>) {
  // expected-error @+1 {{needs a positive number of slots per row (`of`) exactly for the domain slots}}
  %0 = lm.kernel row over slots (%h : tensor<?x256xf32>) -> tensor<?x256xf32> {
  ^bb0(%a: tensor<?x256xf32>):
    lm.yield %a : tensor<?x256xf32>
  }
  return
}

// -----

func.func @f(%h: tensor<?x256xf32>) {
  // expected-error @+1 {{over slots takes the offsets of the slots as its last operand}}
  %0 = lm.kernel row over slots of 2 (%h : tensor<?x256xf32>) -> tensor<?x256xf32> {
  ^bb0(%a: tensor<?x256xf32>):
    lm.yield %a : tensor<?x256xf32>
  }
  return
}

// -----

func.func @f(%h: tensor<?x256xf32>) {
  // expected-error @+1 {{has region arguments 'tensor<?x128xf32>', expected 'tensor<?x256xf32>'}}
  %0 = lm.kernel row over rows (%h : tensor<?x256xf32>) -> tensor<?x128xf32> {
  ^bb0(%a: tensor<?x128xf32>):
    lm.yield %a : tensor<?x128xf32>
  }
  return
}

// -----

func.func @f(%h: tensor<?x256xf32>) {
  // expected-error @+1 {{must end with lm.yield}}
  %0 = lm.kernel row over rows (%h : tensor<?x256xf32>) -> tensor<?x256xf32> {
  ^bb0(%a: tensor<?x256xf32>):
    llvm.unreachable
  }
  return
}

// -----

func.func @f(%h: tensor<?x256xf32>) {
  // expected-error @+1 {{yields 'tensor<?x256xf32>', expected 'tensor<?x256xbf16>'}}
  %0 = lm.kernel row over rows (%h : tensor<?x256xf32>) -> tensor<?x256xbf16> {
  ^bb0(%a: tensor<?x256xf32>):
    lm.yield %a : tensor<?x256xf32>
  }
  return
}

// -----

func.func @f(%t: tensor<?xi32>, %w: tensor<256xbf16>) {
  // expected-error @+1 {{weight is 'tensor<256xbf16>', expected [vocabulary, hidden]}}
  %0 = lm.embed %t, %w : tensor<?xi32>, tensor<256xbf16> -> tensor<?x256xf32>
  return
}

// -----

func.func @f(%t: tensor<?x1xi32>, %w: tensor<512x256xbf16>) {
  // expected-error @+1 {{tokens is 'tensor<?x1xi32>', expected rank 1 with a dynamic size}}
  %0 = lm.embed %t, %w : tensor<?x1xi32>, tensor<512x256xbf16> -> tensor<?x256xf32>
  return
}

// -----

func.func @f(%t: tensor<?xi32>, %w: tensor<512x256xbf16>) {
  // expected-error @+1 {{result is 'tensor<?x128xf32>', expected tensor<?x256x..>}}
  %0 = lm.embed %t, %w : tensor<?xi32>, tensor<512x256xbf16> -> tensor<?x128xf32>
  return
}

// -----

func.func @f(%h: tensor<?x256xf32>, %i: tensor<4xi32>) {
  // expected-error @+1 {{indices is 'tensor<4xi32>', expected rank 1 with a dynamic size}}
  %0 = lm.gather_rows %h, %i : tensor<?x256xf32>, tensor<4xi32> -> tensor<?x256xf32>
  return
}

// -----

func.func @f(%h: tensor<?x256xf32>, %i: tensor<?xi32>) {
  // expected-error @+1 {{moves 'f32' to 'bf16', expected one element type (round by lm.cast)}}
  %0 = lm.gather_rows %h, %i : tensor<?x256xf32>, tensor<?xi32> -> tensor<?x256xbf16>
  return
}

// -----

func.func @f(%h: tensor<?x256xf32>) {
  // expected-error @+1 {{takes columns [200, 264) of 256}}
  %0 = lm.slice %h[200] : tensor<?x256xf32> -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%h: tensor<?xf32>) {
  // expected-error @+1 {{source is 'tensor<?xf32>', expected [rows, width] with a dynamic number of rows and a static width}}
  %0 = lm.slice %h[0] : tensor<?xf32> -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%h: tensor<?x256xf32>) {
  // expected-error @+1 {{moves 'f32' to 'bf16', expected one element type (round by lm.cast)}}
  %0 = lm.slice %h[0] : tensor<?x256xf32> -> tensor<?x64xbf16>
  return
}

// -----

func.func @f(%h: tensor<?x256xf32>) {
  // expected-error @+1 {{source is 'tensor<?x256xf32>', expected tensor<?x128x..>}}
  %0 = lm.cast %h : tensor<?x256xf32> -> tensor<?x128xbf16>
  return
}

// -----

func.func @f(%h: tensor<?x?xf32>) {
  // expected-error @+1 {{result is 'tensor<?x?xbf16>', expected [rows, width] with a dynamic number of rows and a static width}}
  %0 = lm.cast %h : tensor<?x?xf32> -> tensor<?x?xbf16>
  return
}

// -----

func.func @f(%a: tensor<?x256xf32>, %b: tensor<?x128xf32>) {
  // expected-error @+1 {{rhs is 'tensor<?x128xf32>', expected tensor<?x256x..>}}
  %0 = lm.add %a, %b : tensor<?x256xf32>, tensor<?x128xf32> -> tensor<?x256xf32>
  return
}

// -----

func.func @f(%a: tensor<?x256xf32>, %b: tensor<?x128xf32>) {
  // expected-error @+1 {{up is 'tensor<?x128xf32>', expected tensor<?x256x..>}}
  %0 = lm.swiglu %a, %b : tensor<?x256xf32>, tensor<?x128xf32> -> tensor<?x256xf32>
  return
}

// -----

func.func @f(%a: tensor<?x256xf32>, %w: tensor<256xbf16>) {
  // expected-error @+1 {{eps must be positive}}
  %0 = lm.rms_norm %a, %w {eps = 0.0 : f32} : tensor<?x256xf32>, tensor<256xbf16> -> tensor<?x256xf32>
  return
}

// -----

func.func @f(%a: tensor<?x256xf32>, %w: tensor<128xbf16>) {
  // expected-error @+1 {{weight is 'tensor<128xbf16>', expected shape [256]}}
  %0 = lm.rms_norm %a, %w {eps = 1.0e-6 : f32} : tensor<?x256xf32>, tensor<128xbf16> -> tensor<?x256xf32>
  return
}

// -----

func.func @f(%rows: !lm.rows) {
  // expected-error @+1 {{inv_freq is empty}}
  %0, %1 = lm.rope_table %rows {inv_freq = array<f32>, multiplier = 1.0 : f32} : tensor<?x2xf32>, tensor<?x2xf32>
  return
}

// -----

func.func @f(%rows: !lm.rows) {
  // expected-error @+1 {{sin is 'tensor<?x3xf32>', expected tensor<?x2x..>}}
  %0, %1 = lm.rope_table %rows {inv_freq = array<f32: 1.0, 0.1>, multiplier = 1.0 : f32} : tensor<?x2xf32>, tensor<?x3xf32>
  return
}

// -----

func.func @f(%q: tensor<?x192xf32>, %c: tensor<?x8xf32>) {
  // expected-error @+1 {{head_dim 50 does not divide the width 192}}
  %0 = lm.rope %q, %c, %c {head_dim = 50 : i64, layout = #lm<rope_layout interleaved>}
      : tensor<?x192xf32>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x192xf32>
  return
}

// -----

func.func @f(%q: tensor<?x192xf32>, %c: tensor<?x32xf32>) {
  // expected-error @+1 {{rotates 64 elements of heads of 48}}
  %0 = lm.rope %q, %c, %c {head_dim = 48 : i64, layout = #lm<rope_layout interleaved>}
      : tensor<?x192xf32>, tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x192xf32>
  return
}

// -----

func.func @f(%q: tensor<?x192xf32>, %c: tensor<?x8xf32>, %s: tensor<?x4xf32>) {
  // expected-error @+1 {{sin is 'tensor<?x4xf32>', expected tensor<?x8x..>}}
  %0 = lm.rope %q, %c, %s {head_dim = 48 : i64, layout = #lm<rope_layout interleaved>}
      : tensor<?x192xf32>, tensor<?x8xf32>, tensor<?x4xf32> -> tensor<?x192xf32>
  return
}

// -----

func.func @f(%x: tensor<?x256xbf16>) {
  // expected-error @+1 {{codes is 'tensor<?x128xf8E4M3FN>', expected tensor<?x256x..>}}
  %0, %1 = lm.quantize %x {format = #lm<scale_format f32>} : tensor<?x256xbf16> -> tensor<?x128xf8E4M3FN>, tensor<?x2xf32>
  return
}

// -----

func.func @f(%x: tensor<?x200xbf16>) {
  // expected-error @+1 {{scales is 'tensor<?x1xf32>', expected tensor<?x2x..>}}
  %0, %1 = lm.quantize %x {format = #lm<scale_format f32>} : tensor<?x200xbf16> -> tensor<?x200xf8E4M3FN>, tensor<?x1xf32>
  return
}

// -----

func.func @f(%l: tensor<?x512xf32>, %p: tensor<?x20xui8>) {
  // expected-error @+1 {{params are 'tensor<?x20xui8>', expected tensor<?x24xui8> (moray_sample_params)}}
  %0 = lm.sample %l, %p : tensor<?x512xf32>, tensor<?x20xui8> -> tensor<?xi32>
  return
}

// -----

func.func @f(%l: tensor<?x512xf32>, %t: tensor<?xi32>) {
  // expected-error @+1 {{result is 'tensor<?x1xf32>', expected rank 1 with a dynamic size}}
  %0 = lm.log_prob %l, %t : tensor<?x512xf32>, tensor<?xi32> -> tensor<?x1xf32>
  return
}

// -----

func.func @f(%x: tensor<?x256xf32>, %w: tensor<2x128x256xf32>) {
  // expected-error @+1 {{weight is 'tensor<2x128x256xf32>', expected rank 2}}
  %0 = lm.linear %x, %w : (tensor<?x256xf32>, tensor<2x128x256xf32>) -> tensor<?x128xf32>
  return
}

// -----

func.func @f(%x: tensor<?x200xf32>, %w: tensor<128x256xf32>) {
  // expected-error @+1 {{source is 'tensor<?x200xf32>', expected tensor<?x256x..>}}
  %0 = lm.linear %x, %w : (tensor<?x200xf32>, tensor<128x256xf32>) -> tensor<?x128xf32>
  return
}

// -----

func.func @f(%x: tensor<?x256xf32>, %w: tensor<128x256xf32>, %b: tensor<64xf32>) {
  // expected-error @+1 {{bias is 'tensor<64xf32>', expected shape [128]}}
  %0 = lm.linear %x, %w bias %b : (tensor<?x256xf32>, tensor<128x256xf32>, tensor<64xf32>) -> tensor<?x128xf32>
  return
}

// -----

func.func @f(%x: tensor<?x200xf32>, %w: tensor<130x200xf8E4M3FN>, %s: tensor<1x2xf32>) {
  // expected-error @+1 {{weight scales is 'tensor<1x2xf32>', expected shape [2, 2]}}
  %0 = lm.scaled_linear %x, %w scales %s : (tensor<?x200xf32>, tensor<130x200xf8E4M3FN>, tensor<1x2xf32>) -> tensor<?x130xf32>
  return
}

// -----

func.func @f(%x: tensor<?x256xf8E4M3FN>, %w: tensor<128x256xf8E4M3FN>, %s: tensor<1x2xf32>) {
  // expected-error @+1 {{needs source scales (`by`) exactly when the source is f8E4M3FN}}
  %0 = lm.scaled_linear %x, %w scales %s : (tensor<?x256xf8E4M3FN>, tensor<128x256xf8E4M3FN>, tensor<1x2xf32>) -> tensor<?x128xf32>
  return
}

// -----

func.func @f(%x: tensor<?x256xf8E4M3FN>, %xs: tensor<?x1xf32>, %w: tensor<128x256xf8E4M3FN>, %s: tensor<1x2xf32>) {
  // expected-error @+1 {{source scales is 'tensor<?x1xf32>', expected tensor<?x2x..>}}
  %0 = lm.scaled_linear %x by %xs, %w scales %s
      : (tensor<?x256xf8E4M3FN>, tensor<?x1xf32>, tensor<128x256xf8E4M3FN>, tensor<1x2xf32>) -> tensor<?x128xf32>
  return
}
