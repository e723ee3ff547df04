// The invariant of phase import: textbook ops in f32.
// RUN: moray-opt --moray-verify-import --split-input-file --verify-diagnostics %s
// RUN: moray-interpret %golden/v3-tiny-fp8 --emit-ir | moray-opt --moray-verify-import -o /dev/null

lm.weight @norm from "model.norm.weight" : tensor<64xbf16>
lm.layer @dense(%l: index, %h: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %w = lm.weight_of @norm : tensor<64xbf16>
  %x = lm.rms_norm %h, %w {eps = 1.0e-6 : f32} : tensor<?x64xf32>, tensor<64xbf16> -> tensor<?x64xf32>
  lm.return %x : tensor<?x64xf32>
}

// -----

lm.layer @rounded(%l: index, %h: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // expected-error@+1 {{E3207: has a result 'tensor<?x64xbf16>', expected f32 in phase import}}
  %x = lm.cast %h : tensor<?x64xf32> -> tensor<?x64xbf16>
  lm.return %h : tensor<?x64xf32>
}

// -----

lm.layer @quantised(%l: index, %h: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // expected-error@+1 {{E3207: is no textbook op, expected the form of phase import}}
  %c, %s = lm.quantize %h {format = #lm<scale_format f32>} : tensor<?x64xf32> -> tensor<?x64xf8E4M3FN>, tensor<?x1xf32>
  lm.return %h : tensor<?x64xf32>
}
