// The invariant of phase fuse: every op is inside a kernel whose class it fits.
// RUN: moray-opt --moray-verify-fuse --split-input-file --verify-diagnostics %s

lm.layer @good(%l: index, %x: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %a = lm.kernel row over rows (%x : tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  ^bb0(%b: tensor<?x64xbf16>):
    %0 = lm.add %b, %b : tensor<?x64xbf16>, tensor<?x64xbf16> -> tensor<?x64xbf16>
    lm.yield %0 : tensor<?x64xbf16>
  }
  lm.return %a : tensor<?x64xbf16>
}

// -----

lm.layer @outside(%l: index, %x: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  // expected-error@+1 {{E3205: is outside of a kernel after phase fuse (run --moray-wrap-kernels)}}
  %a = lm.add %x, %x : tensor<?x64xbf16>, tensor<?x64xbf16> -> tensor<?x64xbf16>
  lm.return %a : tensor<?x64xbf16>
}

// -----

lm.layer @wrong_class(%l: index, %x: tensor<?x64xbf16>, %w: tensor<64x64xbf16>) -> tensor<?x64xbf16> {
  %a = lm.kernel row over rows (%x, %w : tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16> {
  ^bb0(%b: tensor<?x64xbf16>, %c: tensor<64x64xbf16>):
    // expected-error@+1 {{E3206: stands in a kernel of class row, expected gemm}}
    %0 = lm.linear %b, %c : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
    lm.yield %0 : tensor<?x64xbf16>
  }
  lm.return %a : tensor<?x64xbf16>
}

// -----

lm.layer @two_products(%l: index, %x: tensor<?x64xbf16>, %w: tensor<64x64xbf16>) -> tensor<?x64xbf16> {
  // expected-error@+1 {{E3206: holds 2 ops of class gemm, expected one}}
  %a = lm.kernel gemm over rows (%x, %w : tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16> {
  ^bb0(%b: tensor<?x64xbf16>, %c: tensor<64x64xbf16>):
    %0 = lm.linear %b, %c : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
    %1 = lm.linear %0, %c : (tensor<?x64xbf16>, tensor<64x64xbf16>) -> tensor<?x64xbf16>
    lm.yield %1 : tensor<?x64xbf16>
  }
  lm.return %a : tensor<?x64xbf16>
}
