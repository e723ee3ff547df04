// The moe ops are pure: one of two equal ones is enough, and what nobody reads goes.
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
