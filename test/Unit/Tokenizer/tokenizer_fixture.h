// What the tokenizer tests share: compiling a tokenizer, serialising its tables, and opening them in the runtime.
#pragma once
#include "frontend/Json.h"
#include "frontend/TokenizerImport.h"
#include "runtime/tokenizer/tokenizer.h"
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <vector>

namespace moray::test {

using Ids = std::vector<int32_t>;

// The finished FlatBuffer with the tables as its root.
std::vector<uint8_t> serialise(const schema::TokenizerT &tables);

// A compiled tokenizer, opened by the runtime.
class LoadedTokenizer {
public:
  explicit LoadedTokenizer(const frontend::TokenizerSources &sources);
  // File <name> of test/data/tokenizer.tar.gz, unpacked.
  static std::unique_ptr<LoadedTokenizer> golden(const std::string &name);

  Ids encode(const std::string &text, rt::AddBos addBos = rt::AddBos::No, bool parseSpecial = true) const;
  std::string decode(const Ids &ids, rt::DecodeOptions options = {}) const;
  // The concatenated chunks of a stream decoder; each must be whole code points.
  std::string decodeStream(const Ids &ids, rt::DecodeOptions options = {}) const;
  // The pieces after the last pre-tokenizer stage.
  std::vector<std::string> preTokenize(const std::string &text) const;

  rt::Tokenizer tokenizer;
  std::vector<uint8_t> buffer;
  std::vector<std::string> warnings;
};

// File <name> of test/data/tokenizer.tar.gz, unpacked.
std::string dataPath(const std::string &name);
// One JSON value per line.
std::vector<nlohmann::json> readJsonLines(const std::string &name);
// A tokenizer.json: byte characters of printable ASCII and space, the given further entries, merges and pre-tokenizer.
nlohmann::json miniTokenizer(const std::vector<std::pair<std::string, std::string>> &merges);
// Compiles and expects an error with this code; returns its message.
std::string expectImportError(int code, const nlohmann::json &tokenizer, const std::string &config = "");

} // namespace moray::test
