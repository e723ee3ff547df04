// Helpers of the runtime tests: models and engines from toy artifacts, and checks of statuses.
#pragma once
#include "moray/runtime.h"
#include "toy_artifact.h"
#include "toy_kernels.h"
#include <gtest/gtest.h>
#include <memory>

namespace moray::test {

// Frees the status of the C API; converts to its code.
struct Outcome {
  Outcome(moray_status *status) : code(moray_status_code(status)), text(moray_status_message(status)) {
    moray_status_free(status);
  }
  int code;
  std::string text;
};

#define EXPECT_OK(expression)                                                                                          \
  do {                                                                                                                 \
    const ::moray::test::Outcome outcome(expression);                                                                  \
    EXPECT_EQ(outcome.code, 0) << outcome.text;                                                                        \
  } while (0)

// The code is written as in the message, E4003, so that the list of tested codes can be searched.
#define EXPECT_FAILS(expression, expectedCode, expectedText)                                                           \
  do {                                                                                                                 \
    const ::moray::test::Outcome outcome(expression);                                                                  \
    EXPECT_NE(outcome.text.find("error[" expectedCode "]: "), std::string::npos) << outcome.text;                      \
    EXPECT_NE(outcome.text.find(expectedText), std::string::npos) << outcome.text;                                     \
  } while (0)

inline moray_status *loadStatus(const char *path) {
  moray_model *model = nullptr;
  moray_status *status = moray_model_load(path, nullptr, &model);
  moray_model_unload(model);
  return status;
}

inline moray_status *loadStatus(const std::vector<uint8_t> &bytes) {
  const TempFile file(bytes);
  return loadStatus(file.path());
}

class ToyModel {
public:
  explicit ToyModel(const ToyArtifact &toy = ToyArtifact()) : file(toy.serialize()) {
    EXPECT_OK(moray_model_load(file.path(), nullptr, &model));
  }
  ~ToyModel() { moray_model_unload(model); }
  moray_model *get() const { return model; }

private:
  TempFile file;
  moray_model *model = nullptr;
};

inline moray_engine_options engineOptions(uint32_t seqs = 1, uint32_t rows = 0, uint32_t threads = 1) {
  moray_engine_options options;
  moray_engine_options_init(&options);
  options.max_seqs = seqs;
  options.max_rows = rows;
  options.threads = threads;
  options.context = 64;
  return options;
}

class ToyEngine {
public:
  explicit ToyEngine(const ToyModel &model, const moray_engine_options &options = engineOptions()) {
    EXPECT_OK(moray_engine_create(model.get(), &options, &engine));
  }
  ~ToyEngine() { moray_engine_destroy(engine); }
  operator moray_engine *() const { return engine; }

  moray_sequence *add(const std::vector<int32_t> &prompt, const moray_sequence_options &options) {
    moray_sequence *sequence = nullptr;
    EXPECT_OK(moray_sequence_add(engine, prompt.data(), prompt.size(), &options, &sequence));
    return sequence;
  }
  moray_step_info step() {
    moray_step_info info = {};
    EXPECT_OK(moray_engine_step(engine, &info));
    return info;
  }
  void run() {
    while (step().rows != 0) {
    }
  }

private:
  moray_engine *engine = nullptr;
};

inline moray_sequence_options greedy(uint32_t maxTokens) {
  moray_sequence_options options;
  moray_sequence_options_init(&options);
  options.max_tokens = maxTokens;
  options.ignore_eos = 1;
  return options;
}

inline std::vector<int32_t> tokensOf(moray_sequence *sequence, moray_finish *finish = nullptr) {
  int32_t ids[512];
  size_t count = 0;
  moray_finish ignored;
  moray_sequence_poll(sequence, ids, 512, &count, finish ? finish : &ignored);
  return {ids, ids + count};
}

} // namespace moray::test
