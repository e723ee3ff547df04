// Every error of the verifiers in dialects/MoE.
// RUN: moray-opt %s --split-input-file --verify-diagnostics

// expected-error @+1 {{router has groups 4, keep 5, top 4, expected 1 <= keep <= groups and top >= 1}}
func.func private @f() attributes {r = #moe.router<sigmoid, noaux_tc, groups = 4, keep = 5, top = 4, normalise = true, scale = 1.0 : f32>}

// -----

// expected-error @+1 {{router method greedy has no groups, found 2}}
func.func private @f() attributes {r = #moe.router<softmax, greedy, groups = 2, keep = 1, top = 4, normalise = true, scale = 1.0 : f32>}

// -----

// expected-error @+1 {{router method noaux_tc does not go with scoring softmax}}
func.func private @f() attributes {r = #moe.router<softmax, noaux_tc, groups = 1, keep = 1, top = 4, normalise = true, scale = 1.0 : f32>}

// -----

// expected-error @+1 {{router scale must be f32}}
func.func private @f() attributes {r = #moe.router<softmax, greedy, groups = 1, keep = 1, top = 4, normalise = true, scale = 1.0 : f64>}

// -----

func.func @f(%x: tensor<?x256xf32>, %w: tensor<256xf32>) {
  // expected-error @+1 {{weight is 'tensor<256xf32>', expected [experts, hidden]}}
  %0, %1 = moe.route %x, %w {router = #moe.router<softmax, greedy, groups = 1, keep = 1, top = 4, normalise = true, scale = 1.0 : f32>}
      : (tensor<?x256xf32>, tensor<256xf32>) -> (tensor<?x4xi32>, tensor<?x4xf32>)
  return
}

// -----

func.func @f(%x: tensor<?x256xf32>, %w: tensor<16x256xf32>) {
  // expected-error @+1 {{chooses 5 of 16 experts in 8 groups, 2 kept: groups must divide the experts and the kept groups hold enough of them}}
  %0, %1 = moe.route %x, %w {router = #moe.router<softmax, group_limited_greedy, groups = 8, keep = 2, top = 5, normalise = true, scale = 1.0 : f32>}
      : (tensor<?x256xf32>, tensor<16x256xf32>) -> (tensor<?x5xi32>, tensor<?x5xf32>)
  return
}

// -----

func.func @f(%x: tensor<?x256xf32>, %w: tensor<16x256xf32>) {
  // expected-error @+1 {{needs a bias exactly for noaux_tc}}
  %0, %1 = moe.route %x, %w {router = #moe.router<sigmoid, noaux_tc, groups = 1, keep = 1, top = 4, normalise = true, scale = 1.0 : f32>}
      : (tensor<?x256xf32>, tensor<16x256xf32>) -> (tensor<?x4xi32>, tensor<?x4xf32>)
  return
}

// -----

func.func @f(%x: tensor<?x256xf32>, %w: tensor<16x256xf32>, %b: tensor<8xf32>) {
  // expected-error @+1 {{bias is 'tensor<8xf32>', expected shape [16]}}
  %0, %1 = moe.route %x, %w bias %b {router = #moe.router<sigmoid, noaux_tc, groups = 1, keep = 1, top = 4, normalise = true, scale = 1.0 : f32>}
      : (tensor<?x256xf32>, tensor<16x256xf32>, tensor<8xf32>) -> (tensor<?x4xi32>, tensor<?x4xf32>)
  return
}

// -----

func.func @f(%x: tensor<?x256xf32>, %w: tensor<16x256xf32>) {
  // expected-error @+1 {{ids is 'tensor<?x3xi32>', expected tensor<?x4x..>}}
  %0, %1 = moe.route %x, %w {router = #moe.router<softmax, greedy, groups = 1, keep = 1, top = 4, normalise = true, scale = 1.0 : f32>}
      : (tensor<?x256xf32>, tensor<16x256xf32>) -> (tensor<?x3xi32>, tensor<?x4xf32>)
  return
}

// -----

func.func @f(%x: tensor<?x256xf32>, %i: tensor<?x4xi32>, %g: tensor<?x4xf32>, %w: tensor<64x256xf32>, %d: tensor<16x256x64xf32>) {
  // expected-error @+1 {{gate is 'tensor<64x256xf32>', expected [experts, width, hidden]}}
  %0 = moe.experts %x, %i, %g gate %w up %w down %d {activation = f32, format = #lm<scale_format f32>}
      : (tensor<?x256xf32>, tensor<?x4xi32>, tensor<?x4xf32>, tensor<64x256xf32>, tensor<64x256xf32>, tensor<16x256x64xf32>) -> tensor<?x256xf32>
  return
}

// -----

func.func @f(%x: tensor<?x256xf32>, %i: tensor<?x4xi32>, %g: tensor<?x4xf32>, %w: tensor<16x64x256xf32>) {
  // expected-error @+1 {{down is 'tensor<16x64x256xf32>', expected shape [16, 256, 64]}}
  %0 = moe.experts %x, %i, %g gate %w up %w down %w {activation = f32, format = #lm<scale_format f32>}
      : (tensor<?x256xf32>, tensor<?x4xi32>, tensor<?x4xf32>, tensor<16x64x256xf32>, tensor<16x64x256xf32>, tensor<16x64x256xf32>) -> tensor<?x256xf32>
  return
}

// -----

func.func @f(%x: tensor<?x256xf32>, %i: tensor<?x4xi32>, %g: tensor<?x3xf32>, %w: tensor<16x64x256xf32>, %d: tensor<16x256x64xf32>) {
  // expected-error @+1 {{gates is 'tensor<?x3xf32>', expected tensor<?x4x..>}}
  %0 = moe.experts %x, %i, %g gate %w up %w down %d {activation = f32, format = #lm<scale_format f32>}
      : (tensor<?x256xf32>, tensor<?x4xi32>, tensor<?x3xf32>, tensor<16x64x256xf32>, tensor<16x64x256xf32>, tensor<16x256x64xf32>) -> tensor<?x256xf32>
  return
}

// -----

func.func @f(%x: tensor<?x256xf32>, %i: tensor<?x4xi32>, %g: tensor<?x4xf32>, %w: tensor<16x64x256xf32>, %d: tensor<16x256x64xf32>, %s: tensor<16x1x2xf32>) {
  // expected-error @+1 {{has 1 scales, expected none or those of gate, up and down}}
  %0 = moe.experts %x, %i, %g gate %w up %w down %d scales %s {activation = f32, format = #lm<scale_format f32>}
      : (tensor<?x256xf32>, tensor<?x4xi32>, tensor<?x4xf32>, tensor<16x64x256xf32>, tensor<16x64x256xf32>, tensor<16x256x64xf32>, tensor<16x1x2xf32>) -> tensor<?x256xf32>
  return
}

// -----

func.func @f(%x: tensor<?x256xbf16>, %i: tensor<?x4xi32>, %g: tensor<?x4xf32>, %w: tensor<16x64x256xbf16>, %d: tensor<16x256x64xbf16>) {
  // expected-error @+1 {{activation type 'f32' does not fit rows of 'bf16', expected the same type, or f8E4M3FN on bf16 rows}}
  %0 = moe.experts %x, %i, %g gate %w up %w down %d {activation = f32, format = #lm<scale_format f32>}
      : (tensor<?x256xbf16>, tensor<?x4xi32>, tensor<?x4xf32>, tensor<16x64x256xbf16>, tensor<16x64x256xbf16>, tensor<16x256x64xbf16>) -> tensor<?x256xf32>
  return
}

// -----

func.func @f(%i: tensor<?xi32>, %g: tensor<?x4xf32>) {
  // expected-error @+1 {{ids is 'tensor<?xi32>', expected [rows, width] with a dynamic number of rows and a static width}}
  %0, %1, %2, %3 = moe.dispatch %i, %g : tensor<?xi32>, tensor<?x4xf32> -> tensor<17xi32>, tensor<?xi32>, tensor<?x4xi32>, tensor<?x4xf32>
  return
}

// -----

func.func @f(%i: tensor<?x4xi32>, %g: tensor<?x4xf32>) {
  // expected-error @+1 {{offsets are 'tensor<1xi32>', expected tensor<(experts + 1)xi32>}}
  %0, %1, %2, %3 = moe.dispatch %i, %g : tensor<?x4xi32>, tensor<?x4xf32> -> tensor<1xi32>, tensor<?xi32>, tensor<?x4xi32>, tensor<?x4xf32>
  return
}

// -----

func.func @f(%i: tensor<?x4xi32>, %g: tensor<?x4xf32>) {
  // expected-error @+1 {{sorted gates is 'tensor<?x2xf32>', expected tensor<?x4x..>}}
  %0, %1, %2, %3 = moe.dispatch %i, %g : tensor<?x4xi32>, tensor<?x4xf32> -> tensor<17xi32>, tensor<?xi32>, tensor<?x4xi32>, tensor<?x2xf32>
  return
}

// -----

func.func @f(%x: tensor<?x256xf32>, %o: tensor<17xi32>, %w: tensor<64x256xf32>) {
  // expected-error @+1 {{weight is 'tensor<64x256xf32>', expected [experts, O, K]}}
  %0 = moe.grouped_linear %x, %o, %w : (tensor<?x256xf32>, tensor<17xi32>, tensor<64x256xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x256xf32>, %o: tensor<16xi32>, %w: tensor<16x64x256xf32>) {
  // expected-error @+1 {{offsets is 'tensor<16xi32>', expected shape [17]}}
  %0 = moe.grouped_linear %x, %o, %w : (tensor<?x256xf32>, tensor<16xi32>, tensor<16x64x256xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x256xf8E4M3FN>, %o: tensor<17xi32>, %w: tensor<16x64x256xf8E4M3FN>, %s: tensor<16x1x2xf32>) {
  // expected-error @+1 {{needs source scales (`by`) exactly when the source is f8E4M3FN}}
  %0 = moe.grouped_linear %x, %o, %w scales %s
      : (tensor<?x256xf8E4M3FN>, tensor<17xi32>, tensor<16x64x256xf8E4M3FN>, tensor<16x1x2xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%x: tensor<?x256xf32>, %t: tensor<?x1xi32>, %o: tensor<17xi32>, %w: tensor<16x64x256xf32>) {
  // expected-error @+1 {{row indices is 'tensor<?x1xi32>', expected rank 1 with a dynamic size}}
  %0 = moe.grouped_linear %x rows %t, %o, %w : (tensor<?x256xf32>, tensor<?x1xi32>, tensor<17xi32>, tensor<16x64x256xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @f(%y: tensor<?x256xf32>, %r: tensor<?x4xi32>, %g: tensor<?x3xf32>) {
  // expected-error @+1 {{gates is 'tensor<?x3xf32>', expected tensor<?x4x..>}}
  %0 = moe.combine %y, %r, %g : tensor<?x256xf32>, tensor<?x4xi32>, tensor<?x3xf32> -> tensor<?x256xf32>
  return
}

// -----

func.func @f(%x: tensor<?x256xbf16>, %t: tensor<?xi32>, %o: tensor<17xi32>, %g: tensor<?x4xf32>) {
  // expected-error @+1 {{receives 'tensor<?x256xf32>' and 'tensor<17xi32>', expected the types that are sent}}
  %xr, %tr, %or, %x1 = moe.dispatch_ranks %x, %t, %o, %g : (tensor<?x256xbf16>, tensor<?xi32>, tensor<17xi32>, tensor<?x4xf32>) -> (tensor<?x256xf32>, tensor<?xi32>, tensor<17xi32>, !moe.exchange)
  return
}

// -----

func.func @f(%x: tensor<?x256xbf16>, %t: tensor<4xi32>, %o: tensor<17xi32>, %g: tensor<?x4xf32>) {
  // expected-error @+1 {{tokens is 'tensor<4xi32>', expected rank 1 with a dynamic size}}
  %xr, %tr, %or, %x1 = moe.dispatch_ranks %x, %t, %o, %g : (tensor<?x256xbf16>, tensor<4xi32>, tensor<17xi32>, tensor<?x4xf32>) -> (tensor<?x256xbf16>, tensor<?xi32>, tensor<17xi32>, !moe.exchange)
  return
}

// -----

func.func @f(%x: tensor<?x256xbf16>, %t: tensor<?xi32>, %o: tensor<1xi32>, %g: tensor<?x4xf32>) {
  // expected-error @+1 {{offsets are 'tensor<1xi32>', expected tensor<(experts + 1)xi32>}}
  %xr, %tr, %or, %x1 = moe.dispatch_ranks %x, %t, %o, %g : (tensor<?x256xbf16>, tensor<?xi32>, tensor<1xi32>, tensor<?x4xf32>) -> (tensor<?x256xbf16>, tensor<?xi32>, tensor<1xi32>, !moe.exchange)
  return
}

// -----

func.func @f(%x: tensor<?x256xbf16>, %t: tensor<?xi32>, %o: tensor<17xi32>, %g: tensor<?x4xf32>) {
  // expected-error @+1 {{begins an exchange that is not ended by one moe.combine_ranks}}
  %xr, %tr, %or, %x1 = moe.dispatch_ranks %x, %t, %o, %g : (tensor<?x256xbf16>, tensor<?xi32>, tensor<17xi32>, tensor<?x4xf32>) -> (tensor<?x256xbf16>, tensor<?xi32>, tensor<17xi32>, !moe.exchange)
  return
}

// -----

func.func @f(%x: tensor<?x256xbf16>, %x1: !moe.exchange, %g: tensor<?x4xf32>) {
  // expected-error @+1 {{ends an exchange that no moe.dispatch_ranks of its block began}}
  %e, %eg = moe.combine_ranks %x, %x1 : (tensor<?x256xbf16>, !moe.exchange) -> (tensor<?x256xbf16>, tensor<?x4xf32>)
  return
}

// -----

func.func @f(%x: tensor<?x256xbf16>, %t: tensor<?xi32>, %o: tensor<17xi32>, %g: tensor<?x4xf32>) {
  %xr, %tr, %or, %x1 = moe.dispatch_ranks %x, %t, %o, %g : (tensor<?x256xbf16>, tensor<?xi32>, tensor<17xi32>, tensor<?x4xf32>) -> (tensor<?x256xbf16>, tensor<?xi32>, tensor<17xi32>, !moe.exchange)
  // expected-error @+1 {{stands inside another exchange}}
  %xs, %ts, %os, %x2 = moe.dispatch_ranks %x, %t, %o, %g : (tensor<?x256xbf16>, tensor<?xi32>, tensor<17xi32>, tensor<?x4xf32>) -> (tensor<?x256xbf16>, tensor<?xi32>, tensor<17xi32>, !moe.exchange)
  %e, %eg = moe.combine_ranks %xr, %x1 : (tensor<?x256xbf16>, !moe.exchange) -> (tensor<?x256xbf16>, tensor<?x4xf32>)
  %f, %fg = moe.combine_ranks %xs, %x2 : (tensor<?x256xbf16>, !moe.exchange) -> (tensor<?x256xbf16>, tensor<?x4xf32>)
  return
}

// -----

func.func @f(%x: tensor<?x256xbf16>, %t: tensor<?xi32>, %o: tensor<17xi32>, %g: tensor<?x4xf32>) {
  %xr, %tr, %or, %x1 = moe.dispatch_ranks %x, %t, %o, %g : (tensor<?x256xbf16>, tensor<?xi32>, tensor<17xi32>, tensor<?x4xf32>) -> (tensor<?x256xbf16>, tensor<?xi32>, tensor<17xi32>, !moe.exchange)
  // expected-error @+1 {{gives gates of type 'tensor<?x2xf32>', expected those of the dispatch, 'tensor<?x4xf32>'}}
  %e, %eg = moe.combine_ranks %xr, %x1 : (tensor<?x256xbf16>, !moe.exchange) -> (tensor<?x256xbf16>, tensor<?x2xf32>)
  return
}
