// moe.experts becomes dispatch, one grouped linear for gate and up, swiglu, one for down, and combine.
// RUN: moray-opt --moray-expand-experts --split-input-file --verify-diagnostics %s | FileCheck %s
// RUN: moray-opt --moray-expand-experts --split-input-file %s -o %t.1 2>/dev/null
// RUN: moray-opt --moray-expand-experts --split-input-file %t.1 2>/dev/null | diff %t.1 -
// Same numbers, FP8 weights with padded parts included (Fe = 144).
// RUN: moray-interpret %golden/v3-tiny-fp8 --emit-ir | moray-opt --moray-expand-experts -o %t.mlir
// RUN: moray-interpret %t.mlir --weights %golden/v3-tiny-fp8 --compare %golden/v3-tiny-fp8/golden.safetensors --tolerance 2e-5

// CHECK: lm.weight @up per_layer
// CHECK-NEXT: lm.weight @gate_up per_layer recipe(#lm.concat<[@gate, @up], align = 1>) : tensor<8x192x64xbf16>
lm.weight @gate per_layer from "{l}.{e}.gate" : tensor<8x96x64xbf16>
lm.weight @up per_layer from "{l}.{e}.up" : tensor<8x96x64xbf16>
lm.weight @down per_layer from "{l}.{e}.down" : tensor<8x64x96xbf16>
// CHECK-LABEL: lm.layer @dense_weights
lm.layer @dense_weights(%l: index, %x: tensor<?x64xbf16>, %ids: tensor<?x2xi32>, %g: tensor<?x2xf32>) -> tensor<?x64xbf16> {
  %wg = lm.weight_of @gate[%l] : tensor<8x96x64xbf16>
  %wu = lm.weight_of @up[%l] : tensor<8x96x64xbf16>
  %wd = lm.weight_of @down[%l] : tensor<8x64x96xbf16>
  // CHECK: %[[W:.+]] = lm.weight_of @gate_up
  // CHECK: %[[OFF:.+]], %[[TOK:.+]], %[[RANK:.+]], %[[GS:.+]] = moe.dispatch {{.*}} -> tensor<9xi32>
  // CHECK: %[[T:.+]] = moe.grouped_linear %[[X:.+]] rows %[[TOK]], %[[OFF]], %[[W]] {{.*}} -> tensor<?x192xbf16>
  // CHECK: %[[G:.+]] = lm.slice %[[T]][0]
  // CHECK: %[[U:.+]] = lm.slice %[[T]][96]
  // CHECK: %[[H:.+]] = lm.swiglu %[[G]], %[[U]]
  // CHECK: %[[Y:.+]] = moe.grouped_linear %[[H]], %[[OFF]], {{.*}} -> tensor<?x64xbf16>
  // CHECK: moe.combine %[[Y]], %[[RANK]], %[[GS]] {{.*}} -> tensor<?x64xf32>
  // CHECK-NOT: moe.experts
  %r = moe.experts %x, %ids, %g gate %wg up %wu down %wd {activation = bf16, format = #lm<scale_format f32>}
      : (tensor<?x64xbf16>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<8x96x64xbf16>, tensor<8x96x64xbf16>, tensor<8x64x96xbf16>) -> tensor<?x64xf32>
  %y = lm.add %x, %r : tensor<?x64xbf16>, tensor<?x64xf32> -> tensor<?x64xbf16>
  lm.return %y : tensor<?x64xbf16>
}

// -----

// FP8 codes: the up rows start at a multiple of 128, scales are joined without padding; rows are quantised before both linears, and an
// earlier quantisation of the same rows is used.
// CHECK: recipe(#lm.concat<[@gate, @up], align = 128>) : tensor<8x224x64xf8E4M3FN>
// CHECK: recipe(#lm.concat<[@gate.s, @up.s], align = 1>) : tensor<8x2x1xf32>
lm.weight @gate per_layer from "{l}.{e}.gate" : tensor<8x96x64xf8E4M3FN>
lm.weight @up per_layer from "{l}.{e}.up" : tensor<8x96x64xf8E4M3FN>
lm.weight @down per_layer from "{l}.{e}.down" : tensor<8x64x96xf8E4M3FN>
lm.weight @gate.s per_layer from "{l}.{e}.gate.s" : tensor<8x1x1xf32>
lm.weight @up.s per_layer from "{l}.{e}.up.s" : tensor<8x1x1xf32>
lm.weight @down.s per_layer from "{l}.{e}.down.s" : tensor<8x1x1xf32>
// CHECK-LABEL: lm.layer @codes
lm.layer @codes(%l: index, %x: tensor<?x64xbf16>, %ids: tensor<?x2xi32>, %g: tensor<?x2xf32>) -> tensor<?x64xbf16> {
  %wg = lm.weight_of @gate[%l] : tensor<8x96x64xf8E4M3FN>
  %wu = lm.weight_of @up[%l] : tensor<8x96x64xf8E4M3FN>
  %wd = lm.weight_of @down[%l] : tensor<8x64x96xf8E4M3FN>
  %sg = lm.weight_of @gate.s[%l] : tensor<8x1x1xf32>
  %su = lm.weight_of @up.s[%l] : tensor<8x1x1xf32>
  %sd = lm.weight_of @down.s[%l] : tensor<8x1x1xf32>
  // CHECK: %[[C:.+]], %[[S:.+]] = lm.quantize
  %c, %s = lm.quantize %x {format = #lm<scale_format f32>} : tensor<?x64xbf16> -> tensor<?x64xf8E4M3FN>, tensor<?x1xf32>
  // CHECK: moe.grouped_linear %[[C]] by %[[S]] rows
  // CHECK: lm.slice %{{.*}}[128]
  // CHECK: %[[H:.+]] = lm.swiglu
  // CHECK: %[[HC:.+]], %[[HS:.+]] = lm.quantize %[[H]]
  // CHECK: moe.grouped_linear %[[HC]] by %[[HS]], %
  %r = moe.experts %x, %ids, %g gate %wg up %wu down %wd scales %sg, %su, %sd {activation = f8E4M3FN, format = #lm<scale_format f32>}
      : (tensor<?x64xbf16>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<8x96x64xf8E4M3FN>, tensor<8x96x64xf8E4M3FN>, tensor<8x64x96xf8E4M3FN>,
         tensor<8x1x1xf32>, tensor<8x1x1xf32>, tensor<8x1x1xf32>) -> tensor<?x64xf32>
  %y = lm.add %x, %r : tensor<?x64xbf16>, tensor<?x64xf32> -> tensor<?x64xbf16>
  lm.return %y : tensor<?x64xbf16>
}

// -----

// Weights without symbols cannot be joined by a recipe.
// CHECK-LABEL: lm.layer @anonymous
lm.layer @anonymous(%l: index, %x: tensor<?x64xf32>, %ids: tensor<?x2xi32>, %g: tensor<?x2xf32>, %w: tensor<8x64x64xf32>) -> tensor<?x64xf32> {
  // expected-remark@+2 {{declined: gate and up are no lm.weight_of values of one layer}}
  // CHECK: moe.experts
  %r = moe.experts %x, %ids, %g gate %w up %w down %w {activation = f32, format = #lm<scale_format f32>}
      : (tensor<?x64xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<8x64x64xf32>, tensor<8x64x64xf32>, tensor<8x64x64xf32>) -> tensor<?x64xf32>
  lm.return %r : tensor<?x64xf32>
}
