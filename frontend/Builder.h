// Builds the textbook module of a model: f32 values, weights as symbols, one layer program per layer kind.
#ifndef MORAY_FRONTEND_BUILDER_H
#define MORAY_FRONTEND_BUILDER_H

#include "frontend/Checkpoint.h"
#include "frontend/ModelConfig.h"
#include "frontend/TensorInventory.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace moray::frontend {

/// Module attribute with the facts that the packager stores beside the programs. A dictionary:
///   family          string   model_type of config.json
///   vocab hidden layers heads max_positions experts experts_per_token   i64 (experts 0: dense)
///   cache_width cache_page   i64   elements per token and layer (latent, then rope); tokens of a page
///   parameters      i64      main model, scales not counted
///   bos             i64      -1 when unknown
///   eos             array<i64>   any of them ends the text; may be empty
///   temperature top_p   f32  defaults of generation_config.json; temperature 0 is greedy
///   top_k           i64      0: off
///   fingerprint     i64      bits of Checkpoint::fingerprint()
constexpr llvm::StringLiteral kModelAttr = "lm.model";

/// Tokens of one page of the latent cache, and keys of one block of expanded attention.
constexpr int64_t kCachePage = 64;

/// The module, unverified. Symbols: `@embed`, `@norm`, `@head` (absent when tied); `@<kind>.<slot>` per layer kind and
/// slot of TensorInventory.h, with `@<kind>.<slot>.s` for the block scales; layers `@dense`, `@moe` (further kinds of
/// either: `@dense1`, ...); programs `@step`, `@sample`, `@score`.
///
/// Layers take (layer number, residual, rows, cache, cos, sin) and return the residual; the rope tables are formed
/// once, in `@step`.
mlir::OwningOpRef<mlir::ModuleOp> buildModule(mlir::MLIRContext &context, const ModelConfig &config,
                                              const Inventory &inventory, const GenerationConfig &generation,
                                              uint64_t fingerprint);

} // namespace moray::frontend

#endif // MORAY_FRONTEND_BUILDER_H
