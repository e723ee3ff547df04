// What GPU attention refuses.
// RUN: not moray-emit %s --gpu=cuda:sm_80 --print=asm 2>&1 | FileCheck %s

// CHECK: error: E3109: GPU attention needs bf16 rows and a bf16 cache, found f32 rows, f32 results and a f32 cache; compile for this target with a mode other than ref32
cmd.kernel @ref32 attention over decode {
^bb0(%a: tensor<?x256xf32>, %q: tensor<?x192xf32>, %c: !mla.layer_cache<64, 16, page = 64, f32>, %r: !lm.rows):
  %o = mla.latent_attention %a, %q, %c, %r {heads = 4 : i64, scale = 0.1 : f32} : tensor<?x256xf32>, tensor<?x192xf32>, !mla.layer_cache<64, 16, page = 64, f32> -> tensor<?x256xf32>
  lm.yield %o : tensor<?x256xf32>
}

// CHECK: error: E3109: GPU attention needs a kv_b in bf16 or f8E4M3FN, found f32
cmd.kernel @weights attention over decode {
^bb0(%q: tensor<?x192xbf16>, %w: tensor<320x64xf32>):
  %o = mla.absorb_query %q, %w {heads = 4 : i64, nope = 32 : i64, value = 48 : i64} : (tensor<?x192xbf16>, tensor<320x64xf32>) -> tensor<?x256xbf16>
  lm.yield %o : tensor<?x256xbf16>
}

// CHECK: error: E3109: GPU attention needs cache pages of 64 tokens, found 32
cmd.kernel @page attention over decode {
^bb0(%a: tensor<?x256xbf16>, %q: tensor<?x192xbf16>, %c: !mla.layer_cache<64, 16, page = 32, bf16>, %r: !lm.rows):
  %o = mla.latent_attention %a, %q, %c, %r {heads = 4 : i64, scale = 0.1 : f32} : tensor<?x256xbf16>, tensor<?x192xbf16>, !mla.layer_cache<64, 16, page = 32, bf16> -> tensor<?x256xbf16>
  lm.yield %o : tensor<?x256xbf16>
}
