// Layers and programs over tensors become cmd programs: in place where the parameter is dead, copied where it is not.

// RUN: moray-opt %s --split-input-file --moray-lower-to-cmd --verify-diagnostics | FileCheck %s

cmd.kernel @row_0 row over rows {
^bb0(%x: tensor<?x64xf32>, %w: tensor<64xbf16>):
  %0 = lm.rms_norm %x, %w {eps = 1.0e-6 : f32} : tensor<?x64xf32>, tensor<64xbf16> -> tensor<?x64xf32>
  lm.yield %0 : tensor<?x64xf32>
}
cmd.kernel @row_1 row over rows {
^bb0(%x: tensor<?x64xf32>, %y: tensor<?x64xf32>):
  %0 = lm.add %x, %y : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x64xf32>
  lm.yield %0 : tensor<?x64xf32>
}
lm.weight @n per_layer from "n.{l}" : tensor<64xbf16>
lm.weight @unused per_layer from "u.{l}" : tensor<64xbf16>

// The parameter is read by the kernel that makes the result, so the result is copied into it.
// CHECK-LABEL: cmd.program @copied layer {
// CHECK-NEXT: ^bb0(%[[H:.*]]: !cmd.buffer<f32>):
// CHECK-DAG: %[[W:.*]] = cmd.weight @n : <bf16>
// CHECK-DAG: %[[T:.*]] = cmd.buffer <T * 256> : <f32>
// CHECK: cmd.launch @row_0(%[[H]], %[[W]], %[[T]])
// CHECK: cmd.launch @row_1(%[[H]], %[[T]], %[[R:.*]])
// CHECK: cmd.copy %[[R]] to %[[H]] bytes <T * 256>
lm.layer @copied(%l: index, %h: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %w = lm.weight_of @n[%l] : tensor<64xbf16>
  %t = cmd.invoke @row_0(%h, %w) : (tensor<?x64xf32>, tensor<64xbf16>) -> tensor<?x64xf32>
  %r = cmd.invoke @row_1(%h, %t) : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  lm.return %r : tensor<?x64xf32>
}

// Here the parameter is dead by then: computed in place, no copy.
// CHECK-LABEL: cmd.program @in_place layer {
// CHECK-NEXT: ^bb0(%[[H:.*]]: !cmd.buffer<f32>):
// CHECK: cmd.launch @row_0(%[[H]], %{{.*}}, %[[T:.*]])
// CHECK: cmd.launch @row_0(%[[T]], %{{.*}}, %[[H]])
// CHECK-NOT: cmd.copy
lm.layer @in_place(%l: index, %h: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %w = lm.weight_of @n[%l] : tensor<64xbf16>
  %t = cmd.invoke @row_0(%h, %w) : (tensor<?x64xf32>, tensor<64xbf16>) -> tensor<?x64xf32>
  %r = cmd.invoke @row_0(%t, %w) : (tensor<?x64xf32>, tensor<64xbf16>) -> tensor<?x64xf32>
  lm.return %r : tensor<?x64xf32>
}

// A layer call works on the caller's buffer; a value that is read afterwards is copied before the call.
// CHECK-LABEL: cmd.program @step step {
// CHECK-DAG: %[[TOK:.*]] = cmd.input tokens : <i32>
// CHECK: cmd.launch @embed(%[[TOK]], %{{.*}}, %[[E:.*]]) :
// CHECK: cmd.copy %[[E]] to %[[C:.*]] bytes <T * 256>
// CHECK: cmd.call @in_place[0, 2] (%[[C]])
// CHECK: cmd.call @copied[2, 3] (%[[C]])
// CHECK: cmd.launch @row_1(%[[E]], %[[C]], %{{.*}})
// CHECK: cmd.launch @gather(%{{.*}}, %{{.*}}, %[[L:.*]]) :
cmd.kernel @embed row over rows {
^bb0(%x: tensor<?xi32>, %w: tensor<8x64xbf16>):
  %0 = lm.embed %x, %w : tensor<?xi32>, tensor<8x64xbf16> -> tensor<?x64xf32>
  lm.yield %0 : tensor<?x64xf32>
}
cmd.kernel @gather row over outs {
^bb0(%x: tensor<?x64xf32>, %i: tensor<?xi32>):
  %0 = lm.gather_rows %x, %i : tensor<?x64xf32>, tensor<?xi32> -> tensor<?x64xf32>
  lm.yield %0 : tensor<?x64xf32>
}
lm.weight @e from "e" : tensor<8x64xbf16>
lm.program @step(%tokens: tensor<?xi32>, %rows: !lm.rows, %kv: !mla.cache<64, 16, page = 64, f32>, %outs: tensor<?xi32>) -> tensor<?x64xf32>
    attributes {lm.kind = #lm<program_kind step>} {
  %w = lm.weight_of @e : tensor<8x64xbf16>
  %h = cmd.invoke @embed(%tokens, %w) : (tensor<?xi32>, tensor<8x64xbf16>) -> tensor<?x64xf32>
  %a = lm.call @in_place[0, 2](%h) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %b = lm.call @copied[2, 3](%a) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %s = cmd.invoke @row_1(%h, %b) : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %o = cmd.invoke @gather(%s, %outs) : (tensor<?x64xf32>, tensor<?xi32>) -> tensor<?x64xf32>
  lm.return %o : tensor<?x64xf32>
}
// CHECK-NOT: @unused

// -----

// The row bundle is five pointers, results of a dispatch are sized by slots.
cmd.kernel @permute_0 permute over rows {
^bb0(%ids: tensor<?x4xi32>, %g: tensor<?x4xf32>):
  %off, %tok, %rank, %gs = moe.dispatch %ids, %g : tensor<?x4xi32>, tensor<?x4xf32> -> tensor<17xi32>, tensor<?xi32>, tensor<?x4xi32>, tensor<?x4xf32>
  lm.yield %off, %tok, %rank, %gs : tensor<17xi32>, tensor<?xi32>, tensor<?x4xi32>, tensor<?x4xf32>
}
cmd.kernel @table row over rows {
^bb0(%rows: !lm.rows):
  %cos, %sin = lm.rope_table %rows {inv_freq = array<f32: 1.0, 0.5>, multiplier = 1.0 : f32} : tensor<?x2xf32>, tensor<?x2xf32>
  lm.yield %cos, %sin : tensor<?x2xf32>, tensor<?x2xf32>
}
// CHECK-LABEL: cmd.program @slots layer {
// CHECK-DAG: %[[OFF:.*]] = cmd.buffer <68> : <i32>
// CHECK-DAG: %[[TOK:.*]] = cmd.buffer <T * 16> : <i32>
// CHECK-DAG: %[[P:.*]] = cmd.input positions
// CHECK-DAG: %[[S:.*]] = cmd.input row_seq
// CHECK-DAG: %[[C:.*]] = cmd.input cu_rows
// CHECK-DAG: %[[G:.*]] = cmd.input page_table
// CHECK-DAG: %[[X:.*]] = cmd.input ctx_len
// CHECK: cmd.launch @table(%[[P]], %[[S]], %[[C]], %[[G]], %[[X]], %{{.*}}, %{{.*}})
lm.layer @slots(%l: index, %ids: tensor<?x4xi32>, %g: tensor<?x4xf32>, %rows: !lm.rows) -> tensor<?x4xi32> {
  %o, %t, %r, %s = cmd.invoke @permute_0(%ids, %g) : (tensor<?x4xi32>, tensor<?x4xf32>) -> (tensor<17xi32>, tensor<?xi32>, tensor<?x4xi32>, tensor<?x4xf32>)
  %c, %n = cmd.invoke @table(%rows) : (!lm.rows) -> (tensor<?x2xf32>, tensor<?x2xf32>)
  lm.return %r : tensor<?x4xi32>
}

// -----

lm.layer @bare(%l: index, %h: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // expected-error @+1 {{E3301: cannot stand in a schedule}}
  %r = lm.add %h, %h : tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x64xf32>
  lm.return %r : tensor<?x64xf32>
}

// -----

// expected-error @+1 {{expects 2 tensor arguments and one result for its kind}}
lm.program @score(%logits: tensor<?x8xf32>) -> tensor<?x8xf32> attributes {lm.kind = #lm<program_kind score>} {
  lm.return %logits : tensor<?x8xf32>
}

// -----

// Slots of all ranks: R times as many, up to the combine.
cmd.kernel @permute_0 permute over rows {
^bb0(%ids: tensor<?x4xi32>, %g: tensor<?x4xf32>):
  %off, %tok, %rank, %gs = moe.dispatch %ids, %g : tensor<?x4xi32>, tensor<?x4xf32> -> tensor<17xi32>, tensor<?xi32>, tensor<?x4xi32>, tensor<?x4xf32>
  lm.yield %off, %tok, %rank, %gs : tensor<17xi32>, tensor<?xi32>, tensor<?x4xi32>, tensor<?x4xf32>
}
cmd.kernel @grouped_0 grouped_gemm over slots of 4 {
^bb0(%x: tensor<?x64xbf16>, %t: tensor<?xi32>, %o: tensor<17xi32>, %w: tensor<16x32x64xbf16>):
  %0 = moe.grouped_linear %x rows %t, %o, %w : (tensor<?x64xbf16>, tensor<?xi32>, tensor<17xi32>, tensor<16x32x64xbf16>) -> tensor<?x32xbf16>
  lm.yield %0 : tensor<?x32xbf16>
}
lm.weight @w per_layer from "w.{l}" : tensor<16x32x64xbf16>
// CHECK-LABEL: cmd.program @moe.dist layer {
// CHECK-NEXT: ^bb0(%[[X:.*]]: !cmd.buffer<bf16>, %{{.*}}: !cmd.buffer<i32>, %{{.*}}: !cmd.buffer<f32>):
// CHECK-DAG: %[[OFF:.*]] = cmd.buffer <68> : <i32>
// CHECK-DAG: %[[TOK:.*]] = cmd.buffer <T * 16> : <i32>
// CHECK: cmd.launch @permute_0
// CHECK-DAG: %[[XR:.*]] = cmd.buffer <R * T * 128> : <bf16>
// CHECK-DAG: %[[TOKR:.*]] = cmd.buffer <R * T * 16> : <i32>
// CHECK-DAG: %[[OFFR:.*]] = cmd.buffer <68> : <i32>
// CHECK: cmd.collective dispatch(%[[X]], %[[TOK]], %[[OFF]], %{{.*}}, %[[XR]], %[[TOKR]], %[[OFFR]]) row_bytes 128
// CHECK: %[[ER:.*]] = cmd.buffer <R * T * 256> : <bf16>
// CHECK: cmd.launch @grouped_0(%[[XR]], %[[TOKR]], %[[OFFR]], %{{.*}}, %[[ER]])
// CHECK: %[[E:.*]] = cmd.buffer <T * 256> : <bf16>
// CHECK: %[[G:.*]] = cmd.buffer <T * 16> : <f32>
// CHECK: cmd.collective combine(%[[ER]], %[[E]], %[[G]]) row_bytes 64
lm.layer @moe.dist(%l: index, %x: tensor<?x64xbf16>, %ids: tensor<?x4xi32>, %g: tensor<?x4xf32>) -> tensor<?x64xbf16> {
  %w = lm.weight_of @w[%l] : tensor<16x32x64xbf16>
  %o, %t, %r, %s = cmd.invoke @permute_0(%ids, %g) : (tensor<?x4xi32>, tensor<?x4xf32>) -> (tensor<17xi32>, tensor<?xi32>, tensor<?x4xi32>, tensor<?x4xf32>)
  %xr, %tr, %or, %x1 = moe.dispatch_ranks %x, %t, %o, %s : (tensor<?x64xbf16>, tensor<?xi32>, tensor<17xi32>, tensor<?x4xf32>) -> (tensor<?x64xbf16>, tensor<?xi32>, tensor<17xi32>, !moe.exchange)
  %er = cmd.invoke @grouped_0(%xr, %tr, %or, %w) : (tensor<?x64xbf16>, tensor<?xi32>, tensor<17xi32>, tensor<16x32x64xbf16>) -> tensor<?x32xbf16>
  %e, %eg = moe.combine_ranks %er, %x1 : (tensor<?x32xbf16>, !moe.exchange) -> (tensor<?x32xbf16>, tensor<?x4xf32>)
  lm.return %x : tensor<?x64xbf16>
}

// -----

lm.layer @unread(%l: index, %x: tensor<?x64xbf16>, %t: tensor<?xi32>, %o: tensor<17xi32>, %g: tensor<?x4xf32>) -> tensor<?x64xbf16> {
  // expected-error @+1 {{E3307: receives slots that no kernel over slots reads}}
  %xr, %tr, %or, %x1 = moe.dispatch_ranks %x, %t, %o, %g : (tensor<?x64xbf16>, tensor<?xi32>, tensor<17xi32>, tensor<?x4xf32>) -> (tensor<?x64xbf16>, tensor<?xi32>, tensor<17xi32>, !moe.exchange)
  %e, %eg = moe.combine_ranks %xr, %x1 : (tensor<?x64xbf16>, !moe.exchange) -> (tensor<?x64xbf16>, tensor<?x4xf32>)
  lm.return %e : tensor<?x64xbf16>
}
