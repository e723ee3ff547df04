// GPU targets multiply bf16 and FP8; f32 products stay on the CPU.
// RUN: not moray-emit %s --gpu=cuda:sm_80 --print=asm 2>&1 | FileCheck %s

// CHECK: E3109: f32 operands, GPU targets need bf16 activations and bf16 or FP8 weights
cmd.kernel @f32 gemm over rows {
^bb0(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>):
  %0 = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  lm.yield %0 : tensor<?x64xf32>
}
