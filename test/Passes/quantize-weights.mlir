// A BF16 checkpoint gets FP8 codes and scales on the linears of its layers (spec fp8.md 2.1 and 7), and on nothing else.
// RUN: moray-opt --moray-quantize-weights --split-input-file --verify-diagnostics %s | FileCheck %s
// RUN: moray-opt --moray-quantize-weights=format=ue8m0 --split-input-file %s 2>/dev/null | FileCheck %s --check-prefix=UE8M0
// A second run changes nothing.
// RUN: moray-opt --moray-quantize-weights --split-input-file %s -o %t.1 2>/dev/null
// RUN: moray-opt --moray-quantize-weights --split-input-file %t.1 2>/dev/null | diff %t.1 -
// Random weights lose about 1e-2 of their direction (median over rows, experts forced to the golden's).
// RUN: moray-interpret %golden/v3-tiny-bf16 --emit-ir | moray-opt --moray-quantize-weights -o %t.fp8.mlir
// RUN: moray-interpret %t.fp8.mlir --weights %golden/v3-tiny-bf16 --compare %golden/v3-tiny-bf16/golden.safetensors --tolerance 0 --median-tolerance 2e-2 --force-experts %golden/v3-tiny-bf16/golden.safetensors

// CHECK: lm.weight @moe.o per_layer from "layers.{l}.o" : tensor<256x200xbf16>
// CHECK-NEXT: lm.weight @moe.o.codes per_layer recipe(#lm.quantize_codes<@moe.o, f32>) : tensor<256x200xf8E4M3FN>
// CHECK-NEXT: lm.weight @moe.o.scales per_layer recipe(#lm.quantize_scales<@moe.o, f32>) : tensor<2x2xf32>
// UE8M0: recipe(#lm.quantize_codes<@moe.o, ue8m0>)
lm.weight @moe.o per_layer from "layers.{l}.o" : tensor<256x200xbf16>
lm.weight @head from "head" : tensor<512x256xbf16>

// CHECK-LABEL: lm.layer @moe
lm.layer @moe(%l: index, %h: tensor<?x256xf32>, %c: tensor<?x200xf32>) -> tensor<?x256xf32> {
  // CHECK: %[[C:.+]] = lm.weight_of @moe.o.codes[%{{.*}}]
  // CHECK: %[[S:.+]] = lm.weight_of @moe.o.scales[%{{.*}}]
  // CHECK: lm.scaled_linear %{{.*}}, %[[C]] scales %[[S]]
  %w = lm.weight_of @moe.o[%l] : tensor<256x200xbf16>
  %y = lm.linear %c, %w : (tensor<?x200xf32>, tensor<256x200xbf16>) -> tensor<?x256xf32>
  lm.return %y : tensor<?x256xf32>
}

// The lm_head stays as it is.
// CHECK-LABEL: lm.program @step
lm.program @step(%h: tensor<?x256xf32>) -> tensor<?x512xf32> attributes {lm.kind = #lm<program_kind step>} {
  // CHECK: lm.linear
  %w = lm.weight_of @head : tensor<512x256xbf16>
  %y = lm.linear %h, %w : (tensor<?x256xf32>, tensor<512x256xbf16>) -> tensor<?x512xf32>
  lm.return %y : tensor<?x512xf32>
}

// -----

// Experts and kv_b take codes and scales, and the format of the rows becomes that of the weights.
// CHECK: lm.weight @kv_b.codes per_layer recipe(#lm.quantize_codes<@kv_b, f32>) : tensor<128x64xf8E4M3FN>
// CHECK: lm.weight @gate.scales per_layer recipe(#lm.quantize_scales<@gate, f32>) : tensor<8x2x1xf32>
// UE8M0-LABEL: lm.layer @experts
// UE8M0: mla.attention {{.*}} format = #lm<scale_format ue8m0>
// UE8M0: moe.experts {{.*}} format = #lm<scale_format ue8m0>
lm.weight @kv_b per_layer from "{l}.kv_b" : tensor<128x64xbf16>
lm.weight @gate per_layer from "{l}.{e}.gate" : tensor<8x192x64xbf16>
lm.weight @up per_layer from "{l}.{e}.up" : tensor<8x192x64xbf16>
lm.weight @down per_layer from "{l}.{e}.down" : tensor<8x64x192xbf16>
// CHECK-LABEL: lm.layer @experts
lm.layer @experts(%l: index, %x: tensor<?x64xf32>, %q: tensor<?x96xf32>, %kv: !mla.cache<64, 16, page = 64, f32>, %rows: !lm.rows, %ids: tensor<?x2xi32>,
                  %g: tensor<?x2xf32>) -> tensor<?x64xf32> {
  %c = mla.layer_cache_of %kv[%l] : !mla.cache<64, 16, page = 64, f32> -> !mla.layer_cache<64, 16, page = 64, f32>
  %w = lm.weight_of @kv_b[%l] : tensor<128x64xbf16>
  // CHECK: mla.attention {{.*}} scales
  %ctx = mla.attention %q, %c, %rows, %w {heads = 2, nope = 32, value = 32, scale = 0.144 : f32, activation = f32, format = #lm<scale_format f32>,
      row_range = #mla<row_range all>}
      : (tensor<?x96xf32>, !mla.layer_cache<64, 16, page = 64, f32>, !lm.rows, tensor<128x64xbf16>) -> tensor<?x64xf32>
  %y = lm.add %x, %ctx : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x64xf32>
  %wg = lm.weight_of @gate[%l] : tensor<8x192x64xbf16>
  %wu = lm.weight_of @up[%l] : tensor<8x192x64xbf16>
  %wd = lm.weight_of @down[%l] : tensor<8x64x192xbf16>
  // CHECK: moe.experts {{.*}} scales %{{.*}}, %{{.*}}, %{{.*}} {
  %r = moe.experts %y, %ids, %g gate %wg up %wu down %wd {activation = f32, format = #lm<scale_format f32>}
      : (tensor<?x64xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<8x192x64xbf16>, tensor<8x192x64xbf16>, tensor<8x64x192xbf16>) -> tensor<?x64xf32>
  lm.return %r : tensor<?x64xf32>
}

// -----

// A weight without symbol cannot have a recipe.
// CHECK-LABEL: lm.layer @anonymous
lm.layer @anonymous(%l: index, %h: tensor<?x64xf32>, %w: tensor<64x64xbf16>) -> tensor<?x64xf32> {
  // CHECK: lm.linear
  // expected-remark@+1 {{declined: the weight is no lm.weight_of value}}
  %y = lm.linear %h, %w : (tensor<?x64xf32>, tensor<64x64xbf16>) -> tensor<?x64xf32>
  lm.return %y : tensor<?x64xf32>
}
