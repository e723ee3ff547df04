// Declares the flags of moray-compile, checks what they say together, and fills the request.
#include "moray-compile/Flags.h"

#include "moray-compile/Assembler.h"
#include "moray-compile/Errors.h"

#include "codegen/Compiler.h"
#include "common/cli.h"
#include "moray/runtime.h"

#include <set>

namespace moray::tools {

static const std::map<std::string, std::optional<lm::Mode>> kModes = {{"auto", std::nullopt},
                                                                      {"ref32", lm::Mode::Ref32},
                                                                      {"bf16", lm::Mode::Bf16},
                                                                      {"w8a16", lm::Mode::W8A16},
                                                                      {"fp8", lm::Mode::Fp8}};

// All targets in the order in which an artifact holds them.
static std::vector<TargetRequest> knownTargets() {
  std::vector<TargetRequest> known(1);
  for (const codegen::GpuTarget &gpu : codegen::allGpuTargets())
    known.push_back({&gpu, {}});
  return known;
}

// MODE or TARGET=MODE.
static std::string checkNumerics(const std::string &item) {
  size_t equals = item.find('=');
  if (kModes.count(equals == std::string::npos ? item : item.substr(equals + 1)))
    return "";
  return "'" + item + "' is no numeric mode, expected auto, ref32, bf16, w8a16, fp8 or TARGET=MODE";
}

static void addTargetFlags(CLI::App &app, CompileRequest &request, Flags &flags) {
  std::vector<std::string> names;
  for (const TargetRequest &target : knownTargets())
    names.push_back(target.name());
  app.add_option("--target", flags.targets, "what to compile for, in one artifact: a list (default cpu)")
      ->delimiter(',')
      ->check(CLI::IsMember(names));
  app.add_option("--cpu-levels", flags.levels, "CPU levels in the artifact (default x86-64-v3,avx512)")
      ->delimiter(',')
      ->check(CLI::IsMember({"x86-64-v3", "avx512"}));
  app.add_option("--numerics", flags.numerics,
                 "for all targets, or TARGET=MODE,...: ref32: f32 throughout; bf16: weights and activations BF16; "
                 "w8a16: weights as stored, activations BF16; fp8: FP8 weights and activations, on CPUs emulated "
                 "exactly; auto (default): fp8 where weights are FP8 and the GPU multiplies FP8, else w8a16")
      ->delimiter(',')
      ->check(CLI::Validator(checkNumerics, "MODE"));
  app.add_option("--ptxas", flags.ptxas,
                 "assembler for cubins of GPU targets: a path, or none for PTX alone (default: searched in PATH and "
                 "/usr/local/cuda/bin)");
  app.add_option("--emit-ptx", request.code.ptxDir, "write the PTX of all GPU kernels to this directory");
}

void addFlags(CLI::App &app, CompileRequest &request, Flags &flags) {
  std::vector<std::string> phases;
  for (const PhaseInfo &phase : allPhases())
    phases.push_back(phase.name.str());
  app.add_option("CHECKPOINT", request.input,
                 "directory with config.json, safetensors, tokenizer.json; or a config.json with --weights=none")
      ->required();
  app.add_option("-o,--output", request.output, "artifact to write (.moray); IR for an earlier --compile-to");
  addTargetFlags(app, request, flags);
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

static std::string joined(const std::vector<std::string> &items) {
  std::string text;
  for (const std::string &item : items)
    text += (text.empty() ? "" : ",") + item;
  return text;
}

static int misfit(const std::string &what, const std::string &fix) { return fail("E1008", what, fix, kExitUsage); }

// "TARGET=MODE" or "MODE", which is for all targets: empty.
static std::string namedTarget(const std::string &item) {
  size_t equals = item.find('=');
  return equals == std::string::npos ? "" : item.substr(0, equals);
}

// Targets in their order in the artifact, each with its numeric mode.
static int fillTargets(Flags &flags, CompileRequest &request) {
  auto isWanted = [&](const std::string &name) { return llvm::is_contained(flags.targets, name); };
  request.targets.clear();
  for (TargetRequest target : knownTargets()) {
    for (const std::string &item : flags.numerics)
      if (size_t equals = item.find('='); equals == std::string::npos || item.substr(0, equals) == target.name())
        target.mode = kModes.at(item.substr(equals + 1)); // npos + 1 is 0
    if (!isWanted(target.name()))
      continue;
    if (target.gpu && target.mode == lm::Mode::Ref32)
      return misfit("--numerics=ref32 is for CPUs, and " + target.name() + " computes with BF16 activations",
                    "choose w8a16, or compile for the CPU alone; --numerics=cpu=ref32 sets the CPU's alone");
    request.targets.push_back(target);
  }
  for (const std::string &item : flags.numerics)
    if (size_t equals = item.find('='); equals != std::string::npos && !isWanted(item.substr(0, equals)))
      return misfit("--numerics=" + item + " is for a target that is not compiled for",
                    "name one of --target=" + joined(flags.targets));
  std::set<std::string> named;
  for (const std::string &item : flags.numerics)
    if (std::string name = namedTarget(item); !named.insert(name).second)
      return misfit("--numerics names " + (name.empty() ? "all targets" : name) + " more than once",
                    "give one mode for each target");
  flags.targets.clear();
  for (const TargetRequest &target : request.targets)
    flags.targets.push_back(target.name());
  return kExitOk;
}

// The assembler is asked for its version where it is wanted: cubins are a part of the artifact.
static int fillAssembler(const Flags &flags, CompileRequest &request) {
  if (!request.targets.back().gpu)
    return flags.ptxas.empty() && request.code.ptxDir.empty()
               ? int(kExitOk)
               : misfit("--ptxas and --emit-ptx are for GPU targets", "add a target such as --target=cpu,cuda:sm_80");
  if (request.lastPhase < Phase::Codegen)
    return kExitOk;
  llvm::Expected<Assembler> assembler = findAssembler(flags.ptxas);
  if (!assembler)
    return reportError(assembler.takeError());
  request.code.ptxas = assembler->path;
  request.assembler = assembler->version;
  if (assembler->path.empty() && flags.ptxas.empty() && !request.quiet)
    std::fprintf(stderr, "no ptxas found: GPU code is PTX alone, which the driver compiles when it is loaded\n");
  return kExitOk;
}

// The artifact records every flag that can change a byte of it.
int fillRequest(Flags &flags, CompileRequest &request) {
  request.lastPhase = *parsePhase(flags.compileTo);
  if (int code = fillTargets(flags, request))
    return code;
  if (int code = fillAssembler(flags, request))
    return code;
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
  request.flags = {"--target=" + joined(flags.targets)};
  if (!request.targets.front().gpu)
    request.flags.push_back("--cpu-levels=" + levels);
  for (std::string flag :
       {"--numerics=" + joined(flags.numerics), "--quantize=" + flags.quantize, "--weights=" + flags.weights})
    request.flags.push_back(std::move(flag));
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

} // namespace moray::tools
