// Tables of an artifact that its targets share: model, images, weights, provenance.
#include "codegen/Package/Metadata.h"

#include "artifact_constants.h"
#include "codegen/Package/TargetTables.h"
#include "codegen/Package/WeightRows.h"
#include "passes/Pipelines.h"
#include "llvm/Support/Errc.h"
#include "llvm/Support/MathExtras.h"
#define XXH_INLINE_ALL
#include <xxhash.h>

using namespace mlir;
using namespace moray;
using namespace moray::codegen;

namespace {
/// Text and ELF files are handed to the driver from where they lie.
constexpr uint64_t kGpuImageAlign = 64;

class MetadataBuilder {
public:
  llvm::Error build(ArrayRef<CompiledTarget> targets, const ProvenanceFacts &provenance, bool embedWeights);
  Metadata take() { return std::move(result); }

private:
  llvm::Error addModel(ModuleOp module);
  unsigned addImage(const CompiledImage &image);
  void addWeights(bool embed);
  void addProvenance(const ProvenanceFacts &provenance);

  Metadata result;
  NameTable names{result.artifact.names};
  WeightTable weights;
  llvm::DenseMap<uint64_t, SmallVector<unsigned, 1>> imagesByHash;
};
} // namespace

llvm::Error MetadataBuilder::addModel(ModuleOp module) {
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
  model->family = names.pointer(family ? family.getValue() : "unknown");
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
  if (!missing.empty())
    return llvm::createStringError(llvm::errc::invalid_argument, "E3403: the module attribute lm.model has no '%s'",
                                   missing.c_str());
  result.artifact.model = std::move(model);
  return llvm::Error::success();
}

/// The number of an image with these bytes for this machine. CPU code is mapped, so it begins on a page.
unsigned MetadataBuilder::addImage(const CompiledImage &image) {
  uint64_t hash = XXH3_64bits(image.bytes.data(), image.bytes.size());
  SmallVector<unsigned, 1> &candidates = imagesByHash[hash];
  for (unsigned number : candidates) {
    const CompiledImage &other = *result.images[number];
    if (other.kind == image.kind && other.level == image.level && other.sm == image.sm &&
        other.ptxVersion == image.ptxVersion && other.bytes == image.bytes)
      return number;
  }
  bool mapped = image.kind == CompiledImage::X86;
  auto entry = std::make_unique<schema::ImageT>();
  entry->kind = static_cast<schema::ImageKind>(image.kind);
  entry->level = static_cast<schema::CpuLevel>(image.level);
  entry->sm = image.sm;
  entry->ptx_version = image.ptxVersion;
  entry->offset = llvm::alignTo(result.codeBytes, mapped ? schema::kPageBytes : kGpuImageAlign);
  entry->size = image.bytes.size();
  entry->hash = hash;
  result.codeBytes = entry->offset + entry->size;
  candidates.push_back(result.images.size());
  result.images.push_back(&image);
  result.artifact.images.push_back(std::move(entry));
  return result.images.size() - 1;
}

void MetadataBuilder::addWeights(bool embed) {
  uint64_t offset = 0, layerCount = result.artifact.model->layers;
  result.weights = weights.all();
  for (PlacedWeight &placed : result.weights) {
    WeightShape shape(placed.weight);
    auto entry = std::make_unique<schema::WeightT>();
    entry->name = names.pointer(placed.name);
    entry->dtype = static_cast<schema::DType>(shape.type);
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

void MetadataBuilder::addProvenance(const ProvenanceFacts &provenance) {
  auto entry = std::make_unique<schema::ProvenanceT>();
  entry->compiler = names.pointer(provenance.compiler);
  entry->source = names.pointer(provenance.source);
  for (const std::string &flag : provenance.flags)
    entry->flags.push_back(names(flag));
  for (const PhaseInfo &phase : allPhases())
    entry->phases.push_back(names(phase.name));
  entry->input_hash = provenance.inputHash;
  result.artifact.provenance = std::move(entry);
}

llvm::Error MetadataBuilder::build(ArrayRef<CompiledTarget> targets, const ProvenanceFacts &provenance,
                                   bool embedWeights) {
  for (const CompiledTarget &target : targets)
    if (llvm::Error error = addModel(target.module))
      return error;
  const schema::ModelConfigT &model = *result.artifact.model;
  for (const CompiledTarget &target : targets) {
    SmallVector<unsigned> images;
    for (const CompiledImage &image : target.code.images)
      images.push_back(addImage(image));
    result.artifact.targets.push_back(buildTarget(target, images, model, names, weights));
  }
  result.codeBytes = llvm::alignTo(result.codeBytes, schema::kPageBytes);
  addWeights(embedWeights);
  // Bounds of T, B, N, P, C and R; live counts follow their capacity, received rows that of all ranks.
  uint64_t rows = 1 << 16, seqs = 1 << 12, pages = llvm::divideCeil(model.max_positions, model.cache_page);
  result.artifact.symbols_max = {rows, seqs, rows, pages, uint64_t(1) << 24, rows, rows,
                                 seqs, rows, rows, 1024,  rows * 1024};
  addProvenance(provenance);
  return llvm::Error::success();
}

llvm::Expected<Metadata> moray::codegen::buildMetadata(ArrayRef<CompiledTarget> targets,
                                                       const ProvenanceFacts &provenance,
                                                       std::unique_ptr<schema::TokenizerT> tokenizer,
                                                       bool embedWeights) {
  MetadataBuilder builder;
  if (llvm::Error error = builder.build(targets, provenance, embedWeights))
    return std::move(error);
  Metadata metadata = builder.take();
  metadata.artifact.tokenizer = std::move(tokenizer);
  return metadata;
}
