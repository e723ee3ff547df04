// An op without kernel class cannot be wrapped.
// RUN: moray-opt --moray-wrap-kernels --verify-diagnostics %s

lm.layer @textbook(%l: index, %x: tensor<?x64xf32>, %ids: tensor<?x2xi32>, %g: tensor<?x2xf32>, %w: tensor<8x64x64xf32>) -> tensor<?x64xf32> {
  // expected-error@+1 {{E3204: has no kernel class, expected an op that phase fuse knows}}
  %r = moe.experts %x, %ids, %g gate %w up %w down %w {activation = f32, format = #lm<scale_format f32>}
      : (tensor<?x64xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<8x64x64xf32>, tensor<8x64x64xf32>, tensor<8x64x64xf32>) -> tensor<?x64xf32>
  lm.return %r : tensor<?x64xf32>
}
