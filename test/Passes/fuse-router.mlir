// Routing forms two kernels: the router over rows, and the permutation that needs the choices of all rows.
// RUN: moray-opt --moray-fuse-router --split-input-file --verify-diagnostics %s | FileCheck %s
// RUN: moray-opt --moray-fuse-router --split-input-file %s -o %t.1 2>/dev/null
// RUN: moray-opt --moray-fuse-router --split-input-file %t.1 2>/dev/null | diff %t.1 -
// Same numbers and the same experts.
// RUN: moray-interpret %golden/v3-tiny-fp8 --emit-ir | moray-opt --moray-expand-experts --moray-fuse-router -o %t.mlir
// RUN: moray-interpret %t.mlir --weights %golden/v3-tiny-fp8 --compare %golden/v3-tiny-fp8/golden.safetensors --tolerance 2e-5

// CHECK-LABEL: lm.layer @grouped
lm.layer @grouped(%l: index, %x: tensor<?x64xbf16>, %w: tensor<8x64xbf16>, %b: tensor<8xf32>, %d: tensor<8x64x64xbf16>) -> tensor<?x64xbf16> {
  // CHECK: %[[R:.+]]:2 = lm.kernel router over rows(%{{.*}}, %{{.*}}, %{{.*}} : tensor<?x64xbf16>, tensor<8x64xbf16>, tensor<8xf32>) -> tensor<?x2xi32>, tensor<?x2xf32> {
  // CHECK: moe.route
  // CHECK-NEXT: lm.yield
  %ids, %g = moe.route %x, %w bias %b {router = #moe.router<sigmoid, noaux_tc, groups = 1, keep = 1, top = 2, normalise = true, scale = 2.5 : f32>}
      : (tensor<?x64xbf16>, tensor<8x64xbf16>, tensor<8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  // CHECK: %[[P:.+]]:4 = lm.kernel permute over rows(%[[R]]#0, %[[R]]#1 :
  // CHECK: moe.dispatch
  // CHECK-NEXT: lm.yield
  %off, %tok, %rank, %gs = moe.dispatch %ids, %g : tensor<?x2xi32>, tensor<?x2xf32> -> tensor<9xi32>, tensor<?xi32>, tensor<?x2xi32>, tensor<?x2xf32>
  // CHECK: moe.grouped_linear %{{.*}} rows %[[P]]#1, %[[P]]#0
  %t = moe.grouped_linear %x rows %tok, %off, %d : (tensor<?x64xbf16>, tensor<?xi32>, tensor<9xi32>, tensor<8x64x64xbf16>) -> tensor<?x64xbf16>
  %r = moe.combine %t, %rank, %gs : tensor<?x64xbf16>, tensor<?x2xi32>, tensor<?x2xf32> -> tensor<?x64xf32>
  %y = lm.cast %r : tensor<?x64xf32> -> tensor<?x64xbf16>
  lm.return %y : tensor<?x64xbf16>
}

// -----

// CHECK-LABEL: lm.layer @textbook
// CHECK-NOT: lm.kernel
lm.layer @textbook(%l: index, %x: tensor<?x64xbf16>, %w: tensor<8x64xbf16>, %d: tensor<8x64x64xbf16>) -> tensor<?x64xbf16> {
  // expected-remark@+1 {{declined: the choices enter moe.experts, expected the grouped form of --moray-expand-experts}}
  %ids, %g = moe.route %x, %w {router = #moe.router<softmax, greedy, groups = 1, keep = 1, top = 2, normalise = false, scale = 1.0 : f32>}
      : (tensor<?x64xbf16>, tensor<8x64xbf16>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %r = moe.experts %x, %ids, %g gate %d up %d down %d {activation = bf16, format = #lm<scale_format f32>}
      : (tensor<?x64xbf16>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<8x64x64xbf16>, tensor<8x64x64xbf16>, tensor<8x64x64xbf16>) -> tensor<?x64xf32>
  %y = lm.cast %r : tensor<?x64xf32> -> tensor<?x64xbf16>
  lm.return %y : tensor<?x64xbf16>
}
