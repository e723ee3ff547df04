// Walks blocks, calls and kernel regions, and hands each op to its function in Ops.h.
#include "test/Reference/Interpreter.h"

#include "dialects/Cmd/Cmd.h"
#include "dialects/MoE/MoE.h"

#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace moray;
using namespace moray::reference;

//===----------------------------------------------------------------------===//
// Entry points
//===----------------------------------------------------------------------===//

FailureOr<std::unique_ptr<Interpreter>> Interpreter::create(ModuleOp module, const frontend::Checkpoint &checkpoint) {
  std::unique_ptr<Interpreter> interpreter(new Interpreter(module));
  int64_t layerCount = 0;
  module.walk([&](lm::CallOp call) { layerCount = std::max<int64_t>(layerCount, call.getFirst() + call.getCount()); });
  interpreter->weights = std::make_unique<Weights>(checkpoint, layerCount);
  return interpreter;
}

lm::ProgramOp Interpreter::program(lm::ProgramKind kind) {
  for (auto op : module.getOps<lm::ProgramOp>())
    if (op->getAttrOfType<lm::ProgramKindAttr>(lm::kKindAttr).getValue() == kind)
      return op;
  module.emitError("[E3902] the module has no program of kind ") << lm::stringifyProgramKind(kind);
  return {};
}

std::unique_ptr<Cache> Interpreter::makeCache() {
  lm::ProgramOp step = program(stepKind);
  if (!step)
    return nullptr;
  for (Type type : step.getArgumentTypes())
    if (auto cache = dyn_cast<mla::CacheType>(type))
      return std::make_unique<Cache>(cache.getLatent(), cache.getRope(), cache.getPage(),
                                     *elementOf(cache.getElementType()));
  step.emitError("[E3902] the step program takes no cache");
  return nullptr;
}

FailureOr<StepResult> Interpreter::step(const StepInput &stepInput, Cache &cache) {
  lm::ProgramOp op = program(stepKind);
  if (!op)
    return failure();
  SmallVector<RuntimeValue> arguments, results;
  unsigned tensors = 0;
  for (Type type : op.getArgumentTypes()) {
    if (isa<lm::RowsType>(type))
      arguments.push_back(&stepInput.rows);
    else if (isa<mla::CacheType>(type))
      arguments.push_back(&cache);
    else // tokens come first, the rows whose logits are wanted second
      arguments.push_back(std::make_shared<const Tensor>(tensors++ == 0 ? stepInput.tokens : stepInput.outRows));
  }
  input = &stepInput;
  LogicalResult status = runBlock(op.getBody().front(), arguments, results);
  input = nullptr;
  if (failed(status))
    return failure();
  return StepResult{*std::get<0>(results.front()), std::move(lastLinearInput)};
}

FailureOr<Tensor> Interpreter::runSimple(lm::ProgramKind kind, const Tensor &first, const Tensor &second) {
  lm::ProgramOp op = program(kind);
  SmallVector<RuntimeValue> results;
  if (!op || failed(runBlock(op.getBody().front(),
                             {std::make_shared<const Tensor>(first), std::make_shared<const Tensor>(second)}, results)))
    return failure();
  return *std::get<0>(results.front());
}

FailureOr<Tensor> Interpreter::sample(const Tensor &logits, const Tensor &params) {
  return runSimple(lm::ProgramKind::Sample, logits, params);
}

FailureOr<Tensor> Interpreter::score(const Tensor &logits, const Tensor &targets) {
  return runSimple(lm::ProgramKind::Score, logits, targets);
}

//===----------------------------------------------------------------------===//
// Structure: blocks, calls, regions, weights
//===----------------------------------------------------------------------===//

LogicalResult Interpreter::runBlock(Block &block, ArrayRef<RuntimeValue> arguments,
                                    SmallVectorImpl<RuntimeValue> &results) {
  for (auto [argument, value] : llvm::zip_equal(block.getArguments(), arguments))
    values[argument] = value;
  for (Operation &op : block.without_terminator())
    if (failed(runOp(&op)))
      return failure();
  results.clear();
  for (Value operand : block.getTerminator()->getOperands())
    results.push_back(values.find(operand)->second);
  // Values of a block are not used after it; tensors would pile up over the layers.
  for (Operation &op : block)
    for (Value result : op.getResults())
      values.erase(result);
  for (Value argument : block.getArguments())
    values.erase(argument);
  return success();
}

LogicalResult Interpreter::runRegion(Operation *op, Block &block) {
  SmallVector<RuntimeValue> arguments, results;
  for (Value operand : op->getOperands())
    arguments.push_back(values.find(operand)->second);
  if (failed(runBlock(block, arguments, results)))
    return failure();
  for (auto [result, value] : llvm::zip_equal(op->getResults(), results))
    values[result] = value;
  return success();
}

LogicalResult Interpreter::runCall(lm::CallOp op) {
  auto callee = symbols.lookupNearestSymbolFrom<lm::LayerOp>(op, op.getCalleeAttr());
  SmallVector<RuntimeValue> state, results;
  for (Value operand : op.getInputs())
    state.push_back(values.find(operand)->second);
  for (layer = op.getFirst(); layer < static_cast<int64_t>(op.getFirst() + op.getCount()); ++layer) {
    SmallVector<RuntimeValue> arguments{layer};
    arguments.append(state);
    if (failed(runBlock(callee.getBody().front(), arguments, results)))
      return failure();
    std::copy(results.begin(), results.end(), state.begin());
  }
  layer = -1;
  for (auto [index, result] : llvm::enumerate(op.getResults()))
    values[result] = state[index];
  return success();
}

LogicalResult Interpreter::runWeightOf(lm::WeightOfOp op) {
  auto weight = symbols.lookupNearestSymbolFrom<lm::WeightOp>(op, op.getWeightAttr());
  int64_t number = op.getLayer() ? std::get<int64_t>(values.find(op.getLayer())->second) : 0;
  FailureOr<std::shared_ptr<const Tensor>> value = weights->get(weight, number);
  if (failed(value))
    return failure();
  values[op.getResult()] = *value;
  return success();
}

LogicalResult Interpreter::runOp(Operation *op) {
  if (auto weight = dyn_cast<lm::WeightOfOp>(op))
    return runWeightOf(weight);
  if (auto call = dyn_cast<lm::CallOp>(op))
    return runCall(call);
  if (auto kernel = dyn_cast<lm::KernelOp>(op))
    return runRegion(op, kernel.getBody().front());
  if (auto invoke = dyn_cast<cmd::InvokeOp>(op))
    return runRegion(op, symbols.lookupNearestSymbolFrom<cmd::KernelOp>(op, invoke.getKernelAttr()).getBody().front());
  if (auto cache = dyn_cast<mla::LayerCacheOp>(op)) {
    values[cache.getResult()] = LayerCache{std::get<Cache *>(values.find(cache.getCache())->second),
                                           std::get<int64_t>(values.find(cache.getLayer())->second)};
    return success();
  }
  if (auto append = dyn_cast<mla::AppendOp>(op)) {
    reference::append(layerCache(append.getCache()), rows(append.getRows()), tensor(append.getLatent()),
                      tensor(append.getRope()));
    return success();
  }
  // A single rank receives exactly what it sends, in the same order. Copied first: a new entry may move the others.
  auto forward = [&](Value from, Value to) {
    RuntimeValue value = values.find(from)->second;
    values[to] = std::move(value);
  };
  if (auto dispatch = dyn_cast<moe::DispatchRanksOp>(op)) {
    for (auto [operand, result] : llvm::zip(op->getOperands(), op->getResults().drop_back()))
      forward(operand, result);
    values[dispatch.getExchange()] = int64_t(0);
    return success();
  }
  if (auto combine = dyn_cast<moe::CombineRanksOp>(op)) {
    forward(combine.getSource(), combine.getResult());
    forward(combine.getExchange().getDefiningOp<moe::DispatchRanksOp>().getGates(), combine.getGates());
    return success();
  }
  if (failed(checkRows(op)))
    return failure();
  std::optional<FailureOr<Tensors>> results = compute(op);
  if (!results)
    return op->emitError("[E3902] the interpreter does not know ") << op->getName();
  if (failed(*results))
    return failure();
  for (auto [result, value] : llvm::zip_equal(op->getResults(), **results))
    values[result] = std::make_shared<const Tensor>(std::move(value));
  return success();
}

/// Operands of row ops must have one number of rows, which types (`?`) cannot say.
LogicalResult Interpreter::checkRows(Operation *op) {
  if (!isa<lm::AddOp, lm::SwigluOp, lm::RopeOp, lm::ScaledLinearOp, lm::SampleOp, lm::LogProbOp, moe::ExpertsOp,
           moe::DispatchOp>(op))
    return success();
  std::optional<int64_t> count;
  for (Value operand : op->getOperands()) {
    auto type = dyn_cast<RankedTensorType>(operand.getType());
    if (!type || !type.isDynamicDim(0))
      continue;
    int64_t found = tensor(operand).rows();
    if (count.value_or(found) != found)
      return op->emitError("[E3903] operands have ") << *count << " and " << found << " rows, expected one number";
    count = found;
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Ops
//===----------------------------------------------------------------------===//

static Element resultElement(Operation *op, unsigned index = 0) { return *elementOf(op->getResult(index).getType()); }

static LogicalResult checkIndices(Operation *op, const Tensor &indices, int64_t limit) {
  for (int32_t index : indices.ints)
    if (index < 0 || index >= limit)
      return op->emitError("[E3903] index ") << index << " is not in [0, " << limit << ")";
  return success();
}

static LogicalResult checkNumbers(Operation *op, const Tensor &tensor, int64_t layer) {
  for (int64_t t = 0; t < tensor.rows(); ++t)
    for (int64_t i = 0; i < tensor.width(); ++i)
      if (std::isnan(tensor.row(t)[i]))
        return op->emitError("[E3904] NumericError: NaN in the logits of row ")
               << t << (layer < 0 ? "" : " in layer " + std::to_string(layer));
  return success();
}

std::optional<FailureOr<Interpreter::Tensors>> Interpreter::compute(Operation *op) {
  if (auto result = computeRowOp(op))
    return result;
  if (auto result = computeLinear(op))
    return result;
  if (auto result = computeAttention(op))
    return result;
  if (auto result = computeExperts(op))
    return result;
  return computeSampling(op);
}

std::optional<FailureOr<Interpreter::Tensors>> Interpreter::computeRowOp(Operation *op) {
  using Result = std::optional<FailureOr<Tensors>>;
  return TypeSwitch<Operation *, Result>(op)
      .Case([&](lm::EmbedOp embed) -> Result {
        const Tensor &weight = tensor(embed.getWeight());
        if (failed(checkIndices(op, tensor(embed.getTokens()), weight.rows())))
          return failure();
        return Tensors{reference::embed(tensor(embed.getTokens()), weight, resultElement(op))};
      })
      .Case([&](lm::GatherRowsOp gather) -> Result {
        const Tensor &source = tensor(gather.getSource());
        if (failed(checkIndices(op, tensor(gather.getIndices()), source.rows())))
          return failure();
        return Tensors{reference::cast(gatherRows(source, tensor(gather.getIndices())), resultElement(op))};
      })
      .Case([&](lm::SliceOp slice) -> Result {
        return Tensors{reference::slice(tensor(slice.getSource()), slice.getOffset(), lm::widthOf(slice.getResult()),
                                        resultElement(op))};
      })
      .Case([&](lm::CastOp cast) -> Result {
        return Tensors{reference::cast(tensor(cast.getSource()), resultElement(op))};
      })
      .Case([&](lm::AddOp add) -> Result {
        return Tensors{reference::add(tensor(add.getLhs()), tensor(add.getRhs()), resultElement(op))};
      })
      .Case([&](lm::SwigluOp swiglu) -> Result {
        return Tensors{reference::swiglu(tensor(swiglu.getGate()), tensor(swiglu.getUp()), resultElement(op))};
      })
      .Case([&](lm::RmsNormOp norm) -> Result {
        return Tensors{rmsNorm(tensor(norm.getSource()), tensor(norm.getWeight()), norm.getEps().convertToFloat(),
                               resultElement(op))};
      })
      .Case([&](lm::RopeTableOp table) -> Result {
        RopeTable result = ropeTable(rows(table.getRows()).positions, table.getInvFreq().vec(),
                                     table.getMultiplier().convertToFloat());
        return Tensors{std::move(result.cos), std::move(result.sin)};
      })
      .Case([&](lm::RopeOp rope) -> Result {
        return Tensors{reference::rope(tensor(rope.getSource()), {tensor(rope.getCos()), tensor(rope.getSin())},
                                       rope.getHeadDim(), rope.getLayout() == lm::RopeLayout::Interleaved,
                                       resultElement(op))};
      })
      .Case([&](lm::QuantizeOp quantize) -> Result {
        Quantized result = quantizeRows(tensor(quantize.getSource()), quantize.getFormat() == lm::ScaleFormat::UE8M0);
        return Tensors{std::move(result.codes), std::move(result.scales)};
      })
      .Default([](Operation *) { return std::nullopt; });
}

std::optional<FailureOr<Interpreter::Tensors>> Interpreter::computeLinear(Operation *op) {
  using Result = std::optional<FailureOr<Tensors>>;
  auto keep = [&](const Tensor &source) {
    if (layer < 0)
      lastLinearInput = source;
  };
  return TypeSwitch<Operation *, Result>(op)
      .Case([&](lm::LinearOp linear) -> Result {
        keep(tensor(linear.getSource()));
        Matrix weight = Matrix::of(tensor(linear.getWeight()), nullptr);
        return Tensors{reference::linear(tensor(linear.getSource()), nullptr, weight, optional(linear.getBias()),
                                         resultElement(op))};
      })
      .Case([&](lm::ScaledLinearOp linear) -> Result {
        keep(tensor(linear.getSource()));
        Matrix weight = Matrix::of(tensor(linear.getWeight()), &tensor(linear.getScales()));
        return Tensors{reference::linear(tensor(linear.getSource()), optional(linear.getSourceScales()), weight,
                                         optional(linear.getBias()), resultElement(op))};
      })
      .Default([](Operation *) { return std::nullopt; });
}

/// How operands of inner linears are quantised.
static Activation activationOf(Type type, lm::ScaleFormat format) {
  if (!isa<Float8E4M3FNType>(type))
    return Activation::AsRows;
  return format == lm::ScaleFormat::UE8M0 ? Activation::F8PowerScales : Activation::F8F32Scales;
}

std::optional<FailureOr<Interpreter::Tensors>> Interpreter::computeAttention(Operation *op) {
  using Result = std::optional<FailureOr<Tensors>>;
  // The absorbing ops have no !lm.rows operand: the number of decode rows is that of the step.
  return TypeSwitch<Operation *, Result>(op)
      .Case([&](mla::AttentionOp attention) -> Result {
        AttentionShape shape{static_cast<int64_t>(attention.getHeads()), static_cast<int64_t>(attention.getNope()),
                             static_cast<int64_t>(attention.getValue()), attention.getScale().convertToFloat()};
        const Rows &range = rows(attention.getRows());
        int64_t firstRow = attention.getRowRange() == mla::RowRange::Prefill ? range.decodeRows : 0;
        return Tensors{reference::attention(tensor(attention.getQuery()), layerCache(attention.getCache()), range,
                                            Matrix::of(tensor(attention.getKvB()), optional(attention.getKvBScales())),
                                            shape, activationOf(attention.getActivation(), attention.getFormat()),
                                            firstRow, resultElement(op))};
      })
      .Case([&](mla::AbsorbQueryOp absorb) -> Result {
        AttentionShape shape{static_cast<int64_t>(absorb.getHeads()), static_cast<int64_t>(absorb.getNope()),
                             static_cast<int64_t>(absorb.getValue()), 0};
        return Tensors{absorbQuery(tensor(absorb.getQuery()), input->rows,
                                   Matrix::of(tensor(absorb.getKvB()), optional(absorb.getKvBScales())), shape,
                                   resultElement(op))};
      })
      .Case([&](mla::LatentAttentionOp attention) -> Result {
        AttentionShape shape{static_cast<int64_t>(attention.getHeads()), 0, 0, attention.getScale().convertToFloat()};
        return Tensors{latentAttention(tensor(attention.getAbsorbed()), tensor(attention.getQuery()),
                                       layerCache(attention.getCache()), rows(attention.getRows()), shape,
                                       resultElement(op))};
      })
      .Case([&](mla::AbsorbValueOp absorb) -> Result {
        AttentionShape shape{static_cast<int64_t>(absorb.getHeads()), static_cast<int64_t>(absorb.getNope()),
                             static_cast<int64_t>(absorb.getValue()), 0};
        return Tensors{absorbValue(tensor(absorb.getSource()), input->rows,
                                   Matrix::of(tensor(absorb.getKvB()), optional(absorb.getKvBScales())),
                                   tensor(absorb.getInto()), shape, resultElement(op))};
      })
      .Default([](Operation *) { return std::nullopt; });
}

FailureOr<Interpreter::Tensors> Interpreter::computeRoute(Operation *operation) {
  auto op = llvm::cast<moe::RouteOp>(operation);
  moe::RouterAttr attr = op.getRouter();
  Router router;
  router.sigmoid = attr.getScoring() == moe::Scoring::Sigmoid;
  router.method = static_cast<RouterMethod>(attr.getMethod());
  router.groups = attr.getGroups(), router.keep = attr.getKeep(), router.top = attr.getTop();
  router.normalise = attr.getNormalise(), router.scale = attr.getScale().getValue().convertToFloat();
  Tensor logits = routerLogits(tensor(op.getSource()), tensor(op.getWeight()));
  if (failed(checkNumbers(op, logits, layer)))
    return failure();
  Routing routing = reference::route(logits, optional(op.getBias()), router);
  auto numberOf = [&](int64_t row) { return input->tokenNumbers.empty() ? -1 : input->tokenNumbers[row]; };
  if (forced) {
    auto table = forced->ids.find(layer);
    if (table == forced->ids.end() || table->second.width() != router.top)
      return op.emitError("[E3903] the forced selection has no ")
             << router.top << " experts per token for layer " << layer;
    for (int64_t t = 0; t < logits.rows(); ++t)
      if (int64_t number = numberOf(t); number >= 0 && number < table->second.rows())
        std::copy_n(table->second.intRow(number), router.top, routing.ids.intRow(t));
    if (failed(checkIndices(op, routing.ids, logits.width())))
      return failure();
    routing.gates = gatesOf(logits, routing.ids, router);
  }
  if (recorded) {
    Tensor &ids =
        recorded->ids.try_emplace(layer, Element::I32, std::vector<int64_t>{recordedTokens, router.top}).first->second;
    Tensor &gates = recorded->gates.try_emplace(layer, Element::F32, std::vector<int64_t>{recordedTokens, router.top})
                        .first->second;
    for (int64_t t = 0; t < logits.rows(); ++t)
      if (int64_t number = numberOf(t); number >= 0) {
        std::copy_n(routing.ids.intRow(t), router.top, ids.intRow(number));
        std::copy_n(routing.gates.row(t), router.top, gates.row(number));
      }
  }
  return Tensors{std::move(routing.ids), std::move(routing.gates)};
}

std::optional<FailureOr<Interpreter::Tensors>> Interpreter::computeExperts(Operation *op) {
  using Result = std::optional<FailureOr<Tensors>>;
  return TypeSwitch<Operation *, Result>(op)
      .Case([&](moe::RouteOp) -> Result { return computeRoute(op); })
      .Case([&](moe::ExpertsOp experts) -> Result {
        ExpertWeights weights{&tensor(experts.getGate()),
                              &tensor(experts.getUp()),
                              &tensor(experts.getDown()),
                              nullptr,
                              nullptr,
                              nullptr};
        if (!experts.getScales().empty()) {
          weights.gateScales = &tensor(experts.getScales()[0]);
          weights.upScales = &tensor(experts.getScales()[1]);
          weights.downScales = &tensor(experts.getScales()[2]);
        }
        return Tensors{reference::experts(tensor(experts.getSource()), tensor(experts.getIds()),
                                          tensor(experts.getGates()), weights,
                                          activationOf(experts.getActivation(), experts.getFormat()))};
      })
      .Case([&](moe::DispatchOp dispatch) -> Result {
        int64_t expertCount = llvm::cast<RankedTensorType>(dispatch.getOffsets().getType()).getDimSize(0) - 1;
        if (failed(checkIndices(op, tensor(dispatch.getIds()), expertCount)))
          return failure();
        Dispatch result = reference::dispatch(tensor(dispatch.getIds()), tensor(dispatch.getGates()), expertCount);
        return Tensors{std::move(result.offsets), std::move(result.tokens), std::move(result.ranks),
                       std::move(result.gates)};
      })
      .Case([&](moe::GroupedLinearOp linear) -> Result {
        return Tensors{groupedLinear(tensor(linear.getSource()), optional(linear.getSourceScales()),
                                     optional(linear.getTokens()), tensor(linear.getOffsets()),
                                     tensor(linear.getWeight()), optional(linear.getScales()), resultElement(op))};
      })
      .Case([&](moe::CombineOp combine) -> Result {
        return Tensors{
            reference::combine(tensor(combine.getSource()), tensor(combine.getRanks()), tensor(combine.getGates()))};
      })
      .Default([](Operation *) { return std::nullopt; });
}

std::optional<FailureOr<Interpreter::Tensors>> Interpreter::computeSampling(Operation *op) {
  using Result = std::optional<FailureOr<Tensors>>;
  return TypeSwitch<Operation *, Result>(op)
      .Case([&](lm::SampleOp sample) -> Result {
        const Tensor &logits = tensor(sample.getLogits()), &params = tensor(sample.getParams());
        if (failed(checkNumbers(op, logits, layer)))
          return failure();
        Tensor out(Element::I32, {logits.rows()});
        for (int64_t t = 0; t < logits.rows(); ++t)
          out.ints[t] = reference::sample(logits.row(t), logits.width(), sampleParams(params.intRow(t)));
        return Tensors{std::move(out)};
      })
      .Case([&](lm::LogProbOp logProb) -> Result {
        const Tensor &logits = tensor(logProb.getLogits()), &targets = tensor(logProb.getTargets());
        if (failed(checkNumbers(op, logits, layer)) || failed(checkIndices(op, targets, logits.width())))
          return failure();
        Tensor out(Element::F32, {logits.rows()});
        for (int64_t t = 0; t < logits.rows(); ++t)
          out.values[t] = static_cast<float>(reference::logProb(logits.row(t), logits.width(), targets.ints[t]));
        return Tensors{std::move(out)};
      })
      .Default([](Operation *) { return std::nullopt; });
}
