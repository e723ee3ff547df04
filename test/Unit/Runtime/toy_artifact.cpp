// Writes toy artifacts by the FlatBuffers object interface.
#include "toy_artifact.h"
#include "runtime/schema/artifact_constants.h"
#include "toy_kernels.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace moray::test {

using namespace schema;

namespace {

ExprOp constant(uint64_t value) { return {ExprOpKind::Const, value}; }
ExprOp symbol(SymbolId id) { return {ExprOpKind::Symbol, static_cast<uint64_t>(id)}; }
ExprOp operation(ExprOpKind kind) { return {kind, 0}; }
std::vector<ExprOp> times(SymbolId id, uint64_t factor) {
  return {symbol(id), constant(factor), operation(ExprOpKind::Mul)};
}

Arg input(InputId id) { return {ArgKind::Input, static_cast<uint32_t>(id)}; }
Arg buffer(uint32_t index) { return {ArgKind::Buffer, index}; }
Arg param(uint32_t index) { return {ArgKind::Param, index}; }
Arg weight(uint32_t index) { return {ArgKind::Weight, index}; }

std::unique_ptr<CommandT> launch(uint32_t kernel, std::vector<Arg> args) {
  auto command = std::make_unique<CommandT>();
  command->kind = CommandKind::Launch;
  command->target = kernel;
  command->args = std::move(args);
  return command;
}

constexpr InputId kRows[] = {InputId::Positions, InputId::RowSeq, InputId::CuRows, InputId::PageTable, InputId::CtxLen};

struct KernelSource {
  const char *name;
  moray_kernel_fn function;
  KernelClass klass;
  uint32_t operands;
  std::vector<ExprOp> tasks;
};

enum ToyKernel : uint32_t { Embed, Append, Attend, Logits, Sample, Score, Probe, Route, Expert, Merge };

std::vector<KernelSource> kernelSources() {
  return {{"embed", toy_embed, KernelClass::Row, 2, {symbol(SymbolId::Rows)}},
          {"append", toy_append, KernelClass::Row, 7, {constant(1)}},
          {"attend", toy_attend, KernelClass::Attention, 9, {symbol(SymbolId::Rows)}},
          {"logits", toy_logits, KernelClass::Gemm, 4, {symbol(SymbolId::Outs)}},
          {"sample", toy_sample, KernelClass::Sampling, 3, {constant(1)}},
          {"score", toy_score, KernelClass::Row, 3, {symbol(SymbolId::Outs)}},
          {"probe_read", toy_probe, KernelClass::Probe, 2, {symbol(SymbolId::T)}}};
}

std::vector<KernelSource> expertKernels() {
  return {{"route", toy_route, KernelClass::Permute, 3, {constant(1)}},
          {"expert", toy_expert, KernelClass::GroupedGemm, 4, {constant(TOY_EXPERTS)}},
          {"merge", toy_merge, KernelClass::Permute, 4, {constant(1)}}};
}

// A variant on each of the two images.
void addKernel(ToyArtifact &toy, const KernelSource &source) {
  auto kernel = std::make_unique<KernelT>();
  kernel->name = toy.name(source.name);
  kernel->klass = source.klass;
  kernel->operand_count = source.operands;
  for (uint32_t image = 0; image < 2; ++image) {
    auto variant = std::make_unique<VariantT>();
    variant->image = image;
    variant->entry = static_cast<uint64_t>(reinterpret_cast<const uint8_t *>(source.function) - __start_toykernels);
    variant->code_size = 16;
    variant->tasks = source.tasks;
    variant->scratch_bytes = {constant(64)};
    variant->config = toy.name(image == 0 ? "tile=1" : "tile=2");
    kernel->variants.push_back(std::move(variant));
  }
  toy.target().kernels.push_back(std::move(kernel));
}

void addKernels(ToyArtifact &toy) {
  const uint64_t codeBytes = static_cast<uint64_t>(__stop_toykernels - __start_toykernels);
  toy.code.assign(__start_toykernels, __stop_toykernels);
  toy.code.resize((codeBytes + kPageBytes - 1) / kPageBytes * kPageBytes);
  // The same bytes serve as the image of a second level.
  const uint64_t second = toy.code.size();
  toy.code.insert(toy.code.end(), __start_toykernels, __stop_toykernels);
  const uint64_t hash = XXH3_64bits(toy.code.data(), codeBytes);
  for (CpuLevel level : {CpuLevel::X86_64_V3, CpuLevel::Avx512}) {
    auto image = std::make_unique<ImageT>();
    image->level = level;
    image->offset = level == CpuLevel::Avx512 ? second : 0;
    image->size = codeBytes;
    image->hash = hash;
    toy.metadata.images.push_back(std::move(image));
  }
  for (const KernelSource &source : kernelSources())
    addKernel(toy, source);
}

void addWeight(ToyArtifact &toy, const char *name, std::vector<uint64_t> dims, DType dtype, bool perLayer) {
  auto weight = std::make_unique<WeightT>();
  weight->name = toy.name(name);
  weight->dtype = dtype;
  const uint64_t rowBytes = dims.back() * byteSize(dtype);
  weight->row_pitch = (rowBytes + kRowAlign - 1) / kRowAlign * kRowAlign;
  weight->bytes = weight->row_pitch * (dims.size() > 1 ? dims[0] : 1);
  weight->dims = std::move(dims);
  weight->per_layer = perLayer;
  for (uint32_t i = 0; i < (perLayer ? TOY_LAYERS : 1); ++i) {
    weight->offsets.push_back(toy.weights.size());
    weight->hashes.push_back(0); // by serialize
    toy.weights.resize(toy.weights.size() + weight->bytes);
  }
  toy.metadata.weights.push_back(std::move(weight));
}

void addWeights(ToyArtifact &toy) {
  addWeight(toy, "table", {TOY_VOCAB}, DType::F32, false);
  addWeight(toy, "layer_seed", {2}, DType::U32, true);
  for (int v = 0; v < TOY_VOCAB; ++v) {
    const float value = -0.25f * static_cast<float>(v);
    memcpy(toy.weights.data() + v * 4, &value, sizeof(value));
  }
  for (uint32_t layer = 0; layer < TOY_LAYERS; ++layer)
    toy.layerWeight(layer)[0] = 1000 + layer;
}

std::unique_ptr<BufferT> makeBuffer(ToyArtifact &toy, const char *name, uint32_t first, uint32_t last) {
  auto result = std::make_unique<BufferT>();
  result->name = toy.name(name);
  result->dtype = DType::U32;
  result->bytes = times(SymbolId::T, 4);
  result->first = first;
  result->last = last;
  return result;
}

std::unique_ptr<ProgramT> makeStep(ToyArtifact &toy) {
  auto step = std::make_unique<ProgramT>();
  step->name = toy.name("step");
  step->kind = ProgramKind::Step;
  // The embedding is copied, so that copies are tested as well.
  step->buffers.push_back(makeBuffer(toy, "embedded", 0, 1));
  step->buffers.push_back(makeBuffer(toy, "x", 1, 3));
  step->commands.push_back(launch(Embed, {input(InputId::Tokens), buffer(0)}));
  auto copy = std::make_unique<CommandT>();
  copy->kind = CommandKind::Copy;
  copy->args = {buffer(0), buffer(1)};
  copy->bytes = times(SymbolId::Rows, 4);
  step->commands.push_back(std::move(copy));
  auto call = std::make_unique<CommandT>();
  call->kind = CommandKind::Call;
  call->target = 1;
  call->args = {buffer(1)};
  for (InputId id : kRows)
    call->args.push_back(input(id));
  call->layer_end = TOY_LAYERS;
  step->commands.push_back(std::move(call));
  step->commands.push_back(launch(Logits, {buffer(1), input(InputId::OutRows), weight(0), input(InputId::Logits)}));
  return step;
}

std::unique_ptr<ProgramT> makeLayer(ToyArtifact &toy) {
  auto layer = std::make_unique<ProgramT>();
  layer->name = toy.name("layer");
  layer->kind = ProgramKind::Layer;
  layer->param_count = 6;
  layer->buffers.push_back(makeBuffer(toy, "local", 1, 1));
  std::vector<Arg> args;
  for (uint32_t p = 0; p < 6; ++p)
    args.push_back(param(p));
  args.push_back({ArgKind::Cache, 0});
  layer->commands.push_back(launch(Append, args));
  args.push_back(weight(1));
  args.push_back(buffer(0));
  layer->commands.push_back(launch(Attend, args));
  return layer;
}

std::unique_ptr<ProgramT> makeProgram(ToyArtifact &toy, const char *name, ProgramKind kind,
                                      std::unique_ptr<CommandT> command) {
  auto program = std::make_unique<ProgramT>();
  program->name = toy.name(name);
  program->kind = kind;
  program->commands.push_back(std::move(command));
  return program;
}

void addPrograms(ToyArtifact &toy) {
  toy.target().programs.push_back(makeStep(toy));
  toy.target().programs.push_back(makeLayer(toy));
  toy.target().programs.push_back(
      makeProgram(toy, "sample", ProgramKind::Sample,
                  launch(Sample, {input(InputId::Logits), input(InputId::SampleParams), input(InputId::Sampled)})));
  toy.target().programs.push_back(
      makeProgram(toy, "score", ProgramKind::Score,
                  launch(Score, {input(InputId::Logits), input(InputId::Targets), input(InputId::LogProbs)})));
}

std::unique_ptr<CommandT> collective(CollectiveKind kind, std::vector<Arg> args) {
  auto command = launch(static_cast<uint32_t>(kind), std::move(args));
  command->kind = CommandKind::Collective;
  command->row_bytes = 4;
  return command;
}

// tokens, offsets, e; distributed: xr, tokens_r, offsets_r, e_r, gates, gates_out as well, with room for the rows of
// all ranks. Nothing reads the gates.
std::unique_ptr<ProgramT> makeExpertLayer(ToyArtifact &toy, bool distributed) {
  auto layer = makeLayer(toy);
  layer->name = toy.name(distributed ? "experts.dist" : "experts");
  const uint32_t last = distributed ? 6 : 4;
  for (const char *name : {"tokens", "offsets", "e", "xr", "tokens_r", "offsets_r", "e_r", "gates", "gates_out"}) {
    auto made = makeBuffer(toy, name, 2, last);
    if (std::string(name).rfind("offsets", 0) == 0)
      made->bytes = {constant(4 * (TOY_EXPERTS + 1))};
    else if (layer->buffers.size() > 3)
      for (const ExprOp &op : {symbol(SymbolId::Ranks), operation(ExprOpKind::Mul)})
        made->bytes.push_back(op);
    layer->buffers.push_back(std::move(made));
    if (!distributed && layer->buffers.size() == 4)
      break;
  }
  const Arg x = param(0), tokens = buffer(1), offsets = buffer(2), e = buffer(3);
  layer->commands.push_back(launch(Route, {x, tokens, offsets}));
  if (distributed) {
    const Arg xr = buffer(4), tokensR = buffer(5), offsetsR = buffer(6), er = buffer(7), gates = buffer(8);
    layer->commands.push_back(collective(CollectiveKind::Dispatch, {x, tokens, offsets, gates, xr, tokensR, offsetsR}));
    layer->commands.push_back(launch(Expert, {xr, tokensR, offsetsR, er}));
    layer->commands.push_back(collective(CollectiveKind::Combine, {er, e, buffer(9)}));
  } else {
    layer->commands.push_back(launch(Expert, {x, tokens, offsets, e}));
  }
  layer->commands.push_back(launch(Merge, {e, tokens, offsets, x}));
  return layer;
}

// Makes a step call program `experts` for all layers but the first.
void callExperts(ProgramT &step, uint32_t experts) {
  auto call = std::make_unique<CommandT>(*step.commands[2]);
  step.commands[2]->layer_end = 1;
  call->layer_begin = 1;
  call->target = experts;
  step.commands.insert(step.commands.begin() + 3, std::move(call));
  step.buffers[1]->last = 4;
}

// The same program for two micro-batches: buffers and the first parameter twice, collectives in two halves. Each
// micro-batch runs until it has to wait, then the other one goes on. Calls of `shared` become one for both.
std::unique_ptr<ProgramT> twice(ToyArtifact &toy, const ProgramT &one, const char *name, uint32_t shared) {
  auto both = std::make_unique<ProgramT>(one);
  const auto buffers = static_cast<uint32_t>(one.buffers.size());
  both->name = toy.name(name);
  both->param_count += one.kind == ProgramKind::Layer;
  both->commands.clear();
  for (const auto &buffer : one.buffers)
    both->buffers.push_back(std::make_unique<BufferT>(*buffer));
  size_t next[2] = {};
  bool started[2] = {};
  for (uint32_t turn = 0; next[0] < one.commands.size() || next[1] < one.commands.size(); turn = 1 - turn)
    while (next[turn] < one.commands.size()) {
      auto command = std::make_unique<CommandT>(*one.commands[next[turn]]);
      const bool call = command->kind == CommandKind::Call && command->target == shared,
                 collective = command->kind == CommandKind::Collective;
      if (call && next[1 - turn] != next[turn])
        break; // it is for both
      command->batch = static_cast<uint8_t>(call ? 0 : turn);
      for (Arg &arg : command->args)
        if (arg.kind() == ArgKind::Buffer)
          arg = buffer(arg.index() + command->batch * buffers);
        else if (arg.kind() == ArgKind::Param && arg.index() + command->batch > 0)
          arg = param(arg.index() + 1);
      if (call) {
        command->args.insert(command->args.begin() + 1, buffer(command->args[0].index() + buffers));
        ++next[1 - turn];
      }
      const bool starts = collective && !started[turn];
      if (collective)
        command->phase = starts ? CollectivePhase::Start : CollectivePhase::Wait;
      if (collective && !starts) {
        command->args.clear();
        command->row_bytes = 0;
      }
      both->commands.push_back(std::move(command));
      started[turn] = starts;
      if (starts)
        break; // the wait comes next
      ++next[turn];
    }
  for (auto &buffer : both->buffers) {
    buffer->first = 0;
    buffer->last = static_cast<uint32_t>(both->commands.size()) - 1;
  }
  return both;
}

std::vector<ExprOp> perThread(SymbolId id, uint64_t threads) {
  return {symbol(id), constant(threads), operation(ExprOpKind::CeilDiv)};
}

struct StageSource {
  const char *entry;
  std::vector<ExprOp> grid;
  uint32_t threads, dynamicShared;
};

// The stages of each kernel, in the order of ToyKernel.
std::vector<std::vector<StageSource>> stageSources() {
  return {
      {{"toy_embed", perThread(SymbolId::Rows, 32), 32, 0}},
      {{"toy_append", perThread(SymbolId::Rows, 64), 64, 0}},
      {{"toy_attend_sum", {symbol(SymbolId::Rows)}, 32, 32 * 4}, {"toy_attend", perThread(SymbolId::Rows, 32), 32, 0}},
      {{"toy_logits", {symbol(SymbolId::Outs)}, TOY_VOCAB, 0}},
      {{"toy_sample", perThread(SymbolId::Outs, 32), 32, 0}},
      {{"toy_score", perThread(SymbolId::Outs, 32), 32, 0}}};
}

std::string readText(const char *path) {
  std::string text;
  FILE *file = fopen(path, "rb");
  if (!file)
    abort();
  for (int c = fgetc(file); c != EOF; c = fgetc(file))
    text += static_cast<char>(c);
  fclose(file);
  return text;
}

uint64_t pageAlign(uint64_t value) { return (value + kPageBytes - 1) / kPageBytes * kPageBytes; }

} // namespace

ToyArtifact::ToyArtifact() {
  metadata.model = std::make_unique<ModelConfigT>();
  ModelConfigT &model = *metadata.model;
  model.family = name("toy");
  model.vocab = TOY_VOCAB;
  model.hidden = 1;
  model.layers = TOY_LAYERS;
  model.heads = 1;
  model.max_positions = 256;
  model.cache_width = 1;
  model.cache_page = TOY_PAGE;
  model.parameters = 70;
  model.bos = 1;
  model.eos = {TOY_VOCAB - 1};
  metadata.symbols_max = {128, 16, 128, 64, 1024, 128, 16, 16, 128, 128, 8, 1024};
  metadata.targets.push_back(std::make_unique<TargetT>());
  target().name = name("cpu");
  target().cache_dtype = DType::F32;
  addKernels(*this);
  addWeights(*this);
  addPrograms(*this);
  metadata.weights_embedded = true;
  metadata.provenance = std::make_unique<ProvenanceT>();
  metadata.provenance->compiler = name("toy compiler");
  metadata.provenance->source = name("toy source");
  metadata.provenance->flags.push_back(*name("--toy"));
  metadata.provenance->phases.push_back(*name("import"));
}

void ToyArtifact::addExperts() {
  metadata.model->experts = TOY_EXPERTS;
  metadata.model->experts_per_token = 1;
  for (const KernelSource &source : expertKernels())
    addKernel(*this, source);
  auto &programs = target().programs;
  const auto first = static_cast<uint32_t>(programs.size());
  auto dist = makeStep(*this);
  dist->name = name("step.dist");
  dist->kind = ProgramKind::StepDist;
  callExperts(program(ProgramKind::Step), first);
  callExperts(*dist, first + 1);
  programs.push_back(makeExpertLayer(*this, false));
  programs.push_back(makeExpertLayer(*this, true));
  programs.push_back(std::move(dist));
}

void ToyArtifact::addOverlap() {
  auto &programs = target().programs;
  const auto first = static_cast<uint32_t>(programs.size());
  auto step = twice(*this, program(ProgramKind::StepDist), "step.overlap", first - 2);
  step->kind = ProgramKind::StepOverlap;
  programs.push_back(twice(*this, *programs[first - 2], "experts.overlap", 0));
  for (auto &command : step->commands)
    if (command->kind == CommandKind::Call && command->target == first - 2)
      command->target = first;
  programs.push_back(std::move(step));
}

void ToyArtifact::setImage(size_t index, const std::string &bytes) {
  ImageT &image = *metadata.images[index];
  image.offset = pageAlign(code.size());
  image.size = bytes.size();
  code.resize(image.offset);
  code.insert(code.end(), bytes.begin(), bytes.end());
  image.hash = XXH3_64bits(bytes.data(), bytes.size());
}

void ToyArtifact::addCudaTarget(uint32_t sm) {
  auto image = std::make_unique<ImageT>();
  image->kind = ImageKind::Ptx;
  image->sm = sm;
  image->ptx_version = 70;
  const auto imageIndex = static_cast<uint32_t>(metadata.images.size());
  metadata.images.push_back(std::move(image));
  static const std::string ptx = readText(MORAY_TOY_PTX);
  std::string text = ptx + '\0';
  text.replace(text.find("sm_80"), 5, "sm_" + std::to_string(sm));
  setImage(imageIndex, text);
  auto cuda = std::make_unique<TargetT>(target());
  cuda->name = name("cuda:sm_" + std::to_string(sm));
  cuda->device = DeviceKind::Cuda;
  cuda->sm = sm;
  cuda->kernels.pop_back(); // the probe
  const std::vector<std::vector<StageSource>> stages = stageSources();
  for (size_t k = 0; k < cuda->kernels.size(); ++k) {
    auto variant = std::make_unique<VariantT>();
    variant->image = imageIndex;
    variant->scratch_bytes = times(SymbolId::Rows, 4);
    variant->scratch_bytes.push_back(constant(MORAY_GPU_COUNTER_BYTES));
    variant->scratch_bytes.push_back(operation(ExprOpKind::Add));
    for (const StageSource &source : stages[k]) {
      auto stage = std::make_unique<StageT>();
      stage->entry = name(source.entry);
      stage->grid = source.grid;
      stage->threads = source.threads;
      stage->dynamic_shared = source.dynamicShared;
      variant->stages.push_back(std::move(stage));
    }
    cuda->kernels[k]->variants.clear();
    cuda->kernels[k]->variants.push_back(std::move(variant));
  }
  metadata.targets.push_back(std::move(cuda));
}

void ToyArtifact::addCubin(size_t index, uint32_t sm) {
  std::string elf(128, '\0');
  elf.replace(0, 6, "\177ELF\2\1");
  elf[18] = static_cast<char>(190); // machine
  auto image = std::make_unique<ImageT>();
  image->kind = ImageKind::Cubin;
  image->sm = sm;
  image->ptx_version = 70;
  metadata.images.push_back(std::move(image));
  setImage(metadata.images.size() - 1, elf);
  for (auto &kernel : target(index).kernels) {
    auto variant = std::make_unique<VariantT>(*kernel->variants[0]);
    variant->image = static_cast<uint32_t>(metadata.images.size() - 1);
    for (auto &stage : variant->stages)
      stage->registers = 24;
    kernel->variants.push_back(std::move(variant));
  }
}

std::unique_ptr<Name> ToyArtifact::name(const std::string &text) {
  auto result =
      std::make_unique<Name>(static_cast<uint32_t>(metadata.names.size()), static_cast<uint32_t>(text.size()));
  metadata.names.insert(metadata.names.end(), text.begin(), text.end());
  return result;
}

uint32_t *ToyArtifact::layerWeight(uint32_t layer) {
  return reinterpret_cast<uint32_t *>(weights.data() + metadata.weights[1]->offsets[layer]);
}

ProgramT &ToyArtifact::program(ProgramKind kind) {
  for (auto &candidate : target().programs)
    if (candidate->kind == kind)
      return *candidate;
  abort();
}

std::vector<uint8_t> ToyArtifact::metadataBytes() const {
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(schema::Artifact::Pack(builder, &metadata));
  return {builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize()};
}

std::vector<uint8_t> ToyArtifact::serialize() const {
  // Hashes of the weights as they are now; the objects stay as the test made them.
  auto *self = const_cast<ToyArtifact *>(this);
  for (auto &weight : self->metadata.weights)
    for (size_t i = 0; i < weight->hashes.size() && i < weight->offsets.size(); ++i)
      if (weight->hashes[i] == 0 && weight->offsets[i] <= weights.size() &&
          weight->bytes <= weights.size() - weight->offsets[i])
        weight->hashes[i] = XXH3_64bits(weights.data() + weight->offsets[i], weight->bytes);
  return serialize(metadataBytes());
}

std::vector<uint8_t> ToyArtifact::serialize(const std::vector<uint8_t> &bytes) const {
  moray_preamble preamble = {};
  memcpy(preamble.magic, MORAY_MAGIC, sizeof(preamble.magic));
  preamble.format_version = MORAY_FORMAT_VERSION;
  preamble.abi_id = MORAY_ABI_ID;
  const std::vector<uint8_t> *parts[] = {&bytes, &code, &weights};
  std::vector<uint8_t> file(sizeof(preamble));
  for (int i = 0; i < MORAY_SECTION_COUNT; ++i) {
    file.resize(pageAlign(file.size()));
    preamble.sections[i] = {file.size(), parts[i]->size(), 0};
    file.insert(file.end(), parts[i]->begin(), parts[i]->end());
  }
  preamble.file_size = file.size();
  memcpy(file.data(), &preamble, sizeof(preamble));
  repairHashes(file);
  return file;
}

void repairHashes(std::vector<uint8_t> &file) {
  moray_preamble preamble;
  memcpy(&preamble, file.data(), sizeof(preamble));
  for (int i = 0; i < MORAY_SECTION_WEIGHTS; ++i) {
    moray_section &section = preamble.sections[i];
    if (section.offset <= file.size() && section.size <= file.size() - section.offset)
      section.hash = XXH3_64bits(file.data() + section.offset, section.size);
  }
  preamble.checksum = XXH3_64bits(&preamble, offsetof(moray_preamble, checksum));
  memcpy(file.data(), &preamble, sizeof(preamble));
}

TempFile::TempFile(const std::vector<uint8_t> &bytes) {
  const char *folder = getenv("TMPDIR");
  std::string pattern = std::string(folder ? folder : "/tmp") + "/moray-toy-XXXXXX";
  const int descriptor = mkstemp(pattern.data());
  if (descriptor < 0)
    abort();
  close(descriptor);
  file = pattern;
  write(bytes);
}

TempFile::~TempFile() { unlink(file.c_str()); }

void TempFile::write(const std::vector<uint8_t> &bytes) const {
  FILE *out = fopen(file.c_str(), "wb");
  if (!out || fwrite(bytes.data(), 1, bytes.size(), out) != bytes.size() || fclose(out) != 0)
    abort();
}

// ---- the oracle ----

int32_t toyNext(const std::vector<int32_t> &tokens) {
  std::vector<uint32_t> x;
  for (int32_t token : tokens)
    x.push_back(static_cast<uint32_t>(token) * 2654435761u + 1u);
  for (uint32_t layer = 0; layer < TOY_LAYERS; ++layer) {
    std::vector<uint32_t> keys;
    for (uint32_t value : x)
      keys.push_back(value ^ layer * 77u);
    for (size_t row = 0; row < x.size(); ++row) {
      uint32_t sum = 1000 + layer;
      for (size_t position = 0; position <= row; ++position)
        sum = sum * 31u + keys[position];
      x[row] = sum + layer;
    }
  }
  return static_cast<int32_t>(x.back() % TOY_VOCAB);
}

uint32_t toyFirstKey(int32_t token) {
  const uint32_t x = static_cast<uint32_t>(token) * 2654435761u + 1u;
  return (1000u * 31u + x) ^ 77u;
}

std::vector<int32_t> toyGenerate(std::vector<int32_t> tokens, size_t count) {
  std::vector<int32_t> generated;
  while (generated.size() < count) {
    generated.push_back(toyNext(tokens));
    tokens.push_back(generated.back());
  }
  return generated;
}

} // namespace moray::test
