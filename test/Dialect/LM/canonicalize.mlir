// Folders of the lm dialect.
// RUN: moray-opt --canonicalize --split-input-file %s | FileCheck %s

// CHECK-LABEL: @slice_of_everything
// CHECK-SAME: (%[[X:.*]]: tensor<?x64xf32>)
// CHECK-NEXT: return %[[X]]
func.func @slice_of_everything(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %0 = lm.slice %x[0] : tensor<?x64xf32> -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

// CHECK-LABEL: @slice_of_slice
// CHECK-SAME: (%[[X:.*]]: tensor<?x80xbf16>)
// CHECK-NEXT: %[[Y:.*]] = lm.slice %[[X]][20] : tensor<?x80xbf16> -> tensor<?x8xbf16>
// CHECK-NEXT: return %[[Y]]
func.func @slice_of_slice(%x: tensor<?x80xbf16>) -> tensor<?x8xbf16> {
  %0 = lm.slice %x[16] : tensor<?x80xbf16> -> tensor<?x64xbf16>
  %1 = lm.slice %0[4] : tensor<?x64xbf16> -> tensor<?x8xbf16>
  return %1 : tensor<?x8xbf16>
}

// -----

// CHECK-LABEL: @cast_to_same
// CHECK-SAME: (%[[X:.*]]: tensor<?x64xf32>)
// CHECK-NEXT: return %[[X]]
func.func @cast_to_same(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %0 = lm.cast %x : tensor<?x64xf32> -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

// Widening is exact: there and back is nothing.
// CHECK-LABEL: @widen_and_round
// CHECK-SAME: (%[[X:.*]]: tensor<?x64xbf16>)
// CHECK-NEXT: return %[[X]]
func.func @widen_and_round(%x: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  %0 = lm.cast %x : tensor<?x64xbf16> -> tensor<?x64xf32>
  %1 = lm.cast %0 : tensor<?x64xf32> -> tensor<?x64xbf16>
  return %1 : tensor<?x64xbf16>
}

// -----

// Rounding and back is not: the value has lost bits.
// CHECK-LABEL: @round_and_widen
// CHECK-COUNT-2: lm.cast
func.func @round_and_widen(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %0 = lm.cast %x : tensor<?x64xf32> -> tensor<?x64xbf16>
  %1 = lm.cast %0 : tensor<?x64xbf16> -> tensor<?x64xf32>
  return %1 : tensor<?x64xf32>
}

// -----

// Values nobody reads disappear, kernels and weights among them.
lm.weight @w from "w" : tensor<64x64xbf16>
// CHECK-LABEL: @dead
// CHECK-NEXT: return
func.func @dead(%x: tensor<?x64xf32>) {
  %w = lm.weight_of @w : tensor<64x64xbf16>
  %0 = lm.kernel gemm over rows (%x, %w : tensor<?x64xf32>, tensor<64x64xbf16>) -> tensor<?x64xf32> {
  ^bb0(%a: tensor<?x64xf32>, %b: tensor<64x64xbf16>):
    %1 = lm.linear %a, %b : (tensor<?x64xf32>, tensor<64x64xbf16>) -> tensor<?x64xf32>
    lm.yield %1 : tensor<?x64xf32>
  }
  return
}
