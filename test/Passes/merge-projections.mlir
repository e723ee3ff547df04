// Linears over the same rows become one linear over a joined weight.
// RUN: moray-opt --moray-merge-projections --split-input-file --verify-diagnostics %s | FileCheck %s
// RUN: moray-opt --moray-merge-projections --split-input-file %s -o %t.1 2>/dev/null
// RUN: moray-opt --moray-merge-projections --split-input-file %t.1 2>/dev/null | diff %t.1 -
// Same numbers: q_a | kv_a with FP8 padding (160 rows, so the second part starts at row 256), q | kv_a without q_lora.
// RUN: moray-interpret %golden/v3-tiny-fp8 --emit-ir | moray-opt --moray-merge-projections -o %t.mlir
// RUN: moray-interpret %t.mlir --weights %golden/v3-tiny-fp8 --compare %golden/v3-tiny-fp8/golden.safetensors --tolerance 2e-5
// RUN: moray-interpret %golden/v2-lite-tiny --emit-ir | moray-opt --moray-merge-projections -o %t.mlir
// RUN: moray-interpret %t.mlir --weights %golden/v2-lite-tiny --compare %golden/v2-lite-tiny/golden.safetensors --tolerance 2e-5

// CHECK: lm.weight @k.q_a_kv_a per_layer recipe(#lm.concat<[@k.q_a, @k.kv_a], align = 1>) : tensor<176x64xbf16>
lm.weight @k.q_a per_layer from "{l}.q_a" : tensor<96x64xbf16>
lm.weight @k.kv_a per_layer from "{l}.kv_a" : tensor<80x64xbf16>
lm.weight @k.other per_layer from "{l}.other" : tensor<64x96xbf16>
// CHECK-LABEL: lm.layer @dense_weights
lm.layer @dense_weights(%l: index, %x: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  // CHECK: %[[W:.+]] = lm.weight_of @k.q_a_kv_a[%{{.*}}]
  // CHECK: %[[T:.+]] = lm.linear %{{.*}}, %[[W]] : {{.*}} -> tensor<?x176xbf16>
  // CHECK: %[[Q:.+]] = lm.slice %[[T]][0] {{.*}} -> tensor<?x96xbf16>
  // CHECK: lm.linear %[[Q]]
  %wq = lm.weight_of @k.q_a[%l] : tensor<96x64xbf16>
  %q = lm.linear %x, %wq : (tensor<?x64xbf16>, tensor<96x64xbf16>) -> tensor<?x96xbf16>
  %wo = lm.weight_of @k.other[%l] : tensor<64x96xbf16>
  %o = lm.linear %q, %wo : (tensor<?x96xbf16>, tensor<64x96xbf16>) -> tensor<?x64xbf16>
  %wk = lm.weight_of @k.kv_a[%l] : tensor<80x64xbf16>
  %kv = lm.linear %x, %wk : (tensor<?x64xbf16>, tensor<80x64xbf16>) -> tensor<?x80xbf16>
  // A slice of a part is a slice of the whole.
  // CHECK: lm.slice %[[T]][112] {{.*}} -> tensor<?x64xbf16>
  %z = lm.slice %kv[16] : tensor<?x80xbf16> -> tensor<?x64xbf16>
  %s = lm.add %o, %z : tensor<?x64xbf16>, tensor<?x64xbf16> -> tensor<?x64xbf16>
  lm.return %s : tensor<?x64xbf16>
}

// -----

// FP8 codes: parts start at multiples of 128, so that scale row = row / 128 stays true.
// CHECK: recipe(#lm.concat<[@k.gate, @k.up], align = 128>) : tensor<224x64xf8E4M3FN>
// CHECK: recipe(#lm.concat<[@k.gate.s, @k.up.s], align = 1>) : tensor<2x1xf32>
lm.weight @k.gate per_layer from "{l}.gate" : tensor<96x64xf8E4M3FN>
lm.weight @k.gate.s per_layer from "{l}.gate.s" : tensor<1x1xf32>
lm.weight @k.up per_layer from "{l}.up" : tensor<96x64xf8E4M3FN>
lm.weight @k.up.s per_layer from "{l}.up.s" : tensor<1x1xf32>
// CHECK-LABEL: lm.layer @codes
lm.layer @codes(%l: index, %x: tensor<?x64xf8E4M3FN>, %xs: tensor<?x1xf32>, %o: tensor<?x96xbf16>) -> tensor<?x64xf8E4M3FN> {
  // CHECK: %[[T:.+]] = lm.scaled_linear %{{.*}} by %{{.*}}, {{.*}} -> tensor<?x224xbf16>
  // CHECK-DAG: %[[G:.+]] = lm.slice %[[T]][0]
  // CHECK-DAG: %[[U:.+]] = lm.slice %[[T]][128]
  // CHECK: lm.swiglu %[[G]], %[[U]]
  %wg = lm.weight_of @k.gate[%l] : tensor<96x64xf8E4M3FN>
  %sg = lm.weight_of @k.gate.s[%l] : tensor<1x1xf32>
  %g = lm.scaled_linear %x by %xs, %wg scales %sg : (tensor<?x64xf8E4M3FN>, tensor<?x1xf32>, tensor<96x64xf8E4M3FN>, tensor<1x1xf32>) -> tensor<?x96xbf16>
  %wu = lm.weight_of @k.up[%l] : tensor<96x64xf8E4M3FN>
  %su = lm.weight_of @k.up.s[%l] : tensor<1x1xf32>
  %u = lm.scaled_linear %x by %xs, %wu scales %su : (tensor<?x64xf8E4M3FN>, tensor<?x1xf32>, tensor<96x64xf8E4M3FN>, tensor<1x1xf32>) -> tensor<?x96xbf16>
  %h = lm.swiglu %g, %u : tensor<?x96xbf16>, tensor<?x96xbf16> -> tensor<?x96xbf16>
  lm.return %x : tensor<?x64xf8E4M3FN>
}

// -----

// A bias keeps linears apart, and so do different weight types.
lm.weight @k.q_a per_layer from "{l}.q_a" : tensor<64x64xbf16>
lm.weight @k.kv_a per_layer from "{l}.kv_a" : tensor<64x64xbf16>
lm.weight @k.bias per_layer from "{l}.bias" : tensor<64xbf16>
lm.weight @k.f32 per_layer from "{l}.f32" : tensor<64x64xf32>
// CHECK-LABEL: lm.layer @apart
// CHECK-COUNT-3: lm.linear
// CHECK-NOT: lm.slice
lm.layer @apart(%l: index, %x: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %wq = lm.weight_of @k.q_a[%l] : tensor<64x64xbf16>
  %q = lm.linear %x, %wq : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
  %wk = lm.weight_of @k.kv_a[%l] : tensor<64x64xbf16>
  %b = lm.weight_of @k.bias[%l] : tensor<64xbf16>
  // expected-remark@+1 {{declined: the linear has a bias, and recipes join matrices only}}
  %kv = lm.linear %x, %wk bias %b : (tensor<?x64xbf16>, tensor<64x64xbf16>, tensor<64xbf16>) -> tensor<?x64xbf16>
  %wf = lm.weight_of @k.f32[%l] : tensor<64x64xf32>
  %f = lm.linear %x, %wf : (tensor<?x64xbf16>, tensor<64x64xf32>) -> tensor<?x64xbf16>
  %s = lm.add %q, %kv : tensor<?x64xbf16>, tensor<?x64xbf16> -> tensor<?x64xbf16>
  %s2 = lm.add %s, %f : tensor<?x64xbf16>, tensor<?x64xbf16> -> tensor<?x64xbf16>
  lm.return %s2 : tensor<?x64xbf16>
}
