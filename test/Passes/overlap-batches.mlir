// The overlapped step: two micro-batches in the layers with experts, each transfer of one beside work of the other.
// RUN: moray-opt --moray-overlap-batches --split-input-file --verify-diagnostics %s | FileCheck %s
// RUN: moray-opt --moray-overlap-batches --split-input-file %s -o %t.1 2>/dev/null
// RUN: moray-opt --moray-overlap-batches --split-input-file %t.1 2>/dev/null | diff %t.1 -
// RUN: moray-opt --moray-compute-lifetimes %t.1 --split-input-file | FileCheck %s --check-prefix=LIFE

cmd.kernel @attend row over rows {
^bb0(%a: tensor<?x8xf32>):
  %0 = lm.add %a, %a : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  lm.yield %0 : tensor<?x8xf32>
}
cmd.kernel @sum row over rows {
^bb0(%a: tensor<?x8xf32>, %b: tensor<?x8xf32>):
  %0 = lm.add %a, %b : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  lm.yield %0 : tensor<?x8xf32>
}
cmd.program @dense layer {
^bb0(%h: !cmd.buffer<f32>):
  cmd.launch @attend(%h, %h) : !cmd.buffer<f32>, !cmd.buffer<f32>
}
// Router, experts and shared experts stand for everything of their kind; the shared expert comes last, and waits for nothing.
cmd.program @moe.dist layer {
^bb0(%h: !cmd.buffer<f32>, %i: !cmd.buffer<i32>):
  %x = cmd.buffer <T * 1> : !cmd.buffer<f32>
  %g = cmd.buffer <T * 2> : !cmd.buffer<f32>
  %xr = cmd.buffer <R * T * 3> : !cmd.buffer<f32>
  %ir = cmd.buffer <R * T * 4> : !cmd.buffer<i32>
  %or = cmd.buffer <5> : !cmd.buffer<i32>
  %er = cmd.buffer <R * T * 6> : !cmd.buffer<f32>
  %e = cmd.buffer <T * 7> : !cmd.buffer<f32>
  %gr = cmd.buffer <T * 8> : !cmd.buffer<f32>
  %s = cmd.buffer <T * 9> : !cmd.buffer<f32>
  cmd.launch @attend(%h, %x) : !cmd.buffer<f32>, !cmd.buffer<f32>
  cmd.launch @attend(%x, %g) : !cmd.buffer<f32>, !cmd.buffer<f32>
  cmd.collective dispatch(%x, %i, %i, %g, %xr, %ir, %or) row_bytes 32
      : !cmd.buffer<f32>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<f32>, !cmd.buffer<i32>, !cmd.buffer<i32>
  cmd.launch @attend(%xr, %er) : !cmd.buffer<f32>, !cmd.buffer<f32>
  cmd.collective combine(%er, %e, %gr) row_bytes 32 : !cmd.buffer<f32>, !cmd.buffer<f32>, !cmd.buffer<f32>
  cmd.launch @attend(%x, %s) : !cmd.buffer<f32>, !cmd.buffer<f32>
  cmd.launch @sum(%e, %s, %h) : !cmd.buffer<f32>, !cmd.buffer<f32>, !cmd.buffer<f32>
}
// CHECK-LABEL: cmd.program @moe.overlap layer
// CHECK-NEXT: ^bb0(%[[H0:.*]]: !cmd.buffer<f32>, %[[I0:.*]]: !cmd.buffer<i32>, %[[H1:.*]]: !cmd.buffer<f32>, %[[I1:.*]]: !cmd.buffer<i32>):
// CHECK: cmd.launch @attend(%[[H0]], %[[X0:.*]]) :
// CHECK-NEXT: cmd.launch @attend(%[[X0]], %[[G0:.*]]) :
// CHECK-NEXT: cmd.collective start dispatch(%[[X0]], %[[I0]], %[[I0]], %[[G0]], %[[XR0:.*]], %{{.*}}, %{{.*}}) row_bytes 32 :
// CHECK-NEXT: cmd.launch @attend(%[[H1]], %[[X1:.*]]) batch 1
// CHECK-NEXT: cmd.launch @attend(%[[X1]], %[[G1:.*]]) batch 1
// CHECK-NEXT: cmd.collective start dispatch(%[[X1]], %[[I1]], %[[I1]], %[[G1]], %[[XR1:.*]], %{{.*}}, %{{.*}}) row_bytes 32 batch 1
// CHECK-NEXT: cmd.collective wait dispatch()
// CHECK-NEXT: cmd.launch @attend(%[[XR0]], %[[ER0:.*]]) :
// CHECK-NEXT: cmd.collective start combine(%[[ER0]], %[[E0:.*]], %{{.*}}) row_bytes 32 :
// CHECK-NEXT: cmd.collective wait dispatch() batch 1
// CHECK-NEXT: cmd.launch @attend(%[[XR1]], %[[ER1:.*]]) batch 1
// CHECK-NEXT: cmd.collective start combine(%[[ER1]], %[[E1:.*]], %{{.*}}) row_bytes 32 batch 1
// CHECK-NEXT: cmd.launch @attend(%[[X0]], %[[S0:.*]]) :
// CHECK-NEXT: cmd.launch @attend(%[[X1]], %[[S1:.*]]) batch 1
// CHECK-NEXT: cmd.collective wait combine()
// CHECK-NEXT: cmd.launch @sum(%[[E0]], %[[S0]], %[[H0]]) :
// CHECK-NEXT: cmd.collective wait combine() batch 1
// CHECK-NEXT: cmd.launch @sum(%[[E1]], %[[S1]], %[[H1]]) batch 1

// Buffers of a batch: x is read last by the shared expert, gates are kept to the end of the exchange.
// LIFE-LABEL: cmd.program @moe.overlap layer
// LIFE: cmd.buffer <T * 1> lifetime[0, 12]
// LIFE: cmd.buffer <T * 1> lifetime[3, 13]
// LIFE: cmd.buffer <T * 2> lifetime[1, 14]
// LIFE: cmd.buffer <T * 2> lifetime[4, 16]
// LIFE: cmd.buffer <R * T * 3> lifetime[2, 7]
// LIFE: cmd.buffer <R * T * 3> lifetime[5, 10]

cmd.program @step step {
}
cmd.program @step.dist step_dist {
  %t = cmd.input tokens : !cmd.buffer<i32>
  %i = cmd.buffer <T * 4> : !cmd.buffer<i32>
  %h = cmd.buffer <T * 32> : !cmd.buffer<f32>
  %l = cmd.input logits : !cmd.buffer<f32>
  cmd.copy %t to %i bytes <T * 4> : !cmd.buffer<i32>
  cmd.call @dense[0, 1](%h) : !cmd.buffer<f32>
  cmd.call @moe.dist[1, 2](%h, %i) : !cmd.buffer<f32>, !cmd.buffer<i32>
  cmd.copy %h to %l bytes <N * 4> : !cmd.buffer<f32>
}
// CHECK-LABEL: cmd.program @step.overlap step_overlap
// CHECK: %[[T:.*]] = cmd.input tokens
// CHECK-NEXT: %[[I0:.*]] = cmd.buffer <T * 4>
// CHECK-NEXT: %[[I1:.*]] = cmd.buffer <T * 4>
// CHECK-NEXT: %[[H0:.*]] = cmd.buffer <T * 32>
// CHECK-NEXT: %[[H1:.*]] = cmd.buffer <T * 32>
// CHECK-NEXT: %[[L:.*]] = cmd.input logits
// CHECK-NEXT: cmd.copy %[[T]] to %[[I0]] bytes <T * 4> :
// CHECK-NEXT: cmd.copy %[[T]] to %[[I1]] bytes <T * 4> batch 1
// CHECK-NEXT: cmd.call @dense[0, 1] (%[[H0]]) :
// CHECK-NEXT: cmd.call @dense[0, 1] (%[[H1]]) batch 1
// CHECK-NEXT: cmd.call @moe.overlap[1, 2] (%[[H0]], %[[I0]], %[[H1]], %[[I1]]) :
// CHECK-NEXT: cmd.copy %[[H0]] to %[[L]] bytes <N * 4> :
// CHECK-NEXT: cmd.copy %[[H1]] to %[[L]] bytes <N * 4> batch 1

// -----

// expected-remark @+1 {{declined: the module has no distributed step}}
module {
  cmd.program @step step {
  }
}

// -----

cmd.program @moe.dist layer {
^bb0(%h: !cmd.buffer<f32>, %i: !cmd.buffer<i32>):
  cmd.collective dispatch(%h, %i, %i, %h, %h, %i, %i) row_bytes 32
      : !cmd.buffer<f32>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<f32>, !cmd.buffer<i32>, !cmd.buffer<i32>
  cmd.collective combine(%h, %h, %h) row_bytes 32 : !cmd.buffer<f32>, !cmd.buffer<f32>, !cmd.buffer<f32>
}
cmd.program @step.dist step_dist {
  %t = cmd.input tokens : !cmd.buffer<i32>
  %h = cmd.buffer <T * 32> : !cmd.buffer<f32>
  // expected-remark @+1 {{declined: passes memory of the engine, of which a layer of two batches needs two}}
  cmd.call @moe.dist[1, 2](%h, %t) : !cmd.buffer<f32>, !cmd.buffer<i32>
}

// -----

// expected-remark @+1 {{declined: it has more than one exchange, or one that is overlapped already}}
cmd.program @moe.dist layer {
^bb0(%h: !cmd.buffer<f32>, %i: !cmd.buffer<i32>):
  cmd.collective start dispatch(%h, %i, %i, %h, %h, %i, %i) row_bytes 32
      : !cmd.buffer<f32>, !cmd.buffer<i32>, !cmd.buffer<i32>, !cmd.buffer<f32>, !cmd.buffer<f32>, !cmd.buffer<i32>, !cmd.buffer<i32>
  cmd.collective wait dispatch()
  cmd.collective combine(%h, %h, %h) row_bytes 32 : !cmd.buffer<f32>, !cmd.buffer<f32>, !cmd.buffer<f32>
}
cmd.program @step.dist step_dist {
  %i = cmd.buffer <T * 32> : !cmd.buffer<i32>
  %h = cmd.buffer <T * 32> : !cmd.buffer<f32>
  cmd.call @moe.dist[1, 2](%h, %i) : !cmd.buffer<f32>, !cmd.buffer<i32>
}
