// Buffers get the first and last command that uses them.

// RUN: moray-opt %s --moray-compute-lifetimes | FileCheck %s

cmd.kernel @row_0 row over rows {
^bb0(%x: tensor<?x64xf32>, %y: tensor<?x64xf32>):
  %0 = lm.add %x, %y : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x64xf32>
  lm.yield %0 : tensor<?x64xf32>
}

// Command numbers count launches, calls, copies and collectives; a buffer without use goes away.
// CHECK-LABEL: cmd.program @k layer
// CHECK: %[[A:.*]] = cmd.buffer <T * 256> lifetime[0, 2]
// CHECK: %[[B:.*]] = cmd.buffer <T * 256> lifetime[1, 2]
// CHECK-NOT: cmd.buffer <T * 512>
// CHECK: cmd.launch @row_0(%{{.*}}, %{{.*}}, %[[A]])
cmd.program @k layer {
^bb0(%h: !cmd.buffer<f32>):
  %a = cmd.buffer <T * 256> : !cmd.buffer<f32>
  %b = cmd.buffer <T * 256> : !cmd.buffer<f32>
  %c = cmd.buffer <T * 512> : !cmd.buffer<f32>
  cmd.launch @row_0(%h, %h, %a) : !cmd.buffer<f32>, !cmd.buffer<f32>, !cmd.buffer<f32>
  cmd.copy %h to %b bytes <T * 256> : !cmd.buffer<f32>
  cmd.launch @row_0(%a, %b, %h) : !cmd.buffer<f32>, !cmd.buffer<f32>, !cmd.buffer<f32>
}

// What a dispatch receives and what a combine returns.
// CHECK-LABEL: cmd.program @exchange layer
// CHECK: cmd.buffer <R * T * 128> lifetime[0, 1]
// CHECK: cmd.buffer <T * 128> lifetime[1, 2]
cmd.program @exchange layer {
^bb0(%h: !cmd.buffer<f32>, %i: !cmd.buffer<i32>, %g: !cmd.buffer<f32>):
  %r = cmd.buffer <R * T * 128> : !cmd.buffer<f32>
  %e = cmd.buffer <T * 128> : !cmd.buffer<f32>
  cmd.collective dispatch(%h, %i, %i, %g, %r, %i, %i) row_bytes 128
      : !cmd.buffer<f32>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<f32>, !cmd.buffer<i32>, !cmd.buffer<i32>
  cmd.collective combine(%r, %e, %g) row_bytes 128 : !cmd.buffer<f32>, !cmd.buffer<f32>, !cmd.buffer<f32>
  cmd.launch @row_0(%h, %e, %h) : !cmd.buffer<f32>, !cmd.buffer<f32>, !cmd.buffer<f32>
}

// Buffers of a collective that is started live until its batch waits for it.
// CHECK-LABEL: cmd.program @open layer
// CHECK: cmd.buffer <T * 64> lifetime[0, 3]
// CHECK: cmd.buffer <T * 128> lifetime[1, 2]
cmd.program @open layer {
^bb0(%r: !cmd.buffer<f32>, %g: !cmd.buffer<f32>):
  %e = cmd.buffer <T * 64> : !cmd.buffer<f32>
  %f = cmd.buffer <T * 128> : !cmd.buffer<f32>
  cmd.collective start combine(%r, %e, %g) row_bytes 128 : !cmd.buffer<f32>, !cmd.buffer<f32>, !cmd.buffer<f32>
  cmd.collective start combine(%r, %f, %g) row_bytes 128 batch 1 : !cmd.buffer<f32>, !cmd.buffer<f32>, !cmd.buffer<f32>
  cmd.collective wait combine() batch 1
  cmd.collective wait combine()
}

// Gates are needed again where the exchange ends.
// CHECK-LABEL: cmd.program @gates layer
// CHECK: cmd.buffer <T * 16> lifetime[0, 2]
cmd.program @gates layer {
^bb0(%h: !cmd.buffer<f32>, %i: !cmd.buffer<i32>, %r: !cmd.buffer<f32>):
  %g = cmd.buffer <T * 16> : !cmd.buffer<f32>
  cmd.collective dispatch(%h, %i, %i, %g, %r, %i, %i) row_bytes 128
      : !cmd.buffer<f32>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<f32>, !cmd.buffer<i32>, !cmd.buffer<i32>
  cmd.collective start combine(%r, %h, %h) row_bytes 128 : !cmd.buffer<f32>, !cmd.buffer<f32>, !cmd.buffer<f32>
  cmd.collective wait combine()
}
