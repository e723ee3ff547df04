// Matrix products: launch plan, and the instructions that carry the speed and the promises (no calls, no zmm at v3).
// RUN: moray-emit %s --level=avx512 | FileCheck %s --check-prefix=PLAN
// RUN: moray-emit %s --level=avx512 --print=mlir | FileCheck %s --check-prefix=MLIR
// RUN: moray-emit %s --level=avx512 --print=asm | FileCheck %s --check-prefix=WIDE --implicit-check-not=call --implicit-check-not=@PLT
// RUN: moray-emit %s --level=x86-64-v3 --print=asm | FileCheck %s --check-prefix=V3 --implicit-check-not=call --implicit-check-not=zmm

// PLAN:      // kernel gemm:bf16xf8->bf16 O=1024 K=512
// PLAN-NEXT: // avx512: panel=48 rows=64 stream=8x4
// PLAN-NEXT: // tasks: 22 rows 64 ceildiv *
// PLAN:      // kernel grouped_gemm:bf16xf8->bf16 O=1024 K=256
// PLAN-NEXT: // avx512: panel=96 rows=64 stream=8x4
// PLAN-NEXT: // tasks: 11

// Weights are widened through halves, partial sums start with a product, totals take the block scale.
// MLIR-LABEL: llvm.func @gemm_
// MLIR:         arith.extsi {{.*}} : vector<32xi8> to vector<32xi16>
// MLIR:         arith.extf {{.*}} : vector<16xf16> to vector<16xf32>
// MLIR:         arith.mulf {{.*}} : vector<16xf32>
// MLIR:         llvm.intr.fma

// WIDE-LABEL: gemm_{{[0-9a-f]+}}:
// WIDE:         prefetcht0
// WIDE:         vpmovsxbw
// WIDE:         vcvtph2ps {{.*}}%zmm
// WIDE:         vfmadd{{.*}}%zmm
// V3-LABEL:   gemm_{{[0-9a-f]+}}:
// V3:           vpmovsxbw
// V3:           vcvtph2ps {{.*}}%ymm
// V3:           vfmadd{{.*}}%ymm
cmd.kernel @o gemm over rows {
^bb0(%x: tensor<?x512xbf16>, %w: tensor<1024x512xf8E4M3FN>, %s: tensor<8x4xf32>):
  %0 = lm.scaled_linear %x, %w scales %s : (tensor<?x512xbf16>, tensor<1024x512xf8E4M3FN>, tensor<8x4xf32>) -> tensor<?x1024xbf16>
  lm.yield %0 : tensor<?x1024xbf16>
}

cmd.kernel @experts grouped_gemm over slots of 4 {
^bb0(%x: tensor<?x256xbf16>, %t: tensor<?xi32>, %o: tensor<33xi32>, %w: tensor<32x1024x256xf8E4M3FN>, %s: tensor<32x8x2xf32>):
  %0 = moe.grouped_linear %x rows %t, %o, %w scales %s
      : (tensor<?x256xbf16>, tensor<?xi32>, tensor<33xi32>, tensor<32x1024x256xf8E4M3FN>, tensor<32x8x2xf32>) -> tensor<?x1024xbf16>
  lm.yield %0 : tensor<?x1024xbf16>
}
