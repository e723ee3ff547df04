// The invariant of phase quantize: every product has the operand types of the module's numeric mode.
// RUN: moray-opt --moray-verify-quantize --split-input-file --verify-diagnostics %s

module attributes {lm.numerics = #lm.numerics<w8a16, deterministic>} {
  lm.layer @k(%l: index, %h: tensor<?x64xbf16>, %w: tensor<64x64xf8E4M3FN>, %s: tensor<1x1xf32>) -> tensor<?x64xbf16> {
    %y = lm.scaled_linear %h, %w scales %s : (tensor<?x64xbf16>, tensor<64x64xf8E4M3FN>, tensor<1x1xf32>) -> tensor<?x64xbf16>
    lm.return %y : tensor<?x64xbf16>
  }
}

// -----

// expected-error@+1 {{E3202: has no attribute lm.numerics after phase quantize}}
module {
}

// -----

module attributes {lm.numerics = #lm.numerics<fp8, deterministic>} {
  lm.layer @k(%l: index, %h: tensor<?x64xbf16>, %w: tensor<64x64xf8E4M3FN>, %s: tensor<1x1xf32>) -> tensor<?x64xbf16> {
    // expected-error@+1 {{E3203: multiplies rows of 'bf16', expected 'f8E4M3FN' in mode fp8}}
    %y = lm.scaled_linear %h, %w scales %s : (tensor<?x64xbf16>, tensor<64x64xf8E4M3FN>, tensor<1x1xf32>) -> tensor<?x64xbf16>
    lm.return %y : tensor<?x64xbf16>
  }
}

// -----

module attributes {lm.numerics = #lm.numerics<bf16, deterministic>} {
  lm.layer @k(%l: index, %h: tensor<?x64xbf16>, %w: tensor<64x64xf8E4M3FN>, %s: tensor<1x1xf32>) -> tensor<?x64xbf16> {
    // expected-error@+1 {{E3203: has FP8 weights, expected dense ones in mode bf16}}
    %y = lm.scaled_linear %h, %w scales %s : (tensor<?x64xbf16>, tensor<64x64xf8E4M3FN>, tensor<1x1xf32>) -> tensor<?x64xbf16>
    lm.return %y : tensor<?x64xbf16>
  }
}

// -----

module attributes {lm.numerics = #lm.numerics<bf16, deterministic>} {
  lm.layer @k(%l: index, %h: tensor<?x64xf32>, %w: tensor<64x64xbf16>) -> tensor<?x64xf32> {
    // expected-error@+1 {{E3203: multiplies rows of 'f32', expected 'bf16' in mode bf16}}
    %y = lm.linear %h, %w : (tensor<?x64xf32>, tensor<64x64xbf16>) -> tensor<?x64xf32>
    lm.return %y : tensor<?x64xf32>
  }
}
