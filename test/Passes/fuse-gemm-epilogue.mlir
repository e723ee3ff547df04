// swiglu over two row ranges of one product joins the kernel of the product.
// RUN: moray-opt --moray-fuse-gemm-epilogue --split-input-file --verify-diagnostics %s | FileCheck %s
// RUN: moray-opt --moray-fuse-gemm-epilogue --split-input-file %s -o %t.1 2>/dev/null
// RUN: moray-opt --moray-fuse-gemm-epilogue --split-input-file %t.1 2>/dev/null | diff %t.1 -
// Same numbers: dense, shared and routed MLPs.
// RUN: moray-interpret %golden/v3-tiny-fp8 --emit-ir | moray-opt --moray-expand-experts --moray-merge-projections --moray-fuse-gemm-epilogue -o %t.mlir
// RUN: FileCheck %s --check-prefix=MODEL < %t.mlir
// RUN: moray-interpret %t.mlir --weights %golden/v3-tiny-fp8 --compare %golden/v3-tiny-fp8/golden.safetensors --tolerance 2e-5
// MODEL-COUNT-3: lm.kernel
// MODEL-NOT: lm.kernel

// CHECK-LABEL: lm.layer @dense
lm.layer @dense(%l: index, %x: tensor<?x64xbf16>, %w: tensor<224x64xbf16>) -> tensor<?x64xbf16> {
  // CHECK: lm.kernel gemm over rows(%{{.*}}, %{{.*}} : tensor<?x64xbf16>, tensor<224x64xbf16>) -> tensor<?x96xbf16> {
  // CHECK-NEXT: ^bb0(%[[X:.+]]: tensor<?x64xbf16>, %[[W:.+]]: tensor<224x64xbf16>):
  // CHECK-NEXT: %[[T:.+]] = lm.linear %[[X]], %[[W]]
  // CHECK-NEXT: %[[G:.+]] = lm.slice %[[T]][0]
  // CHECK-NEXT: %[[U:.+]] = lm.slice %[[T]][128]
  // CHECK-NEXT: %[[H:.+]] = lm.swiglu %[[G]], %[[U]]
  // CHECK-NEXT: lm.yield %[[H]]
  %t = lm.linear %x, %w : (tensor<?x64xbf16>, tensor<224x64xbf16>) -> tensor<?x224xbf16>
  %u = lm.slice %t[128] : tensor<?x224xbf16> -> tensor<?x96xbf16>
  %g = lm.slice %t[0] : tensor<?x224xbf16> -> tensor<?x96xbf16>
  %h = lm.swiglu %g, %u : tensor<?x96xbf16>, tensor<?x96xbf16> -> tensor<?x96xbf16>
  %y = lm.slice %h[0] : tensor<?x96xbf16> -> tensor<?x64xbf16>
  lm.return %y : tensor<?x64xbf16>
}

// -----

// CHECK-LABEL: lm.layer @grouped
lm.layer @grouped(%l: index, %x: tensor<?x64xbf16>, %ids: tensor<?x2xi32>, %gates: tensor<?x2xf32>, %w: tensor<8x192x64xbf16>, %d: tensor<8x64x96xbf16>)
    -> tensor<?x64xbf16> {
  %off, %tok, %rank, %gs = moe.dispatch %ids, %gates : tensor<?x2xi32>, tensor<?x2xf32> -> tensor<9xi32>, tensor<?xi32>, tensor<?x2xi32>, tensor<?x2xf32>
  // CHECK: %[[H:.+]] = lm.kernel grouped_gemm over slots of 2(
  // CHECK: moe.grouped_linear
  // CHECK: lm.swiglu
  %t = moe.grouped_linear %x rows %tok, %off, %w : (tensor<?x64xbf16>, tensor<?xi32>, tensor<9xi32>, tensor<8x192x64xbf16>) -> tensor<?x192xbf16>
  %g = lm.slice %t[0] : tensor<?x192xbf16> -> tensor<?x96xbf16>
  %u = lm.slice %t[96] : tensor<?x192xbf16> -> tensor<?x96xbf16>
  %h = lm.swiglu %g, %u : tensor<?x96xbf16>, tensor<?x96xbf16> -> tensor<?x96xbf16>
  // CHECK: moe.grouped_linear %[[H]]
  %y = moe.grouped_linear %h, %off, %d : (tensor<?x96xbf16>, tensor<9xi32>, tensor<8x64x96xbf16>) -> tensor<?x64xbf16>
  %r = moe.combine %y, %rank, %gs : tensor<?x64xbf16>, tensor<?x2xi32>, tensor<?x2xf32> -> tensor<?x64xf32>
  %c = lm.cast %r : tensor<?x64xf32> -> tensor<?x64xbf16>
  lm.return %c : tensor<?x64xbf16>
}

// -----

// CHECK-LABEL: lm.layer @declined
// CHECK-NOT: lm.kernel
lm.layer @declined(%l: index, %x: tensor<?x64xbf16>, %w: tensor<128x64xbf16>, %b: tensor<128xbf16>) -> tensor<?x64xbf16> {
  %t = lm.linear %x, %w : (tensor<?x64xbf16>, tensor<128x64xbf16>) -> tensor<?x128xbf16>
  %g = lm.slice %t[0] : tensor<?x128xbf16> -> tensor<?x64xbf16>
  %u = lm.slice %t[64] : tensor<?x128xbf16> -> tensor<?x64xbf16>
  // expected-remark@+1 {{declined: the linear or a slice of it has another use}}
  %h = lm.swiglu %g, %u : tensor<?x64xbf16>, tensor<?x64xbf16> -> tensor<?x64xbf16>
  %s = lm.add %h, %u : tensor<?x64xbf16>, tensor<?x64xbf16> -> tensor<?x64xbf16>
  %t2 = lm.linear %s, %w bias %b : (tensor<?x64xbf16>, tensor<128x64xbf16>, tensor<128xbf16>) -> tensor<?x128xbf16>
  %g2 = lm.slice %t2[0] : tensor<?x128xbf16> -> tensor<?x64xbf16>
  %u2 = lm.slice %t2[64] : tensor<?x128xbf16> -> tensor<?x64xbf16>
  // expected-remark@+1 {{declined: the linear has a bias, which the epilogue would have to add to both ranges}}
  %h2 = lm.swiglu %g2, %u2 : tensor<?x64xbf16>, tensor<?x64xbf16> -> tensor<?x64xbf16>
  lm.return %h2 : tensor<?x64xbf16>
}
