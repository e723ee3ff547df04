// Builds the textbook module: weight symbols, layer kinds, and the three programs step, sample and score.
#include "frontend/Builder.h"

#include "frontend/LayerBuilder.h"

#include "dialects/MLA/MLA.h"
#include "dialects/MoE/MoE.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/Twine.h"

using namespace mlir;

namespace moray::frontend {

namespace {

/// Layers that share one program: equal slots with equal types.
struct LayerKind {
  std::string name;
  const std::vector<StoredSlot> *slots = nullptr;
};

bool sameStructure(const std::vector<StoredSlot> &a, const std::vector<StoredSlot> &b) {
  if (a.size() != b.size())
    return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i].slot.id != b[i].slot.id || a[i].slot.shape != b[i].slot.shape || a[i].slot.experts != b[i].slot.experts ||
        a[i].dtype != b[i].dtype || a[i].scaleName != b[i].scaleName)
      return false;
  return true;
}

class ModuleBuilder {
public:
  ModuleBuilder(MLIRContext &context, const ModelConfig &config, const Inventory &inventory)
      : builder(&context), loc(builder.getUnknownLoc()), config(config), inventory(inventory) {}

  OwningOpRef<ModuleOp> build(const GenerationConfig &generation, uint64_t fingerprint) {
    OwningOpRef<ModuleOp> module = ModuleOp::create(builder, loc);
    (*module)->setAttr(kModelAttr, modelAttribute(generation, fingerprint));
    (*module)->setAttr(lm::kNumericsAttr,
                       lm::NumericsAttr::get(builder.getContext(), lm::Mode::Ref32, lm::Order::Deterministic));
    builder.setInsertionPointToEnd(module->getBody());
    findKinds();
    addWeights();
    for (const LayerKind &kind : kinds)
      addLayer(kind);
    addStep();
    addSample();
    addScore();
    return module;
  }

private:
  DictionaryAttr modelAttribute(const GenerationConfig &generation, uint64_t fingerprint) {
    NamedAttrList facts;
    facts.set("family", builder.getStringAttr(config.modelType));
    auto integer = [&](StringRef name, int64_t value) { facts.set(name, builder.getI64IntegerAttr(value)); };
    integer("vocab", config.vocab);
    integer("hidden", config.hidden);
    integer("layers", config.layers);
    integer("heads", config.heads);
    integer("max_positions", config.maxPositions);
    integer("experts", config.experts);
    integer("experts_per_token", config.expertsPerToken);
    integer("cache_width", config.cacheWidth());
    integer("cache_page", kCachePage);
    integer("parameters", static_cast<int64_t>(inventory.parameters));
    integer("bos", generation.bos.value_or(-1));
    facts.set("eos", builder.getDenseI64ArrayAttr(generation.eos));
    facts.set("temperature",
              builder.getF32FloatAttr(generation.greedy ? 0.0f : static_cast<float>(generation.temperature)));
    facts.set("top_p", builder.getF32FloatAttr(static_cast<float>(generation.topP)));
    integer("top_k", generation.topK);
    integer("fingerprint", static_cast<int64_t>(fingerprint));
    return facts.getDictionary(builder.getContext());
  }

  void findKinds() {
    llvm::StringSet<> names;
    for (size_t layer = 0; layer < inventory.layers.size(); ++layer) {
      const std::vector<StoredSlot> &slots = inventory.layers[layer];
      size_t index = 0;
      while (index < kinds.size() && !sameStructure(*kinds[index].slots, slots))
        ++index;
      if (index == kinds.size()) {
        std::string base = config.isMoE(static_cast<int64_t>(layer)) ? "moe" : "dense", name = base;
        for (unsigned suffix = 1; !names.insert(name).second; ++suffix)
          name = base + std::to_string(suffix);
        kinds.push_back({name, &slots});
      }
      kindOfLayer.push_back(index);
    }
  }

  void addWeight(const Twine &symbol, StringRef source, RankedTensorType type) {
    UnitAttr perLayer = source.contains("{l}") ? builder.getUnitAttr() : UnitAttr();
    lm::WeightOp::create(builder, loc, builder.getStringAttr(symbol), perLayer, builder.getStringAttr(source),
                         /*last=*/StringAttr(), /*recipe=*/Attribute(), TypeAttr::get(type));
  }

  void addWeights() {
    for (const StoredSlot &slot : inventory.model)
      addWeight(slot.slot.id, slot.slot.name, weightType(builder, slot));
    for (const LayerKind &kind : kinds)
      for (const StoredSlot &slot : *kind.slots) {
        addWeight(kind.name + "." + slot.slot.id, slot.slot.name, weightType(builder, slot));
        if (slot.isQuantized())
          addWeight(kind.name + "." + slot.slot.id + ".s", slot.scaleName, scaleType(builder, slot));
      }
  }

  Type cacheType() {
    return mla::CacheType::get(builder.getContext(), config.kvLoraRank, config.ropeDim, kCachePage,
                               builder.getF32Type());
  }
  Type rowsType() { return lm::RowsType::get(builder.getContext()); }
  Type indices() { return RankedTensorType::get({ShapedType::kDynamic}, builder.getI32Type()); }

  /// Creates `Op` with an entry block and leaves the insertion point in it.
  template <typename Op> Block *addFunction(StringRef name, ArrayRef<Type> inputs, ArrayRef<Type> results) {
    auto op = Op::create(builder, loc, builder.getStringAttr(name),
                         TypeAttr::get(builder.getFunctionType(inputs, results)), /*arg_attrs=*/ArrayAttr(),
                         /*res_attrs=*/ArrayAttr());
    Block *block = builder.createBlock(&op.getBody(), {}, inputs, SmallVector<Location>(inputs.size(), loc));
    return block;
  }
  Block *addProgram(StringRef name, lm::ProgramKind kind, ArrayRef<Type> inputs, ArrayRef<Type> results) {
    Block *block = addFunction<lm::ProgramOp>(name, inputs, results);
    block->getParentOp()->setAttr(lm::kKindAttr, lm::ProgramKindAttr::get(builder.getContext(), kind));
    return block;
  }

  void addLayer(const LayerKind &kind) {
    OpBuilder::InsertionGuard guard(builder);
    Type residual = rowsOf(builder, config.hidden), table = rowsOf(builder, config.ropeDim / 2);
    Block *block = addFunction<lm::LayerOp>(
        kind.name, {builder.getIndexType(), residual, rowsType(), cacheType(), table, table}, {residual});
    LayerValues values{block->getArgument(0), block->getArgument(1), block->getArgument(2),
                       block->getArgument(3), block->getArgument(4), block->getArgument(5)};
    lm::ReturnOp::create(builder, loc, LayerBuilder(builder, config, kind.name, *kind.slots).build(values));
  }

  Value globalWeight(StringRef id) {
    for (const StoredSlot &slot : inventory.model)
      if (id == slot.slot.id)
        return lm::WeightOfOp::create(builder, loc, weightType(builder, slot),
                                      FlatSymbolRefAttr::get(builder.getContext(), id), /*layer=*/Value());
    return {};
  }

  void addStep() {
    OpBuilder::InsertionGuard guard(builder);
    Type hidden = rowsOf(builder, config.hidden), table = rowsOf(builder, config.ropeDim / 2);
    Type logits = rowsOf(builder, config.vocab);
    Block *block = addProgram("step", lm::ProgramKind::Step, {indices(), rowsType(), cacheType(), indices()}, {logits});
    Value tokens = block->getArgument(0), rows = block->getArgument(1), cache = block->getArgument(2);
    Value outs = block->getArgument(3);
    Value residual = lm::EmbedOp::create(builder, loc, hidden, tokens, globalWeight("embed"));
    auto tables = lm::RopeTableOp::create(builder, loc, table, table, rows,
                                          builder.getDenseF32ArrayAttr(config.rope.inverseFrequencies(config.ropeDim)),
                                          builder.getF32FloatAttr(static_cast<float>(config.rope.tableMultiplier())));
    for (size_t first = 0; first < kindOfLayer.size();) {
      size_t end = first;
      while (end < kindOfLayer.size() && kindOfLayer[end] == kindOfLayer[first])
        ++end;
      auto call = lm::CallOp::create(builder, loc, TypeRange{hidden},
                                     FlatSymbolRefAttr::get(builder.getContext(), kinds[kindOfLayer[first]].name),
                                     builder.getI64IntegerAttr(first), builder.getI64IntegerAttr(end - first),
                                     ValueRange{residual, rows, cache, tables.getCos(), tables.getSin()});
      residual = call.getResult(0);
      first = end;
    }
    Value wanted = lm::GatherRowsOp::create(builder, loc, hidden, residual, outs);
    Value normed = lm::RmsNormOp::create(builder, loc, hidden, wanted, globalWeight("norm"),
                                         builder.getF32FloatAttr(static_cast<float>(config.rmsEps)));
    Value head = globalWeight(config.tiedEmbeddings ? "embed" : "head");
    Value result = lm::LinearOp::create(builder, loc, logits, normed, head, /*bias=*/Value());
    lm::ReturnOp::create(builder, loc, result);
  }

  void addSample() {
    OpBuilder::InsertionGuard guard(builder);
    // 24 bytes per row: moray_sample_params of the kernel interface.
    Type params = RankedTensorType::get({ShapedType::kDynamic, 24}, builder.getIntegerType(8, /*isSigned=*/false));
    Block *block = addProgram("sample", lm::ProgramKind::Sample, {rowsOf(builder, config.vocab), params}, {indices()});
    Value tokens = lm::SampleOp::create(builder, loc, indices(), block->getArgument(0), block->getArgument(1));
    lm::ReturnOp::create(builder, loc, tokens);
  }

  void addScore() {
    OpBuilder::InsertionGuard guard(builder);
    Type result = RankedTensorType::get({ShapedType::kDynamic}, builder.getF32Type());
    Block *block = addProgram("score", lm::ProgramKind::Score, {rowsOf(builder, config.vocab), indices()}, {result});
    Value logProbs = lm::LogProbOp::create(builder, loc, result, block->getArgument(0), block->getArgument(1));
    lm::ReturnOp::create(builder, loc, logProbs);
  }

  OpBuilder builder;
  Location loc;
  const ModelConfig &config;
  const Inventory &inventory;
  std::vector<LayerKind> kinds;
  std::vector<size_t> kindOfLayer;
};

} // namespace

OwningOpRef<ModuleOp> buildModule(MLIRContext &context, const ModelConfig &config, const Inventory &inventory,
                                  const GenerationConfig &generation, uint64_t fingerprint) {
  context.loadDialect<lm::LMDialect, mla::MLADialect, moe::MoEDialect>();
  return ModuleBuilder(context, config, inventory).build(generation, fingerprint);
}

} // namespace moray::frontend
