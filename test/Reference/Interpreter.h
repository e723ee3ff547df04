// Executes lm, mla and moe IR, kernel regions and outlined kernels included: the definition of what that IR means.
#ifndef MORAY_TEST_REFERENCE_INTERPRETER_H
#define MORAY_TEST_REFERENCE_INTERPRETER_H

#include "dialects/MLA/MLA.h"
#include "test/Reference/Weights.h"

#include "mlir/IR/BuiltinOps.h"

#include <variant>

namespace moray::reference {

/// What an SSA value holds while it is interpreted.
using RuntimeValue = std::variant<std::shared_ptr<const Tensor>, const Rows *, Cache *, LayerCache, int64_t>;

/// Expert choices per MoE layer: ids [tokens, K] (and gates when recorded). A token is numbered by the caller
/// (StepInput::tokenNumbers).
struct RoutingTable {
  std::map<int64_t, Tensor> ids, gates;
};

/// One call of the step program. Rows are sorted [decode | prefill].
struct StepInput {
  Tensor tokens; // [T] i32
  Rows rows;
  Tensor outRows; // [N] i32
  /// Number of each row's token in routing tables, -1 for none; [T], or empty when no table is used.
  std::vector<int64_t> tokenNumbers;
};

struct StepResult {
  Tensor logits; // [N, V] f32
  Tensor hidden; // [N, H]: what enters the matrix product that gives the logits
};

class Interpreter {
public:
  /// Fails with an error when the module has no `step` program or asks for what the interpreter does not know.
  static mlir::FailureOr<std::unique_ptr<Interpreter>> create(mlir::ModuleOp module,
                                                              const frontend::Checkpoint &checkpoint);

  /// An empty cache of the type that the step program takes.
  std::unique_ptr<Cache> makeCache();
  /// Appends to the cache. Fails with an error at the op where data is at fault (NaN in router or sampler, ids out of
  /// range).
  mlir::FailureOr<StepResult> step(const StepInput &input, Cache &cache);
  /// The `sample` and `score` programs: rows of tokens, and of log-probabilities.
  mlir::FailureOr<Tensor> sample(const Tensor &logits, const Tensor &params);
  mlir::FailureOr<Tensor> score(const Tensor &logits, const Tensor &targets);

  /// Which step program runs: that of one rank, or the distributed one, with this process as the only rank.
  lm::ProgramKind stepKind = lm::ProgramKind::Step;
  /// Selections used instead of the routers' own; gates are then the weights of the forced experts. Null: none. Not
  /// owned.
  const RoutingTable *forced = nullptr;
  /// Where selections of numbered tokens are written. Null: nowhere. Not owned; tables are sized by `recordedTokens`.
  RoutingTable *recorded = nullptr;
  int64_t recordedTokens = 0;

private:
  using Tensors = llvm::SmallVector<Tensor, 4>;

  explicit Interpreter(mlir::ModuleOp module) : module(module) {}
  lm::ProgramOp program(lm::ProgramKind kind);
  mlir::FailureOr<Tensor> runSimple(lm::ProgramKind kind, const Tensor &first, const Tensor &second);
  mlir::LogicalResult runBlock(mlir::Block &block, llvm::ArrayRef<RuntimeValue> arguments,
                               llvm::SmallVectorImpl<RuntimeValue> &results);
  mlir::LogicalResult runOp(mlir::Operation *op);
  mlir::LogicalResult runCall(lm::CallOp op);
  mlir::LogicalResult runRegion(mlir::Operation *op, mlir::Block &block);
  mlir::LogicalResult runWeightOf(lm::WeightOfOp op);
  std::optional<mlir::FailureOr<Tensors>> compute(mlir::Operation *op);
  std::optional<mlir::FailureOr<Tensors>> computeRowOp(mlir::Operation *op);
  std::optional<mlir::FailureOr<Tensors>> computeLinear(mlir::Operation *op);
  std::optional<mlir::FailureOr<Tensors>> computeAttention(mlir::Operation *op);
  std::optional<mlir::FailureOr<Tensors>> computeExperts(mlir::Operation *op);
  std::optional<mlir::FailureOr<Tensors>> computeSampling(mlir::Operation *op);
  mlir::FailureOr<Tensors> computeRoute(mlir::Operation *op);
  mlir::LogicalResult checkRows(mlir::Operation *op);

  const Tensor &tensor(mlir::Value value) { return *std::get<0>(values.find(value)->second); }
  /// Null for an absent optional operand.
  const Tensor *optional(mlir::Value value) { return value ? &tensor(value) : nullptr; }
  const Rows &rows(mlir::Value value) { return *std::get<1>(values.find(value)->second); }
  LayerCache layerCache(mlir::Value value) { return std::get<LayerCache>(values.find(value)->second); }

  mlir::ModuleOp module;
  mlir::SymbolTableCollection symbols;
  std::unique_ptr<Weights> weights;
  llvm::DenseMap<mlir::Value, RuntimeValue> values;
  const StepInput *input = nullptr;
  int64_t layer = -1;     // of the lm.call being run
  Tensor lastLinearInput; // outside layers
};

} // namespace moray::reference

#endif
