// Attention over all rows becomes the expanded form for prefill rows and the absorbed form for decode rows.
// RUN: moray-opt --moray-absorb-mla --split-input-file %s | FileCheck %s
// RUN: moray-opt --moray-absorb-mla --split-input-file %s -o %t.1
// RUN: moray-opt --moray-absorb-mla --split-input-file %t.1 | diff %t.1 -
// The same logits in real arithmetic (spec model.md 9: 1e-5), all rows as prefill rows and all as decode rows.
// RUN: moray-interpret %golden/v3-tiny-fp8 --emit-ir | moray-opt --moray-absorb-mla -o %t.mlir
// RUN: moray-interpret %t.mlir --weights %golden/v3-tiny-fp8 --compare %golden/v3-tiny-fp8/golden.safetensors --tolerance 1e-5
// RUN: moray-interpret %t.mlir --weights %golden/v3-tiny-fp8 --compare %golden/v3-tiny-fp8/golden.safetensors --tolerance 1e-5 --decode-form --chunk 7

lm.weight @kv_b per_layer from "{l}.kv_b" : tensor<256x64xbf16>

// CHECK-LABEL: lm.layer @all
lm.layer @all(%l: index, %q: tensor<?x192xbf16>, %kv: !mla.cache<64, 16, page = 64, bf16>, %rows: !lm.rows) -> tensor<?x192xbf16> {
  %c = mla.layer_cache_of %kv[%l] : !mla.cache<64, 16, page = 64, bf16> -> !mla.layer_cache<64, 16, page = 64, bf16>
  %w = lm.weight_of @kv_b[%l] : tensor<256x64xbf16>
  // CHECK: %[[P:.+]] = mla.attention %[[Q:.+]], %[[C:.+]], %[[R:.+]], %[[W:.+]] {{{.*}}row_range = #mla<row_range prefill>
  // CHECK: %[[A:.+]] = mla.absorb_query %[[Q]], %[[W]] {{.*}} -> tensor<?x256xbf16>
  // CHECK: %[[U:.+]] = mla.latent_attention %[[A]], %[[Q]], %[[C]], %[[R]] {heads = 4 : i64, scale = 1.440000e-01 : f32}
  // CHECK: %[[X:.+]] = mla.absorb_value %[[U]], %[[W]] into %[[P]]
  // CHECK: lm.add %[[X]], %[[X]]
  %x = mla.attention %q, %c, %rows, %w {heads = 4, nope = 32, value = 32, scale = 0.144 : f32, activation = bf16, format = #lm<scale_format f32>,
      row_range = #mla<row_range all>}
      : (tensor<?x192xbf16>, !mla.layer_cache<64, 16, page = 64, bf16>, !lm.rows, tensor<256x64xbf16>) -> tensor<?x128xbf16>
  %y = lm.add %x, %x : tensor<?x128xbf16>, tensor<?x128xbf16> -> tensor<?x128xbf16>
  lm.return %q : tensor<?x192xbf16>
}

// -----

// FP8 kv_b: the absorbed products widen the codes, whatever enters the expanded form (spec fp8.md 6). Attention over prefill rows stays.
lm.weight @kv_b per_layer from "{l}.kv_b" : tensor<256x64xf8E4M3FN>
lm.weight @kv_b.s per_layer from "{l}.kv_b.s" : tensor<2x1xf32>
// CHECK-LABEL: lm.layer @codes
lm.layer @codes(%l: index, %q: tensor<?x192xbf16>, %kv: !mla.cache<64, 16, page = 64, bf16>, %rows: !lm.rows) -> tensor<?x192xbf16> {
  %c = mla.layer_cache_of %kv[%l] : !mla.cache<64, 16, page = 64, bf16> -> !mla.layer_cache<64, 16, page = 64, bf16>
  %w = lm.weight_of @kv_b[%l] : tensor<256x64xf8E4M3FN>
  %s = lm.weight_of @kv_b.s[%l] : tensor<2x1xf32>
  // CHECK: mla.attention {{.*}}activation = f8E4M3FN{{.*}}row_range prefill
  // CHECK: mla.absorb_query %{{.*}}, %{{.*}} scales %{{.*}} -> tensor<?x256xbf16>
  // CHECK: mla.absorb_value
  %x = mla.attention %q, %c, %rows, %w scales %s {heads = 4, nope = 32, value = 32, scale = 0.144 : f32, activation = f8E4M3FN,
      format = #lm<scale_format f32>, row_range = #mla<row_range all>}
      : (tensor<?x192xbf16>, !mla.layer_cache<64, 16, page = 64, bf16>, !lm.rows, tensor<256x64xf8E4M3FN>, tensor<2x1xf32>) -> tensor<?x128xbf16>
  // CHECK: mla.attention
  // CHECK-NOT: mla.absorb
  %y = mla.attention %q, %c, %rows, %w scales %s {heads = 4, nope = 32, value = 32, scale = 0.144 : f32, activation = f8E4M3FN,
      format = #lm<scale_format f32>, row_range = #mla<row_range prefill>}
      : (tensor<?x192xbf16>, !mla.layer_cache<64, 16, page = 64, bf16>, !lm.rows, tensor<256x64xf8E4M3FN>, tensor<2x1xf32>) -> tensor<?x128xbf16>
  lm.return %q : tensor<?x192xbf16>
}
