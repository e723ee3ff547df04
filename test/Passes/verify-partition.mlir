// The invariant of phase partition: no movement between ranks in the step of one rank, and experts read received slots in the other.
// RUN: moray-opt --moray-verify-partition --split-input-file --verify-diagnostics %s

lm.layer @moe(%l: index, %x: tensor<?x64xbf16>, %t: tensor<?xi32>, %o: tensor<9xi32>, %g: tensor<?x4xf32>) -> tensor<?x64xbf16> {
  // expected-error@+1 {{E3208: moves rows between ranks in the step of one rank}}
  %xr, %tr, %or, %x1 = moe.dispatch_ranks %x, %t, %o, %g : (tensor<?x64xbf16>, tensor<?xi32>, tensor<9xi32>, tensor<?x4xf32>) -> (tensor<?x64xbf16>, tensor<?xi32>, tensor<9xi32>, !moe.exchange)
  %e, %eg = moe.combine_ranks %xr, %x1 : (tensor<?x64xbf16>, !moe.exchange) -> (tensor<?x64xbf16>, tensor<?x4xf32>)
  lm.return %e : tensor<?x64xbf16>
}
lm.program @step(%x: tensor<?x64xbf16>, %t: tensor<?xi32>, %o: tensor<9xi32>, %g: tensor<?x4xf32>) -> tensor<?x64xbf16> attributes {lm.kind = #lm<program_kind step>} {
  %y = lm.call @moe[0, 2](%x, %t, %o, %g) : (tensor<?x64xbf16>, tensor<?xi32>, tensor<9xi32>, tensor<?x4xf32>) -> tensor<?x64xbf16>
  lm.return %y : tensor<?x64xbf16>
}

// -----

lm.layer @moe(%l: index, %x: tensor<?x64xbf16>, %o: tensor<9xi32>, %t: tensor<?xi32>, %r: tensor<?x2xi32>, %s: tensor<?x2xf32>, %w1: tensor<8x32x64xbf16>, %w2: tensor<8x64x32xbf16>)
    -> tensor<?x64xbf16> {
  // expected-error@+1 {{E3209: works on slots of its own rank in the distributed step}}
  %g = lm.kernel grouped_gemm over slots of 2 (%x, %t, %o, %w1 : tensor<?x64xbf16>, tensor<?xi32>, tensor<9xi32>, tensor<8x32x64xbf16>) -> tensor<?x32xbf16> {
  ^bb0(%a: tensor<?x64xbf16>, %b: tensor<?xi32>, %c: tensor<9xi32>, %d: tensor<8x32x64xbf16>):
    %0 = moe.grouped_linear %a rows %b, %c, %d : (tensor<?x64xbf16>, tensor<?xi32>, tensor<9xi32>, tensor<8x32x64xbf16>) -> tensor<?x32xbf16>
    lm.yield %0 : tensor<?x32xbf16>
  }
  %e = lm.kernel grouped_gemm over slots of 2 (%g, %o, %w2 : tensor<?x32xbf16>, tensor<9xi32>, tensor<8x64x32xbf16>) -> tensor<?x64xbf16> {
  ^bb0(%a: tensor<?x32xbf16>, %c: tensor<9xi32>, %d: tensor<8x64x32xbf16>):
    %0 = moe.grouped_linear %a, %c, %d : (tensor<?x32xbf16>, tensor<9xi32>, tensor<8x64x32xbf16>) -> tensor<?x64xbf16>
    lm.yield %0 : tensor<?x64xbf16>
  }
  %y = lm.kernel row over rows (%e, %r, %s : tensor<?x64xbf16>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x64xbf16> {
  ^bb0(%a: tensor<?x64xbf16>, %b: tensor<?x2xi32>, %c: tensor<?x2xf32>):
    %0 = moe.combine %a, %b, %c : tensor<?x64xbf16>, tensor<?x2xi32>, tensor<?x2xf32> -> tensor<?x64xf32>
    %1 = lm.cast %0 : tensor<?x64xf32> -> tensor<?x64xbf16>
    lm.yield %1 : tensor<?x64xbf16>
  }
  lm.return %y : tensor<?x64xbf16>
}
lm.program @step(%x: tensor<?x64xbf16>, %o: tensor<9xi32>, %t: tensor<?xi32>, %r: tensor<?x2xi32>, %s: tensor<?x2xf32>, %w1: tensor<8x32x64xbf16>, %w2: tensor<8x64x32xbf16>)
    -> tensor<?x64xbf16> attributes {lm.kind = #lm<program_kind step_dist>} {
  %y = lm.call @moe[1, 2](%x, %o, %t, %r, %s, %w1, %w2)
      : (tensor<?x64xbf16>, tensor<9xi32>, tensor<?xi32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<8x32x64xbf16>, tensor<8x64x32xbf16>) -> tensor<?x64xbf16>
  lm.return %y : tensor<?x64xbf16>
}
