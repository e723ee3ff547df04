// Scheduled module to artifact tables.
#include "codegen/Package/Metadata.h"

#include "artifact_constants.h"
#include "codegen/Package/WeightRows.h"
#include "dialects/Cmd/Cmd.h"
#include "dialects/MoE/MoE.h"
#include "llvm/Support/Errc.h"
#include "llvm/Support/MathExtras.h"
#define XXH_INLINE_ALL
#include <xxhash.h>

using namespace mlir;
using namespace moray;
using namespace moray::codegen;

namespace {
class MetadataBuilder {
public:
  MetadataBuilder(ModuleOp module, const CompiledCode &code) : module(module), symbols(module), code(code) {}

  llvm::Error build(const ProvenanceFacts &provenance, bool embedWeights);
  Metadata take() { return std::move(result); }

private:
  schema::Name name(StringRef text);
  std::unique_ptr<schema::Name> namePtr(StringRef text) { return std::make_unique<schema::Name>(name(text)); }
  llvm::Error addModel();
  void addKernels();
  void addPrograms();
  void addCommand(Operation &op, const DenseMap<Value, schema::Arg> &args, schema::ProgramT &out);
  DenseMap<Value, schema::Arg> addOperands(cmd::ProgramOp program, schema::ProgramT &out);
  void findLayers();
  void addWeights(bool embed);
  void countWork();

  ModuleOp module;
  SymbolTable symbols;
  const CompiledCode &code;
  Metadata result;
  llvm::StringMap<schema::Name> interned;
  DenseMap<Operation *, unsigned> programIndex, kernelIndex, weightIndex;
  DenseMap<Operation *, std::vector<int64_t>> programLayers; // layer program -> layers it runs for
};
} // namespace

schema::Name MetadataBuilder::name(StringRef text) {
  auto [entry, inserted] = interned.try_emplace(text);
  if (inserted) {
    std::vector<uint8_t> &names = result.artifact.names;
    entry->second = schema::Name(names.size(), text.size());
    names.insert(names.end(), text.begin(), text.end());
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

llvm::Error MetadataBuilder::addModel() {
  auto facts = module->getAttrOfType<DictionaryAttr>("lm.model");
  auto numerics = module->getAttrOfType<lm::NumericsAttr>(lm::kNumericsAttr);
  if (!facts || !numerics)
    return llvm::createStringError(llvm::errc::invalid_argument,
                                   "E3402: the module has no attribute %s: import a model and run the quantize phase",
                                   facts ? "lm.numerics" : "lm.model");
  auto model = std::make_unique<schema::ModelConfigT>();
  std::string missing;
  auto number = [&](StringRef key) -> int64_t {
    if (auto attr = facts.getAs<IntegerAttr>(key))
      return attr.getInt();
    missing = key.str();
    return 0;
  };
  auto real = [&](StringRef key) -> float {
    auto attr = facts.getAs<FloatAttr>(key);
    if (!attr)
      missing = key.str();
    return attr ? attr.getValue().convertToFloat() : 0.0f;
  };
  auto family = facts.getAs<StringAttr>("family");
  model->family = namePtr(family ? family.getValue() : "unknown");
  model->vocab = number("vocab");
  model->hidden = number("hidden");
  model->layers = number("layers");
  model->heads = number("heads");
  model->max_positions = number("max_positions");
  model->cache_width = number("cache_width");
  model->cache_page = number("cache_page");
  model->experts = number("experts");
  model->experts_per_token = number("experts_per_token");
  model->parameters = number("parameters");
  model->bos = number("bos");
  if (auto eos = facts.getAs<DenseI64ArrayAttr>("eos"))
    model->eos.assign(eos.asArrayRef().begin(), eos.asArrayRef().end());
  model->temperature = real("temperature");
  model->top_k = number("top_k");
  model->top_p = real("top_p");
  model->numerics = static_cast<schema::Numerics>(numerics.getMode());
  model->deterministic = numerics.getOrder() == lm::Order::Deterministic;
  model->cache_dtype = numerics.getMode() == lm::Mode::Ref32 ? schema::DType::F32 : schema::DType::BF16;
  if (!missing.empty())
    return llvm::createStringError(llvm::errc::invalid_argument, "E3403: the module attribute lm.model has no '%s'",
                                   missing.c_str());
  result.artifact.model = std::move(model);
  return llvm::Error::success();
}

void MetadataBuilder::addKernels() {
  schema::ArtifactT &artifact = result.artifact;
  uint64_t offset = 0;
  for (const CompiledImage &image : code.images) {
    auto entry = std::make_unique<schema::ImageT>();
    entry->level = static_cast<schema::CpuLevel>(image.level);
    entry->offset = offset;
    entry->size = image.bytes.size();
    entry->hash = XXH3_64bits(image.bytes.data(), image.bytes.size());
    offset = llvm::alignTo(offset + entry->size, schema::kPageBytes);
    artifact.images.push_back(std::move(entry));
  }
  result.codeBytes = offset;
  for (size_t i = 0; i < code.specs.size(); ++i) {
    auto kernel = std::make_unique<schema::KernelT>();
    kernel->name = namePtr(code.names[i]);
    kernel->klass = static_cast<schema::KernelClass>(code.specs[i].klass);
    kernel->operand_count = code.specs[i].operandCount;
    for (auto [number, image] : llvm::enumerate(code.images)) {
      const CompiledVariant &compiled = image.variants[i];
      auto variant = std::make_unique<schema::VariantT>();
      variant->image = number;
      variant->entry = compiled.entry;
      variant->code_size = compiled.codeSize;
      variant->tasks = toSchema(compiled.launch.tasks);
      variant->scratch_bytes = toSchema(compiled.launch.scratchBytes);
      variant->config = namePtr(compiled.launch.config);
      kernel->variants.push_back(std::move(variant));
    }
    artifact.kernels.push_back(std::move(kernel));
  }
}

/// Collects for every layer program the layers it runs for, and for every weight the layers that need it.
void MetadataBuilder::findLayers() {
  module.walk([&](cmd::CallOp call) {
    std::vector<int64_t> &layers = programLayers[symbols.lookup(call.getCallee())];
    for (uint64_t i = 0; i < call.getCount(); ++i)
      layers.push_back(call.getFirst() + i);
  });
  for (cmd::ProgramOp program : module.getOps<cmd::ProgramOp>()) {
    for (cmd::WeightOp use : program.getBody().front().getOps<cmd::WeightOp>()) {
      auto weight = symbols.lookup<lm::WeightOp>(use.getWeight());
      auto [entry, inserted] = weightIndex.try_emplace(weight, result.weights.size());
      if (inserted)
        result.weights.push_back({weight, {}});
      std::vector<int64_t> &layers = result.weights[entry->second].layers;
      if (weight.getPerLayer())
        layers.insert(layers.end(), programLayers[program].begin(), programLayers[program].end());
      else
        layers = {0};
    }
  }
  for (PlacedWeight &placed : result.weights) {
    llvm::sort(placed.layers);
    placed.layers.erase(std::unique(placed.layers.begin(), placed.layers.end()), placed.layers.end());
  }
}

DenseMap<Value, schema::Arg> MetadataBuilder::addOperands(cmd::ProgramOp program, schema::ProgramT &out) {
  DenseMap<Value, schema::Arg> args;
  for (BlockArgument parameter : program.getBody().getArguments())
    args[parameter] = schema::Arg(schema::ArgKind::Param, parameter.getArgNumber());
  for (Operation &op : program.getBody().front()) {
    if (auto buffer = dyn_cast<cmd::BufferOp>(op)) {
      args[buffer.getResult()] = schema::Arg(schema::ArgKind::Buffer, out.buffers.size());
      auto entry = std::make_unique<schema::BufferT>();
      entry->name = namePtr(("b" + Twine(out.buffers.size())).str());
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

void MetadataBuilder::addCommand(Operation &op, const DenseMap<Value, schema::Arg> &args, schema::ProgramT &out) {
  auto command = std::make_unique<schema::CommandT>();
  for (Value operand : op.getOperands())
    command->args.push_back(args.lookup(operand));
  if (auto launch = dyn_cast<cmd::LaunchOp>(op)) {
    command->kind = schema::CommandKind::Launch;
    command->target = kernelIndex.lookup(symbols.lookup(launch.getKernel()));
  } else if (auto call = dyn_cast<cmd::CallOp>(op)) {
    command->kind = schema::CommandKind::Call;
    command->target = programIndex.lookup(symbols.lookup(call.getCallee()));
    command->layer_begin = call.getFirst();
    command->layer_end = call.getFirst() + call.getCount();
  } else {
    command->kind = schema::CommandKind::Copy;
    command->bytes = toSchema(cast<cmd::CopyOp>(op).getBytes());
  }
  out.commands.push_back(std::move(command));
}

void MetadataBuilder::addPrograms() {
  for (cmd::ProgramOp program : module.getOps<cmd::ProgramOp>())
    programIndex.try_emplace(program, programIndex.size());
  for (cmd::KernelOp kernel : module.getOps<cmd::KernelOp>())
    kernelIndex.try_emplace(kernel, kernelIndex.size());
  for (cmd::ProgramOp program : module.getOps<cmd::ProgramOp>()) {
    auto entry = std::make_unique<schema::ProgramT>();
    entry->name = namePtr(program.getSymName());
    entry->kind = static_cast<schema::ProgramKind>(program.getKind());
    entry->param_count = program.getBody().getNumArguments();
    DenseMap<Value, schema::Arg> args = addOperands(program, *entry);
    for (Operation &op : program.getBody().front())
      if (cmd::isCommand(&op))
        addCommand(op, args, *entry);
    result.artifact.programs.push_back(std::move(entry));
  }
}

void MetadataBuilder::addWeights(bool embed) {
  uint64_t offset = 0, layerCount = result.artifact.model->layers;
  for (PlacedWeight &placed : result.weights) {
    WeightShape shape(placed.weight);
    auto entry = std::make_unique<schema::WeightT>();
    entry->name = namePtr(placed.weight.getSymName());
    entry->dtype = toSchema(shape.type);
    for (int64_t dim : placed.weight.getTensorType().getShape())
      entry->dims.push_back(dim);
    entry->row_pitch = shape.pitch;
    entry->bytes = shape.pitch * shape.rows;
    entry->per_layer = placed.weight.getPerLayer();
    entry->offsets.assign(entry->per_layer ? layerCount : 1, schema::kNoOffset);
    entry->hashes.assign(entry->offsets.size(), 0);
    for (int64_t layer : placed.layers) {
      entry->offsets[layer] = offset;
      offset = llvm::alignTo(offset + entry->bytes, schema::kPageBytes);
    }
    result.artifact.weights.push_back(std::move(entry));
  }
  result.weightBytes = offset;
  result.artifact.weights_embedded = embed;
}

/// Weight bytes and operations of one token: all of a dense weight, the chosen experts of a grouped one, one row of the
/// embedding.
void MetadataBuilder::countWork() {
  schema::ModelConfigT &model = *result.artifact.model;
  for (cmd::ProgramOp program : module.getOps<cmd::ProgramOp>()) {
    uint64_t times = program.getKind() == cmd::ProgramKind::Layer ? programLayers[program].size() : 1;
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
        model.active_weight_bytes += times * rows * shape.pitch;
        bool scales = shape.type == DType::F32 && shape.rows > 1;
        if (product && !scales && kernel.getDomain() != lm::Domain::Outs)
          model.active_flops += 2 * times * rows * shape.columns;
      }
    }
  }
}

llvm::Error MetadataBuilder::build(const ProvenanceFacts &provenance, bool embedWeights) {
  if (llvm::Error error = addModel())
    return error;
  addKernels();
  findLayers();
  addPrograms();
  addWeights(embedWeights);
  countWork();
  // Bounds of T, B, N, P, C; live counts follow their capacity.
  uint64_t rows = 1 << 16, seqs = 1 << 12,
           pages = (result.artifact.model->max_positions + result.artifact.model->cache_page - 1) /
                   result.artifact.model->cache_page;
  result.artifact.symbols_max = {rows, seqs, rows, pages, uint64_t(1) << 24, rows, rows, seqs, rows};
  auto entry = std::make_unique<schema::ProvenanceT>();
  entry->compiler = namePtr(provenance.compiler);
  entry->source = namePtr(provenance.source);
  for (const std::string &flag : provenance.flags)
    entry->flags.push_back(name(flag));
  for (StringRef phase : {"import", "quantize", "fuse", "schedule", "codegen", "package"})
    entry->phases.push_back(name(phase));
  entry->input_hash = provenance.inputHash;
  result.artifact.provenance = std::move(entry);
  return llvm::Error::success();
}

llvm::Expected<Metadata> moray::codegen::buildMetadata(ModuleOp module, const CompiledCode &code,
                                                       const ProvenanceFacts &provenance,
                                                       std::unique_ptr<schema::TokenizerT> tokenizer,
                                                       bool embedWeights) {
  MetadataBuilder builder(module, code);
  if (llvm::Error error = builder.build(provenance, embedWeights))
    return std::move(error);
  Metadata metadata = builder.take();
  metadata.artifact.tokenizer = std::move(tokenizer);
  return metadata;
}
