// Every error of the verifiers in dialects/Cmd.
// RUN: moray-opt %s --split-input-file --verify-diagnostics

// expected-error @+1 {{needs slots per row (`of`) exactly for the domain slots}}
cmd.kernel @k row over rows of 4 {
^bb0(%a: tensor<?x256xf32>):
  lm.yield %a : tensor<?x256xf32>
}

// -----

// expected-error @+1 {{must end with lm.yield}}
cmd.kernel @k row over rows {
^bb0(%a: tensor<?x256xf32>):
  llvm.unreachable
}

// -----

func.func @f(%x: tensor<?x256xf32>) {
  // expected-error @+1 {{refers to @k, which is no cmd.kernel}}
  %0 = cmd.invoke @k(%x) : (tensor<?x256xf32>) -> tensor<?x256xf32>
  return
}

// -----

cmd.kernel @k row over rows {
^bb0(%a: tensor<?x256xf32>):
  lm.yield %a : tensor<?x256xf32>
}
func.func @f(%x: tensor<?x128xf32>) {
  // expected-error @+1 {{does not match the operands and results of @k}}
  %0 = cmd.invoke @k(%x) : (tensor<?x128xf32>) -> tensor<?x256xf32>
  return
}

// -----

cmd.program @p step {
  // expected-error @+1 {{may not stand in a cmd.program}}
  %0 = arith.constant 0 : i32
}

// -----

// expected-error @+1 {{has parameters, but only layer programs take them}}
cmd.program @p step {
^bb0(%h: !cmd.buffer<f32>):
}

// -----

cmd.program @p step {
  // expected-error @+1 {{has the lifetime [0, 1] in a program of 1 commands}}
  %a = cmd.buffer <T * 1024> lifetime [0, 1] : !cmd.buffer<f32>
  %b = cmd.buffer <T * 1024> : !cmd.buffer<f32>
  cmd.copy %a to %b bytes <T * 1024> : !cmd.buffer<f32>
}

// -----

cmd.program @p layer {
  // expected-error @+1 {{refers to @w, which is no lm.weight}}
  %w = cmd.weight @w : !cmd.buffer<bf16>
}

// -----

lm.weight @w from "w" : tensor<256xbf16>
cmd.program @p layer {
  // expected-error @+1 {{has type '!cmd.buffer<f32>', but @w holds 'tensor<256xbf16>'}}
  %w = cmd.weight @w : !cmd.buffer<f32>
}

// -----

cmd.program @p layer {
^bb0(%h: !cmd.buffer<f32>):
  // expected-error @+1 {{refers to @k, which is no cmd.kernel}}
  cmd.launch @k(%h) : !cmd.buffer<f32>
}

// -----

cmd.kernel @k row over rows {
^bb0(%a: tensor<?x256xf32>, %r: !lm.rows):
  lm.yield %a : tensor<?x256xf32>
}
cmd.program @p layer {
^bb0(%h: !cmd.buffer<f32>):
  // expected-error @+1 {{passes 2 buffers, but @k takes 7}}
  cmd.launch @k(%h, %h) : !cmd.buffer<f32>, !cmd.buffer<f32>
}

// -----

cmd.program @q step {
}
cmd.program @p step {
  %a = cmd.buffer <T * 1024> : !cmd.buffer<f32>
  // expected-error @+1 {{refers to @q, which is no layer program}}
  cmd.call @q[0, 1](%a) : !cmd.buffer<f32>
}

// -----

cmd.program @q layer {
^bb0(%h: !cmd.buffer<f32>):
}
cmd.program @p step {
  %a = cmd.buffer <T * 1024> : !cmd.buffer<bf16>
  // expected-error @+1 {{passes '!cmd.buffer<bf16>', expected '!cmd.buffer<f32>'}}
  cmd.call @q[0, 1](%a) : !cmd.buffer<bf16>
}

// -----

cmd.program @q layer {
^bb0(%h: !cmd.buffer<f32>):
}
cmd.program @p step {
  %a = cmd.buffer <T * 1024> : !cmd.buffer<f32>
  // expected-error @+1 {{has an empty layer range}}
  cmd.call @q[0, 0](%a) : !cmd.buffer<f32>
}

// -----

cmd.program @p step {
  // expected-error @+1 {{unknown symbol 'Q', expected one of T B N P C R rows decode seqs outs prefill received}}
  %a = cmd.buffer <T * Q> : !cmd.buffer<f32>
}

// -----

cmd.program @p step {
  // expected-error @+1 {{expected a number >= 0}}
  %a = cmd.buffer <T * -4> : !cmd.buffer<f32>
}

// -----

cmd.program @p layer {
^bb0(%a: !cmd.buffer<bf16>, %i: !cmd.buffer<i32>):
  // expected-error @+1 {{has 2 buffers, expected x, tokens, offsets, gates, what is received of the first three, and scales}}
  cmd.collective dispatch(%a, %i) row_bytes 512 : !cmd.buffer<bf16>, !cmd.buffer<i32>
}

// -----

cmd.program @p layer {
^bb0(%a: !cmd.buffer<bf16>, %f: !cmd.buffer<f32>):
  // expected-error @+1 {{has 3 buffers, expected received rows, own rows and gates, no scales}}
  cmd.collective combine(%a, %a, %f) row_bytes 512 scale_bytes 4 : !cmd.buffer<bf16>, !cmd.buffer<bf16>, !cmd.buffer<f32>
}

// -----

cmd.program @p layer {
^bb0(%a: !cmd.buffer<bf16>, %b: !cmd.buffer<f32>):
  // expected-error @+1 {{has a buffer of 'f32' as argument 1, expected 'bf16'}}
  cmd.collective combine(%a, %b, %b) row_bytes 512 : !cmd.buffer<bf16>, !cmd.buffer<f32>, !cmd.buffer<f32>
}

// -----

cmd.program @p layer {
^bb0(%a: !cmd.buffer<bf16>, %f: !cmd.buffer<f32>):
  // expected-error @+1 {{has rows of 3 bytes of 'bf16'}}
  cmd.collective combine(%a, %a, %f) row_bytes 3 : !cmd.buffer<bf16>, !cmd.buffer<bf16>, !cmd.buffer<f32>
}

// -----

cmd.program @p layer {
^bb0(%a: !cmd.buffer<bf16>):
  // expected-error @+1 {{waits, expected neither buffers nor sizes}}
  cmd.collective wait combine(%a) : !cmd.buffer<bf16>
}

// -----

cmd.program @p layer {
  // expected-error @+1 {{attribute 'batch' failed to satisfy constraint}}
  cmd.collective wait combine() batch 2
}
