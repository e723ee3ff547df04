// Turns layers and programs over tensors into cmd programs over buffers.
#include "passes/Passes.h"

#include "dialects/Cmd/Cmd.h"
#include "dialects/LM/LM.h"
#include "dialects/MLA/MLA.h"
#include "dialects/MoE/MoE.h"

namespace moray {
#define GEN_PASS_DEF_LOWERTOCMD
#include "passes/Passes.h.inc"
} // namespace moray

using namespace mlir;
using namespace moray;

namespace {
/// Row bundle in the order of the kernel ABI.
constexpr cmd::Input kRowInputs[] = {cmd::Input::Positions, cmd::Input::RowSeq, cmd::Input::CuRows,
                                     cmd::Input::PageTable, cmd::Input::CtxLen};

cmd::BufferType bufferOf(Type type) {
  return cmd::BufferType::get(type.getContext(), cast<RankedTensorType>(type).getElementType());
}

/// What the leading dimension of rows of this rank, of rows received from all ranks, and of outputs follows.
constexpr StringRef kOwnRows[] = {"T"}, kReceivedRows[] = {"R", "T"}, kOuts[] = {"N"};

/// Bytes of a result as an expression: the leading dynamic dimension follows `symbols`, `perRow` times.
cmd::ExprAttr bytesOf(RankedTensorType type, ArrayRef<StringRef> symbols, int64_t perRow) {
  int64_t bytes = type.getElementTypeBitWidth() / 8;
  for (int64_t dim : type.getShape())
    bytes *= ShapedType::isDynamic(dim) ? perRow : dim;
  return cmd::ExprAttr::product(type.getContext(), type.hasStaticShape() ? ArrayRef<StringRef>() : symbols, bytes);
}

/// Size of result `index` of a kernel; `received`: its slots come from all ranks.
cmd::ExprAttr resultBytes(cmd::KernelOp kernel, unsigned index, bool received) {
  Value yielded = kernel.getBody().front().getTerminator()->getOperand(index);
  auto type = cast<RankedTensorType>(yielded.getType());
  if (auto dispatch = yielded.getDefiningOp<moe::DispatchOp>(); dispatch && yielded == dispatch.getTokens())
    return bytesOf(type, kOwnRows, lm::widthOf(dispatch.getIds()));
  ArrayRef<StringRef> symbols = kernel.getDomain() == lm::Domain::Outs ? kOuts : kOwnRows;
  return bytesOf(type, received ? ArrayRef<StringRef>(kReceivedRows) : symbols, kernel.getSlotsPerRow().value_or(1));
}

/// The block argument whose memory result `index` of a kernel is written into, or none.
std::optional<unsigned> inPlaceOperand(cmd::KernelOp kernel, unsigned index) {
  auto absorb = kernel.getBody().front().getTerminator()->getOperand(index).getDefiningOp<mla::AbsorbValueOp>();
  if (!absorb)
    return std::nullopt;
  if (auto argument = dyn_cast<BlockArgument>(absorb.getInto()))
    return argument.getArgNumber();
  return std::nullopt;
}

/// Lowers one layer or program.
class FunctionLowering {
public:
  FunctionLowering(FunctionOpInterface function, cmd::ProgramOp program)
      : function(function), kernels(function->getParentOfType<ModuleOp>()), program(program),
        builder(OpBuilder::atBlockEnd(&program.getBody().front())) {}

  /// Binds arguments of a layer: tensors become parameters.
  void bindLayerArguments() {
    for (BlockArgument argument : function.getFunctionBody().getArguments())
      if (isa<RankedTensorType>(argument.getType()))
        buffers[argument] = program.getBody().addArgument(bufferOf(argument.getType()), function.getLoc());
  }
  /// Binds the tensor arguments and the single result of an entry point to engine memory, in order.
  LogicalResult bindInputs(ArrayRef<cmd::Input> inputs, cmd::Input result) {
    ArrayRef<cmd::Input> left = inputs;
    for (BlockArgument argument : function.getFunctionBody().getArguments()) {
      if (!isa<RankedTensorType>(argument.getType()))
        continue;
      if (left.empty())
        return function.emitError("has too many tensor arguments for its kind");
      buffers[argument] = input(left.front(), bufferOf(argument.getType()));
      left = left.drop_front();
    }
    Operation *terminator = function.getFunctionBody().front().getTerminator();
    if (!left.empty() || terminator->getNumOperands() != 1)
      return function.emitError() << "expects " << inputs.size() << " tensor arguments and one result for its kind";
    Value returned = terminator->getOperand(0);
    targets[returned] = input(result, bufferOf(returned.getType()));
    return success();
  }

  /// A layer leaves its results in its leading parameters. A result is computed there directly if the parameter is no
  /// longer read.
  void bindLayerResults() {
    Block &block = function.getFunctionBody().front();
    for (auto [index, returned] : llvm::enumerate(block.getTerminator()->getOperands())) {
      BlockArgument parameter = block.getArgument(index + 1);
      Operation *producer = returned.getDefiningOp();
      bool free = producer && !targets.contains(returned) &&
                  llvm::all_of(parameter.getUsers(), [&](Operation *user) { return user->isBeforeInBlock(producer); });
      if (free)
        targets[returned] = buffers[parameter];
    }
  }

  LogicalResult lowerBody() {
    for (Operation &op : function.getFunctionBody().front()) {
      if (auto weight = dyn_cast<lm::WeightOfOp>(op))
        buffers[weight.getResult()] =
            cmd::WeightOp::create(builder, op.getLoc(), bufferOf(weight.getType()), weight.getWeightAttr());
      else if (auto cache = dyn_cast<mla::LayerCacheOp>(op))
        buffers[cache.getResult()] = cmd::CacheOp::create(
            builder, op.getLoc(), cmd::BufferType::get(op.getContext(), cache.getType().getElementType()));
      else if (auto invoke = dyn_cast<cmd::InvokeOp>(op))
        lowerInvoke(invoke);
      else if (auto call = dyn_cast<lm::CallOp>(op))
        lowerCall(call);
      else if (isa<moe::DispatchRanksOp, moe::CombineRanksOp>(op)) {
        if (failed(lowerCollective(&op)))
          return failure();
      } else if (auto done = dyn_cast<lm::ReturnOp>(op))
        copyResults(done);
      else
        return op.emitError(
            "E3301: cannot stand in a schedule; expected it inside an lm.kernel (run the fuse phase first)");
    }
    return success();
  }

private:
  Value input(cmd::Input which, cmd::BufferType type) {
    Value &value = inputs[static_cast<unsigned>(which)];
    if (!value)
      value = cmd::InputOp::create(builder, function.getLoc(), type, which);
    return value;
  }

  void appendOperand(Value operand, SmallVectorImpl<Value> &args) {
    if (isa<lm::RowsType>(operand.getType())) {
      for (cmd::Input which : kRowInputs)
        args.push_back(input(which, cmd::BufferType::get(operand.getContext(), builder.getI32Type())));
    } else if (!operand.getType().isIndex()) {
      args.push_back(buffers.lookup(operand));
    }
  }

  void lowerInvoke(cmd::InvokeOp invoke) {
    auto kernel = kernels.lookup<cmd::KernelOp>(invoke.getKernel());
    SmallVector<Value> args;
    for (Value operand : invoke.getInputs())
      appendOperand(operand, args);
    bool fromRanks = kernel.getDomain() == lm::Domain::Slots &&
                     llvm::any_of(invoke.getInputs(), [&](Value operand) { return received.contains(operand); });
    if (fromRanks)
      received.insert(invoke->result_begin(), invoke->result_end());
    for (OpResult result : invoke->getResults()) {
      Value &buffer = buffers[result];
      if (std::optional<unsigned> shared = inPlaceOperand(kernel, result.getResultNumber()))
        buffer = buffers.lookup(invoke.getInputs()[*shared]);
      else if (Value target = targets.lookup(result))
        buffer = target;
      else
        buffer = cmd::BufferOp::create(builder, invoke.getLoc(), bufferOf(result.getType()),
                                       resultBytes(kernel, result.getResultNumber(), fromRanks), IntegerAttr(),
                                       IntegerAttr());
      args.push_back(buffer);
    }
    cmd::LaunchOp::create(builder, invoke.getLoc(), invoke.getKernelAttr(), args);
  }

  /// Slots per row of the kernels that read what `dispatch` receives.
  FailureOr<int64_t> slotsPerRow(moe::DispatchRanksOp dispatch) {
    for (Operation *user : dispatch.getReceivedOffsets().getUsers())
      if (auto invoke = dyn_cast<cmd::InvokeOp>(user))
        if (auto slots = kernels.lookup<cmd::KernelOp>(invoke.getKernel()).getSlotsPerRow())
          return *slots;
    return dispatch.emitError("E3307: receives slots that no kernel over slots reads");
  }

  LogicalResult lowerCollective(Operation *op) {
    auto dispatch = dyn_cast<moe::DispatchRanksOp>(op);
    auto combine = dyn_cast<moe::CombineRanksOp>(op);
    FailureOr<int64_t> slots =
        slotsPerRow(dispatch ? dispatch : combine.getExchange().getDefiningOp<moe::DispatchRanksOp>());
    if (failed(slots))
      return failure();
    auto result = [&](Value value, ArrayRef<StringRef> symbols, int64_t perRow) {
      auto type = cast<RankedTensorType>(value.getType());
      return buffers[value] = cmd::BufferOp::create(builder, op->getLoc(), bufferOf(type),
                                                    bytesOf(type, symbols, perRow), IntegerAttr(), IntegerAttr());
    };
    auto rowBytes = [](Value value) {
      auto type = cast<RankedTensorType>(value.getType());
      return type.getDimSize(1) * type.getElementTypeBitWidth() / 8;
    };
    if (combine) {
      Value own = result(combine.getResult(), kOwnRows, *slots), gates = result(combine.getGates(), kOwnRows, 1);
      cmd::CollectiveOp::create(builder, op->getLoc(), cmd::Collective::Combine,
                                {buffers.lookup(combine.getSource()), own, gates}, rowBytes(combine.getSource()));
      return success();
    }
    SmallVector<Value> args;
    for (Value sent : {dispatch.getSource(), dispatch.getTokens(), dispatch.getOffsets(), dispatch.getGates()})
      args.push_back(buffers.lookup(sent));
    args.push_back(result(dispatch.getReceived(), kReceivedRows, 1));
    args.push_back(result(dispatch.getReceivedTokens(), kReceivedRows, *slots));
    args.push_back(result(dispatch.getReceivedOffsets(), {}, 1));
    Value scales = dispatch.getScales();
    if (scales)
      args.append({buffers.lookup(scales), result(dispatch.getReceivedScales(), kReceivedRows, 1)});
    received.insert(op->result_begin(), op->result_end());
    cmd::CollectiveOp::create(builder, op->getLoc(), cmd::Collective::Dispatch, args, rowBytes(dispatch.getSource()),
                              scales ? rowBytes(scales) : 0);
    return success();
  }

  /// The callee works in place on its leading arguments; a value that is still read later is copied first.
  void lowerCall(lm::CallOp call) {
    SmallVector<Value> args;
    for (auto [index, operand] : llvm::enumerate(call.getInputs())) {
      if (!isa<RankedTensorType>(operand.getType()))
        continue;
      Value buffer = buffers.lookup(operand);
      bool readLater = llvm::any_of(operand.getUsers(), [&](Operation *user) { return call->isBeforeInBlock(user); });
      if (index < call.getNumResults() && (readLater || !buffer.getDefiningOp<cmd::BufferOp>()))
        buffer = copyOf(buffer, operand);
      args.push_back(buffer);
      if (index < call.getNumResults())
        buffers[call.getResult(index)] = buffer;
    }
    cmd::CallOp::create(builder, call.getLoc(), call.getCalleeAttr(), call.getFirstAttr(), call.getCountAttr(), args);
  }

  Value copyOf(Value buffer, Value tensor) {
    cmd::ExprAttr bytes = bytesOf(cast<RankedTensorType>(tensor.getType()), kOwnRows, 1);
    auto copy = cmd::BufferOp::create(builder, tensor.getLoc(), cast<cmd::BufferType>(buffer.getType()), bytes,
                                      IntegerAttr(), IntegerAttr());
    cmd::CopyOp::create(builder, tensor.getLoc(), buffer, copy, bytes);
    return copy;
  }

  void copyResults(lm::ReturnOp done) {
    bool layer = isa<lm::LayerOp>(function.getOperation());
    for (auto [index, returned] : llvm::enumerate(done.getOperands())) {
      Value target = layer ? Value(program.getBody().getArgument(index)) : targets.lookup(returned);
      Value buffer = buffers.lookup(returned);
      if (buffer != target)
        cmd::CopyOp::create(builder, done.getLoc(), buffer, target,
                            bytesOf(cast<RankedTensorType>(returned.getType()), layer ? kOwnRows : kOuts, 1));
    }
  }

  FunctionOpInterface function;
  SymbolTable kernels;
  cmd::ProgramOp program;
  OpBuilder builder;
  DenseMap<Value, Value> buffers; // tensor -> buffer
  DenseMap<Value, Value> targets; // returned tensor -> memory it should be computed into
  DenseSet<Value> received;       // rows and slots that came from all ranks
  Value inputs[12];
};

struct LowerToCmd : moray::impl::LowerToCmdBase<LowerToCmd> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    SmallVector<FunctionOpInterface> functions;
    for (Operation &op : *module.getBody())
      if (isa<lm::LayerOp, lm::ProgramOp>(op))
        functions.push_back(cast<FunctionOpInterface>(op));
    for (FunctionOpInterface function : functions) {
      if (failed(lower(function)))
        return signalPassFailure();
      function.erase();
    }
    eraseUnusedWeights(module);
  }

private:
  static cmd::ProgramKind kindOf(Operation *function) {
    auto kind = function->getAttrOfType<lm::ProgramKindAttr>(lm::kKindAttr);
    return kind ? static_cast<cmd::ProgramKind>(kind.getValue()) : cmd::ProgramKind::Layer;
  }

  static LogicalResult lower(FunctionOpInterface function) {
    OpBuilder builder(function);
    cmd::ProgramKind kind = kindOf(function);
    // Both symbols exist for a moment; the new one takes over when the old one is erased.
    auto program = cmd::ProgramOp::create(builder, function.getLoc(), function.getName(), kind);
    program.getBody().emplaceBlock();
    FunctionLowering lowering(function, program);
    switch (kind) {
    case cmd::ProgramKind::Layer:
      lowering.bindLayerArguments();
      lowering.bindLayerResults();
      break;
    case cmd::ProgramKind::Step:
    case cmd::ProgramKind::StepDist:
      if (failed(lowering.bindInputs({cmd::Input::Tokens, cmd::Input::OutRows}, cmd::Input::Logits)))
        return failure();
      break;
    case cmd::ProgramKind::Sample:
      if (failed(lowering.bindInputs({cmd::Input::Logits, cmd::Input::SampleParams}, cmd::Input::Sampled)))
        return failure();
      break;
    case cmd::ProgramKind::Score:
      if (failed(lowering.bindInputs({cmd::Input::Logits, cmd::Input::Targets}, cmd::Input::LogProbs)))
        return failure();
      break;
    }
    return lowering.lowerBody();
  }

  /// Keeps the weights that programs use and, transitively, what their recipes read.
  static void eraseUnusedWeights(ModuleOp module) {
    SymbolTable symbols(module);
    SetVector<Operation *> used;
    module.walk([&](cmd::WeightOp op) { used.insert(symbols.lookup(op.getWeight())); });
    for (size_t i = 0; i < used.size(); ++i)
      for (FlatSymbolRefAttr source : cast<lm::WeightOp>(used[i]).getRecipeSources())
        used.insert(symbols.lookup(source.getValue()));
    for (lm::WeightOp weight : llvm::make_early_inc_range(module.getOps<lm::WeightOp>()))
      if (!used.contains(weight))
        weight.erase();
  }
};
} // namespace
