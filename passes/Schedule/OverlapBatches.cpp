// Makes the overlapped step: the distributed step for two micro-batches, where one computes while rows of the other
// travel.
#include "passes/Passes.h"

#include "passes/Schedule/Effects.h"

namespace moray {
#define GEN_PASS_DEF_OVERLAPBATCHES
#include "passes/Passes.h.inc"
} // namespace moray

using namespace mlir;
using namespace moray;

namespace {
using Batch = int64_t;
using Commands = SmallVector<Operation *>;

/// The commands of a layer with one exchange, by what they wait for. Each keeps the order of the program.
struct Segments {
  Commands before; // the dispatch needs them: attention, router
  cmd::CollectiveOp dispatch;
  Commands between; // experts
  cmd::CollectiveOp combine;
  Commands free;  // neither: shared experts
  Commands after; // need the combine
};

/// Two copies of the commands of a program, each for its batch, with buffers of its own.
class Duplicator {
public:
  explicit Duplicator(cmd::ProgramOp to) : builder(OpBuilder::atBlockEnd(&to.getBody().front())) {}

  void map(Batch batch, Value from, Value to) { values[batch].map(from, to); }
  Value lookup(Batch batch, Value value) { return values[batch].lookup(value); }
  /// What is no command: a buffer for each batch, everything else once.
  void declare(Operation &op) {
    Operation *shared = builder.clone(op);
    for (Batch batch : {0, 1})
      map(batch, op.getResult(0),
          batch && isa<cmd::BufferOp>(op) ? builder.clone(op)->getResult(0) : shared->getResult(0));
  }
  void add(Batch batch, Operation *command) {
    Operation *copy = builder.clone(*command, values[batch]);
    if (batch)
      copy->setAttr("batch", builder.getI64IntegerAttr(batch));
  }
  void add(Batch batch, const Commands &commands) {
    for (Operation *command : commands)
      add(batch, command);
  }
  void start(Batch batch, cmd::CollectiveOp collective) {
    add(batch, collective);
    cast<cmd::CollectiveOp>(builder.getInsertionBlock()->back()).setStart(true);
  }
  void wait(Batch batch, cmd::CollectiveOp collective) {
    cmd::CollectiveOp::create(builder, collective.getLoc(), collective.getCollective(), ValueRange(), /*row_bytes=*/0,
                              /*scale_bytes=*/0, /*start=*/false, /*wait=*/true, batch);
  }
  OpBuilder builder;

private:
  IRMapping values[2];
};

struct OverlapBatches : moray::impl::OverlapBatchesBase<OverlapBatches> {
  void runOnOperation() override;

private:
  cmd::ProgramOp overlapLayer(cmd::ProgramOp layer, const Segments &segments);
};
} // namespace

static bool decline(Operation *op, const Twine &why) {
  op->emitRemark("declined: ") << why;
  return false;
}

/// Adds to `reached` every command that, by what it reads and writes, has to run after (`forward`: or before) a command
/// of `reached`.
static void reach(const Commands &commands, DenseSet<Operation *> &reached, bool forward) {
  Commands order = commands;
  if (!forward)
    std::reverse(order.begin(), order.end());
  SmallVector<Effects> effects = llvm::map_to_vector(order, effectsOf);
  for (size_t i = 0; i < order.size(); ++i)
    for (size_t j = 0; j < i && !reached.contains(order[i]); ++j)
      if (reached.contains(order[j]) && effects[i].conflictsWith(effects[j]))
        reached.insert(order[i]);
}

static bool findSegments(cmd::ProgramOp layer, Segments &found) {
  Commands commands;
  for (Operation &op : layer.getBody().front())
    if (cmd::isCommand(&op))
      commands.push_back(&op);
  SmallVector<cmd::CollectiveOp> exchange(layer.getBody().getOps<cmd::CollectiveOp>());
  if (exchange.size() != 2 || exchange[0].getStart())
    return decline(layer, "it has more than one exchange, or one that is overlapped already");
  found.dispatch = exchange[0], found.combine = exchange[1];
  auto reachedFrom = [&](Operation *op, bool forward) {
    DenseSet<Operation *> reached{op};
    reach(commands, reached, forward);
    return reached;
  };
  DenseSet<Operation *> beforeDispatch = reachedFrom(found.dispatch, false);
  DenseSet<Operation *> beforeCombine = reachedFrom(found.combine, false);
  DenseSet<Operation *> afterCombine = reachedFrom(found.combine, true);
  for (Operation *command : commands) {
    if (isa<cmd::CollectiveOp>(command))
      continue;
    Commands &segment = beforeDispatch.contains(command)  ? found.before
                        : beforeCombine.contains(command) ? found.between
                        : afterCombine.contains(command)  ? found.after
                                                          : found.free;
    segment.push_back(command);
  }
  return true;
}

/// Every transfer of one batch lies beside a block of work of the other, the last one beside what waits for no
/// transfer.
cmd::ProgramOp OverlapBatches::overlapLayer(cmd::ProgramOp layer, const Segments &s) {
  OpBuilder builder(layer->getContext());
  builder.setInsertionPointAfter(layer);
  StringRef name = layer.getSymName();
  name.consume_back(".dist");
  auto program = cmd::ProgramOp::create(builder, layer.getLoc(), (name + ".overlap").str(), cmd::ProgramKind::Layer);
  Block &body = program.getBody().emplaceBlock();
  Duplicator both(program);
  for (Batch batch : {0, 1})
    for (BlockArgument parameter : layer.getBody().getArguments())
      both.map(batch, parameter, body.addArgument(parameter.getType(), parameter.getLoc()));
  for (Operation &op : layer.getBody().front())
    if (!cmd::isCommand(&op))
      both.declare(op);
  both.add(0, s.before);
  both.start(0, s.dispatch);
  both.add(1, s.before);
  both.start(1, s.dispatch);
  both.wait(0, s.dispatch);
  both.add(0, s.between);
  both.start(0, s.combine);
  both.wait(1, s.dispatch);
  both.add(1, s.between);
  both.start(1, s.combine);
  both.add(0, s.free);
  both.add(1, s.free);
  both.wait(0, s.combine);
  both.add(0, s.after);
  both.wait(1, s.combine);
  both.add(1, s.after);
  ++numLayers;
  return program;
}

void OverlapBatches::runOnOperation() {
  cmd::ProgramOp step;
  for (auto program : getOperation().getOps<cmd::ProgramOp>()) {
    if (program.getKind() == cmd::ProgramKind::StepOverlap)
      return; // done before
    if (program.getKind() == cmd::ProgramKind::StepDist)
      step = program;
  }
  if (!step)
    return (void)decline(getOperation(), "the module has no distributed step");
  SymbolTable symbols(getOperation());
  llvm::MapVector<cmd::ProgramOp, Segments> layers; // with experts
  for (auto call : step.getBody().getOps<cmd::CallOp>()) {
    auto layer = symbols.lookup<cmd::ProgramOp>(call.getCallee());
    if (layer.getBody().getOps<cmd::CollectiveOp>().empty())
      continue;
    for (Value arg : call.getArgs())
      if (!arg.getDefiningOp<cmd::BufferOp>())
        return (void)decline(call, "passes memory of the engine, of which a layer of two batches needs two");
    if (!layers.contains(layer) && !findSegments(layer, layers[layer]))
      return;
  }
  DenseMap<Operation *, cmd::ProgramOp> overlapped;
  for (auto &[layer, segments] : layers)
    symbols.insert(overlapped[layer] = overlapLayer(layer, segments));

  OpBuilder builder(step->getContext());
  builder.setInsertionPointAfter(step);
  StringRef name = step.getSymName();
  name.consume_back(".dist");
  auto program =
      cmd::ProgramOp::create(builder, step.getLoc(), (name + ".overlap").str(), cmd::ProgramKind::StepOverlap);
  program.getBody().emplaceBlock();
  Duplicator both(program);
  for (Operation &op : step.getBody().front()) {
    auto call = dyn_cast<cmd::CallOp>(op);
    cmd::ProgramOp layer = call ? overlapped.lookup(symbols.lookup(call.getCallee())) : cmd::ProgramOp();
    if (layer) {
      SmallVector<Value> args;
      for (Batch batch : {0, 1})
        for (Value arg : call.getArgs())
          args.push_back(both.lookup(batch, arg));
      cmd::CallOp::create(both.builder, call.getLoc(), layer.getSymName(), call.getFirst(), call.getCount(), args);
    } else if (cmd::isCommand(&op)) {
      both.add(0, &op);
      both.add(1, &op);
    } else {
      both.declare(op);
    }
  }
}
