// Compiles tokenizer.json, tokenizer_config.json and special_tokens_map.json to the tables the runtime executes.
//
// tokenizer.json alone defines how text becomes tokens; tokenizer_config.json gives the names of bos, eos and pad and
// whether they are added. The class named in tokenizer_config.json is ignored: for these models it is misleading.
#ifndef MORAY_FRONTEND_TOKENIZERIMPORT_H
#define MORAY_FRONTEND_TOKENIZERIMPORT_H

#include "frontend/Error.h"
#include "tokenizer_generated.h"

#include <memory>
#include <string>

namespace moray::frontend {

inline constexpr int kTokenizerMissing = 2500;     // no tokenizer.json
inline constexpr int kTokenizerComponent = 2501;   // a component type that is not supported
inline constexpr int kTokenizerOption = 2502;      // an option value, or an order of components, that is not supported
inline constexpr int kTokenizerVocabulary = 2503;  // ids that are negative, too large or given twice
inline constexpr int kTokenizerMerge = 2504;       // a merge that is not two symbols
inline constexpr int kTokenizerMergeSymbol = 2505; // a merge whose parts or result are not in the vocabulary
inline constexpr int kTokenizerAdded = 2506; // an added token that is empty, given twice, or contradicts the vocabulary
inline constexpr int kTokenizerSpecial = 2507; // a special token that is named but does not exist

// Largest id of a token.
inline constexpr int64_t kTokenizerMaxId = (int64_t(1) << 24) - 1;

// The texts of the three files; empty where a file is absent. Only tokenizer.json is required.
struct TokenizerSources {
  std::string tokenizer, config, specialTokensMap;
};

Expected<std::unique_ptr<schema::TokenizerT>> compileTokenizer(const TokenizerSources &sources, Warnings &warnings);

// Reads the files of a checkpoint directory. Error 2500 where it has no tokenizer.json: such a model compiles, without
// text.
Expected<std::unique_ptr<schema::TokenizerT>> importTokenizer(const std::string &directory, Warnings &warnings);

} // namespace moray::frontend

#endif // MORAY_FRONTEND_TOKENIZERIMPORT_H
