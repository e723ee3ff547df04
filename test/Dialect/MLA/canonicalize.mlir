// Effects of the mla ops: what writes the cache stays, what only reads it may go.
// RUN: moray-opt --canonicalize %s | FileCheck %s

// CHECK-LABEL: @effects
// CHECK-NEXT: mla.append
// CHECK-NEXT: return
func.func @effects(%qt: tensor<?x256xf32>, %q: tensor<?x192xf32>, %c: !mla.layer_cache<64, 16, page = 64, f32>, %rows: !lm.rows,
                   %z: tensor<?x64xf32>, %kr: tensor<?x16xf32>) {
  mla.append %c, %rows, %z, %kr : !mla.layer_cache<64, 16, page = 64, f32>, tensor<?x64xf32>, tensor<?x16xf32>
  %u = mla.latent_attention %qt, %q, %c, %rows {heads = 4, scale = 0.144 : f32}
      : tensor<?x256xf32>, tensor<?x192xf32>, !mla.layer_cache<64, 16, page = 64, f32> -> tensor<?x256xf32>
  return
}
