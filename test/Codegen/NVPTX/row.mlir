// Row kernels on a GPU: launch plan, wide accesses, the fixed reduction, and arithmetic that rounds as IEEE says and nothing else.
// RUN: moray-emit %s --gpu=cuda:sm_80 | FileCheck %s --check-prefix=PLAN
// RUN: moray-emit %s --gpu=cuda:sm_80 --print=asm | FileCheck %s --implicit-check-not=.approx --implicit-check-not=.ftz --implicit-check-not=mad.f --implicit-check-not=call --implicit-check-not=.local

// A block for each row; the values that the norm sums are in shared memory.
// PLAN:      // kernel row:{{.*}}loop 7168
// PLAN-NEXT: // cuda:sm_80: rows=1 threads=448
// PLAN-NEXT: // scratch: 0
// PLAN-NEXT: // stage row_{{[0-9a-f]+}}: grid rows, threads 448, dynamic shared 28672

// The live rows are counted on the device; surplus blocks end.
// CHECK-LABEL: .entry row_
// CHECK:         .maxntid 448
// CHECK:         ld.global{{.*}}b32
// CHECK:         setp.ge.u32
// CHECK:         ld.global.v4.b16
// CHECK:         add.rn.f32
// CHECK:         st.shared.v4
// CHECK:         bar.sync
// CHECK:         ld.shared
// CHECK:         fma.rn.f32
// CHECK:         bar.sync
// CHECK-COUNT-5: shfl.sync.bfly.b32
// CHECK:         sqrt.rn.f32
// CHECK:         redux.sync.max.u32
// CHECK:         div.rn.f32
cmd.kernel @norm row over rows {
^bb0(%h: tensor<?x7168xbf16>, %o: tensor<?x7168xbf16>, %w: tensor<7168xbf16>):
  %a = lm.add %h, %o : tensor<?x7168xbf16>, tensor<?x7168xbf16> -> tensor<?x7168xbf16>
  %y = lm.rms_norm %a, %w {eps = 1.0e-6 : f32} : tensor<?x7168xbf16>, tensor<7168xbf16> -> tensor<?x7168xbf16>
  %c, %s = lm.quantize %y {format = #lm<scale_format f32>} : tensor<?x7168xbf16> -> tensor<?x7168xf8E4M3FN>, tensor<?x56xf32>
  lm.yield %a, %y, %c, %s : tensor<?x7168xbf16>, tensor<?x7168xbf16>, tensor<?x7168xf8E4M3FN>, tensor<?x56xf32>
}

// Rows too wide for shared memory go through scratch memory, behind the counters.
// PLAN:      // kernel row:{{.*}}loop 26000
// PLAN:      // scratch: 1024 T 104000 * +
// PLAN-NEXT: // stage row_{{[0-9a-f]+}}: grid rows, threads 512, dynamic shared 0
// CHECK-LABEL: .entry row_
// CHECK-NOT:     st.shared.v4
cmd.kernel @wide row over rows {
^bb0(%h: tensor<?x26000xf32>, %w: tensor<26000xf32>):
  %y = lm.rms_norm %h, %w {eps = 1.0e-6 : f32} : tensor<?x26000xf32>, tensor<26000xf32> -> tensor<?x26000xf32>
  lm.yield %y : tensor<?x26000xf32>
}

// Prefill rows follow the decode rows. Angles are reduced in f64.
// PLAN:      // kernel row:prefill{{.*}}rope 384
// PLAN:      // stage row_{{[0-9a-f]+}}: grid prefill, threads 128, dynamic shared 0
// CHECK-LABEL: .entry row_
// CHECK:         fma.rn.f64
// CHECK:         bar.sync
// CHECK:         sub.rn.f32
cmd.kernel @rope row over prefill {
^bb0(%r: !lm.rows, %x: tensor<?x384xbf16>):
  %c, %s = lm.rope_table %r {inv_freq = array<f32: 1.0, 0.5, 0.25, 0.125>, multiplier = 1.0 : f32} : tensor<?x4xf32>, tensor<?x4xf32>
  %y = lm.rope %x, %c, %s {head_dim = 192 : i64, layout = #lm<rope_layout interleaved>} : tensor<?x384xbf16>, tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x384xbf16>
  lm.yield %c, %s, %y : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x384xbf16>
}
