// Runs the readers in order, then the builder, then the verifier.
#include "frontend/Import.h"

#include "frontend/TokenizerImport.h"

#include "mlir/IR/Verifier.h"
#include <algorithm>

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

// Token ids beyond the embedding can neither be read nor drawn: defaults that name one are dropped, a tokenizer that
// has some stays.
static void checkTokenIds(ImportedModel &model, Warnings &warnings) {
  const int64_t vocab = model.config.vocab;
  const std::string &directory = model.checkpoint->directory();
  auto outside = [&](int64_t id, const char *key) {
    if (id < vocab)
      return false;
    warnings.add(directory + ": " + key + " " + std::to_string(id) + " is not below vocab_size " +
                 std::to_string(vocab) + ", ignored");
    return true;
  };
  if (model.generation.bos && outside(*model.generation.bos, "bos_token_id"))
    model.generation.bos.reset();
  std::vector<int64_t> &eos = model.generation.eos;
  eos.erase(std::remove_if(eos.begin(), eos.end(), [&](int64_t id) { return outside(id, "eos_token_id"); }), eos.end());
  const uint64_t ids =
      model.tokenizer && !model.tokenizer->token_offsets.empty() ? model.tokenizer->token_offsets.size() - 1 : 0;
  if (ids > static_cast<uint64_t>(vocab))
    warnings.add(directory + "/tokenizer.json has " + std::to_string(ids) + " ids, more than vocab_size " +
                 std::to_string(vocab) + "; text that needs one of the others is refused when the model runs");
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
  if (Status status = importText(model, warnings); !status)
    return status;
  checkTokenIds(model, warnings);
  return {};
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
