// moray-compile: compiles a Hugging Face checkpoint directory (or a lone config.json) to one artifact.
#include "moray-compile/Flags.h"

using namespace moray::tools;

int main(int argc, char **argv) {
  CompileRequest request;
  Flags flags;
  CLI::App app("Compiles a DeepSeek-class checkpoint to one artifact that moray-run executes.", "moray-compile");
  addFlags(app, request, flags);
  int exitCode = kExitOk;
  if (!parseArguments(app, argc, argv, exitCode))
    return exitCode;
  if (int code = fillRequest(flags, request))
    return code;
  return compile(request);
}
