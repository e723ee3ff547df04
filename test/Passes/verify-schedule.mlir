// What may not be left after the schedule phase.

// RUN: moray-opt %s --split-input-file --moray-verify-schedule --verify-diagnostics

cmd.program @step step {
}

// -----

cmd.program @step step {
}
// expected-error @+1 {{E3302: is left after the schedule phase}}
lm.layer @k(%l: index, %h: tensor<?x64xf32>) -> tensor<?x64xf32> {
  lm.return %h : tensor<?x64xf32>
}

// -----

// expected-error @+1 {{E3303: has 0 step and 0 step_dist programs}}
module {
}

// -----

cmd.program @step step {
  // expected-error @+1 {{E3304: has no lifetime}}
  %t = cmd.buffer <T * 4> : !cmd.buffer<f32>
}

// -----

cmd.program @step step {
  // expected-error @+1 {{E3305: is never used}}
  %t = cmd.buffer <T * 4> lifetime [0, 0] : !cmd.buffer<f32>
  %l = cmd.input logits : !cmd.buffer<f32>
  %k = cmd.input log_probs : !cmd.buffer<f32>
  cmd.copy %l to %k bytes <N * 4> : !cmd.buffer<f32>
}

// -----

cmd.program @step step {
  %l = cmd.input logits : !cmd.buffer<f32>
  // expected-error @+1 {{E3306: copies a buffer onto itself}}
  cmd.copy %l to %l bytes <N * 4> : !cmd.buffer<f32>
}

// -----

// The layers of the distributed step move rows, in pairs.
cmd.program @moe.dist layer {
^bb0(%a: !cmd.buffer<bf16>, %i: !cmd.buffer<i32>, %f: !cmd.buffer<f32>):
  cmd.collective dispatch(%a, %i, %i, %f, %a, %i, %i) row_bytes 512
      : !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>
  cmd.collective combine(%a, %a, %f) row_bytes 512 : !cmd.buffer<bf16>, !cmd.buffer<bf16>, !cmd.buffer<f32>
}
cmd.program @step step {
}
cmd.program @step.dist step_dist {
  %l = cmd.input logits : !cmd.buffer<bf16>
  %t = cmd.input tokens : !cmd.buffer<i32>
  %f = cmd.input log_probs : !cmd.buffer<f32>
  cmd.call @moe.dist[0, 2](%l, %t, %f) : !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<f32>
}

// -----

// expected-error @+1 {{E3303: has 1 step and 2 step_dist programs}}
module {
  cmd.program @step step {
  }
  cmd.program @a step_dist {
  }
  cmd.program @b step_dist {
  }
}

// -----

cmd.program @moe.dist layer {
^bb0(%a: !cmd.buffer<bf16>, %f: !cmd.buffer<f32>):
  // expected-error @+1 {{E3308: ends no exchange}}
  cmd.collective combine(%a, %a, %f) row_bytes 512 : !cmd.buffer<bf16>, !cmd.buffer<bf16>, !cmd.buffer<f32>
}

// -----

cmd.program @moe.dist layer {
^bb0(%a: !cmd.buffer<bf16>, %i: !cmd.buffer<i32>, %f: !cmd.buffer<f32>):
  cmd.collective dispatch(%a, %i, %i, %f, %a, %i, %i) row_bytes 512
      : !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>
  // expected-error @+1 {{E3308: stands inside another exchange}}
  cmd.collective dispatch(%a, %i, %i, %f, %a, %i, %i) row_bytes 512
      : !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>
}

// -----

cmd.program @moe.dist layer {
^bb0(%a: !cmd.buffer<bf16>, %i: !cmd.buffer<i32>, %f: !cmd.buffer<f32>):
  // expected-error @+1 {{E3308: is not ended by a combine}}
  cmd.collective dispatch(%a, %i, %i, %f, %a, %i, %i) row_bytes 512
      : !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>
}

// -----

cmd.program @moe.dist layer {
^bb0(%a: !cmd.buffer<bf16>, %i: !cmd.buffer<i32>, %f: !cmd.buffer<f32>):
  cmd.collective dispatch(%a, %i, %i, %f, %a, %i, %i) row_bytes 512
      : !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>
  cmd.collective combine(%a, %a, %f) row_bytes 512 : !cmd.buffer<bf16>, !cmd.buffer<bf16>, !cmd.buffer<f32>
}
cmd.program @step step {
  %l = cmd.input logits : !cmd.buffer<bf16>
  %t = cmd.input tokens : !cmd.buffer<i32>
  %f = cmd.input log_probs : !cmd.buffer<f32>
  // expected-error @+1 {{E3309: reaches a collective from step, which runs on one rank}}
  cmd.call @moe.dist[0, 2](%l, %t, %f) : !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<f32>
}

// -----

// expected-error @+1 {{E3309: has a collective, but runs on one rank}}
cmd.program @score score {
  %l = cmd.input logits : !cmd.buffer<bf16>
  %t = cmd.input tokens : !cmd.buffer<i32>
  %f = cmd.input log_probs : !cmd.buffer<f32>
  cmd.collective dispatch(%l, %t, %t, %f, %l, %t, %t) row_bytes 512
      : !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>
  cmd.collective combine(%l, %l, %f) row_bytes 512 : !cmd.buffer<bf16>, !cmd.buffer<bf16>, !cmd.buffer<f32>
}
