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

// expected-error @+1 {{E3303: has 0 step, 0 step_dist and 0 step_overlap programs}}
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

// expected-error @+1 {{E3303: has 1 step, 2 step_dist and 0 step_overlap programs}}
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

// -----

// Two micro-batches: one pair each, in any order between them; a start and its wait, or whole.
cmd.program @moe.overlap layer {
^bb0(%a: !cmd.buffer<bf16>, %b: !cmd.buffer<bf16>, %c: !cmd.buffer<bf16>, %i: !cmd.buffer<i32>, %j: !cmd.buffer<i32>, %f: !cmd.buffer<f32>, %g: !cmd.buffer<f32>):
  cmd.collective start dispatch(%a, %i, %i, %f, %b, %j, %j) row_bytes 512 : !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>
  cmd.collective wait dispatch()
  cmd.collective dispatch(%a, %i, %i, %f, %b, %j, %j) row_bytes 512 batch 1 : !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>
  cmd.collective start combine(%b, %c, %g) row_bytes 512 : !cmd.buffer<bf16>, !cmd.buffer<bf16>, !cmd.buffer<f32>
  cmd.collective wait combine()
  cmd.collective combine(%b, %c, %g) row_bytes 512 batch 1 : !cmd.buffer<bf16>, !cmd.buffer<bf16>, !cmd.buffer<f32>
}
cmd.program @step step {
}
cmd.program @step.dist step_dist {
}
cmd.program @step.overlap step_overlap {
  %x = cmd.buffer <T * 512> lifetime [0, 0] : !cmd.buffer<bf16>
  %i = cmd.buffer <T * 64> lifetime [0, 0] : !cmd.buffer<i32>
  %f = cmd.buffer <T * 64> lifetime [0, 0] : !cmd.buffer<f32>
  cmd.call @moe.overlap[0, 2](%x, %x, %x, %i, %i, %f, %f) : !cmd.buffer<bf16>, !cmd.buffer<bf16>, !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<f32>
}

// -----

// expected-error @+1 {{E3303: has 1 step, 0 step_dist and 1 step_overlap programs}}
module {
  cmd.program @step step {
  }
  cmd.program @a step_overlap {
  }
}

// -----

cmd.program @moe.overlap layer {
^bb0(%a: !cmd.buffer<bf16>, %b: !cmd.buffer<bf16>, %c: !cmd.buffer<bf16>, %i: !cmd.buffer<i32>, %j: !cmd.buffer<i32>, %f: !cmd.buffer<f32>, %g: !cmd.buffer<f32>):
  cmd.collective dispatch(%a, %i, %i, %f, %b, %j, %j) row_bytes 512 : !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>
  // expected-error @+1 {{E3308: waits for what was not started}}
  cmd.collective wait combine()
}

// -----

cmd.program @moe.overlap layer {
^bb0(%a: !cmd.buffer<bf16>, %b: !cmd.buffer<bf16>, %c: !cmd.buffer<bf16>, %i: !cmd.buffer<i32>, %j: !cmd.buffer<i32>, %f: !cmd.buffer<f32>, %g: !cmd.buffer<f32>):
  cmd.collective start dispatch(%a, %i, %i, %f, %b, %j, %j) row_bytes 512 : !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>
  // expected-error @+1 {{E3308: waits for what was not started}}
  cmd.collective wait dispatch() batch 1
}

// -----

cmd.program @moe.overlap layer {
^bb0(%a: !cmd.buffer<bf16>, %b: !cmd.buffer<bf16>, %c: !cmd.buffer<bf16>, %i: !cmd.buffer<i32>, %j: !cmd.buffer<i32>, %f: !cmd.buffer<f32>, %g: !cmd.buffer<f32>):
  cmd.collective start dispatch(%a, %i, %i, %f, %b, %j, %j) row_bytes 512 : !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>
  // expected-error @+1 {{E3308: follows a start without its wait}}
  cmd.collective combine(%c, %c, %g) row_bytes 512 : !cmd.buffer<bf16>, !cmd.buffer<bf16>, !cmd.buffer<f32>
}

// -----

cmd.program @moe.overlap layer {
^bb0(%a: !cmd.buffer<bf16>, %b: !cmd.buffer<bf16>, %c: !cmd.buffer<bf16>, %i: !cmd.buffer<i32>, %j: !cmd.buffer<i32>, %f: !cmd.buffer<f32>, %g: !cmd.buffer<f32>):
  cmd.collective dispatch(%a, %i, %i, %f, %b, %j, %j) row_bytes 512 : !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>
  // expected-error @+1 {{E3308: is not waited for}}
  cmd.collective start combine(%b, %c, %g) row_bytes 512 : !cmd.buffer<bf16>, !cmd.buffer<bf16>, !cmd.buffer<f32>
}

// -----

cmd.program @step step {
  %l = cmd.input logits : !cmd.buffer<f32>
  %p = cmd.input log_probs : !cmd.buffer<f32>
  // expected-error @+1 {{E3310: belongs to a second micro-batch}}
  cmd.copy %l to %p bytes <N * 4> batch 1 : !cmd.buffer<f32>
}

// -----

cmd.program @both layer {
^bb0(%a: !cmd.buffer<f32>, %b: !cmd.buffer<f32>):
  cmd.copy %a to %b bytes <N * 4> batch 1 : !cmd.buffer<f32>
}
cmd.program @step.overlap step_overlap {
  %l = cmd.input logits : !cmd.buffer<f32>
  %b = cmd.buffer <N * 4> lifetime [0, 1] : !cmd.buffer<f32>
  cmd.copy %l to %b bytes <N * 4> : !cmd.buffer<f32>
  // expected-error @+1 {{E3311: calls a layer of two micro-batches}}
  cmd.call @both[0, 1](%l, %b) : !cmd.buffer<f32>, !cmd.buffer<f32>
}

// -----

// What a dispatch under way sends may be read, but not be written.
cmd.program @moe.overlap layer {
^bb0(%a: !cmd.buffer<bf16>, %b: !cmd.buffer<bf16>, %c: !cmd.buffer<bf16>, %i: !cmd.buffer<i32>, %j: !cmd.buffer<i32>, %f: !cmd.buffer<f32>):
  // expected-note @+1 {{it is started here}}
  cmd.collective start dispatch(%a, %i, %i, %f, %b, %j, %j) row_bytes 512 : !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>
  cmd.copy %a to %c bytes <T * 4> batch 1 : !cmd.buffer<bf16>
  // expected-error @+1 {{E3312: touches memory of a collective that is under way}}
  cmd.copy %c to %a bytes <T * 4> batch 1 : !cmd.buffer<bf16>
}

// -----

// What it receives may not even be read.
cmd.program @moe.overlap layer {
^bb0(%a: !cmd.buffer<bf16>, %b: !cmd.buffer<bf16>, %c: !cmd.buffer<bf16>, %i: !cmd.buffer<i32>, %j: !cmd.buffer<i32>, %f: !cmd.buffer<f32>):
  // expected-note @+1 {{it is started here}}
  cmd.collective start dispatch(%a, %i, %i, %f, %b, %j, %j) row_bytes 512 : !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<bf16>, !cmd.buffer<i32>, !cmd.buffer<i32>
  // expected-error @+1 {{E3312: touches memory of a collective that is under way}}
  cmd.copy %b to %c bytes <T * 4> batch 1 : !cmd.buffer<bf16>
}
