// Regions become kernel symbols once each; equal regions share one.

// RUN: moray-opt %s --moray-outline-kernels | FileCheck %s

// Two kernels on different weights have equal regions and share one symbol; another width does not.
// CHECK-LABEL: lm.layer @k
// CHECK: %[[A:.*]] = cmd.invoke @gemm_0(%[[X:.*]], %[[WA:.*]]) : (tensor<?x64xf32>, tensor<32x64xbf16>) -> tensor<?x32xf32>
// CHECK: cmd.invoke @gemm_0(%[[X]], %{{.*}})
// CHECK: cmd.invoke @gemm_1(%{{.*}}, %{{.*}}) : (tensor<?x32xf32>, tensor<64x32xbf16>) -> tensor<?x64xf32>
// CHECK-NOT: lm.kernel
// CHECK: cmd.kernel @gemm_0 gemm over rows {
// CHECK-NEXT: ^bb0(%{{.*}}: tensor<?x64xf32>, %{{.*}}: tensor<32x64xbf16>):
// CHECK-NEXT: lm.linear
// CHECK-NEXT: lm.yield
// CHECK: cmd.kernel @row_0 row over rows
// CHECK: cmd.kernel @gemm_1
// CHECK-NOT: cmd.kernel
lm.weight @a per_layer from "a.{l}" : tensor<32x64xbf16>
lm.weight @b per_layer from "b.{l}" : tensor<32x64xbf16>
lm.weight @c per_layer from "c.{l}" : tensor<64x32xbf16>
lm.layer @k(%l: index, %x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %wa = lm.weight_of @a[%l] : tensor<32x64xbf16>
  %wb = lm.weight_of @b[%l] : tensor<32x64xbf16>
  %wc = lm.weight_of @c[%l] : tensor<64x32xbf16>
  %p = lm.kernel gemm over rows (%x, %wa : tensor<?x64xf32>, tensor<32x64xbf16>) -> tensor<?x32xf32> {
  ^bb0(%r: tensor<?x64xf32>, %w: tensor<32x64xbf16>):
    %0 = lm.linear %r, %w : (tensor<?x64xf32>, tensor<32x64xbf16>) -> tensor<?x32xf32>
    lm.yield %0 : tensor<?x32xf32>
  }
  %q = lm.kernel gemm over rows (%x, %wb : tensor<?x64xf32>, tensor<32x64xbf16>) -> tensor<?x32xf32> {
  ^bb0(%s: tensor<?x64xf32>, %v: tensor<32x64xbf16>):
    %1 = lm.linear %s, %v : (tensor<?x64xf32>, tensor<32x64xbf16>) -> tensor<?x32xf32>
    lm.yield %1 : tensor<?x32xf32>
  }
  %a = lm.kernel row over rows (%p, %q : tensor<?x32xf32>, tensor<?x32xf32>) -> tensor<?x32xf32> {
  ^bb0(%s: tensor<?x32xf32>, %t: tensor<?x32xf32>):
    %1 = lm.add %s, %t : tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x32xf32>
    lm.yield %1 : tensor<?x32xf32>
  }
  %y = lm.kernel gemm over rows (%a, %wc : tensor<?x32xf32>, tensor<64x32xbf16>) -> tensor<?x64xf32> {
  ^bb0(%r: tensor<?x32xf32>, %w: tensor<64x32xbf16>):
    %0 = lm.linear %r, %w : (tensor<?x32xf32>, tensor<64x32xbf16>) -> tensor<?x64xf32>
    lm.yield %0 : tensor<?x64xf32>
  }
  lm.return %y : tensor<?x64xf32>
}
