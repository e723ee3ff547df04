// Compiles the components of tokenizer.json around the model: normalizer, pre_tokenizer, post_processor, decoder.
#ifndef MORAY_FRONTEND_TOKENIZERPIPELINE_H
#define MORAY_FRONTEND_TOKENIZERPIPELINE_H

#include "frontend/Error.h"
#include "frontend/Regex.h"

#include <nlohmann/json.hpp>

namespace moray::frontend {

// Each takes the whole tokenizer.json and fills its part of `tables`. Component types outside the supported subset are
// refused by name.
Status compileNormalizer(const nlohmann::json &file, schema::TokenizerT &tables);
Status checkDecoder(const nlohmann::json &file);
Status compilePreTokenizer(const nlohmann::json &file, CodeSetTable &sets, schema::TokenizerT &tables);
Status compilePostProcessor(const nlohmann::json &file, schema::TokenizerT &tables);

} // namespace moray::frontend

#endif // MORAY_FRONTEND_TOKENIZERPIPELINE_H
