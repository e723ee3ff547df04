// The distributed step: copies of the step and of its layers with experts, in which slots travel to the ranks of their experts and back.
// RUN: moray-opt --moray-partition-experts --split-input-file --verify-diagnostics %s | FileCheck %s
// RUN: moray-opt --moray-partition-experts --split-input-file %s -o %t.1 2>/dev/null
// RUN: moray-opt --moray-partition-experts --split-input-file %t.1 2>/dev/null | diff %t.1 -
// Same numbers to the bit with one rank, before and after outlining; no kernel more than for the step alone.
// RUN: moray-interpret %golden/v3-tiny-fp8 --emit-ir > %t.import
// RUN: moray-opt --moray-pipeline="to=fuse mode=w8a16" %t.import -o %t.fuse
// RUN: moray-opt --moray-pipeline="from=fuse to=partition" %t.fuse -o %t.partition
// RUN: moray-interpret %t.fuse --weights %golden/v3-tiny-fp8 --tokens 5,17,200,33,8,90 --tokens 9,8,7 --logits %t.step.npy
// RUN: moray-interpret %t.partition --dist --weights %golden/v3-tiny-fp8 --tokens 5,17,200,33,8,90 --tokens 9,8,7 --logits %t.dist.npy
// RUN: cmp %t.step.npy %t.dist.npy
// RUN: moray-opt --moray-outline-kernels %t.partition -o %t.outlined
// RUN: moray-interpret %t.outlined --dist --weights %golden/v3-tiny-fp8 --tokens 5,17,200,33,8,90 --tokens 9,8,7 --logits %t.dist.npy
// RUN: cmp %t.step.npy %t.dist.npy
// RUN: moray-opt --moray-pipeline="to=partition mode=fp8" %t.import -o %t.fp8
// RUN: moray-interpret %t.fp8 --weights %golden/v3-tiny-fp8 --tokens 5,17,200,33,8,90 --tokens 9,8,7 --logits %t.step.npy
// RUN: moray-interpret %t.fp8 --dist --weights %golden/v3-tiny-fp8 --tokens 5,17,200,33,8,90 --tokens 9,8,7 --logits %t.dist.npy
// RUN: cmp %t.step.npy %t.dist.npy
// RUN: moray-opt --moray-outline-kernels %t.fuse | grep -o "cmd.kernel @[a-z_0-9]*" > %t.kernels
// RUN: grep -o "cmd.kernel @[a-z_0-9]*" %t.outlined | diff %t.kernels -

lm.layer @dense(%l: index, %x: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  lm.return %x : tensor<?x64xbf16>
}
// CHECK-LABEL: lm.layer @moe(
// CHECK-NOT: _ranks
// CHECK-LABEL: lm.layer @moe.dist(
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<?x64xbf16>, %[[O:[a-z0-9]+]]: tensor<9xi32>, %[[T:[a-z0-9]+]]: tensor<?xi32>, %[[R:[a-z0-9]+]]: tensor<?x2xi32>, %[[S:[a-z0-9]+]]: tensor<?x2xf32>,
// CHECK: %[[XR:.+]], %[[TR:.+]], %[[OR:.+]], %[[EXCHANGE:.+]] = moe.dispatch_ranks %[[X]], %[[T]], %[[O]], %[[S]] :
// CHECK: %[[G:.+]] = lm.kernel grouped_gemm over slots of 2(%[[XR]], %[[TR]], %[[OR]],
// CHECK: %[[ER:.+]] = lm.kernel grouped_gemm over slots of 2(%[[G]], %[[OR]],
// CHECK: %[[E:.+]], %[[GATES:.+]] = moe.combine_ranks %[[ER]], %[[EXCHANGE]] :
// CHECK: lm.kernel row over rows(%[[E]], %[[R]], %[[GATES]] :
lm.layer @moe(%l: index, %x: tensor<?x64xbf16>, %o: tensor<9xi32>, %t: tensor<?xi32>, %r: tensor<?x2xi32>, %s: tensor<?x2xf32>, %w1: tensor<8x32x64xbf16>, %w2: tensor<8x64x32xbf16>)
    -> tensor<?x64xbf16> {
  %g = lm.kernel grouped_gemm over slots of 2 (%x, %t, %o, %w1 : tensor<?x64xbf16>, tensor<?xi32>, tensor<9xi32>, tensor<8x32x64xbf16>) -> tensor<?x32xbf16> {
  ^bb0(%a: tensor<?x64xbf16>, %b: tensor<?xi32>, %c: tensor<9xi32>, %d: tensor<8x32x64xbf16>):
    %0 = moe.grouped_linear %a rows %b, %c, %d : (tensor<?x64xbf16>, tensor<?xi32>, tensor<9xi32>, tensor<8x32x64xbf16>) -> tensor<?x32xbf16>
    lm.yield %0 : tensor<?x32xbf16>
  }
  %e = lm.kernel grouped_gemm over slots of 2 (%g, %o, %w2 : tensor<?x32xbf16>, tensor<9xi32>, tensor<8x64x32xbf16>) -> tensor<?x64xbf16> {
  ^bb0(%a: tensor<?x32xbf16>, %c: tensor<9xi32>, %d: tensor<8x64x32xbf16>):
    %0 = moe.grouped_linear %a, %c, %d : (tensor<?x32xbf16>, tensor<9xi32>, tensor<8x64x32xbf16>) -> tensor<?x64xbf16>
    lm.yield %0 : tensor<?x64xbf16>
  }
  %y = lm.kernel row over rows (%e, %r, %s : tensor<?x64xbf16>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x64xbf16> {
  ^bb0(%a: tensor<?x64xbf16>, %b: tensor<?x2xi32>, %c: tensor<?x2xf32>):
    %0 = moe.combine %a, %b, %c : tensor<?x64xbf16>, tensor<?x2xi32>, tensor<?x2xf32> -> tensor<?x64xf32>
    %1 = lm.cast %0 : tensor<?x64xf32> -> tensor<?x64xbf16>
    lm.yield %1 : tensor<?x64xbf16>
  }
  lm.return %y : tensor<?x64xbf16>
}
// CHECK-LABEL: lm.program @step(
// CHECK: lm.call @dense[0, 1]
// CHECK: lm.call @moe[1, 2]
// CHECK-LABEL: lm.program @step.dist(
// CHECK-SAME: lm.kind = #lm<program_kind step_dist>
// CHECK: lm.call @dense[0, 1]
// CHECK: lm.call @moe.dist[1, 2]
lm.program @step(%x: tensor<?x64xbf16>, %o: tensor<9xi32>, %t: tensor<?xi32>, %r: tensor<?x2xi32>, %s: tensor<?x2xf32>, %w1: tensor<8x32x64xbf16>, %w2: tensor<8x64x32xbf16>)
    -> tensor<?x64xbf16> attributes {lm.kind = #lm<program_kind step>} {
  %h = lm.call @dense[0, 1](%x) : (tensor<?x64xbf16>) -> tensor<?x64xbf16>
  %y = lm.call @moe[1, 2](%h, %o, %t, %r, %s, %w1, %w2)
      : (tensor<?x64xbf16>, tensor<9xi32>, tensor<?xi32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<8x32x64xbf16>, tensor<8x64x32xbf16>) -> tensor<?x64xbf16>
  lm.return %y : tensor<?x64xbf16>
}

// -----

lm.layer @dense(%l: index, %x: tensor<?x64xbf16>) -> tensor<?x64xbf16> {
  lm.return %x : tensor<?x64xbf16>
}
// expected-remark@+1 {{declined: no layer has experts over slots}}
lm.program @step(%x: tensor<?x64xbf16>) -> tensor<?x64xbf16> attributes {lm.kind = #lm<program_kind step>} {
  %h = lm.call @dense[0, 1](%x) : (tensor<?x64xbf16>) -> tensor<?x64xbf16>
  lm.return %h : tensor<?x64xbf16>
}

// -----

// expected-remark@+1 {{declined: the module has no step program}}
module {
}

// -----

// Rows are quantised: codes travel with their scales, and the row kernel between the products counts slots by the offsets that it takes.
// CHECK-LABEL: lm.layer @quantised.dist(
// CHECK: %[[XR:.+]], %[[SR:.+]], %[[TR:.+]], %[[OR:.+]], %{{.+}} = moe.dispatch_ranks %{{.+}} by %{{.+}}, %{{.+}}, %{{.+}}, %{{.+}} :
// CHECK: %[[H:.+]] = lm.kernel grouped_gemm over slots of 2(%[[XR]], %[[SR]], %[[TR]], %[[OR]],
// CHECK: %[[G:.+]]:2 = lm.kernel row over slots of 2(%[[H]], %[[OR]] :
// CHECK: lm.kernel grouped_gemm over slots of 2(%[[G]]#0, %[[G]]#1, %[[OR]],
lm.layer @quantised(%l: index, %x: tensor<?x64xf8E4M3FN>, %xs: tensor<?x1xf32>, %t: tensor<?xi32>, %o: tensor<9xi32>, %r: tensor<?x2xi32>, %s: tensor<?x2xf32>,
                    %w: tensor<8x64x64xf8E4M3FN>, %ws: tensor<8x1x1xf32>) -> tensor<?x64xf8E4M3FN> {
  %h = lm.kernel grouped_gemm over slots of 2 (%x, %xs, %t, %o, %w, %ws
      : tensor<?x64xf8E4M3FN>, tensor<?x1xf32>, tensor<?xi32>, tensor<9xi32>, tensor<8x64x64xf8E4M3FN>, tensor<8x1x1xf32>) -> tensor<?x64xbf16> {
  ^bb0(%a: tensor<?x64xf8E4M3FN>, %as: tensor<?x1xf32>, %b: tensor<?xi32>, %c: tensor<9xi32>, %d: tensor<8x64x64xf8E4M3FN>, %ds: tensor<8x1x1xf32>):
    %0 = moe.grouped_linear %a by %as rows %b, %c, %d scales %ds
        : (tensor<?x64xf8E4M3FN>, tensor<?x1xf32>, tensor<?xi32>, tensor<9xi32>, tensor<8x64x64xf8E4M3FN>, tensor<8x1x1xf32>) -> tensor<?x64xbf16>
    lm.yield %0 : tensor<?x64xbf16>
  }
  %g, %gs = lm.kernel row over slots of 2 (%h, %o : tensor<?x64xbf16>, tensor<9xi32>) -> tensor<?x64xf8E4M3FN>, tensor<?x1xf32> {
  ^bb0(%a: tensor<?x64xbf16>, %c: tensor<9xi32>):
    %0, %1 = lm.quantize %a {format = #lm<scale_format f32>} : tensor<?x64xbf16> -> tensor<?x64xf8E4M3FN>, tensor<?x1xf32>
    lm.yield %0, %1 : tensor<?x64xf8E4M3FN>, tensor<?x1xf32>
  }
  %e = lm.kernel grouped_gemm over slots of 2 (%g, %gs, %o, %w, %ws
      : tensor<?x64xf8E4M3FN>, tensor<?x1xf32>, tensor<9xi32>, tensor<8x64x64xf8E4M3FN>, tensor<8x1x1xf32>) -> tensor<?x64xbf16> {
  ^bb0(%a: tensor<?x64xf8E4M3FN>, %as: tensor<?x1xf32>, %c: tensor<9xi32>, %d: tensor<8x64x64xf8E4M3FN>, %ds: tensor<8x1x1xf32>):
    %0 = moe.grouped_linear %a by %as, %c, %d scales %ds
        : (tensor<?x64xf8E4M3FN>, tensor<?x1xf32>, tensor<9xi32>, tensor<8x64x64xf8E4M3FN>, tensor<8x1x1xf32>) -> tensor<?x64xbf16>
    lm.yield %0 : tensor<?x64xbf16>
  }
  %y = lm.kernel row over rows (%e, %r, %s : tensor<?x64xbf16>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x64xf32> {
  ^bb0(%a: tensor<?x64xbf16>, %b: tensor<?x2xi32>, %c: tensor<?x2xf32>):
    %0 = moe.combine %a, %b, %c : tensor<?x64xbf16>, tensor<?x2xi32>, tensor<?x2xf32> -> tensor<?x64xf32>
    lm.yield %0 : tensor<?x64xf32>
  }
  lm.return %x : tensor<?x64xf8E4M3FN>
}
lm.program @step(%x: tensor<?x64xf8E4M3FN>, %xs: tensor<?x1xf32>, %t: tensor<?xi32>, %o: tensor<9xi32>, %r: tensor<?x2xi32>, %s: tensor<?x2xf32>,
                 %w: tensor<8x64x64xf8E4M3FN>, %ws: tensor<8x1x1xf32>) -> tensor<?x64xf8E4M3FN> attributes {lm.kind = #lm<program_kind step>} {
  %y = lm.call @quantised[0, 1](%x, %xs, %t, %o, %r, %s, %w, %ws)
      : (tensor<?x64xf8E4M3FN>, tensor<?x1xf32>, tensor<?xi32>, tensor<9xi32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<8x64x64xf8E4M3FN>, tensor<8x1x1xf32>)
      -> tensor<?x64xf8E4M3FN>
  lm.return %y : tensor<?x64xf8E4M3FN>
}

// -----

lm.layer @two_picks(%l: index, %x: tensor<?x64xbf16>, %o: tensor<9xi32>, %t: tensor<?xi32>, %r: tensor<?x2xi32>, %s: tensor<?x2xf32>, %w1: tensor<8x32x64xbf16>, %w2: tensor<8x64x32xbf16>)
    -> tensor<?x64xbf16> {
  %g = lm.kernel grouped_gemm over slots of 2 (%x, %t, %o, %w1 : tensor<?x64xbf16>, tensor<?xi32>, tensor<9xi32>, tensor<8x32x64xbf16>) -> tensor<?x32xbf16> {
  ^bb0(%a: tensor<?x64xbf16>, %b: tensor<?xi32>, %c: tensor<9xi32>, %d: tensor<8x32x64xbf16>):
    %0 = moe.grouped_linear %a rows %b, %c, %d : (tensor<?x64xbf16>, tensor<?xi32>, tensor<9xi32>, tensor<8x32x64xbf16>) -> tensor<?x32xbf16>
    lm.yield %0 : tensor<?x32xbf16>
  }
  // expected-remark@+1 {{declined: several products pick the rows of the slots}}
  %h = lm.kernel grouped_gemm over slots of 2 (%x, %t, %o, %w1 : tensor<?x64xbf16>, tensor<?xi32>, tensor<9xi32>, tensor<8x32x64xbf16>) -> tensor<?x32xbf16> {
  ^bb0(%a: tensor<?x64xbf16>, %b: tensor<?xi32>, %c: tensor<9xi32>, %d: tensor<8x32x64xbf16>):
    %0 = moe.grouped_linear %a rows %b, %c, %d : (tensor<?x64xbf16>, tensor<?xi32>, tensor<9xi32>, tensor<8x32x64xbf16>) -> tensor<?x32xbf16>
    lm.yield %0 : tensor<?x32xbf16>
  }
  lm.return %x : tensor<?x64xbf16>
}
lm.program @step(%x: tensor<?x64xbf16>, %o: tensor<9xi32>, %t: tensor<?xi32>, %r: tensor<?x2xi32>, %s: tensor<?x2xf32>, %w1: tensor<8x32x64xbf16>, %w2: tensor<8x64x32xbf16>)
    -> tensor<?x64xbf16> attributes {lm.kind = #lm<program_kind step>} {
  %y = lm.call @two_picks[1, 2](%x, %o, %t, %r, %s, %w1, %w2)
      : (tensor<?x64xbf16>, tensor<9xi32>, tensor<?xi32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<8x32x64xbf16>, tensor<8x64x32xbf16>) -> tensor<?x64xbf16>
  lm.return %y : tensor<?x64xbf16>
}

// -----

lm.layer @two_dispatches(%l: index, %x: tensor<?x64xbf16>, %o: tensor<9xi32>, %t: tensor<?xi32>, %r: tensor<?x2xi32>, %s: tensor<?x2xf32>, %w1: tensor<8x32x64xbf16>, %w2: tensor<8x64x32xbf16>, %p: tensor<9xi32>)
    -> tensor<?x64xbf16> {
  %g = lm.kernel grouped_gemm over slots of 2 (%x, %t, %o, %w1 : tensor<?x64xbf16>, tensor<?xi32>, tensor<9xi32>, tensor<8x32x64xbf16>) -> tensor<?x32xbf16> {
  ^bb0(%a: tensor<?x64xbf16>, %b: tensor<?xi32>, %c: tensor<9xi32>, %d: tensor<8x32x64xbf16>):
    %0 = moe.grouped_linear %a rows %b, %c, %d : (tensor<?x64xbf16>, tensor<?xi32>, tensor<9xi32>, tensor<8x32x64xbf16>) -> tensor<?x32xbf16>
    lm.yield %0 : tensor<?x32xbf16>
  }
  // expected-remark@+1 {{declined: the layer has experts of several dispatches}}
  %e = lm.kernel grouped_gemm over slots of 2 (%g, %p, %w2 : tensor<?x32xbf16>, tensor<9xi32>, tensor<8x64x32xbf16>) -> tensor<?x64xbf16> {
  ^bb0(%a: tensor<?x32xbf16>, %c: tensor<9xi32>, %d: tensor<8x64x32xbf16>):
    %0 = moe.grouped_linear %a, %c, %d : (tensor<?x32xbf16>, tensor<9xi32>, tensor<8x64x32xbf16>) -> tensor<?x64xbf16>
    lm.yield %0 : tensor<?x64xbf16>
  }
  lm.return %e : tensor<?x64xbf16>
}
lm.program @step(%x: tensor<?x64xbf16>, %o: tensor<9xi32>, %t: tensor<?xi32>, %r: tensor<?x2xi32>, %s: tensor<?x2xf32>, %w1: tensor<8x32x64xbf16>, %w2: tensor<8x64x32xbf16>, %p: tensor<9xi32>)
    -> tensor<?x64xbf16> attributes {lm.kind = #lm<program_kind step>} {
  %y = lm.call @two_dispatches[1, 2](%x, %o, %t, %r, %s, %w1, %w2, %p)
      : (tensor<?x64xbf16>, tensor<9xi32>, tensor<?xi32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<8x32x64xbf16>, tensor<8x64x32xbf16>, tensor<9xi32>) -> tensor<?x64xbf16>
  lm.return %y : tensor<?x64xbf16>
}

// -----

lm.layer @two_results(%l: index, %x: tensor<?x64xbf16>, %o: tensor<9xi32>, %t: tensor<?xi32>, %r: tensor<?x2xi32>, %s: tensor<?x2xf32>, %w1: tensor<8x32x64xbf16>, %w2: tensor<8x64x32xbf16>)
    -> tensor<?x64xbf16> {
  %g = lm.kernel grouped_gemm over slots of 2 (%x, %t, %o, %w1 : tensor<?x64xbf16>, tensor<?xi32>, tensor<9xi32>, tensor<8x32x64xbf16>) -> tensor<?x32xbf16> {
  ^bb0(%a: tensor<?x64xbf16>, %b: tensor<?xi32>, %c: tensor<9xi32>, %d: tensor<8x32x64xbf16>):
    %0 = moe.grouped_linear %a rows %b, %c, %d : (tensor<?x64xbf16>, tensor<?xi32>, tensor<9xi32>, tensor<8x32x64xbf16>) -> tensor<?x32xbf16>
    lm.yield %0 : tensor<?x32xbf16>
  }
  // expected-remark@+1 {{declined: more than one result of the experts is read after them}}
  %e = lm.kernel grouped_gemm over slots of 2 (%g, %o, %w2 : tensor<?x32xbf16>, tensor<9xi32>, tensor<8x64x32xbf16>) -> tensor<?x64xbf16> {
  ^bb0(%a: tensor<?x32xbf16>, %c: tensor<9xi32>, %d: tensor<8x64x32xbf16>):
    %0 = moe.grouped_linear %a, %c, %d : (tensor<?x32xbf16>, tensor<9xi32>, tensor<8x64x32xbf16>) -> tensor<?x64xbf16>
    lm.yield %0 : tensor<?x64xbf16>
  }
  %y = lm.kernel row over rows (%e, %r, %s : tensor<?x64xbf16>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x64xbf16> {
  ^bb0(%a: tensor<?x64xbf16>, %b: tensor<?x2xi32>, %c: tensor<?x2xf32>):
    %0 = moe.combine %a, %b, %c : tensor<?x64xbf16>, tensor<?x2xi32>, tensor<?x2xf32> -> tensor<?x64xf32>
    %1 = lm.cast %0 : tensor<?x64xf32> -> tensor<?x64xbf16>
    lm.yield %1 : tensor<?x64xbf16>
  }
  %z = lm.kernel row over rows (%g : tensor<?x32xbf16>) -> tensor<?x32xbf16> {
  ^bb0(%a: tensor<?x32xbf16>):
    %0 = lm.add %a, %a : tensor<?x32xbf16>, tensor<?x32xbf16> -> tensor<?x32xbf16>
    lm.yield %0 : tensor<?x32xbf16>
  }
  lm.return %y : tensor<?x64xbf16>
}
lm.program @step(%x: tensor<?x64xbf16>, %o: tensor<9xi32>, %t: tensor<?xi32>, %r: tensor<?x2xi32>, %s: tensor<?x2xf32>, %w1: tensor<8x32x64xbf16>, %w2: tensor<8x64x32xbf16>)
    -> tensor<?x64xbf16> attributes {lm.kind = #lm<program_kind step>} {
  %y = lm.call @two_results[1, 2](%x, %o, %t, %r, %s, %w1, %w2)
      : (tensor<?x64xbf16>, tensor<9xi32>, tensor<?xi32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<8x32x64xbf16>, tensor<8x64x32xbf16>) -> tensor<?x64xbf16>
  lm.return %y : tensor<?x64xbf16>
}

// -----

// expected-remark@+1 {{declined: no matrix product picks the rows of the slots, or no result of the experts is combined}}
lm.layer @unread(%l: index, %x: tensor<?x64xbf16>, %o: tensor<9xi32>, %t: tensor<?xi32>, %r: tensor<?x2xi32>, %s: tensor<?x2xf32>, %w1: tensor<8x32x64xbf16>, %w2: tensor<8x64x32xbf16>)
    -> tensor<?x64xbf16> {
  %g = lm.kernel grouped_gemm over slots of 2 (%x, %t, %o, %w1 : tensor<?x64xbf16>, tensor<?xi32>, tensor<9xi32>, tensor<8x32x64xbf16>) -> tensor<?x32xbf16> {
  ^bb0(%a: tensor<?x64xbf16>, %b: tensor<?xi32>, %c: tensor<9xi32>, %d: tensor<8x32x64xbf16>):
    %0 = moe.grouped_linear %a rows %b, %c, %d : (tensor<?x64xbf16>, tensor<?xi32>, tensor<9xi32>, tensor<8x32x64xbf16>) -> tensor<?x32xbf16>
    lm.yield %0 : tensor<?x32xbf16>
  }
  lm.return %x : tensor<?x64xbf16>
}
lm.program @step(%x: tensor<?x64xbf16>, %o: tensor<9xi32>, %t: tensor<?xi32>, %r: tensor<?x2xi32>, %s: tensor<?x2xf32>, %w1: tensor<8x32x64xbf16>, %w2: tensor<8x64x32xbf16>)
    -> tensor<?x64xbf16> attributes {lm.kind = #lm<program_kind step>} {
  %y = lm.call @unread[1, 2](%x, %o, %t, %r, %s, %w1, %w2)
      : (tensor<?x64xbf16>, tensor<9xi32>, tensor<?xi32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<8x32x64xbf16>, tensor<8x64x32xbf16>) -> tensor<?x64xbf16>
  lm.return %y : tensor<?x64xbf16>
}
