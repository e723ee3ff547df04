// moray-tokenize: turns text into the token ids of a compiled model, or ids into text. The result goes to stdout.
#include "common/cli.h"
#include "common/runtime_handles.h"

#include <nlohmann/json.hpp>

using namespace moray::tools;

namespace {

struct TokenizeOptions {
  std::string model, prompt, file = "-", decode, bos = "auto";
  bool hasPrompt = false, hasDecode = false, plain = false, skipSpecial = false, count = false, json = false;
};

void addFlags(CLI::App &app, TokenizeOptions &options) {
  app.add_option("MODEL", options.model, "compiled artifact (.moray)")->required();
  CLI::Option *prompt = app.add_option("-p,--prompt", options.prompt, "text to tokenize (default: read stdin)");
  CLI::Option *file = app.add_option("-f,--file", options.file, "file with the text to tokenize; - is stdin");
  CLI::Option *decode = app.add_option("-d,--decode", options.decode, "token ids to turn into text: 1,2,3");
  prompt->excludes(file)->excludes(decode);
  file->excludes(decode);
  app.add_option("--bos", options.bos, "auto (as the tokenizer says, default), yes, or no")
      ->check(CLI::IsMember({"auto", "yes", "no"}));
  app.add_flag("--plain", options.plain, "treat special tokens in the text as plain text");
  app.add_flag("--skip-special", options.skipSpecial, "with --decode: leave out special tokens");
  app.add_flag("--count", options.count, "print the number of tokens alone")->excludes(decode);
  app.add_flag("--json", options.json, "print one JSON object: ids, the text of each, and the whole text");
  app.set_version_flag("--version", std::string("moray-tokenize ") + moray_runtime_version());
}

int encode(const Model &model, const TokenizeOptions &options, const std::string &text, std::vector<int32_t> &ids) {
  moray_tokenize_options tokenizeOptions;
  moray_tokenize_options_init(&tokenizeOptions);
  tokenizeOptions.bos = options.bos == "yes" ? MORAY_BOS_YES : options.bos == "no" ? MORAY_BOS_NO : MORAY_BOS_AUTO;
  tokenizeOptions.parse_special = !options.plain;
  return tokenize(model, text, tokenizeOptions, ids);
}

int decode(const Model &model, const std::vector<int32_t> &ids, bool skipSpecial, std::string &text) {
  size_t size = ids.size() * 8;
  moray_status *status = nullptr;
  do {
    moray_status_free(status);
    text.resize(size);
    status = moray_model_detokenize(model.get(), ids.data(), ids.size(), skipSpecial, text.data(), text.size(), &size);
  } while (status && size > text.size());
  if (int code = report(status))
    return code;
  text.resize(size);
  return kExitOk;
}

int printJson(const Model &model, const TokenizeOptions &options, const std::vector<int32_t> &ids) {
  std::vector<std::string> pieces;
  std::string text;
  for (int32_t id : ids) {
    if (int code = decode(model, {id}, false, text))
      return code;
    pieces.push_back(text);
  }
  if (int code = decode(model, ids, options.skipSpecial, text))
    return code;
  nlohmann::ordered_json object = {{"schema", "moray.tokenize/1"}, {"ids", ids}, {"pieces", pieces}, {"text", text}};
  std::string line = object.dump() + "\n";
  return writeOut(line.data(), line.size());
}

int run(const TokenizeOptions &options) {
  Model model;
  if (int code = loadModel(options.model, false, model))
    return code;
  std::vector<int32_t> ids;
  std::string text = options.prompt;
  if (options.hasDecode) {
    if (!parseTokenIds(options.decode, ids))
      return kExitUsage;
  } else {
    if (!options.hasPrompt && !readFile(options.file, text))
      return kExitUsage;
    if (int code = encode(model, options, text, ids))
      return code;
  }
  if (options.json)
    return printJson(model, options, ids);
  if (options.hasDecode) {
    if (int code = decode(model, ids, options.skipSpecial, text))
      return code;
  } else if (options.count) {
    text = std::to_string(ids.size()) + "\n";
  } else {
    text.clear();
    for (size_t i = 0; i < ids.size(); ++i)
      text += (i ? "," : "") + std::to_string(ids[i]);
    text += "\n";
  }
  return writeOut(text.data(), text.size());
}

} // namespace

int main(int argc, char **argv) {
  TokenizeOptions options;
  CLI::App app("Turns text into the token ids of a compiled model, or ids into text.", "moray-tokenize");
  addFlags(app, options);
  int exitCode = kExitOk;
  if (!parseArguments(app, argc, argv, exitCode))
    return exitCode;
  options.hasPrompt = app.count("--prompt") != 0;
  options.hasDecode = app.count("--decode") != 0;
  return run(options);
}
