// The moe ops are pure: one of two equal ones is enough, and what nobody reads goes. Movement between ranks stays: every rank takes part in it.
// RUN: moray-opt --cse --canonicalize %s | FileCheck %s

// CHECK-LABEL: @routing
// CHECK-NEXT: %[[IDS:.*]], %[[GATES:.*]] = moe.route
// CHECK-NEXT: return %[[IDS]], %[[GATES]]
func.func @routing(%x: tensor<?x256xbf16>, %w: tensor<16x256xbf16>) -> (tensor<?x6xi32>, tensor<?x6xf32>) {
  %ids, %g = moe.route %x, %w {router = #moe.router<softmax, greedy, groups = 1, keep = 1, top = 6, normalise = false, scale = 1.0 : f32>}
      : (tensor<?x256xbf16>, tensor<16x256xbf16>) -> (tensor<?x6xi32>, tensor<?x6xf32>)
  %ids1, %g1 = moe.route %x, %w {router = #moe.router<softmax, greedy, groups = 1, keep = 1, top = 6, normalise = false, scale = 1.0 : f32>}
      : (tensor<?x256xbf16>, tensor<16x256xbf16>) -> (tensor<?x6xi32>, tensor<?x6xf32>)
  %off, %tok, %rank, %gs = moe.dispatch %ids, %g : tensor<?x6xi32>, tensor<?x6xf32> -> tensor<17xi32>, tensor<?xi32>, tensor<?x6xi32>, tensor<?x6xf32>
  return %ids, %g1 : tensor<?x6xi32>, tensor<?x6xf32>
}

// CHECK-LABEL: @exchanges
// CHECK-COUNT-2: moe.combine_ranks
// CHECK: return
func.func @exchanges(%x: tensor<?x256xbf16>, %t: tensor<?xi32>, %o: tensor<17xi32>, %g: tensor<?x4xf32>) {
  %xr, %tr, %or, %x1 = moe.dispatch_ranks %x, %t, %o, %g : (tensor<?x256xbf16>, tensor<?xi32>, tensor<17xi32>, tensor<?x4xf32>) -> (tensor<?x256xbf16>, tensor<?xi32>, tensor<17xi32>, !moe.exchange)
  %e, %eg = moe.combine_ranks %xr, %x1 : (tensor<?x256xbf16>, !moe.exchange) -> (tensor<?x256xbf16>, tensor<?x4xf32>)
  %xs, %ts, %os, %x2 = moe.dispatch_ranks %x, %t, %o, %g : (tensor<?x256xbf16>, tensor<?xi32>, tensor<17xi32>, tensor<?x4xf32>) -> (tensor<?x256xbf16>, tensor<?xi32>, tensor<17xi32>, !moe.exchange)
  %f, %fg = moe.combine_ranks %xs, %x2 : (tensor<?x256xbf16>, !moe.exchange) -> (tensor<?x256xbf16>, tensor<?x4xf32>)
  return
}
