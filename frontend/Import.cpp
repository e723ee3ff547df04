// Runs the readers in order, then the builder, then the verifier.
#include "frontend/Import.h"

#include "frontend/TokenizerImport.h"

#include "mlir/IR/Verifier.h"

namespace moray::frontend {

// The tokenizer of the directory, or null where there is none. eos falls back to the tokenizer's when no other file
// names one.
static Status importText(ImportedModel &model, Warnings &warnings) {
  Expected<std::unique_ptr<schema::TokenizerT>> tokenizer = importTokenizer(model.checkpoint->directory(), warnings);
  if (tokenizer) {
    model.tokenizer = std::move(*tokenizer);
    if (model.generation.eos.empty() && model.tokenizer->eos >= 0)
      model.generation.eos.push_back(model.tokenizer->eos);
    if (!model.generation.bos && model.tokenizer->bos >= 0)
      model.generation.bos = model.tokenizer->bos;
    return {};
  }
  if (tokenizer.error().code() != kTokenizerMissing)
    return tokenizer.error();
  warnings.add(tokenizer.error().message());
  return {};
}

// Everything before the module: files, configuration, inventory, generation defaults, tokenizer.
static Status readInputs(const std::string &path, const ImportOptions &options, ImportedModel &model,
                         Warnings &warnings) {
  Expected<Checkpoint> checkpoint = Checkpoint::open(path, warnings);
  if (!checkpoint)
    return checkpoint.error();
  model.checkpoint = std::make_unique<Checkpoint>(std::move(*checkpoint));
  Expected<ModelConfig> config =
      parseModelConfig(model.checkpoint->configText(), model.checkpoint->configPath(), warnings);
  if (!config)
    return config.error();
  model.config = std::move(*config);
  if (options.innerNormEps)
    model.config.innerNormEps = *options.innerNormEps;
  bool weights = model.checkpoint->hasWeights();
  if (!weights && options.needWeights)
    return Error::describe(2043, path, "no weights", "model.safetensors or model.safetensors.index.json",
                           "give the whole checkpoint directory, or compile with --weights=none");
  Expected<Inventory> inventory =
      weights ? inventoryFromCheckpoint(model.config, *model.checkpoint, options.strict, warnings)
              : inventoryFromConfig(model.config);
  if (!inventory)
    return inventory.error();
  model.inventory = std::move(*inventory);
  Expected<GenerationConfig> generation = readGenerationConfig(*model.checkpoint, warnings);
  if (!generation)
    return generation.error();
  model.generation = std::move(*generation);
  model.fingerprint = model.checkpoint->fingerprint();
  if (options.fullHash) {
    Expected<uint64_t> full = model.checkpoint->fullFingerprint();
    if (!full)
      return full.error();
    model.fingerprint = *full;
  }
  return importText(model, warnings);
}

Expected<ImportedModel> importModel(mlir::MLIRContext &context, const std::string &path, const ImportOptions &options,
                                    Warnings &warnings) {
  ImportedModel model;
  if (Status status = readInputs(path, options, model, warnings); !status)
    return status.error();
  model.module = buildModule(context, model.config, model.inventory, model.generation, model.fingerprint);
  if (mlir::failed(mlir::verify(*model.module)))
    return Error::describe(2401, path, "a module that does not verify", "canonical lm, mla and moe IR",
                           "this is a bug of the importer: please report it with the config.json");
  return model;
}

} // namespace moray::frontend
