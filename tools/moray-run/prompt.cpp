// What moray-run is asked to continue: token ids, or text that becomes some.
#include "moray-run/run.h"

#include <unistd.h>

namespace moray::tools {

int tokenize(const Model &model, const std::string &text, int bos, std::vector<int32_t> &ids) {
  moray_tokenize_options options;
  moray_tokenize_options_init(&options);
  options.bos = bos;
  return tools::tokenize(model, text, options, ids);
}

// The prompt's ids from --tokens, -p, -f or stdin.
int readPrompt(const RunOptions &options, const Model &model, std::vector<int32_t> &ids) {
  if (options.hasTokens)
    return parseTokenIds(options.tokens, ids) ? kExitOk : kExitUsage;
  std::string text = options.prompt;
  if (!options.hasPrompt) {
    std::string path = options.promptFile.empty() ? "-" : options.promptFile;
    if (path == "-" && isatty(STDIN_FILENO))
      std::fputs("moray-run: type the prompt, end it with Ctrl-D\n", stderr);
    if (!readFile(path, text))
      return interrupted() ? interruptedExit() : kExitUsage;
  }
  if (text.empty())
    return fail("E1005", "the prompt is empty", "give a text with -p, -f or stdin, or ids with --tokens", kExitUsage);
  return tokenize(model, text, options.noBos ? MORAY_BOS_NO : MORAY_BOS_AUTO, ids);
}

} // namespace moray::tools
