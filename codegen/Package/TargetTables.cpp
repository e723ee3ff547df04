// One target to its table.
#include "codegen/Package/TargetTables.h"

#include "codegen/Package/WeightRows.h"
#include "dialects/Cmd/Cmd.h"
#include "dialects/MoE/MoE.h"

using namespace mlir;
using namespace moray;
using namespace moray::codegen;

schema::Name NameTable::operator()(StringRef text) {
  auto [entry, inserted] = interned.try_emplace(text);
  if (inserted) {
    entry->second = schema::Name(bytes.size(), text.size());
    bytes.insert(bytes.end(), text.begin(), text.end());
  }
  return entry->second;
}

static std::vector<schema::ExprOp> toSchema(cmd::ExprAttr expr) {
  std::vector<schema::ExprOp> ops;
  for (size_t i = 0; i < expr.getCode().size(); i += 2)
    ops.emplace_back(static_cast<schema::ExprOpKind>(expr.getCode()[i]), static_cast<uint64_t>(expr.getCode()[i + 1]));
  return ops;
}
static std::vector<schema::ExprOp> toSchema(const SizeExpr &expr) {
  std::vector<schema::ExprOp> ops;
  for (const ExprOp &op : expr.postfix())
    ops.emplace_back(static_cast<schema::ExprOpKind>(op.kind), op.value);
  return ops;
}
static schema::DType toSchema(DType type) { return static_cast<schema::DType>(type); }

namespace {
class TargetBuilder {
public:
  TargetBuilder(const CompiledTarget &target, ArrayRef<unsigned> images, NameTable &names, WeightTable &weights)
      : target(target), module(target.module), symbols(module), images(images), names(names), weights(weights) {}

  std::unique_ptr<schema::TargetT> build(const schema::ModelConfigT &model);

private:
  std::unique_ptr<schema::VariantT> makeVariant(const CompiledVariant &compiled);
  void addKernels();
  void findLayers();
  DenseMap<Value, schema::Arg> addOperands(cmd::ProgramOp program, schema::ProgramT &out);
  void addCommand(Operation &op, const DenseMap<Value, schema::Arg> &args, schema::ProgramT &out);
  void addPrograms();
  void countWork(const schema::ModelConfigT &model);

  const CompiledTarget &target;
  ModuleOp module;
  SymbolTable symbols;
  ArrayRef<unsigned> images;
  NameTable &names;
  WeightTable &weights;
  schema::TargetT result;
  DenseMap<Operation *, unsigned> programIndex, kernelIndex, weightIndex;
  DenseMap<Operation *, std::vector<int64_t>> programLayers; // layer program -> layers it runs for
};
} // namespace

std::unique_ptr<schema::VariantT> TargetBuilder::makeVariant(const CompiledVariant &compiled) {
  auto variant = std::make_unique<schema::VariantT>();
  variant->image = images[compiled.image];
  variant->config = names.pointer(compiled.config);
  variant->scratch_bytes = toSchema(compiled.scratchBytes);
  if (compiled.stages.empty()) {
    variant->entry = compiled.entry;
    variant->code_size = compiled.codeSize;
    variant->tasks = toSchema(compiled.tasks);
  }
  for (const CompiledStage &compiledStage : compiled.stages) {
    auto stage = std::make_unique<schema::StageT>();
    stage->entry = names.pointer(compiledStage.entry);
    stage->grid = toSchema(compiledStage.grid);
    stage->threads = compiledStage.threads;
    stage->static_shared = compiledStage.staticShared;
    stage->dynamic_shared = compiledStage.dynamicShared;
    stage->registers = compiledStage.registers;
    variant->stages.push_back(std::move(stage));
  }
  return variant;
}

void TargetBuilder::addKernels() {
  for (auto [spec, name, variants] : llvm::zip(target.specs, target.names, target.code.variants)) {
    auto kernel = std::make_unique<schema::KernelT>();
    kernel->name = names.pointer(name);
    kernel->klass = static_cast<schema::KernelClass>(spec.klass);
    kernel->operand_count = spec.operandCount;
    for (const CompiledVariant &compiled : variants)
      kernel->variants.push_back(makeVariant(compiled));
    result.kernels.push_back(std::move(kernel));
  }
}

/// Collects for every layer program the layers it runs for, and for every weight the layers that need it.
void TargetBuilder::findLayers() {
  module.walk([&](cmd::CallOp call) {
    std::vector<int64_t> &layers = programLayers[symbols.lookup(call.getCallee())];
    for (uint64_t i = 0; i < call.getCount(); ++i)
      layers.push_back(call.getFirst() + i);
  });
  for (cmd::ProgramOp program : module.getOps<cmd::ProgramOp>())
    for (cmd::WeightOp use : program.getBody().front().getOps<cmd::WeightOp>()) {
      auto weight = symbols.lookup<lm::WeightOp>(use.getWeight());
      weightIndex[weight] = weights.add(module, symbols, weight, programLayers[program]);
    }
}

DenseMap<Value, schema::Arg> TargetBuilder::addOperands(cmd::ProgramOp program, schema::ProgramT &out) {
  DenseMap<Value, schema::Arg> args;
  for (BlockArgument parameter : program.getBody().getArguments())
    args[parameter] = schema::Arg(schema::ArgKind::Param, parameter.getArgNumber());
  for (Operation &op : program.getBody().front()) {
    if (auto buffer = dyn_cast<cmd::BufferOp>(op)) {
      args[buffer.getResult()] = schema::Arg(schema::ArgKind::Buffer, out.buffers.size());
      auto entry = std::make_unique<schema::BufferT>();
      entry->name = names.pointer(("b" + Twine(out.buffers.size())).str());
      entry->dtype = toSchema(dtypeOf(buffer.getType().getElementType()).value_or(DType::U8));
      entry->bytes = toSchema(buffer.getBytes());
      entry->first = buffer.getFirst().value_or(0);
      entry->last = buffer.getLast().value_or(0);
      out.buffers.push_back(std::move(entry));
    } else if (auto input = dyn_cast<cmd::InputOp>(op)) {
      args[input.getResult()] = schema::Arg(schema::ArgKind::Input, static_cast<uint32_t>(input.getInput()));
    } else if (auto weight = dyn_cast<cmd::WeightOp>(op)) {
      args[weight.getResult()] =
          schema::Arg(schema::ArgKind::Weight, weightIndex.lookup(symbols.lookup(weight.getWeight())));
    } else if (auto cache = dyn_cast<cmd::CacheOp>(op)) {
      args[cache.getResult()] = schema::Arg(schema::ArgKind::Cache, 0);
    }
  }
  return args;
}

void TargetBuilder::addCommand(Operation &op, const DenseMap<Value, schema::Arg> &args, schema::ProgramT &out) {
  auto command = std::make_unique<schema::CommandT>();
  for (Value operand : op.getOperands())
    command->args.push_back(args.lookup(operand));
  if (auto launch = dyn_cast<cmd::LaunchOp>(op)) {
    command->kind = schema::CommandKind::Launch;
    command->target = kernelIndex.lookup(symbols.lookup(launch.getKernel()));
    command->batch = launch.getBatch();
  } else if (auto call = dyn_cast<cmd::CallOp>(op)) {
    command->kind = schema::CommandKind::Call;
    command->target = programIndex.lookup(symbols.lookup(call.getCallee()));
    command->layer_begin = call.getFirst();
    command->layer_end = call.getFirst() + call.getCount();
    command->batch = call.getBatch();
  } else if (auto collective = dyn_cast<cmd::CollectiveOp>(op)) {
    command->kind = schema::CommandKind::Collective;
    command->target = static_cast<uint32_t>(collective.getCollective());
    command->row_bytes = collective.getRowBytes();
    command->scale_bytes = collective.getScaleBytes();
    command->batch = collective.getBatch();
    command->phase = collective.getStart()  ? schema::CollectivePhase::Start
                     : collective.getWait() ? schema::CollectivePhase::Wait
                                            : schema::CollectivePhase::Whole;
    if (!collective.getArgs().empty())
      command->row_dtype =
          toSchema(*dtypeOf(cast<cmd::BufferType>(collective.getArgs()[0].getType()).getElementType()));
  } else {
    auto copy = cast<cmd::CopyOp>(op);
    command->kind = schema::CommandKind::Copy;
    command->bytes = toSchema(copy.getBytes());
    command->batch = copy.getBatch();
  }
  out.commands.push_back(std::move(command));
}

void TargetBuilder::addPrograms() {
  for (cmd::ProgramOp program : module.getOps<cmd::ProgramOp>())
    programIndex.try_emplace(program, programIndex.size());
  for (cmd::KernelOp kernel : module.getOps<cmd::KernelOp>())
    kernelIndex.try_emplace(kernel, kernelIndex.size());
  for (cmd::ProgramOp program : module.getOps<cmd::ProgramOp>()) {
    auto entry = std::make_unique<schema::ProgramT>();
    entry->name = names.pointer(program.getSymName());
    entry->kind = static_cast<schema::ProgramKind>(program.getKind());
    entry->param_count = program.getBody().getNumArguments();
    DenseMap<Value, schema::Arg> args = addOperands(program, *entry);
    for (Operation &op : program.getBody().front())
      if (cmd::isCommand(&op))
        addCommand(op, args, *entry);
    result.programs.push_back(std::move(entry));
  }
}

/// Weight bytes and operations of one token: all of a dense weight, the chosen experts of a grouped one, one row of the
/// embedding. The distributed steps are the step once more.
void TargetBuilder::countWork(const schema::ModelConfigT &model) {
  DenseMap<Operation *, uint64_t> runs; // of layer programs in the step
  for (cmd::ProgramOp program : module.getOps<cmd::ProgramOp>())
    if (program.getKind() == cmd::ProgramKind::Step)
      for (cmd::CallOp call : program.getBody().front().getOps<cmd::CallOp>())
        runs[symbols.lookup(call.getCallee())] += call.getCount();
  for (cmd::ProgramOp program : module.getOps<cmd::ProgramOp>()) {
    bool otherSteps =
        program.getKind() == cmd::ProgramKind::StepDist || program.getKind() == cmd::ProgramKind::StepOverlap;
    uint64_t times = program.getKind() == cmd::ProgramKind::Layer ? runs.lookup(program) : !otherSteps;
    DenseSet<Value> counted;
    for (cmd::LaunchOp launch : program.getBody().front().getOps<cmd::LaunchOp>()) {
      auto kernel = symbols.lookup<cmd::KernelOp>(launch.getKernel());
      bool embeds = !kernel.getBody().getOps<lm::EmbedOp>().empty();
      bool product =
          kernel.getKernelClass() == lm::KernelClass::Gemm || kernel.getKernelClass() == lm::KernelClass::GroupedGemm;
      for (Value arg : launch.getArgs()) {
        auto use = arg.getDefiningOp<cmd::WeightOp>();
        if (!use || !counted.insert(arg).second)
          continue;
        WeightShape shape(symbols.lookup<lm::WeightOp>(use.getWeight()));
        uint64_t rows = embeds && shape.rows > 1 ? 1 : shape.rows;
        if (shape.rowsPerExpert != shape.rows)
          rows = shape.rowsPerExpert * model.experts_per_token;
        result.active_weight_bytes += times * rows * shape.pitch;
        bool scales = shape.type == DType::F32 && shape.rows > 1;
        if (product && !scales && kernel.getDomain() != lm::Domain::Outs)
          result.active_flops += 2 * times * rows * shape.columns;
      }
    }
  }
}

std::unique_ptr<schema::TargetT> TargetBuilder::build(const schema::ModelConfigT &model) {
  auto numerics = module->getAttrOfType<lm::NumericsAttr>(lm::kNumericsAttr);
  result.name = names.pointer(target.name);
  result.device = target.sm ? schema::DeviceKind::Cuda : schema::DeviceKind::Cpu;
  result.sm = target.sm;
  result.numerics = static_cast<schema::Numerics>(numerics.getMode());
  result.deterministic = numerics.getOrder() == lm::Order::Deterministic;
  result.cache_dtype = numerics.getMode() == lm::Mode::Ref32 ? schema::DType::F32 : schema::DType::BF16;
  addKernels();
  findLayers();
  addPrograms();
  countWork(model);
  return std::make_unique<schema::TargetT>(std::move(result));
}

std::unique_ptr<schema::TargetT> moray::codegen::buildTarget(const CompiledTarget &target, ArrayRef<unsigned> images,
                                                             const schema::ModelConfigT &model, NameTable &names,
                                                             WeightTable &weights) {
  return TargetBuilder(target, images, names, weights).build(model);
}
