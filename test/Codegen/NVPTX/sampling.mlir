// Sampling on a GPU: a block for each row of logits, integer weights, no scratch memory, exact arithmetic only.
// RUN: moray-emit %s --gpu=cuda:sm_80 | FileCheck %s --check-prefix=PLAN
// RUN: moray-emit %s --gpu=cuda:sm_80 --print=asm | FileCheck %s --implicit-check-not=.approx --implicit-check-not=.ftz --implicit-check-not=mad.f --implicit-check-not=call --implicit-check-not=.local

// PLAN:      // scratch: 0
// PLAN-NEXT: // stage sampling_{{[0-9a-f]+}}: grid outs, threads 512, dynamic shared 0

// CHECK-LABEL: .entry sampling_
// CHECK:         redux.sync.max.u32
// CHECK:         div.rn.f32
// CHECK:         cvt.rzi.s64.f32
// CHECK:         mul.hi.u64
// CHECK:         shfl.sync.up.b32
cmd.kernel @sample sampling over outs {
^bb0(%l: tensor<?x129280xf32>, %p: tensor<?x24xui8>):
  %t = lm.sample %l, %p : tensor<?x129280xf32>, tensor<?x24xui8> -> tensor<?xi32>
  lm.yield %t : tensor<?xi32>
}

// CHECK-LABEL: .entry sampling_
// CHECK:         fma.rn.f32
// CHECK:         bar.sync
// CHECK-COUNT-5: shfl.sync.bfly.b32
cmd.kernel @score sampling over outs {
^bb0(%l: tensor<?x163840xf32>, %t: tensor<?xi32>):
  %p = lm.log_prob %l, %t : tensor<?x163840xf32>, tensor<?xi32> -> tensor<?xf32>
  lm.yield %p : tensor<?xf32>
}
