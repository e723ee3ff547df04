// Regions that no matrix-product kernel computes are refused with the op that is in the way.
// RUN: not moray-emit %s 2>&1 | FileCheck %s

// CHECK: E3121: a kernel of class gemm without a matrix product
cmd.kernel @none gemm over rows {
^bb0(%x: tensor<?x64xf32>):
  lm.yield %x : tensor<?x64xf32>
}

// CHECK: 'lm.linear' is the second matrix product of one kernel
cmd.kernel @two gemm over rows {
^bb0(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>):
  %0 = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %1 = lm.linear %0, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  lm.yield %1 : tensor<?x64xf32>
}

// CHECK: 'lm.swiglu' must take two slices of the matrix product
cmd.kernel @whole gemm over rows {
^bb0(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>):
  %0 = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %1 = lm.swiglu %0, %x : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x64xf32>
  lm.yield %1 : tensor<?x64xf32>
}
