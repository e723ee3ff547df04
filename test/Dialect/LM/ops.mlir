// Every example of the op descriptions in dialects/LM: parses, prints and parses again to the same text, in pretty and generic form.
// RUN: moray-opt %s > %t.mlir && moray-opt %t.mlir | diff %t.mlir -
// RUN: moray-opt --mlir-print-op-generic %s | moray-opt | diff %t.mlir -
// RUN: %python %scripts/check_examples.py %source_root/dialects/LM %s

module attributes {lm.numerics = #lm.numerics<ref32, deterministic>} {

lm.weight @moe.in_norm per_layer from "model.layers.{l}.input_layernorm.weight" : tensor<256xbf16>
lm.weight @moe.gate_e per_layer from "model.layers.{l}.mlp.experts.{e}.gate_proj.weight" : tensor<16x64x256xf8E4M3FN>
lm.weight @moe.qkv_a per_layer recipe(#lm.concat<[@moe.q_a, @moe.kv_a], align = 128>) : tensor<208x256xf8E4M3FN>

// What the examples refer to, and the other recipes.
lm.weight @moe.q_a per_layer from "model.layers.{l}.self_attn.q_a_proj.weight" : tensor<128x256xf8E4M3FN>
lm.weight @moe.kv_a per_layer from "model.layers.{l}.self_attn.kv_a_proj_with_mqa.weight" : tensor<80x256xf8E4M3FN>
lm.weight @moe.kv_a.s per_layer from "model.layers.{l}.self_attn.kv_a_proj_with_mqa.weight_scale_inv" : tensor<1x2xf32>
lm.weight @embed from "model.embed_tokens.weight" : tensor<4096x256xbf16>
lm.weight @dense.in_norm per_layer from "model.layers.{l}.input_layernorm.weight" : tensor<256xbf16>
lm.weight @dense.next_norm per_layer from "model.layers.{l+1}.input_layernorm.weight" last "model.norm.weight" : tensor<256xbf16>
lm.weight @slice per_layer recipe(#lm.slice_rows<@moe.kv_a, offset = 64, size = 16>) : tensor<16x256xf8E4M3FN>
lm.weight @pad per_layer recipe(#lm.pad_rows<@moe.kv_a>) : tensor<128x256xf8E4M3FN>
lm.weight @kv_a.bf16 per_layer recipe(#lm.dequantize<@moe.kv_a, @moe.kv_a.s>) : tensor<80x256xbf16>
lm.weight @codes per_layer recipe(#lm.quantize_codes<@kv_a.bf16, f32>) : tensor<80x256xf8E4M3FN>
lm.weight @scales per_layer recipe(#lm.quantize_scales<@kv_a.bf16, ue8m0>) : tensor<1x2xf32>

func.func @weight_of(%l: index) {
  %w = lm.weight_of @moe.q_a[%l] : tensor<128x256xf8E4M3FN>
  %e = lm.weight_of @embed : tensor<4096x256xbf16>
  return
}

lm.layer @dense(%l: index, %h: tensor<?x256xf32>, %rows: !lm.rows) -> tensor<?x256xf32> {
  %n = lm.weight_of @dense.in_norm[%l] : tensor<256xbf16>
  %x = lm.rms_norm %h, %n {eps = 1.0e-6 : f32} : tensor<?x256xf32>, tensor<256xbf16> -> tensor<?x256xf32>
  lm.return %x : tensor<?x256xf32>
}

lm.program @step(%tokens: tensor<?xi32>, %rows: !lm.rows, %kv: !mla.cache<64, 16, page = 64, f32>, %outs: tensor<?xi32>)
    -> tensor<?x4096xf32> attributes {lm.kind = #lm<program_kind step>} {
  %w = lm.weight_of @embed : tensor<4096x256xbf16>
  %h = lm.embed %tokens, %w : tensor<?xi32>, tensor<4096x256xbf16> -> tensor<?x256xf32>
  %o = lm.gather_rows %h, %outs : tensor<?x256xf32>, tensor<?xi32> -> tensor<?x256xf32>
  %z = lm.linear %o, %w : (tensor<?x256xf32>, tensor<4096x256xbf16>) -> tensor<?x4096xf32>
  lm.return %z : tensor<?x4096xf32>
}

lm.layer @return(%l: index, %h: tensor<?x256xf32>) -> tensor<?x256xf32> {
  lm.return %h : tensor<?x256xf32>
}

lm.layer @moe(%l: index, %h: tensor<?x256xf32>, %rows: !lm.rows, %kv: !mla.cache<64, 16, page = 64, f32>) -> tensor<?x256xf32> {
  lm.return %h : tensor<?x256xf32>
}

func.func @call(%h0: tensor<?x256xf32>, %rows: !lm.rows, %kv: !mla.cache<64, 16, page = 64, f32>) {
  %h1 = lm.call @moe[3, 58](%h0, %rows, %kv) : (tensor<?x256xf32>, !lm.rows, !mla.cache<64, 16, page = 64, f32>) -> tensor<?x256xf32>
  return
}

func.func @kernel(%x: tensor<?x256xbf16>, %w: tensor<128x256xbf16>, %o: tensor<9xi32>) {
  %y = lm.kernel gemm over rows (%x, %w : tensor<?x256xbf16>, tensor<128x256xbf16>) -> tensor<?x128xbf16> {
  ^bb0(%a: tensor<?x256xbf16>, %b: tensor<128x256xbf16>):
    %0 = lm.linear %a, %b : (tensor<?x256xbf16>, tensor<128x256xbf16>) -> tensor<?x128xbf16>
    lm.yield %0 : tensor<?x128xbf16>
  }
  %s = lm.kernel row over slots of 4 (%x, %o : tensor<?x256xbf16>, tensor<9xi32>) -> tensor<?x256xf32> {
  ^bb0(%a: tensor<?x256xbf16>, %b: tensor<9xi32>):
    %0 = lm.cast %a : tensor<?x256xbf16> -> tensor<?x256xf32>
    lm.yield %0 : tensor<?x256xf32>
  }
  return
}

func.func @embed_tokens(%tokens: tensor<?xi32>, %w: tensor<4096x256xbf16>) {
  %h = lm.embed %tokens, %w : tensor<?xi32>, tensor<4096x256xbf16> -> tensor<?x256xf32>
  return
}

func.func @gather_rows(%h: tensor<?x256xbf16>, %out_rows: tensor<?xi32>) {
  %o = lm.gather_rows %h, %out_rows : tensor<?x256xbf16>, tensor<?xi32> -> tensor<?x256xbf16>
  return
}

func.func @row_ops(%kv: tensor<?x80xf32>, %x: tensor<?x256xf32>) {
  %z = lm.slice %kv[0] : tensor<?x80xf32> -> tensor<?x64xf32>
  %y = lm.cast %x : tensor<?x256xf32> -> tensor<?x256xbf16>
  return
}

func.func @add(%h: tensor<?x256xbf16>, %o: tensor<?x256xbf16>) {
  %a = lm.add %h, %o : tensor<?x256xbf16>, tensor<?x256xbf16> -> tensor<?x256xbf16>
  return
}

func.func @swiglu(%gate: tensor<?x576xbf16>, %up: tensor<?x576xbf16>) {
  %h = lm.swiglu %gate, %up : tensor<?x576xbf16>, tensor<?x576xbf16> -> tensor<?x576xbf16>
  return
}

func.func @rms_norm(%x: tensor<?x256xbf16>, %w: tensor<256xbf16>) {
  %y = lm.rms_norm %x, %w {eps = 1.0e-6 : f32} : tensor<?x256xbf16>, tensor<256xbf16> -> tensor<?x256xbf16>
  return
}

func.func @rope_table(%rows: !lm.rows) {
  %cos, %sin = lm.rope_table %rows {inv_freq = array<f32: 1.0, 0.1>, multiplier = 1.0 : f32} : tensor<?x2xf32>, tensor<?x2xf32>
  return
}

func.func @rope(%q: tensor<?x192xf32>, %cos: tensor<?x8xf32>, %sin: tensor<?x8xf32>) {
  %q1 = lm.rope %q, %cos, %sin {head_dim = 48 : i64, layout = #lm<rope_layout interleaved>}
      : tensor<?x192xf32>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x192xf32>
  return
}

func.func @quantize(%x: tensor<?x256xbf16>) {
  %c, %s = lm.quantize %x {format = #lm<scale_format f32>} : tensor<?x256xbf16> -> tensor<?x256xf8E4M3FN>, tensor<?x2xf32>
  return
}

func.func @sample(%logits: tensor<?x4096xf32>, %params: tensor<?x24xui8>) {
  %t = lm.sample %logits, %params : tensor<?x4096xf32>, tensor<?x24xui8> -> tensor<?xi32>
  return
}

func.func @log_prob(%logits: tensor<?x4096xf32>, %targets: tensor<?xi32>) {
  %p = lm.log_prob %logits, %targets : tensor<?x4096xf32>, tensor<?xi32> -> tensor<?xf32>
  return
}

func.func @linear(%x: tensor<?x256xbf16>, %w: tensor<128x256xbf16>, %b: tensor<128xbf16>) {
  %y = lm.linear %x, %w : (tensor<?x256xbf16>, tensor<128x256xbf16>) -> tensor<?x128xbf16>
  %z = lm.linear %x, %w bias %b : (tensor<?x256xbf16>, tensor<128x256xbf16>, tensor<128xbf16>) -> tensor<?x128xbf16>
  return
}

func.func @scaled_linear(%x: tensor<?x256xbf16>, %c: tensor<?x256xf8E4M3FN>, %cs: tensor<?x2xf32>, %w: tensor<128x256xf8E4M3FN>,
                         %s: tensor<1x2xf32>, %b: tensor<128xf32>) {
  %y = lm.scaled_linear %x, %w scales %s : (tensor<?x256xbf16>, tensor<128x256xf8E4M3FN>, tensor<1x2xf32>) -> tensor<?x128xbf16>
  %z = lm.scaled_linear %c by %cs, %w scales %s
      : (tensor<?x256xf8E4M3FN>, tensor<?x2xf32>, tensor<128x256xf8E4M3FN>, tensor<1x2xf32>) -> tensor<?x128xbf16>
  %v = lm.scaled_linear %x, %w scales %s bias %b
      : (tensor<?x256xbf16>, tensor<128x256xf8E4M3FN>, tensor<1x2xf32>, tensor<128xf32>) -> tensor<?x128xf32>
  return
}

}
