// Every example of the op descriptions in dialects/MoE: parses, prints and parses again to the same text, in pretty and generic form.
// RUN: moray-opt %s > %t.mlir && moray-opt %t.mlir | diff %t.mlir -
// RUN: moray-opt --mlir-print-op-generic %s | moray-opt | diff %t.mlir -
// RUN: %python %scripts/check_examples.py %source_root/dialects/MoE %s

func.func @route(%x: tensor<?x256xbf16>, %w: tensor<16x256xbf16>, %b: tensor<16xf32>) {
  %ids, %g = moe.route %x, %w bias %b {router = #moe.router<sigmoid, noaux_tc, groups = 4, keep = 2, top = 4, normalise = true, scale = 2.5 : f32>}
      : (tensor<?x256xbf16>, tensor<16x256xbf16>, tensor<16xf32>) -> (tensor<?x4xi32>, tensor<?x4xf32>)
  return
}

// The routers of V2-Lite and V2 (spec model.md 4.9.3).
func.func @routers(%x: tensor<?x256xbf16>, %w: tensor<16x256xbf16>) {
  %ids, %g = moe.route %x, %w {router = #moe.router<softmax, greedy, groups = 1, keep = 1, top = 6, normalise = false, scale = 1.0 : f32>}
      : (tensor<?x256xbf16>, tensor<16x256xbf16>) -> (tensor<?x6xi32>, tensor<?x6xf32>)
  %ids1, %g1 = moe.route %x, %w {router = #moe.router<softmax, group_limited_greedy, groups = 8, keep = 3, top = 6, normalise = false, scale = 16.0 : f32>}
      : (tensor<?x256xbf16>, tensor<16x256xbf16>) -> (tensor<?x6xi32>, tensor<?x6xf32>)
  return
}

func.func @experts(%x: tensor<?x256xbf16>, %ids: tensor<?x4xi32>, %g: tensor<?x4xf32>, %wg: tensor<16x64x256xf8E4M3FN>,
                   %wu: tensor<16x64x256xf8E4M3FN>, %wd: tensor<16x256x64xf8E4M3FN>, %sg: tensor<16x1x2xf32>, %su: tensor<16x1x2xf32>,
                   %sd: tensor<16x2x1xf32>) {
  %r = moe.experts %x, %ids, %g gate %wg up %wu down %wd scales %sg, %su, %sd {activation = bf16, format = #lm<scale_format f32>}
      : (tensor<?x256xbf16>, tensor<?x4xi32>, tensor<?x4xf32>, tensor<16x64x256xf8E4M3FN>, tensor<16x64x256xf8E4M3FN>, tensor<16x256x64xf8E4M3FN>,
         tensor<16x1x2xf32>, tensor<16x1x2xf32>, tensor<16x2x1xf32>) -> tensor<?x256xf32>
  return
}

func.func @dispatch(%ids: tensor<?x4xi32>, %g: tensor<?x4xf32>) {
  %off, %tok, %rank, %gs = moe.dispatch %ids, %g : tensor<?x4xi32>, tensor<?x4xf32> -> tensor<17xi32>, tensor<?xi32>, tensor<?x4xi32>, tensor<?x4xf32>
  return
}

func.func @grouped_linear(%x: tensor<?x256xbf16>, %tok: tensor<?xi32>, %off: tensor<17xi32>, %w: tensor<16x192x256xf8E4M3FN>,
                          %s: tensor<16x2x2xf32>, %c: tensor<?x256xf8E4M3FN>, %cs: tensor<?x2xf32>) {
  %y = moe.grouped_linear %x rows %tok, %off, %w scales %s
      : (tensor<?x256xbf16>, tensor<?xi32>, tensor<17xi32>, tensor<16x192x256xf8E4M3FN>, tensor<16x2x2xf32>) -> tensor<?x192xbf16>
  %z = moe.grouped_linear %c by %cs, %off, %w scales %s
      : (tensor<?x256xf8E4M3FN>, tensor<?x2xf32>, tensor<17xi32>, tensor<16x192x256xf8E4M3FN>, tensor<16x2x2xf32>) -> tensor<?x192xbf16>
  return
}

func.func @combine(%y: tensor<?x256xbf16>, %rank: tensor<?x4xi32>, %gs: tensor<?x4xf32>) {
  %r = moe.combine %y, %rank, %gs : tensor<?x256xbf16>, tensor<?x4xi32>, tensor<?x4xf32> -> tensor<?x256xf32>
  return
}

func.func @exchange(%x: tensor<?x256xbf16>, %tok: tensor<?xi32>, %off: tensor<17xi32>, %g: tensor<?x4xf32>, %er: tensor<?x256xbf16>) {
  %xr, %tokr, %offr, %exchange = moe.dispatch_ranks %x, %tok, %off, %g
      : (tensor<?x256xbf16>, tensor<?xi32>, tensor<17xi32>, tensor<?x4xf32>) -> (tensor<?x256xbf16>, tensor<?xi32>, tensor<17xi32>, !moe.exchange)
  %e, %gr = moe.combine_ranks %er, %exchange : (tensor<?x256xbf16>, !moe.exchange) -> (tensor<?x256xbf16>, tensor<?x4xf32>)
  return
}

func.func @exchange_codes(%x: tensor<?x256xf8E4M3FN>, %s: tensor<?x2xf32>, %tok: tensor<?xi32>, %off: tensor<17xi32>, %g: tensor<?x4xf32>, %er: tensor<?x256xbf16>) {
  %xr, %sr, %tokr, %offr, %exchange = moe.dispatch_ranks %x by %s, %tok, %off, %g
      : (tensor<?x256xf8E4M3FN>, tensor<?x2xf32>, tensor<?xi32>, tensor<17xi32>, tensor<?x4xf32>)
      -> (tensor<?x256xf8E4M3FN>, tensor<?x2xf32>, tensor<?xi32>, tensor<17xi32>, !moe.exchange)
  %e, %gr = moe.combine_ranks %er, %exchange : (tensor<?x256xbf16>, !moe.exchange) -> (tensor<?x256xbf16>, tensor<?x4xf32>)
  return
}
