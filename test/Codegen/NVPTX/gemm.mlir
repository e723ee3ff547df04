// Matrix products on GPUs: launch plans, the one instruction shape of each pair of element types, asynchronous copies into
// a ring, 16-byte fragment loads, exact arithmetic around them.
// RUN: moray-emit %s --gpu=cuda:sm_80 | FileCheck %s --check-prefix=PLAN
// RUN: moray-emit %s --gpu=cuda:sm_80 --print=asm | FileCheck %s --check-prefixes=ASM,SM80 --implicit-check-not=.approx --implicit-check-not=.ftz --implicit-check-not=mad.f --implicit-check-not=call --implicit-check-not=.local --implicit-check-not=atom
// RUN: moray-emit %s --gpu=cuda:sm_89 --print=asm | FileCheck %s --check-prefixes=ASM,SM89 --implicit-check-not=.approx --implicit-check-not=.ftz --implicit-check-not=mad.f --implicit-check-not=call --implicit-check-not=.local --implicit-check-not=atom

// FP8 weights, bf16 activations. Up to 16 rows stream weights from memory to registers, warps exchange partial products
// in shared memory; more rows take one of two tiles. The grid covers whichever path the live count will choose.
// PLAN:      // kernel gemm:bf16xf8->bf16 O=7168 K=2048
// PLAN-NEXT: // cuda:sm_80: threads=128 stream=16x16 depth=2 tile=64x64 warps=2x2 stages=4 tile=128x64 warps=2x2 stages=4
// PLAN-NEXT: // scratch: 0
// PLAN-NEXT: // stage gemm_{{[0-9a-f]+}}: grid 448 112 rows 64 min 64 ceildiv * max 112 rows 128 ceildiv * max, threads 128, dynamic shared 81920
// ASM-LABEL: .entry gemm_
// ASM:         .maxntid 128
// ASM-NEXT:    .minnctapersm 2
// Streaming: loads of the next weights go out before the products of the last.
// ASM:         ld.global.nc.v4.b32
// ASM:         prmt.b32
// ASM:         fma.rn.bf16x2
// ASM:         mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
// ASM:         st.shared.v2.b32
// ASM:         bar.sync
// ASM:         fma.rn.f32
// Tiles, the loop's end first.
// ASM:         cp.async.cg.shared.global
// ASM:         cp.async.commit_group
// ASM:         fma.rn.f32
// ASM:         ld.shared.v4.b32
// ASM:         mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
// ASM:         cp.async.wait_group 2
// ASM-NEXT:    bar.sync
// ASM:         cp.async.cg.shared.global
// ASM:         cvt.rn.bf16x2.f32
cmd.kernel @w8a16 gemm over rows {
^bb0(%x: tensor<?x2048xbf16>, %w: tensor<7168x2048xf8E4M3FN>, %s: tensor<56x16xf32>):
  %0 = lm.scaled_linear %x, %w scales %s : (tensor<?x2048xbf16>, tensor<7168x2048xf8E4M3FN>, tensor<56x16xf32>) -> tensor<?x7168xbf16>
  lm.yield %0 : tensor<?x7168xbf16>
}

// Logits of a bf16 head: partial products are added without a scale, faults are reported.
// PLAN:      // kernel gemm:bf16xbf16->f32 O=102400 K=2048
// PLAN-NEXT: // cuda:sm_80: threads=128 stream=16x32 depth=1 tile=64x64 warps=2x2 stages=4 tile=128x64 warps=2x2 stages=3
// PLAN-NEXT: // scratch: 0
// PLAN-NEXT: // stage gemm_{{[0-9a-f]+}}: grid 3200 1600 outs 64 min
// ASM-LABEL: .entry gemm_
// ASM-NOT:     prmt
// ASM:         mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
// ASM-NOT:     fma.rn
// ASM:         add.rn.f32
// ASM:         st.relaxed.sys.global.b32
cmd.kernel @head gemm over outs {
^bb0(%x: tensor<?x2048xbf16>, %w: tensor<102400x2048xbf16>):
  %0 = lm.linear %x, %w : (tensor<?x2048xbf16>, tensor<102400x2048xbf16>) -> tensor<?x102400xf32>
  lm.yield %0 : tensor<?x102400xf32>
}

// FP8 on both sides, gate and up in one tile: e4m3 instructions where the chip has them, else both sides widened.
// PLAN:      // kernel gemm:f8xf8->bf16 O=4096 K=7168
// PLAN-NEXT: // cuda:sm_80: threads=128 stream=16x16 depth=2
// ASM-LABEL:  .entry gemm_
// SM80-NOT:     e4m3
// SM80:         mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
// SM89-NOT:     bf16.bf16
// SM89:         mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32
// SM89:         mul.rn.f32
// SM89:         fma.rn.f32
// ASM:          div.rn.f32
cmd.kernel @shared gemm over rows {
^bb0(%x: tensor<?x7168xf8E4M3FN>, %a: tensor<?x56xf32>, %w: tensor<4096x7168xf8E4M3FN>, %s: tensor<32x56xf32>):
  %0 = lm.scaled_linear %x by %a, %w scales %s : (tensor<?x7168xf8E4M3FN>, tensor<?x56xf32>, tensor<4096x7168xf8E4M3FN>, tensor<32x56xf32>) -> tensor<?x4096xbf16>
  %1 = lm.slice %0[0] : tensor<?x4096xbf16> -> tensor<?x2048xbf16>
  %2 = lm.slice %0[2048] : tensor<?x4096xbf16> -> tensor<?x2048xbf16>
  %3 = lm.swiglu %1, %2 : tensor<?x2048xbf16>, tensor<?x2048xbf16> -> tensor<?x2048xbf16>
  lm.yield %3 : tensor<?x2048xbf16>
}

// Experts: blocks count the work of all experts, then share it.
// PLAN:      // kernel grouped_gemm:bf16xf8->bf16 O=7168 K=2048
// PLAN-NEXT: // cuda:sm_80: threads=128 stream=16x16 depth=2 tile=64x64 warps=2x2 stages=4 blocks=432
// PLAN-NEXT: // scratch: 0
// PLAN-NEXT: // stage grouped_gemm_{{[0-9a-f]+}}: grid 432 448 received 8 * 256 min * 112 received 8 * 64 ceildiv * + min, threads 128, dynamic shared 49152
// ASM-LABEL: .entry grouped_gemm_
// ASM:         shfl.sync.idx.b32
// ASM:         bar.sync
// ASM:         nctaid.x
// ASM:         mma.sync.aligned.m16n8k16
// ASM:         cp.async.cg.shared.global
// ASM:         mma.sync.aligned.m16n8k16
cmd.kernel @experts grouped_gemm over slots of 8 {
^bb0(%x: tensor<?x2048xbf16>, %o: tensor<257xi32>, %w: tensor<256x7168x2048xf8E4M3FN>, %s: tensor<256x56x16xf32>):
  %0 = moe.grouped_linear %x, %o, %w scales %s
      : (tensor<?x2048xbf16>, tensor<257xi32>, tensor<256x7168x2048xf8E4M3FN>, tensor<256x56x16xf32>) -> tensor<?x7168xbf16>
  lm.yield %0 : tensor<?x7168xbf16>
}
