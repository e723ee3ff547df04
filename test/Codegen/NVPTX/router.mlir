// The router on a GPU: experts spread over blocks, the last one at a group of rows selects; exact arithmetic only.
// RUN: moray-emit %s --gpu=cuda:sm_80 | FileCheck %s --check-prefix=PLAN
// RUN: moray-emit %s --gpu=cuda:sm_80 --print=asm | FileCheck %s --implicit-check-not=.approx --implicit-check-not=.ftz --implicit-check-not=mad.f --implicit-check-not=call --implicit-check-not=.local

// 64 blocks share the 256 experts of four rows, for as many groups of rows as there are counters.
// PLAN:      // cuda:sm_80: rows=4 experts=4
// PLAN-NEXT: // scratch: 1024 T 1024 * +
// PLAN-NEXT: // stage router_{{[0-9a-f]+}}: grid rows 4 ceildiv 256 min 64 * rows 4 ceildiv max, threads 128, dynamic shared 8576

// Eight loads of the weight row are under way before the first product.
// CHECK-LABEL:   .entry router_
// CHECK-COUNT-8: ld.global.nc.v4.b16
// CHECK:         fma.rn.f32
// CHECK:         shfl.sync.bfly.b32
// CHECK:         membar.gl
// CHECK:         bar.sync
// CHECK:         atom{{.*}}add
// CHECK:         redux.sync.max.u32
// CHECK:         bar.warp.sync
cmd.kernel @router router over rows {
^bb0(%x: tensor<?x7168xbf16>, %w: tensor<256x7168xbf16>, %b: tensor<256xf32>):
  %ids, %g = moe.route %x, %w bias %b {router = #moe.router<sigmoid, noaux_tc, groups = 8, keep = 4, top = 8, normalise = true, scale = 2.5 : f32>}
    : (tensor<?x7168xbf16>, tensor<256x7168xbf16>, tensor<256xf32>) -> (tensor<?x8xi32>, tensor<?x8xf32>)
  lm.yield %ids, %g : tensor<?x8xi32>, tensor<?x8xf32>
}
