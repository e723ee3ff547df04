// libFuzzer target (MORAY_FUZZ): metadata of any bytes in a file whose hashes fit; the loader must answer, never crash.
#include "moray/runtime.h"
#include "toy_artifact.h"
#include <algorithm>

using namespace moray::test;

// Starts from a valid file: mutations of it get past the verifier, which random bytes hardly do.
extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t maxSize);
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t maxSize, unsigned) {
  static const std::vector<uint8_t> valid = ToyArtifact().metadataBytes();
  if (size < valid.size() / 2 && valid.size() <= maxSize) {
    std::copy(valid.begin(), valid.end(), data);
    size = valid.size();
  }
  return LLVMFuzzerMutate(data, size, maxSize);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const ToyArtifact toy;
  static const TempFile file({});
  file.write(toy.serialize(std::vector<uint8_t>(data, data + size)));
  moray_model *model = nullptr;
  moray_status *status = moray_model_load(file.path(), nullptr, &model);
  if (!status) {
    moray_engine_options options;
    moray_engine_options_init(&options);
    moray_memory_plan plan;
    status = moray_model_query_memory(model, &options, &plan);
  }
  moray_status_free(status);
  moray_model_unload(model);
  return 0;
}
