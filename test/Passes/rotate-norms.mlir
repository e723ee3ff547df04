// The input norm of a layer moves to the end of the layer before it; the step computes the first and drops the final one.
// RUN: moray-opt --moray-rotate-norms --split-input-file --verify-diagnostics %s | FileCheck %s
// RUN: moray-opt --moray-rotate-norms --split-input-file %s -o %t.1 2>/dev/null
// RUN: moray-opt --moray-rotate-norms --split-input-file %t.1 2>/dev/null | diff %t.1 -
// Same numbers, with and without quantised rows.
// RUN: moray-interpret %golden/v3-tiny-fp8 --emit-ir > %t.import
// RUN: moray-opt --moray-rotate-norms %t.import -o %t.mlir
// RUN: grep -q "last .model.norm.weight" %t.mlir
// RUN: moray-interpret %t.mlir --weights %golden/v3-tiny-fp8 --compare %golden/v3-tiny-fp8/golden.safetensors --tolerance 2e-5
// RUN: moray-opt --moray-set-numerics=mode=fp8 %t.import -o %t.fp8
// RUN: moray-interpret %t.fp8 --weights %golden/v3-tiny-fp8 --tokens 5,17,200,33,8 --logits %t.before.npy
// RUN: moray-opt --moray-rotate-norms %t.fp8 -o %t.mlir
// RUN: moray-interpret %t.mlir --weights %golden/v3-tiny-fp8 --tokens 5,17,200,33,8 --logits %t.after.npy
// RUN: cmp %t.before.npy %t.after.npy

// CHECK-DAG: lm.weight @k.in_norm.next per_layer from "model.layers.{l+1}.in.weight" last "model.norm.weight" : tensor<64xbf16>
// CHECK-DAG: lm.weight @k.in_norm.first from "model.layers.0.in.weight" : tensor<64xbf16>
// CHECK-NOT: lm.weight @norm
lm.weight @embed from "embed" : tensor<512x64xbf16>
lm.weight @norm from "model.norm.weight" : tensor<64xbf16>
lm.weight @k.in_norm per_layer from "model.layers.{l}.in.weight" : tensor<64xbf16>

// CHECK-LABEL: lm.layer @k
// CHECK-SAME: (%{{.*}}: index, %[[H:.+]]: tensor<?x64xbf16>, %[[X:.+]]: tensor<?x64xbf16>, %[[R:.+]]: !lm.rows) -> (tensor<?x64xbf16>, tensor<?x64xbf16>)
lm.layer @k(%l: index, %h: tensor<?x64xbf16>, %rows: !lm.rows) -> tensor<?x64xbf16> {
  // CHECK: %[[A:.+]] = lm.add %[[H]], %[[X]]
  // CHECK: %[[W:.+]] = lm.weight_of @k.in_norm.next[%{{.*}}]
  // CHECK: %[[N:.+]] = lm.rms_norm %[[A]], %[[W]]
  // CHECK: lm.return %[[A]], %[[N]]
  %w = lm.weight_of @k.in_norm[%l] : tensor<64xbf16>
  %x = lm.rms_norm %h, %w {eps = 1.0e-6 : f32} : tensor<?x64xbf16>, tensor<64xbf16> -> tensor<?x64xbf16>
  %a = lm.add %h, %x : tensor<?x64xbf16>, tensor<?x64xbf16> -> tensor<?x64xbf16>
  lm.return %a : tensor<?x64xbf16>
}
// CHECK-LABEL: lm.program @step
lm.program @step(%t: tensor<?xi32>, %rows: !lm.rows, %outs: tensor<?xi32>) -> tensor<?x64xbf16> attributes {lm.kind = #lm<program_kind step>} {
  // CHECK: %[[E:.+]] = lm.embed
  // CHECK: %[[F:.+]] = lm.weight_of @k.in_norm.first
  // CHECK: %[[X0:.+]] = lm.rms_norm %[[E]], %[[F]]
  // CHECK: %[[C:.+]]:2 = lm.call @k[0, 4] (%[[E]], %[[X0]], %{{.*}})
  // CHECK: %[[G:.+]] = lm.gather_rows %[[C]]#1
  // CHECK: lm.return %[[G]]
  %e = lm.weight_of @embed : tensor<512x64xbf16>
  %h = lm.embed %t, %e : tensor<?xi32>, tensor<512x64xbf16> -> tensor<?x64xbf16>
  %y = lm.call @k[0, 4](%h, %rows) : (tensor<?x64xbf16>, !lm.rows) -> tensor<?x64xbf16>
  %o = lm.gather_rows %y, %outs : tensor<?x64xbf16>, tensor<?xi32> -> tensor<?x64xbf16>
  %w = lm.weight_of @norm : tensor<64xbf16>
  %n = lm.rms_norm %o, %w {eps = 1.0e-6 : f32} : tensor<?x64xbf16>, tensor<64xbf16> -> tensor<?x64xbf16>
  lm.return %n : tensor<?x64xbf16>
}

// -----

// Norms of different eps cannot stand for each other.
lm.weight @embed from "embed" : tensor<512x64xbf16>
lm.weight @norm from "model.norm.weight" : tensor<64xbf16>
lm.weight @k.in_norm per_layer from "model.layers.{l}.in.weight" : tensor<64xbf16>
// CHECK-LABEL: lm.layer @eps
// CHECK-SAME: -> tensor<?x64xbf16>
lm.layer @eps(%l: index, %h: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %w = lm.weight_of @k.in_norm[%l] : tensor<64xbf16>
  // expected-remark@+1 {{declined: the norms of the layers and the final norm differ in type or eps}}
  %x = lm.rms_norm %h, %w {eps = 1.0e-5 : f32} : tensor<?x64xbf16>, tensor<64xbf16> -> tensor<?x64xbf16>
  lm.return %x : tensor<?x64xbf16>
}
lm.program @step(%t: tensor<?xi32>) -> tensor<?x64xbf16> attributes {lm.kind = #lm<program_kind step>} {
  %e = lm.weight_of @embed : tensor<512x64xbf16>
  %h = lm.embed %t, %e : tensor<?xi32>, tensor<512x64xbf16> -> tensor<?x64xbf16>
  %y = lm.call @eps[0, 4](%h) : (tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %w = lm.weight_of @norm : tensor<64xbf16>
  %n = lm.rms_norm %y, %w {eps = 1.0e-6 : f32} : tensor<?x64xbf16>, tensor<64xbf16> -> tensor<?x64xbf16>
  lm.return %n : tensor<?x64xbf16>
}

// -----

// CHECK-LABEL: lm.layer @no_norm
// expected-remark@+1 {{declined: the layer does not start with a norm of its residual}}
lm.layer @no_norm(%l: index, %h: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  lm.return %h : tensor<?x64xbf16>
}
lm.program @step(%h: tensor<?x64xbf16>) -> tensor<?x64xbf16> attributes {lm.kind = #lm<program_kind step>} {
  lm.return %h : tensor<?x64xbf16>
}

// -----

// The residual of the last layer is used by more than the final norm.
lm.weight @embed from "embed" : tensor<512x64xbf16>
lm.weight @k.in_norm per_layer from "model.layers.{l}.in.weight" : tensor<64xbf16>
lm.layer @k(%l: index, %h: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %w = lm.weight_of @k.in_norm[%l] : tensor<64xbf16>
  %x = lm.rms_norm %h, %w {eps = 1.0e-5 : f32} : tensor<?x64xbf16>, tensor<64xbf16> -> tensor<?x64xbf16>
  lm.return %x : tensor<?x64xbf16>
}
// expected-remark@+1 {{declined: the last layer is not followed by the final norm alone}}
lm.program @step(%t: tensor<?xi32>) -> tensor<?x64xbf16> attributes {lm.kind = #lm<program_kind step>} {
  %e = lm.weight_of @embed : tensor<512x64xbf16>
  %h = lm.embed %t, %e : tensor<?xi32>, tensor<512x64xbf16> -> tensor<?x64xbf16>
  %y = lm.call @k[0, 4](%h) : (tensor<?x64xbf16>) -> tensor<?x64xbf16>
  lm.return %y : tensor<?x64xbf16>
}
