// Every error of the verifiers in dialects/MLA.
// RUN: moray-opt %s --split-input-file --verify-diagnostics

// expected-error @+1 {{cache has latent 64 and rope 15, expected positive sizes and an even rope}}
func.func private @f(!mla.cache<64, 15, page = 64, f32>)

// -----

// expected-error @+1 {{cache has pages of 60 tokens, expected a multiple of 16}}
func.func private @f(!mla.layer_cache<64, 16, page = 60, f32>)

// -----

// expected-error @+1 {{cache holds 'f16', expected f32 or bf16}}
func.func private @f(!mla.layer_cache<64, 16, page = 64, f16>)

// -----

func.func @f(%kv: !mla.cache<64, 16, page = 64, f32>, %l: index) {
  // expected-error @+1 {{yields '!mla.layer_cache<64, 16, page = 64, bf16>' from '!mla.cache<64, 16, page = 64, f32>'}}
  %0 = mla.layer_cache_of %kv[%l] : !mla.cache<64, 16, page = 64, f32> -> !mla.layer_cache<64, 16, page = 64, bf16>
  return
}

// -----

func.func @f(%c: !mla.layer_cache<64, 16, page = 64, f32>, %rows: !lm.rows, %z: tensor<?x32xf32>, %r: tensor<?x16xf32>) {
  // expected-error @+1 {{latent is 'tensor<?x32xf32>', expected tensor<?x64x..>}}
  mla.append %c, %rows, %z, %r : !mla.layer_cache<64, 16, page = 64, f32>, tensor<?x32xf32>, tensor<?x16xf32>
  return
}

// -----

func.func @f(%c: !mla.layer_cache<64, 16, page = 64, f32>, %rows: !lm.rows, %z: tensor<?x64xf32>, %r: tensor<?x8xf32>) {
  // expected-error @+1 {{rope is 'tensor<?x8xf32>', expected tensor<?x16x..>}}
  mla.append %c, %rows, %z, %r : !mla.layer_cache<64, 16, page = 64, f32>, tensor<?x64xf32>, tensor<?x8xf32>
  return
}

// -----

func.func @f(%q: tensor<?x192xf32>, %c: !mla.layer_cache<64, 16, page = 64, f32>, %rows: !lm.rows, %w: tensor<256x64xf32>) {
  // expected-error @+1 {{has heads 4, nope 0, value 32, expected positive numbers}}
  %0 = mla.attention %q, %c, %rows, %w {heads = 4, nope = 0, value = 32, scale = 0.1 : f32, activation = f32,
      format = #lm<scale_format f32>, row_range = #mla<row_range all>}
      : (tensor<?x192xf32>, !mla.layer_cache<64, 16, page = 64, f32>, !lm.rows, tensor<256x64xf32>) -> tensor<?x128xf32>
  return
}

// -----

func.func @f(%q: tensor<?x192xf32>, %c: !mla.layer_cache<64, 16, page = 64, f32>, %rows: !lm.rows, %w: tensor<200x64xf32>) {
  // expected-error @+1 {{kv_b is 'tensor<200x64xf32>', expected shape [256, 64]}}
  %0 = mla.attention %q, %c, %rows, %w {heads = 4, nope = 32, value = 32, scale = 0.1 : f32, activation = f32,
      format = #lm<scale_format f32>, row_range = #mla<row_range all>}
      : (tensor<?x192xf32>, !mla.layer_cache<64, 16, page = 64, f32>, !lm.rows, tensor<200x64xf32>) -> tensor<?x128xf32>
  return
}

// -----

func.func @f(%q: tensor<?x192xf32>, %c: !mla.layer_cache<64, 16, page = 64, f32>, %rows: !lm.rows, %w: tensor<256x64xf8E4M3FN>) {
  // expected-error @+1 {{kv_b is FP8 and needs scales}}
  %0 = mla.attention %q, %c, %rows, %w {heads = 4, nope = 32, value = 32, scale = 0.1 : f32, activation = f32,
      format = #lm<scale_format f32>, row_range = #mla<row_range all>}
      : (tensor<?x192xf32>, !mla.layer_cache<64, 16, page = 64, f32>, !lm.rows, tensor<256x64xf8E4M3FN>) -> tensor<?x128xf32>
  return
}

// -----

func.func @f(%q: tensor<?x192xf32>, %c: !mla.layer_cache<64, 16, page = 64, f32>, %rows: !lm.rows, %w: tensor<256x64xf32>, %s: tensor<2x1xf32>) {
  // expected-error @+1 {{kv_b has scales, but the weight is 'tensor<256x64xf32>'}}
  %0 = mla.attention %q, %c, %rows, %w scales %s {heads = 4, nope = 32, value = 32, scale = 0.1 : f32, activation = f32,
      format = #lm<scale_format f32>, row_range = #mla<row_range all>}
      : (tensor<?x192xf32>, !mla.layer_cache<64, 16, page = 64, f32>, !lm.rows, tensor<256x64xf32>, tensor<2x1xf32>) -> tensor<?x128xf32>
  return
}

// -----

func.func @f(%q: tensor<?x128xf32>, %c: !mla.layer_cache<64, 16, page = 64, f32>, %rows: !lm.rows, %w: tensor<256x64xf32>) {
  // expected-error @+1 {{query is 'tensor<?x128xf32>', expected tensor<?x192x..>}}
  %0 = mla.attention %q, %c, %rows, %w {heads = 4, nope = 32, value = 32, scale = 0.1 : f32, activation = f32,
      format = #lm<scale_format f32>, row_range = #mla<row_range all>}
      : (tensor<?x128xf32>, !mla.layer_cache<64, 16, page = 64, f32>, !lm.rows, tensor<256x64xf32>) -> tensor<?x128xf32>
  return
}

// -----

func.func @f(%q: tensor<?x192xf32>, %c: !mla.layer_cache<64, 16, page = 64, f32>, %rows: !lm.rows, %w: tensor<256x64xf32>) {
  // expected-error @+1 {{activation type 'f8E4M3FN' does not fit rows of 'f32', expected the same type, or f8E4M3FN on bf16 rows}}
  %0 = mla.attention %q, %c, %rows, %w {heads = 4, nope = 32, value = 32, scale = 0.1 : f32, activation = f8E4M3FN,
      format = #lm<scale_format f32>, row_range = #mla<row_range all>}
      : (tensor<?x192xf32>, !mla.layer_cache<64, 16, page = 64, f32>, !lm.rows, tensor<256x64xf32>) -> tensor<?x128xf32>
  return
}

// -----

func.func @f(%q: tensor<?x192xf32>, %w: tensor<256xf32>) {
  // expected-error @+1 {{kv_b is 'tensor<256xf32>', expected rank 2}}
  %0 = mla.absorb_query %q, %w {heads = 4, nope = 32, value = 32} : (tensor<?x192xf32>, tensor<256xf32>) -> tensor<?x256xf32>
  return
}

// -----

func.func @f(%q: tensor<?x100xf32>, %w: tensor<256x64xf32>) {
  // expected-error @+1 {{query is 'tensor<?x100xf32>', expected 4 heads of nope + rope}}
  %0 = mla.absorb_query %q, %w {heads = 4, nope = 32, value = 32} : (tensor<?x100xf32>, tensor<256x64xf32>) -> tensor<?x256xf32>
  return
}

// -----

func.func @f(%q: tensor<?x192xf32>, %w: tensor<256x64xf32>) {
  // expected-error @+1 {{result is 'tensor<?x192xf32>', expected tensor<?x256x..>}}
  %0 = mla.absorb_query %q, %w {heads = 4, nope = 32, value = 32} : (tensor<?x192xf32>, tensor<256x64xf32>) -> tensor<?x192xf32>
  return
}

// -----

func.func @f(%a: tensor<?x256xf32>, %q: tensor<?x190xf32>, %c: !mla.layer_cache<64, 16, page = 64, f32>, %rows: !lm.rows) {
  // expected-error @+1 {{query is 'tensor<?x190xf32>', expected 4 heads that end in rope 16}}
  %0 = mla.latent_attention %a, %q, %c, %rows {heads = 4, scale = 0.1 : f32}
      : tensor<?x256xf32>, tensor<?x190xf32>, !mla.layer_cache<64, 16, page = 64, f32> -> tensor<?x256xf32>
  return
}

// -----

func.func @f(%a: tensor<?x128xf32>, %q: tensor<?x192xf32>, %c: !mla.layer_cache<64, 16, page = 64, f32>, %rows: !lm.rows) {
  // expected-error @+1 {{absorbed is 'tensor<?x128xf32>', expected tensor<?x256x..>}}
  %0 = mla.latent_attention %a, %q, %c, %rows {heads = 4, scale = 0.1 : f32}
      : tensor<?x128xf32>, tensor<?x192xf32>, !mla.layer_cache<64, 16, page = 64, f32> -> tensor<?x256xf32>
  return
}

// -----

func.func @f(%u: tensor<?x128xf32>, %w: tensor<256x64xf32>, %c: tensor<?x128xf32>) {
  // expected-error @+1 {{source is 'tensor<?x128xf32>', expected tensor<?x256x..>}}
  %0 = mla.absorb_value %u, %w into %c {heads = 4, nope = 32, value = 32}
      : (tensor<?x128xf32>, tensor<256x64xf32>, tensor<?x128xf32>) -> tensor<?x128xf32>
  return
}

// -----

func.func @f(%u: tensor<?x256xf32>, %w: tensor<256x64xf32>, %c: tensor<?x128xbf16>) {
  // expected-error @+1 {{`into` is 'tensor<?x128xbf16>', expected 'tensor<?x128xf32>'}}
  %0 = mla.absorb_value %u, %w into %c {heads = 4, nope = 32, value = 32}
      : (tensor<?x256xf32>, tensor<256x64xf32>, tensor<?x128xbf16>) -> tensor<?x128xf32>
  return
}
