// Every example of the op descriptions in dialects/Cmd: parses, prints and parses again to the same text, in pretty and generic form.
// RUN: moray-opt %s > %t.mlir && moray-opt %t.mlir | diff %t.mlir -
// RUN: moray-opt --mlir-print-op-generic %s | moray-opt | diff %t.mlir -
// RUN: FileCheck %s --input-file %t.mlir
// RUN: %python %scripts/check_examples.py %source_root/dialects/Cmd %s

lm.weight @dense.in_norm per_layer from "model.layers.{l}.input_layernorm.weight" : tensor<256xbf16>

cmd.kernel @gemm_0 gemm over rows {
^bb0(%a: tensor<?x256xbf16>, %b: tensor<128x256xbf16>):
  %0 = lm.linear %a, %b : (tensor<?x256xbf16>, tensor<128x256xbf16>) -> tensor<?x128xbf16>
  lm.yield %0 : tensor<?x128xbf16>
}

cmd.kernel @row_0 row over rows {
^bb0(%a: tensor<?x256xf32>, %b: tensor<256xbf16>):
  %0 = lm.rms_norm %a, %b {eps = 1.0e-6 : f32} : tensor<?x256xf32>, tensor<256xbf16> -> tensor<?x256xf32>
  lm.yield %0 : tensor<?x256xf32>
}

cmd.kernel @row_1 row over rows {
^bb0(%a: tensor<?x256xf32>):
  %0 = lm.add %a, %a : tensor<?x256xf32>, tensor<?x256xf32> -> tensor<?x256xf32>
  lm.yield %0 : tensor<?x256xf32>
}

func.func @invoke(%x: tensor<?x256xbf16>, %w: tensor<128x256xbf16>) {
  %y = cmd.invoke @gemm_0(%x, %w) : (tensor<?x256xbf16>, tensor<128x256xbf16>) -> tensor<?x128xbf16>
  return
}

cmd.program @dense layer {
^bb0(%h: !cmd.buffer<f32>):
  %t = cmd.buffer <T * 1024> lifetime [0, 1] : !cmd.buffer<f32>
  %w = cmd.weight @dense.in_norm : !cmd.buffer<bf16>
  cmd.launch @row_0(%h, %w, %t) : !cmd.buffer<f32>, !cmd.buffer<bf16>, !cmd.buffer<f32>
  cmd.launch @row_1(%t, %h) : !cmd.buffer<f32>, !cmd.buffer<f32>
}

cmd.program @moe layer {
^bb0(%h: !cmd.buffer<bf16>):
  %c = cmd.cache : !cmd.buffer<bf16>
}

cmd.program @step step {
  %tokens = cmd.input tokens : !cmd.buffer<i32>
  %x = cmd.buffer <T * 512> : !cmd.buffer<bf16>
  %y = cmd.buffer <T * 256> : !cmd.buffer<bf16>
  %w = cmd.buffer <65536> : !cmd.buffer<bf16>
  %h = cmd.buffer <T * 512> : !cmd.buffer<bf16>
  %a = cmd.buffer <T * 1024> : !cmd.buffer<f32>
  %b = cmd.buffer <T * 1024> : !cmd.buffer<f32>
  cmd.launch @gemm_0(%x, %w, %y) : !cmd.buffer<bf16>, !cmd.buffer<bf16>, !cmd.buffer<bf16>
  cmd.call @moe[3, 58](%h) : !cmd.buffer<bf16>
  cmd.copy %a to %b bytes <T * 1024> : !cmd.buffer<f32>
  // Infix text keeps the structure of the expression.
  // CHECK: cmd.buffer <T * 4224 + align(N, 64)>
  %e0 = cmd.buffer <T * 4224 + align(N, 64)> : !cmd.buffer<f32>
  // CHECK: cmd.buffer <(T + B) * (P + 2) + min(rows, max(decode, seqs)) * ceildiv(outs, C)>
  %e1 = cmd.buffer <(T + B) * (P + 2) + min(rows, max(decode, seqs)) * ceildiv(outs, C)> : !cmd.buffer<f32>
  // CHECK: cmd.buffer <T + B + C + (N + P)>
  %e2 = cmd.buffer <T + B + C + (N + P)> : !cmd.buffer<f32>
}

cmd.program @exchange layer {
^bb0(%x: !cmd.buffer<bf16>, %tok: !cmd.buffer<i32>, %off: !cmd.buffer<i32>, %e: !cmd.buffer<bf16>, %g: !cmd.buffer<f32>):
  %xr = cmd.buffer <R * T * 512> : !cmd.buffer<bf16>
  %tokr = cmd.buffer <R * T * 16> : !cmd.buffer<i32>
  %offr = cmd.buffer <68> : !cmd.buffer<i32>
  %er = cmd.buffer <received * 2048> : !cmd.buffer<bf16>
  cmd.collective dispatch(%x, %tok, %off, %g, %xr, %tokr, %offr) row_bytes 512
      : !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>
  cmd.collective combine(%er, %e, %g) row_bytes 512 : !cmd.buffer<bf16>, !cmd.buffer<bf16>, !cmd.buffer<f32>
  // CHECK: cmd.collective start dispatch({{.*}}) row_bytes 512 scale_bytes 8 batch 1 :
  cmd.collective start dispatch(%x, %tok, %off, %g, %xr, %tokr, %offr, %g, %g) row_bytes 512 scale_bytes 8 batch 1
      : !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<f32>
  cmd.copy %er to %e bytes <rows * 2048> batch 1 : !cmd.buffer<bf16>
  cmd.launch @gemm_0(%x, %x, %xr) batch 1 : !cmd.buffer<bf16>, !cmd.buffer<bf16>, !cmd.buffer<bf16>
  cmd.collective wait dispatch() batch 1
  cmd.collective start combine(%er, %e, %g) row_bytes 512 batch 1 : !cmd.buffer<bf16>, !cmd.buffer<bf16>, !cmd.buffer<f32>
  cmd.collective wait combine() batch 1
}

cmd.program @step.overlap step_overlap {
  %h = cmd.buffer <T * 512> : !cmd.buffer<bf16>
  cmd.call @moe[3, 58](%h) batch 1 : !cmd.buffer<bf16>
}
