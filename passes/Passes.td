//===- Passes.td - all passes and their options ------------------*- tablegen -*-===//
// One entry per pass, in the order of the pipeline: phase import (its verifier), quantize, fuse, partition, schedule.

#ifndef MORAY_PASSES_PASSES_TD
#define MORAY_PASSES_PASSES_TD

include "mlir/Pass/PassBase.td"

class MorayPass<string flag> : Pass<flag, "::mlir::ModuleOp"> {
  let dependentDialects = ["::moray::lm::LMDialect", "::moray::mla::MLADialect", "::moray::moe::MoEDialect"];
}

//===----------------------------------------------------------------------===//
// import
//===----------------------------------------------------------------------===//

def VerifyImport : MorayPass<"moray-verify-import"> {
  let summary = "Checks the invariant of phase import";
  let description = [{
    Layers and programs hold textbook ops on f32 activations and no kernels (E3207). That weights exist and have the types of their uses is checked by
    the ops.
  }];
}

//===----------------------------------------------------------------------===//
// quantize
//===----------------------------------------------------------------------===//

def QuantizeWeights : MorayPass<"moray-quantize-weights"> {
  let summary = "Quantises the weights of a BF16 checkpoint to FP8 in 128x128 blocks";
  let description = [{
    Exactly the modules of spec fp8.md 2.1: every linear of a layer, kv_b of the attention, and gate, up and down of the experts. Router, norms,
    embedding and lm_head stay as they are. Codes and scales become recipes over the stored weight; a weight used twice is quantised once.

    ```mlir
    %w = lm.weight_of @moe.o[%l] : tensor<256x128xbf16>
    %y = lm.linear %x, %w : (tensor<?x128xf32>, tensor<256x128xbf16>) -> tensor<?x256xf32>
    // becomes, with lm.weight @moe.o.codes .. recipe(#lm.quantize_codes<@moe.o, f32>) and @moe.o.scales
    %c = lm.weight_of @moe.o.codes[%l] : tensor<256x128xf8E4M3FN>
    %s = lm.weight_of @moe.o.scales[%l] : tensor<2x1xf32>
    %y = lm.scaled_linear %x, %c scales %s : (tensor<?x128xf32>, tensor<256x128xf8E4M3FN>, tensor<2x1xf32>) -> tensor<?x256xf32>
    ```
    Declines weights that are FP8 already.
  }];
  let options = [Option<"format", "format", "::moray::lm::ScaleFormat", "::moray::lm::ScaleFormat::F32", "Format of the block scales", [{
    ::llvm::cl::values(clEnumValN(::moray::lm::ScaleFormat::F32, "f32", "amax / 448"),
                       clEnumValN(::moray::lm::ScaleFormat::UE8M0, "ue8m0", "rounded up to a power of two"))
  }]>];
  let statistics = [Statistic<"numQuantised", "weights-quantised", "Weights that got an FP8 recipe">];
}

def SetNumerics : MorayPass<"moray-set-numerics"> {
  let summary = "Retypes the f32 module to a numeric mode of spec model.md 0.1";
  let description = [{
    `ref32` changes no type. The other modes round to bf16 after: embedding, norms, linears (not the lm_head), rope, attention, swiglu, the sum of
    routed and shared experts, residual additions; router weights, rope tables and logits stay f32, the cache becomes bf16. A routed sum without shared
    expert gets an lm.cast, as it is a rounding point, too.

    - `bf16` replaces FP8 weights by bf16 ones (`dequantize` recipes), scaled_linear by linear;
    - `w8a16` keeps FP8 codes: scaled_linear with bf16 rows;
    - `fp8` quantises the rows of every scaled_linear, once per value, and sets `activation = f8E4M3FN` on experts and attention with FP8 weights.

    ```mlir
    %y = lm.scaled_linear %x, %w scales %s : (tensor<?x256xf32>, ...) -> tensor<?x128xf32>
    // fp8:
    %c, %cs = lm.quantize %x {format = #lm<scale_format f32>} : tensor<?x256xbf16> -> tensor<?x256xf8E4M3FN>, tensor<?x2xf32>
    %y = lm.scaled_linear %c by %cs, %w scales %s : (tensor<?x256xf8E4M3FN>, tensor<?x2xf32>, ...) -> tensor<?x128xbf16>
    ```
    Sets the module attribute lm.numerics. A module that has the mode already is left alone; another mode than ref32 before is an error (E3201), as
    rounding cannot be undone.
  }];
  let options = [
    Option<"mode", "mode", "::moray::lm::Mode", "::moray::lm::Mode::W8A16", "Numeric mode", [{
      ::llvm::cl::values(clEnumValN(::moray::lm::Mode::Ref32, "ref32", "f32 throughout"), clEnumValN(::moray::lm::Mode::Bf16, "bf16", "bf16 weights and rows"),
                         clEnumValN(::moray::lm::Mode::W8A16, "w8a16", "FP8 weights, bf16 rows"), clEnumValN(::moray::lm::Mode::Fp8, "fp8", "FP8 weights and rows"))
    }]>,
    Option<"order", "order", "::moray::lm::Order", "::moray::lm::Order::Deterministic", "Order of reductions", [{
      ::llvm::cl::values(clEnumValN(::moray::lm::Order::Deterministic, "deterministic", "depends on K and types alone"),
                         clEnumValN(::moray::lm::Order::Fast, "fast", "whatever is fastest"))
    }]>];
}

def VerifyQuantize : MorayPass<"moray-verify-quantize"> {
  let summary = "Checks the invariant of phase quantize: every linear has the numeric mode of the module";
  let description = [{
    The module has lm.numerics; the operand and weight types of every linear, attention and experts op are those of the mode (E3202, E3203).
  }];
}

//===----------------------------------------------------------------------===//
// fuse
//===----------------------------------------------------------------------===//

def ExpandExperts : MorayPass<"moray-expand-experts"> {
  let summary = "Expands moe.experts into dispatch, two grouped linears around swiglu, and combine";
  let description = [{
    Gate and up become two row ranges of one weight (a concat recipe; FP8 parts padded to 128 rows), so one grouped linear serves both.

    ```mlir
    %r = moe.experts %x, %ids, %g gate %wg up %wu down %wd ...
    // becomes
    %off, %tok, %rank, %gs = moe.dispatch %ids, %g
    %t = moe.grouped_linear %x rows %tok, %off, %w_gate_up
    %a = lm.slice %t[0]
    %b = lm.slice %t[64]
    %h = lm.swiglu %a, %b
    %y = moe.grouped_linear %h, %off, %wd
    %r = moe.combine %y, %rank, %gs
    ```
    With `activation = f8E4M3FN` the rows and %h are quantised before the linears. Declines experts whose weights are not `lm.weight_of` values (the
    concat recipe needs their symbols).
  }];
}

def AbsorbMLA : MorayPass<"moray-absorb-mla"> {
  let summary = "Splits attention over all rows into expanded (prefill rows) and absorbed form (decode rows)";
  let description = [{
    ```mlir
    %c = mla.attention %q, %kv, %rows, %kv_b {row_range = #mla<row_range all>, ...}
    // becomes
    %p = mla.attention %q, %kv, %rows, %kv_b {row_range = #mla<row_range prefill>, ...}
    %a = mla.absorb_query %q, %kv_b
    %u = mla.latent_attention %a, %q, %kv, %rows
    %c = mla.absorb_value %u, %kv_b into %p
    ```
    Leaves attention over prefill rows alone.
  }];
}

def MergeProjections : MorayPass<"moray-merge-projections"> {
  let summary = "Merges linears that read the same rows into one: q_a | kv_a, gate | up";
  let description = [{
    The weights become row ranges of one derived weight (concat recipe; all parts but the last padded to 128 rows for FP8 codes), results become slices.

    ```mlir
    %a = lm.linear %x, %wa : .. -> tensor<?x96xbf16>
    %b = lm.linear %x, %wb : .. -> tensor<?x80xbf16>
    // becomes
    %t = lm.linear %x, %wab : .. -> tensor<?x176xbf16>
    %a = lm.slice %t[0]
    %b = lm.slice %t[96]
    ```
    Declines linears with a bias (recipes join matrices only), of different types, or whose weights are not `lm.weight_of` values of the same layer.
  }];
}

def RotateNorms : MorayPass<"moray-rotate-norms"> {
  let summary = "Moves the input norm of a layer to the end of the layer before it";
  let description = [{
    A layer then takes (residual, normed [, codes, scales]) and ends with the norm of the *next* layer, next to the residual addition it can be fused with. The
    next norm's weight is the template with {l} -> {l+1}, `last` names the final norm. The step computes the first norm after the embedding and takes
    the last layer's normed rows for its final norm.

    ```mlir
    lm.layer @k(%l, %h, ..) -> H { %x = lm.rms_norm %h, @in_norm[%l] ; ... ; lm.return %out }
    // becomes
    lm.layer @k(%l, %h, %x, ..) -> H, X { ... ; %n = lm.rms_norm %out, @in_norm.next[%l] ; lm.return %out, %n }
    ```
    Declines the whole module if a layer does not start with one norm of its residual, if the norms differ in type or eps, or if the step is not
    embed, calls, final norm.
  }];
}

def FuseGemmEpilogue : MorayPass<"moray-fuse-gemm-epilogue"> {
  let summary = "Puts a linear and the swiglu over two of its row ranges into one kernel";
  let description = [{
    ```mlir
    %t = lm.linear %x, %w
    %a = lm.slice %t[0]
    %b = lm.slice %t[128]
    %h = lm.swiglu %a, %b
    // becomes
    %h = lm.kernel gemm over rows (%x, %w) { lm.linear; lm.slice; lm.slice; lm.swiglu; lm.yield }
    ```
    The same for moe.grouped_linear (class grouped_gemm over slots). Declines if the linear or a slice has another use, or if the linear has a bias.
  }];
}

def FuseRouter : MorayPass<"moray-fuse-router"> {
  let summary = "Forms the router kernel and the permutation kernel of its choices";
  let description = [{
    moe.route (logits, scores, selection, weights: one kernel over rows) and moe.dispatch (one kernel, as it needs the choices of all rows).

    ```mlir
    %ids, %g = moe.route %x, %w bias %b
    // becomes
    %ids, %g = lm.kernel router over rows (%x, %w, %b) { moe.route; lm.yield }
    ```
    Declines routes whose choices enter moe.experts (run --moray-expand-experts first).
  }];
}

def FuseRows : MorayPass<"moray-fuse-rows"> {
  let summary = "Groups row-wise ops of one domain into row kernels";
  let description = [{
    An op joins the first row kernel of its domain that is related (reads the same rows, makes rows that the op reads, or stands right before it) and
    whose inputs suffice: all its operands are results of that kernel's ops or exist where the kernel starts. Pure ops that are needed late only first
    sink to their first user. That gives residual + norm (+ quantise), slices + norms + rope + append, combine + additions + norm (+ quantise),
    embed + rope table + first norm.

    ```mlir
    %a = lm.add %h, %o
    %y = lm.rms_norm %a, %w
    // becomes
    %a, %y = lm.kernel row over rows (%h, %o, %w) { lm.add; lm.rms_norm; lm.yield }
    ```
    Declines (starts a new kernel) where an operand comes later or where a memory effect stands between. Ops without results that anyone uses are left to
    canonicalization.
  }];
  let statistics = [Statistic<"numKernels", "row-kernels", "Row kernels formed">];
}

def WrapKernels : MorayPass<"moray-wrap-kernels"> {
  let summary = "Puts every remaining op into an lm.kernel of its class";
  let description = [{
    ```mlir
    %y = lm.linear %x, %w
    // becomes
    %y = lm.kernel gemm over rows (%x, %w) { lm.linear; lm.yield }
    ```
    Leaves lm.weight_of, mla.layer_cache_of, lm.call, lm.return and kernels alone; fails on an op without kernel class (E3204).
  }];
}

def VerifyFuse : MorayPass<"moray-verify-fuse"> {
  let summary = "Checks the invariant of phase fuse: every op is inside an lm.kernel";
  let description = [{
    Outside of kernels only lm.weight_of, mla.layer_cache_of, lm.call, lm.return (E3205). Inside, the ops fit the class: one matrix product in a
    gemm, one op in an attention, router, permute or sampling kernel, row-wise ops in a row kernel (E3206).
  }];
}

//===----------------------------------------------------------------------===//
// partition
//===----------------------------------------------------------------------===//

def PartitionExperts : MorayPass<"moray-partition-experts"> {
  let summary = "Makes the distributed step, in which every rank computes the slots of its experts";
  let description = [{
    The step stays as it is and runs on one rank. Its copy calls copies of the layers with experts, in which the slots travel to the ranks of their
    experts before the first matrix product and back after the last. All kernels stay equal to those of the step, so that nothing is compiled twice,
    and so do the weights; the number of ranks is no part of the module.

    ```mlir
    lm.layer @moe(..) { .. ; %g = lm.kernel grouped_gemm (%y, %tok, %off, %w1) ; %e = lm.kernel grouped_gemm (%g, %off, %w2) ; %h = lm.kernel row (%e, ..) }
    lm.program @step(..) { .. ; lm.call @moe }
    // becomes, beside these
    lm.layer @moe.dist(..) { .. ; %yr, %tr, %or, %x = moe.dispatch_ranks %y, %tok, %off, %gates
                             %g = lm.kernel grouped_gemm (%yr, %tr, %or, %w1) ; %er = lm.kernel grouped_gemm (%g, %or, %w2)
                             %e, %g = moe.combine_ranks %er, %x ; %h = lm.kernel row (%e, %g, ..) }
    lm.program @step.dist(..) { .. ; lm.call @moe.dist }
    ```
    Quantised rows travel with their scales. Declines the whole module without a step, without experts, and where the kernels over slots of a layer do
    not have the form above: one dispatch, one product that picks rows, one result, which a moe.combine adds up.
  }];
  let statistics = [Statistic<"numDistributed", "layers-distributed", "Layers that got an exchange between ranks">];
}

def VerifyPartition : MorayPass<"moray-verify-partition"> {
  let summary = "Checks the invariant of phase partition: movement between ranks is explicit";
  let description = [{
    No exchange in the step of one rank and its layers (E3208); in the distributed step, kernels over slots follow the offsets that a
    moe.dispatch_ranks received (E3209). That exchanges are paired is checked by the ops.
  }];
}

//===----------------------------------------------------------------------===//
// schedule
//===----------------------------------------------------------------------===//

def OutlineKernels : MorayPass<"moray-outline-kernels"> {
  let summary = "Moves kernel regions into cmd.kernel symbols; equal regions share one";
  let description = [{
    Kernels are named by class and order of appearance.

    ```mlir
    %y = lm.kernel gemm over rows (%x, %w) { ... }
    // becomes
    %y = cmd.invoke @gemm_0(%x, %w)
    cmd.kernel @gemm_0 gemm over rows { ... }
    ```
    Regions are equal when class, domain, types and ops are: two layers, or two weights of one layer, share a kernel.
  }];
  let dependentDialects = ["::moray::cmd::CmdDialect"];
}

def LowerToCmd : MorayPass<"moray-lower-to-cmd"> {
  let summary = "Turns layers and programs over tensors into cmd programs over buffers";
  let description = [{
    Tensors become buffers of the program (T rows, N outputs, or T x K slots, R times as many behind a moe.dispatch_ranks), layer arguments its parameters, !lm.rows the five inputs of the engine. A layer
    works in place: a result is computed into the parameter it replaces if that is no longer read, else copied there at the end. Weights that no
    program needs are erased.

    ```mlir
    lm.layer @dense(%l: index, %h: tensor<?x256xf32>) -> tensor<?x256xf32> {
      %n = lm.weight_of @in_norm[%l] : tensor<256xbf16>
      %t = cmd.invoke @row_0(%h, %n) : (tensor<?x256xf32>, tensor<256xbf16>) -> tensor<?x256xf32>
      lm.return %t : tensor<?x256xf32>
    }
    // becomes
    cmd.program @dense layer {
    ^bb0(%h: !cmd.buffer<f32>):
      %n = cmd.weight @in_norm : !cmd.buffer<bf16>
      %t = cmd.buffer #cmd.expr<T * 1024> : !cmd.buffer<f32>
      cmd.launch @row_0(%h, %n, %t) : !cmd.buffer<f32>, !cmd.buffer<bf16>, !cmd.buffer<f32>
      cmd.copy %t to %h bytes #cmd.expr<T * 1024> : !cmd.buffer<f32>
    }
    ```
    moe.dispatch_ranks and moe.combine_ranks become cmd.collective.

    Fails on an op outside of a kernel (E3301), and on a dispatch whose slots no kernel reads (E3307).
  }];
  let dependentDialects = ["::moray::cmd::CmdDialect"];
}

def OverlapBatches : MorayPass<"moray-overlap-batches"> {
  let summary = "Makes the overlapped step, in which two micro-batches take turns";
  let description = [{
    The distributed step stays as it is; `step.overlap` does the same for two micro-batches, each with inputs, live counts and buffers of its own. Layers
    without experts run for one and then for the other. In a layer with experts every transfer of one batch lies beside a block of work of the other:

    ```
    A0 D0> A1 D1> >D0 E0 C0> >D1 E1 C1> S0 S1 >C0 F0 >C1 F1        D0 beside A1, D1 beside E0, C0 beside E1, C1 beside S0 S1 F0
    ```
    A attention and router, D dispatch, E routed experts, C combine, S shared experts, F the sum and the next norm; `D0>` starts, `>D0` waits. Found by what
    commands read and write: A is what the dispatch needs, E what the combine needs besides, F what needs the combine, S the rest. This is the prefill
    schedule of spec parallel.md 5, attention and experts of one batch beside dispatch and combine of the other. The decode schedule hides experts as well
    behind attention; where launches run one after the other, as on one stream or one pool of threads, there is nothing to gain by that, and every transfer
    has work beside it here too. So there is one order for both. No exchange stays open over the end of a layer: F reads weights of its layer, and a call
    runs a program for one layer number at a time.

    Declines without a distributed step, and where a layer has not exactly one exchange or is given memory of the engine.
  }];
  let statistics = [Statistic<"numLayers", "layers-overlapped", "Layers in which two micro-batches take turns">];
}

def ComputeLifetimes : MorayPass<"moray-compute-lifetimes"> {
  let summary = "Computes the lifetime of every local buffer";
  let description = [{
    Commands are numbered in order; a buffer lives from the first to the last command that uses it. Buffers without use are erased.

    ```mlir
    %t = cmd.buffer #cmd.expr<T * 1024> : !cmd.buffer<f32>
    // becomes
    %t = cmd.buffer #cmd.expr<T * 1024> lifetime [0, 1] : !cmd.buffer<f32>
    ```
  }];
  let dependentDialects = ["::moray::cmd::CmdDialect"];
}

def VerifySchedule : MorayPass<"moray-verify-schedule"> {
  let summary = "Checks the invariant of phase schedule: programs over buffers only";
  let description = [{
    Only lm.weight, cmd.kernel and cmd.program are left (E3302), one of them a step, at most one a step_dist and beside it a step_overlap (E3303); buffers have lifetimes (E3304) and
    uses (E3305); no copy is onto itself (E3306). In every program dispatch and combine alternate, beginning with a dispatch and ending with a combine
    for each micro-batch, and every start has its wait (E3308), so that all ranks have one order of collectives; only distributed steps reach any (E3309).
    Only a step_overlap and layers have commands of a second batch (E3310), and layers that have are called for both, with buffers (E3311). Nothing
    writes what a collective under way reads, nor touches what it writes (E3312).
  }];
  let dependentDialects = ["::moray::cmd::CmdDialect"];
}

#endif
