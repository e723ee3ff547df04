// Attention on a GPU: launch plans, the instructions that carry the speed, exact arithmetic only, no spills.
// RUN: moray-emit %s --gpu=cuda:sm_80 | FileCheck %s --check-prefix=PLAN
// RUN: moray-emit %s --gpu=cuda:sm_80 --print=asm > %t.asm
// RUN: FileCheck %s --implicit-check-not=.approx --implicit-check-not=.ftz --implicit-check-not=call --implicit-check-not=.local < %t.asm
// RUN: rm -rf %t && mkdir %t && awk '/^\/\/ kernel/ {n++} {print > "%t/attention_" n ".ptx"}' %t.asm
// RUN: %if ptxas %{ %python %S/Inputs/check_ptxas.py %ptxas %t %}

// One block per head and 128 columns of c, 32 rows of v, 16 heads of a row and a split, 128 rows and a head.
// PLAN:      // cuda:sm_80: rows=16 columns=128
// PLAN:      grid 512 decode 512 * min, threads 128, dynamic shared 39168
// PLAN:      // cuda:sm_80: heads=16 split=256 splits<=16
// PLAN:      // stage attention_[[L:[0-9a-f]+]]_split: grid decode 8 * 16 P 64 * 256 ceildiv min *, threads 256, dynamic shared 96768
// PLAN-NEXT: // stage attention_[[L]]_join: grid decode 128 *, threads 128, dynamic shared 0
// PLAN:      // cuda:sm_80: rows=16 columns=32
// PLAN:      grid 512 decode 512 * min, threads 128, dynamic shared 49920
// PLAN:      // cuda:sm_80: rows=128 keys=64
// PLAN-NEXT: // scratch: 0
// PLAN:      grid rows 128 ceildiv 128 * prefill 1 min *, threads 256, dynamic shared 93440

// absorb_query: weights four loads ahead and widened two codes at a time; weight rows are the depth.
// CHECK-LABEL:   // kernel attention:op=1
// CHECK-COUNT-4: ld.global.v4.b32
// CHECK:         fma.rn.bf16x2
// CHECK:         cp.async.cg.shared.global
// CHECK:         cp.async.wait_group
// CHECK:         ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16
// CHECK:         mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
cmd.kernel @v3_q attention over decode {
^bb0(%q: tensor<?x24576xbf16>, %w: tensor<32768x512xf8E4M3FN>, %s: tensor<256x4xf32>):
  %o = mla.absorb_query %q, %w scales %s {heads = 128 : i64, nope = 128 : i64, value = 128 : i64} : (tensor<?x24576xbf16>, tensor<32768x512xf8E4M3FN>, tensor<256x4xf32>) -> tensor<?x65536xbf16>
  lm.yield %o : tensor<?x65536xbf16>
}

// latent_attention: 32 of depth per step for S, the same keys transposed as values.
// CHECK-LABEL:   // kernel attention:op=2
// CHECK:         .entry attention_{{[0-9a-f]+}}_split
// CHECK-DAG:     cp.async.cg.shared.global
// CHECK-DAG:     ldmatrix.sync.aligned.m8n8.x4.shared.b16
// CHECK-DAG:     ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16
// CHECK-DAG:     mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
// CHECK-DAG:     cvt.rn.bf16x2.f32
// CHECK-DAG:     div.rn.f32
// CHECK:         .entry attention_{{[0-9a-f]+}}_join
// CHECK:         div.rn.f32
cmd.kernel @v3_l attention over decode {
^bb0(%a: tensor<?x65536xbf16>, %q: tensor<?x24576xbf16>, %c: !mla.layer_cache<512, 64, page = 64, bf16>, %r: !lm.rows):
  %o = mla.latent_attention %a, %q, %c, %r {heads = 128 : i64, scale = 0.1 : f32} : tensor<?x65536xbf16>, tensor<?x24576xbf16>, !mla.layer_cache<512, 64, page = 64, bf16> -> tensor<?x65536xbf16>
  lm.yield %o : tensor<?x65536xbf16>
}

// absorb_value: columns of the result are weight rows.
// CHECK-LABEL:   // kernel attention:op=3
// CHECK-COUNT-4: ld.global.v4.b32
// CHECK:         ldmatrix.sync.aligned.m8n8.x2.shared.b16
// CHECK:         mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
cmd.kernel @v3_v attention over decode {
^bb0(%u: tensor<?x65536xbf16>, %w: tensor<32768x512xf8E4M3FN>, %s: tensor<256x4xf32>, %i: tensor<?x16384xbf16>):
  %o = mla.absorb_value %u, %w scales %s into %i {heads = 128 : i64, nope = 128 : i64, value = 128 : i64} : (tensor<?x65536xbf16>, tensor<32768x512xf8E4M3FN>, tensor<256x4xf32>, tensor<?x16384xbf16>) -> tensor<?x16384xbf16>
  lm.yield %o : tensor<?x16384xbf16>
}

// Expanded: the product of a key block, S and P V; loops that would take the registers of the sums stay rolled.
// CHECK-LABEL:   // kernel attention:op=0
// CHECK:         .minnctapersm 1
// CHECK-DAG:     cp.async.cg.shared.global
// CHECK-DAG:     .pragma "nounroll"
// CHECK-DAG:     vote.sync.any.pred
// CHECK-DAG:     ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16
// CHECK-DAG:     mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
// CHECK-DAG:     div.rn.f32
cmd.kernel @v3_e attention over rows {
^bb0(%q: tensor<?x24576xbf16>, %c: !mla.layer_cache<512, 64, page = 64, bf16>, %r: !lm.rows, %w: tensor<32768x512xf8E4M3FN>, %s: tensor<256x4xf32>):
  %o = mla.attention %q, %c, %r, %w scales %s {heads = 128 : i64, nope = 128 : i64, value = 128 : i64, scale = 0.1 : f32, activation = f8E4M3FN, format = #lm<scale_format f32>, row_range = #mla<row_range prefill>} : (tensor<?x24576xbf16>, !mla.layer_cache<512, 64, page = 64, bf16>, !lm.rows, tensor<32768x512xf8E4M3FN>, tensor<256x4xf32>) -> tensor<?x16384xbf16>
  lm.yield %o : tensor<?x16384xbf16>
}

// Rows that begin at odd places are copied element by element; scale rows change inside a step of depth.
// CHECK-LABEL:   // kernel attention:op=1
// CHECK:         ld.global.b16
// CHECK-COUNT-8: mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
cmd.kernel @ragged_q attention over decode {
^bb0(%q: tensor<?x102xbf16>, %w: tensor<132x40xf8E4M3FN>, %s: tensor<2x1xf32>):
  %o = mla.absorb_query %q, %w scales %s {heads = 3 : i64, nope = 24 : i64, value = 20 : i64} : (tensor<?x102xbf16>, tensor<132x40xf8E4M3FN>, tensor<2x1xf32>) -> tensor<?x120xbf16>
  lm.yield %o : tensor<?x120xbf16>
}

// CHECK-LABEL:   // kernel attention:op=2
// CHECK:         ld.global.b16
cmd.kernel @ragged_l attention over decode {
^bb0(%a: tensor<?x120xbf16>, %q: tensor<?x102xbf16>, %c: !mla.layer_cache<40, 10, page = 64, bf16>, %r: !lm.rows):
  %o = mla.latent_attention %a, %q, %c, %r {heads = 3 : i64, scale = 0.1 : f32} : tensor<?x120xbf16>, tensor<?x102xbf16>, !mla.layer_cache<40, 10, page = 64, bf16> -> tensor<?x120xbf16>
  lm.yield %o : tensor<?x120xbf16>
}

// CHECK-LABEL:   // kernel attention:op=0
// CHECK:         ld.global.b16
cmd.kernel @ragged_e attention over rows {
^bb0(%q: tensor<?x102xbf16>, %c: !mla.layer_cache<40, 10, page = 64, bf16>, %r: !lm.rows, %w: tensor<132x40xf8E4M3FN>, %s: tensor<2x1xf32>):
  %o = mla.attention %q, %c, %r, %w scales %s {heads = 3 : i64, nope = 24 : i64, value = 20 : i64, scale = 0.1 : f32, activation = bf16, format = #lm<scale_format f32>, row_range = #mla<row_range all>} : (tensor<?x102xbf16>, !mla.layer_cache<40, 10, page = 64, bf16>, !lm.rows, tensor<132x40xf8E4M3FN>, tensor<2x1xf32>) -> tensor<?x60xbf16>
  lm.yield %o : tensor<?x60xbf16>
}
