// Commands stay, in their order; memory that no command touches goes.
// RUN: moray-opt --canonicalize %s | FileCheck %s

// CHECK-LABEL: cmd.program @step step
// CHECK-NEXT: %[[A:.*]] = cmd.buffer
// CHECK-NEXT: %[[B:.*]] = cmd.buffer
// CHECK-NEXT: cmd.copy %[[A]] to %[[B]]
// CHECK-NEXT: cmd.copy %[[B]] to %[[A]]
// CHECK-NEXT: }
cmd.program @step step {
  %tokens = cmd.input tokens : !cmd.buffer<i32>
  %unused = cmd.buffer <T * 512> : !cmd.buffer<f32>
  %a = cmd.buffer <T * 1024> : !cmd.buffer<f32>
  %b = cmd.buffer <T * 1024> : !cmd.buffer<f32>
  cmd.copy %a to %b bytes <T * 1024> : !cmd.buffer<f32>
  cmd.copy %b to %a bytes <T * 1024> : !cmd.buffer<f32>
}
