// Owning handles and error reporting for tools on the public C API.
#pragma once
#include "moray/runtime.h"

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace moray::tools {

struct RuntimeDeleter {
  void operator()(moray_model *model) const { moray_model_unload(model); }
  void operator()(moray_group *group) const { moray_group_destroy(group); }
  void operator()(moray_engine *engine) const { moray_engine_destroy(engine); }
  void operator()(moray_sequence *sequence) const { moray_sequence_release(sequence); }
  void operator()(moray_decoder *decoder) const { moray_decoder_destroy(decoder); }
};
using Model = std::unique_ptr<moray_model, RuntimeDeleter>;
using Group = std::unique_ptr<moray_group, RuntimeDeleter>;
using Engine = std::unique_ptr<moray_engine, RuntimeDeleter>;
using Sequence = std::unique_ptr<moray_sequence, RuntimeDeleter>;
using Decoder = std::unique_ptr<moray_decoder, RuntimeDeleter>;

/// Prints an error on stderr and frees it; returns the exit code, 0 for success: `if (int code = report(...)) return
/// code;`.
inline int report(moray_status *status) {
  if (!status)
    return 0;
  std::fprintf(stderr, "%s\n", moray_status_message(status));
  int code = moray_status_exit_code(status);
  moray_status_free(status);
  return code;
}

inline std::string text(moray_string string) { return std::string(string.data ? string.data : "", string.size); }

/// Loads `path`; reports what is wrong with it.
inline int loadModel(const std::string &path, bool verifyWeights, Model &model) {
  moray_model_options options;
  moray_model_options_init(&options);
  options.verify_weights = verifyWeights;
  moray_model *loaded = nullptr;
  int code = report(moray_model_load(path.c_str(), &options, &loaded));
  model.reset(loaded);
  return code;
}

/// Token ids of `text`.
inline int tokenize(const Model &model, const std::string &text, const moray_tokenize_options &options,
                    std::vector<int32_t> &ids) {
  // Usually a token covers at least one byte; ill-formed bytes, which become U+FFFD, can take more tokens than that.
  size_t count = text.size() + 8;
  moray_status *status = nullptr;
  do {
    moray_status_free(status);
    ids.resize(count);
    status = moray_model_tokenize(model.get(), text.data(), text.size(), &options, ids.data(), ids.size(), &count);
  } while (status && count > ids.size());
  int code = report(status);
  ids.resize(code ? 0 : count);
  return code;
}

inline int createEngine(const Model &model, const moray_engine_options &options, Engine &engine) {
  moray_engine *created = nullptr;
  int code = report(moray_engine_create(model.get(), &options, &created));
  engine.reset(created);
  return code;
}

} // namespace moray::tools
