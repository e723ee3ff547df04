// Every example of the op descriptions in dialects/MLA: parses, prints and parses again to the same text, in pretty and generic form.
// RUN: moray-opt %s > %t.mlir && moray-opt %t.mlir | diff %t.mlir -
// RUN: moray-opt --mlir-print-op-generic %s | moray-opt | diff %t.mlir -
// RUN: %python %scripts/check_examples.py %source_root/dialects/MLA %s

func.func @cache(%kv: !mla.cache<64, 16, page = 64, f32>, %l: index, %rows: !lm.rows, %z: tensor<?x64xf32>, %kr: tensor<?x16xf32>) {
  %c = mla.layer_cache_of %kv[%l] : !mla.cache<64, 16, page = 64, f32> -> !mla.layer_cache<64, 16, page = 64, f32>
  mla.append %c, %rows, %z, %kr : !mla.layer_cache<64, 16, page = 64, f32>, tensor<?x64xf32>, tensor<?x16xf32>
  return
}

func.func @attention(%q: tensor<?x192xf32>, %c: !mla.layer_cache<64, 16, page = 64, f32>, %rows: !lm.rows,
                     %kv_b: tensor<256x64xf8E4M3FN>, %s: tensor<2x1xf32>) {
  %ctx = mla.attention %q, %c, %rows, %kv_b scales %s {heads = 4, nope = 32, value = 32, scale = 0.144 : f32, activation = f32,
      format = #lm<scale_format f32>, row_range = #mla<row_range all>}
      : (tensor<?x192xf32>, !mla.layer_cache<64, 16, page = 64, f32>, !lm.rows, tensor<256x64xf8E4M3FN>, tensor<2x1xf32>) -> tensor<?x128xf32>
  return
}

func.func @unscaled(%q: tensor<?x192xbf16>, %c: !mla.layer_cache<64, 16, page = 64, bf16>, %rows: !lm.rows, %kv_b: tensor<256x64xbf16>) {
  %ctx = mla.attention %q, %c, %rows, %kv_b {heads = 4, nope = 32, value = 32, scale = 0.144 : f32, activation = bf16,
      format = #lm<scale_format f32>, row_range = #mla<row_range prefill>}
      : (tensor<?x192xbf16>, !mla.layer_cache<64, 16, page = 64, bf16>, !lm.rows, tensor<256x64xbf16>) -> tensor<?x128xbf16>
  return
}

func.func @absorbed(%q: tensor<?x192xbf16>, %c: !mla.layer_cache<64, 16, page = 64, bf16>, %rows: !lm.rows,
                    %kv_b: tensor<256x64xf8E4M3FN>, %s: tensor<2x1xf32>, %c0: tensor<?x128xbf16>) {
  %qt = mla.absorb_query %q, %kv_b scales %s {heads = 4, nope = 32, value = 32} : (tensor<?x192xbf16>, tensor<256x64xf8E4M3FN>, tensor<2x1xf32>) -> tensor<?x256xbf16>
  %u = mla.latent_attention %qt, %q, %c, %rows {heads = 4, scale = 0.144 : f32}
      : tensor<?x256xbf16>, tensor<?x192xbf16>, !mla.layer_cache<64, 16, page = 64, bf16> -> tensor<?x256xbf16>
  %ctx = mla.absorb_value %u, %kv_b scales %s into %c0 {heads = 4, nope = 32, value = 32}
      : (tensor<?x256xbf16>, tensor<256x64xf8E4M3FN>, tensor<2x1xf32>, tensor<?x128xbf16>) -> tensor<?x128xbf16>
  return
}
