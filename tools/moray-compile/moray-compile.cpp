// moray-compile: compiles a Hugging Face checkpoint directory (or a lone config.json) to one artifact.
#include "moray-compile/Driver.h"

#include "common/cli.h"
#include "moray/runtime.h"

using namespace moray;
using namespace moray::tools;

namespace {

// Flags as typed, before they are checked.
struct Flags {
  std::string target = "cpu", numerics = "w8a16", quantize = "none", weights = "embed", compileTo = "package";
  std::vector<std::string> levels{"x86-64-v3", "avx512"};
  bool noFuse = false;
};

} // namespace

static void addFlags(CLI::App &app, CompileRequest &request, Flags &flags) {
  std::vector<std::string> phases;
  for (const PhaseInfo &phase : allPhases())
    phases.push_back(phase.name.str());
  app.add_option("CHECKPOINT", request.input,
                 "directory with config.json, safetensors, tokenizer.json; or a config.json with --weights=none")
      ->required();
  app.add_option("-o,--output", request.output, "artifact to write (.moray); IR for an earlier --compile-to");
  app.add_option("--target", flags.target, "what to compile for (default cpu)")->check(CLI::IsMember({"cpu"}));
  app.add_option("--cpu-levels", flags.levels, "CPU levels in the artifact (default x86-64-v3,avx512)")
      ->delimiter(',')
      ->check(CLI::IsMember({"x86-64-v3", "avx512"}));
  app.add_option("--numerics", flags.numerics,
                 "ref32: f32 throughout; bf16: weights and activations BF16; w8a16 (default): weights as stored, "
                 "activations BF16; "
                 "fp8: FP8 weights and activations, emulated exactly")
      ->check(CLI::IsMember({"ref32", "bf16", "w8a16", "fp8"}));
  app.add_option("--quantize", flags.quantize, "fp8: block-quantise the weights of a BF16 checkpoint (default none)")
      ->check(CLI::IsMember({"none", "fp8"}));
  app.add_option("--weights", flags.weights, "embed (default), or none: an artifact for benchmarks and plans")
      ->check(CLI::IsMember({"embed", "none"}));
  app.add_option("--compile-to", flags.compileTo, "stop after this phase and print the IR (default package)")
      ->check(CLI::IsMember(phases));
  app.add_option("--dump-compilation-phases-to", request.dumpDirectory,
                 "write the IR after every phase to this directory");
  app.add_option("--emit-obj", request.code.objectDir,
                 "write ordinary objects of all kernels to this directory, for gdb and perf");
  app.add_flag("--no-fuse", flags.noFuse, "every op its own kernel, to find out whether a fusion is at fault");
  app.add_flag("--strict", request.strict, "unexplained tensors in the checkpoint are errors, not warnings");
  app.add_flag("--full-hash", request.fullHash, "the recorded input hash covers every byte of the weights");
  app.add_option("-j,--jobs", request.code.threads, "threads (default: one per core)")->check(CLI::Range(1u, 4096u));
  app.add_flag("-q,--quiet", request.quiet, "no progress and no summary");
  app.add_flag("--json", request.json, "print one JSON object with phase times, size and peak memory");
  app.set_version_flag("--version", std::string("moray-compile ") + moray_runtime_version());
}

static lm::Mode parseMode(const std::string &name) {
  return name == "ref32"  ? lm::Mode::Ref32
         : name == "bf16" ? lm::Mode::Bf16
         : name == "fp8"  ? lm::Mode::Fp8
                          : lm::Mode::W8A16;
}

// Turns checked flags into the request. The artifact records every flag that can change a byte of it.
static int fillRequest(const Flags &flags, CompileRequest &request) {
  request.lastPhase = *parsePhase(flags.compileTo);
  request.pipeline.mode = parseMode(flags.numerics);
  request.pipeline.quantizeFp8 = flags.quantize == "fp8";
  request.pipeline.fuse = !flags.noFuse;
  request.embedWeights = flags.weights == "embed";
  std::string levels;
  request.code.levels.clear();
  for (codegen::CpuLevel level : {codegen::CpuLevel::X86_64_V3, codegen::CpuLevel::Avx512}) {
    const std::string name = codegen::getTarget(level).name.str();
    if (std::find(flags.levels.begin(), flags.levels.end(), name) == flags.levels.end())
      continue;
    request.code.levels.push_back(level);
    levels += (levels.empty() ? "" : ",") + name;
  }
  request.flags = {"--target=" + flags.target, "--cpu-levels=" + levels, "--numerics=" + flags.numerics,
                   "--quantize=" + flags.quantize, "--weights=" + flags.weights};
  if (flags.noFuse)
    request.flags.push_back("--no-fuse");
  if (request.lastPhase == Phase::Package && request.output.empty())
    return fail("E1007", "no output file is named", "add -o FILE.moray", kExitUsage);
  llvm::StringRef output = request.output;
  if (request.lastPhase == Phase::Package && (output.ends_with(".safetensors") || output.ends_with(".json")))
    return fail("E1007", "'" + request.output + "' is named like a file of a checkpoint, which it would replace",
                "end the name in .moray", kExitUsage);
  return kExitOk;
}

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
