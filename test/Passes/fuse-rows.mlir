// Row-wise ops of one domain form as few kernels as their operands allow.
// RUN: moray-opt --moray-fuse-rows --split-input-file %s | FileCheck %s
// RUN: moray-opt --moray-fuse-rows --split-input-file %s -o %t.1
// RUN: moray-opt --moray-fuse-rows --split-input-file %t.1 | diff %t.1 -
// Same numbers.
// RUN: moray-interpret %golden/v3-tiny-fp8 --emit-ir | moray-opt --moray-expand-experts --moray-merge-projections --moray-rotate-norms --moray-fuse-rows -o %t.mlir
// RUN: moray-interpret %t.mlir --weights %golden/v3-tiny-fp8 --compare %golden/v3-tiny-fp8/golden.safetensors --tolerance 2e-5

// Residual + norm + quantise.
// CHECK-LABEL: lm.layer @residual
lm.layer @residual(%l: index, %h: tensor<?x128xbf16>, %o: tensor<?x128xbf16>, %w: tensor<128xbf16>) -> (tensor<?x128xbf16>, tensor<?x128xbf16>) {
  // CHECK: %[[K:.+]]:2 = lm.kernel row over rows(%{{.*}}, %{{.*}}, %{{.*}} : tensor<?x128xbf16>, tensor<?x128xbf16>, tensor<128xbf16>) ->
  // CHECK: lm.add
  // CHECK-NEXT: lm.rms_norm
  // CHECK-NEXT: lm.yield
  // CHECK: lm.return %[[K]]#0, %[[K]]#1
  %a = lm.add %h, %o : tensor<?x128xbf16>, tensor<?x128xbf16> -> tensor<?x128xbf16>
  %y = lm.rms_norm %a, %w {eps = 1.0e-6 : f32} : tensor<?x128xbf16>, tensor<128xbf16> -> tensor<?x128xbf16>
  lm.return %a, %y : tensor<?x128xbf16>, tensor<?x128xbf16>
}

// -----

// Slices, norms, rope and append behind a merged projection are one kernel; the rope of the query waits for its product.
// CHECK-LABEL: lm.layer @latent
lm.layer @latent(%l: index, %t: tensor<?x144xbf16>, %q0: tensor<?x96xbf16>, %wq: tensor<64xbf16>, %wb: tensor<96x64xbf16>, %wk: tensor<64xbf16>, %cos: tensor<?x8xf32>, %sin: tensor<?x8xf32>,
                 %kv: !mla.cache<64, 16, page = 64, bf16>, %rows: !lm.rows) -> (tensor<?x144xbf16>, tensor<?x96xbf16>) {
  // CHECK: %[[C:.+]] = mla.layer_cache_of
  // CHECK: %[[A:.+]] = lm.kernel row over rows(
  // CHECK-COUNT-2: lm.rms_norm
  // CHECK: lm.rope
  // CHECK-NEXT: mla.append
  // CHECK-NEXT: lm.yield
  // CHECK: %[[B:.+]] = lm.linear %[[A]]
  // CHECK: lm.kernel row over rows(%[[B]],
  // CHECK: lm.rope
  // CHECK-NEXT: lm.rope
  // CHECK-NEXT: lm.yield
  // CHECK-NOT: lm.kernel
  %q = lm.slice %t[0] : tensor<?x144xbf16> -> tensor<?x64xbf16>
  %qn = lm.rms_norm %q, %wq {eps = 1.0e-6 : f32} : tensor<?x64xbf16>, tensor<64xbf16> -> tensor<?x64xbf16>
  %qb = lm.linear %qn, %wb : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xbf16>
  %qr = lm.rope %qb, %cos, %sin {head_dim = 48 : i64, layout = #lm<rope_layout interleaved>} : tensor<?x96xbf16>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x96xbf16>
  %qs = lm.rope %qr, %cos, %sin {head_dim = 48 : i64, layout = #lm<rope_layout interleaved>} : tensor<?x96xbf16>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x96xbf16>
  %z = lm.slice %t[64] : tensor<?x144xbf16> -> tensor<?x64xbf16>
  %zn = lm.rms_norm %z, %wk {eps = 1.0e-6 : f32} : tensor<?x64xbf16>, tensor<64xbf16> -> tensor<?x64xbf16>
  %k = lm.slice %t[128] : tensor<?x144xbf16> -> tensor<?x16xbf16>
  %kr = lm.rope %k, %cos, %sin {head_dim = 16 : i64, layout = #lm<rope_layout interleaved>} : tensor<?x16xbf16>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x16xbf16>
  %c = mla.layer_cache_of %kv[%l] : !mla.cache<64, 16, page = 64, bf16> -> !mla.layer_cache<64, 16, page = 64, bf16>
  mla.append %c, %rows, %zn, %kr : !mla.layer_cache<64, 16, page = 64, bf16>, tensor<?x64xbf16>, tensor<?x16xbf16>
  lm.return %t, %qs : tensor<?x144xbf16>, tensor<?x96xbf16>
}

// -----

// The routed sum is computed where the shared expert's result is added; slots and rows are different domains.
// CHECK-LABEL: lm.layer @moe_end
lm.layer @moe_end(%l: index, %a: tensor<?x128xbf16>, %ids: tensor<?x2xi32>, %g: tensor<?x2xf32>, %e: tensor<8x128x128xbf16>, %s: tensor<128x128xbf16>,
                  %w: tensor<8x128x128xf8E4M3FN>, %ws: tensor<8x1x1xf32>) -> tensor<?x128xbf16> {
  // CHECK: moe.dispatch
  // CHECK: moe.grouped_linear
  // CHECK: lm.kernel row over slots of 2(%{{[^,]+}}, %offsets :
  // CHECK-NEXT: ^bb0
  // CHECK-NEXT: lm.swiglu
  // CHECK-NEXT: lm.quantize
  // CHECK-NEXT: lm.yield
  // CHECK: lm.linear
  // CHECK: lm.kernel row over rows(
  // CHECK-NEXT: ^bb0
  // CHECK-NEXT: moe.combine
  // CHECK-NEXT: lm.add
  // CHECK-NEXT: lm.add
  // CHECK-NEXT: lm.yield
  %off, %tok, %rank, %gs = moe.dispatch %ids, %g : tensor<?x2xi32>, tensor<?x2xf32> -> tensor<9xi32>, tensor<?xi32>, tensor<?x2xi32>, tensor<?x2xf32>
  %t = moe.grouped_linear %a rows %tok, %off, %e : (tensor<?x128xbf16>, tensor<?xi32>, tensor<9xi32>, tensor<8x128x128xbf16>) -> tensor<?x128xbf16>
  %h = lm.swiglu %t, %t : tensor<?x128xbf16>, tensor<?x128xbf16> -> tensor<?x128xbf16>
  %c, %cs = lm.quantize %h {format = #lm<scale_format f32>} : tensor<?x128xbf16> -> tensor<?x128xf8E4M3FN>, tensor<?x1xf32>
  %d = moe.grouped_linear %c by %cs, %off, %w scales %ws
      : (tensor<?x128xf8E4M3FN>, tensor<?x1xf32>, tensor<9xi32>, tensor<8x128x128xf8E4M3FN>, tensor<8x1x1xf32>) -> tensor<?x128xbf16>
  %r = moe.combine %d, %rank, %gs : tensor<?x128xbf16>, tensor<?x2xi32>, tensor<?x2xf32> -> tensor<?x128xf32>
  %y = lm.linear %a, %s : (tensor<?x128xbf16>, tensor<128x128xbf16>) -> tensor<?x128xbf16>
  %f = lm.add %r, %y : tensor<?x128xf32>, tensor<?x128xbf16> -> tensor<?x128xbf16>
  %out = lm.add %a, %f : tensor<?x128xbf16>, tensor<?x128xbf16> -> tensor<?x128xbf16>
  lm.return %out : tensor<?x128xbf16>
}

// -----

// Picked rows are another domain than the rows of the step; embedding and rope table share a kernel.
// CHECK-LABEL: lm.program @step
lm.program @step(%t: tensor<?xi32>, %rows: !lm.rows, %outs: tensor<?xi32>, %e: tensor<512x64xbf16>, %w: tensor<64xbf16>)
    -> (tensor<?x64xbf16>, tensor<?x2xf32>, tensor<?x2xf32>) attributes {lm.kind = #lm<program_kind step>} {
  // CHECK: lm.kernel row over rows(
  // CHECK-DAG: lm.embed
  // CHECK-DAG: lm.rope_table
  // CHECK: lm.yield
  // CHECK: lm.kernel row over outs(
  // CHECK: lm.gather_rows
  // CHECK-NEXT: lm.rms_norm
  // CHECK-NEXT: lm.yield
  %h = lm.embed %t, %e : tensor<?xi32>, tensor<512x64xbf16> -> tensor<?x64xbf16>
  %cos, %sin = lm.rope_table %rows {inv_freq = array<f32: 1.0, 0.1>, multiplier = 1.0 : f32} : tensor<?x2xf32>, tensor<?x2xf32>
  %o = lm.gather_rows %h, %outs : tensor<?x64xbf16>, tensor<?xi32> -> tensor<?x64xbf16>
  %n = lm.rms_norm %o, %w {eps = 1.0e-6 : f32} : tensor<?x64xbf16>, tensor<64xbf16> -> tensor<?x64xbf16>
  lm.return %n, %cos, %sin : tensor<?x64xbf16>, tensor<?x2xf32>, tensor<?x2xf32>
}

// -----

// A sum that is needed after the second product does not join the kernel before it, although it could: it would be stored and read again.
// CHECK-LABEL: lm.layer @unrelated
lm.layer @unrelated(%l: index, %a: tensor<?x128xbf16>, %t: tensor<?x128xbf16>, %w: tensor<128x128xf8E4M3FN>, %ws: tensor<1x1xf32>, %b: tensor<?x128xbf16>)
    -> tensor<?x128xbf16> {
  // CHECK: lm.kernel row over rows(
  // CHECK-NEXT: ^bb0
  // CHECK-NEXT: lm.quantize
  // CHECK-NEXT: lm.yield
  // CHECK: lm.scaled_linear
  // CHECK: lm.kernel row over rows(
  // CHECK-NEXT: ^bb0
  // CHECK-NEXT: lm.add
  // CHECK-NEXT: lm.add
  // CHECK-NEXT: lm.yield
  %c, %cs = lm.quantize %t {format = #lm<scale_format f32>} : tensor<?x128xbf16> -> tensor<?x128xf8E4M3FN>, tensor<?x1xf32>
  %s = lm.add %a, %b : tensor<?x128xbf16>, tensor<?x128xbf16> -> tensor<?x128xbf16>
  %y = lm.scaled_linear %c by %cs, %w scales %ws : (tensor<?x128xf8E4M3FN>, tensor<?x1xf32>, tensor<128x128xf8E4M3FN>, tensor<1x1xf32>) -> tensor<?x128xbf16>
  %out = lm.add %s, %y : tensor<?x128xbf16>, tensor<?x128xbf16> -> tensor<?x128xbf16>
  lm.return %out : tensor<?x128xbf16>
}
