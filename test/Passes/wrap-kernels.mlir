// Every op that is left gets a kernel of its class.
// RUN: moray-opt --moray-wrap-kernels %s | FileCheck %s
// RUN: moray-opt --moray-wrap-kernels %s -o %t.1 2>/dev/null
// RUN: moray-opt --moray-wrap-kernels %t.1 2>/dev/null | diff %t.1 -
// Same numbers with one kernel per op.
// RUN: moray-interpret %golden/v3-tiny-fp8 --emit-ir | moray-opt --moray-expand-experts --moray-wrap-kernels --moray-verify-fuse -o %t.mlir
// RUN: moray-interpret %t.mlir --weights %golden/v3-tiny-fp8 --compare %golden/v3-tiny-fp8/golden.safetensors --tolerance 2e-5

lm.weight @w per_layer from "{l}.w" : tensor<64x64xbf16>
// CHECK-LABEL: lm.layer @k
lm.layer @k(%l: index, %x: tensor<?x64xbf16>, %q: tensor<?x192xbf16>, %kvb: tensor<256x64xbf16>) -> tensor<?x64xbf16> {
  // CHECK: %[[W:.+]] = lm.weight_of @w
  // CHECK: %[[A:.+]] = lm.kernel row over rows(%{{.*}} : tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  // CHECK: lm.add
  // CHECK-NEXT: lm.yield
  // CHECK: lm.kernel gemm over rows(%[[A]], %[[W]] :
  // CHECK: lm.linear
  // CHECK-NEXT: lm.yield
  // CHECK-NOT: lm.kernel attention
  %a = lm.add %x, %x : tensor<?x64xbf16>, tensor<?x64xbf16> -> tensor<?x64xbf16>
  %w = lm.weight_of @w[%l] : tensor<64x64xbf16>
  %y = lm.linear %a, %w : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  // What nobody uses is dropped.
  %t = mla.absorb_query %q, %kvb {heads = 4, nope = 32, value = 32} : (tensor<?x192xbf16>, tensor<256x64xbf16>) -> tensor<?x256xbf16>
  lm.return %y : tensor<?x64xbf16>
}

// CHECK-LABEL: lm.program @sample
// CHECK: lm.kernel sampling over outs(
lm.program @sample(%logits: tensor<?x512xf32>, %params: tensor<?x24xui8>) -> tensor<?xi32> attributes {lm.kind = #lm<program_kind sample>} {
  %t = lm.sample %logits, %params : tensor<?x512xf32>, tensor<?x24xui8> -> tensor<?xi32>
  lm.return %t : tensor<?xi32>
}
