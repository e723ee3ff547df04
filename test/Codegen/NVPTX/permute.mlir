// Sorting slots by expert on a GPU: a block for each expert, votes instead of atomics.
// RUN: moray-emit %s --gpu=cuda:sm_80 | FileCheck %s --check-prefix=PLAN
// RUN: moray-emit %s --gpu=cuda:sm_80 --print=asm | FileCheck %s --implicit-check-not=atom. --implicit-check-not=red.global --implicit-check-not=.local

// PLAN: // stage permute_{{[0-9a-f]+}}: grid 16, threads 256, dynamic shared 0

// CHECK-LABEL: .entry permute_
// CHECK:         redux.sync.add
// CHECK:         vote.sync.ballot
// CHECK:         popc.b32
// CHECK:         bar.sync
cmd.kernel @d permute over rows {
^bb0(%ids: tensor<?x4xi32>, %g: tensor<?x4xf32>):
  %o, %t, %r, %s = moe.dispatch %ids, %g : tensor<?x4xi32>, tensor<?x4xf32> -> tensor<17xi32>, tensor<?xi32>, tensor<?x4xi32>, tensor<?x4xf32>
  lm.yield %o, %t, %r, %s : tensor<17xi32>, tensor<?xi32>, tensor<?x4xi32>, tensor<?x4xf32>
}
