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

// expected-error @+1 {{E3303: has 0 step programs}}
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
