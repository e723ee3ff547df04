// Runs a compilation phase by phase, times it, and checks the artifact with the runtime's own loader.
#include "moray-compile/Driver.h"

#include "codegen/Compiler.h"
#include "codegen/Package/AtomicFile.h"
#include "common/cli.h"
#include "common/progress.h"
#include "common/runtime_handles.h"
#include "dialects/Dialects.h"
#include "frontend/Import.h"
#include "moray-compile/CheckpointWeights.h"
#include "moray-compile/Errors.h"

#include "mlir/Pass/PassManager.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/ThreadPool.h"
#include "llvm/Support/raw_ostream.h"
#include <chrono>
#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <unistd.h>

using namespace mlir;

namespace moray::tools {

std::string TargetRequest::name() const { return (gpu ? gpu->name : codegen::kCpuTarget).str(); }

namespace {

using Clock = std::chrono::steady_clock;

/// The module in one numeric mode; targets of that mode share it.
struct Branch {
  lm::Mode mode;
  OwningOpRef<ModuleOp> module;
};

/// What became of one target.
struct TargetResult {
  const TargetRequest *request;
  size_t branch;
  double seconds; // codegen
};

class Compilation {
public:
  Compilation(const CompileRequest &request, MLIRContext &context)
      : request(request), context(context), progress(request.quiet || request.json) {}

  int run();

private:
  int import();
  void fork();
  int runPasses(Phase phase);
  int generateCode();
  int package();
  int checkArtifact();
  int dump(Phase phase);
  int printModules(const std::string &path, Phase phase);
  int finish();
  void printJson(double seconds);
  void report(Phase phase);
  bool several() const { return request.targets.size() > 1; }
  bool usesPowerScales() const { return model.config.quantization && model.config.quantization->ue8m0; }

  const CompileRequest &request;
  MLIRContext &context;
  Progress progress;
  frontend::Warnings warnings;
  frontend::ImportedModel model;
  std::vector<Branch> branches;
  std::vector<TargetResult> targets;             // parallel to request.targets
  std::vector<codegen::CompiledTarget> compiled; // the same
  uint64_t artifactBytes = 0;
  Clock::time_point begin = Clock::now(), phaseBegin = begin;
  std::vector<std::pair<std::string, double>> times;
};

double secondsSince(Clock::time_point from) { return std::chrono::duration<double>(Clock::now() - from).count(); }

uint64_t peakMemoryBytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

// Ends a phase: notes and prints its time.
void Compilation::report(Phase phase) {
  progress.clear();
  times.emplace_back(stringifyPhase(phase).str(), secondsSince(phaseBegin));
  if (!request.quiet)
    std::fprintf(stderr, "%-10s %7.2f s\n", times.back().first.c_str(), times.back().second);
  if (!request.quiet && phase == Phase::Codegen && several())
    for (const TargetResult &target : targets)
      std::fprintf(stderr, "  %-12s %5.2f s, %s\n", target.request->name().c_str(), target.seconds,
                   lm::stringifyMode(branches[target.branch].mode).str().c_str());
  phaseBegin = Clock::now();
}

// "dir/fuse.mlir" -> "dir/fuse.cuda-sm_80.mlir"
std::string pathOfTarget(const std::string &path, std::string target) {
  llvm::StringRef extension = llvm::sys::path::extension(path);
  std::replace(target.begin(), target.end(), ':', '-');
  return path.substr(0, path.size() - extension.size()) + "." + target + extension.str();
}

int writeText(const std::string &path, llvm::function_ref<void(llvm::raw_ostream &)> write) {
  std::error_code failure;
  llvm::raw_fd_ostream stream(path, failure);
  if (!failure) {
    write(stream);
    stream.flush();
    failure = stream.error();
    stream.clear_error(); // reported here; the destructor would end the process
  }
  if (failure == std::errc::broken_pipe)
    return kExitClosedPipe;
  return failure ? tools::fail("E1003", "cannot write '" + path + "': " + failure.message(),
                               "check the folder, its rights and the free space", kExitResources)
                 : int(kExitOk);
}

// Writes the IR as it is after `phase` to a file, or to stdout ("-"). Several targets give a file each after import,
// and on stdout one module after the other, as --split-input-file reads them.
int Compilation::printModules(const std::string &path, Phase phase) {
  if (phase == Phase::Import)
    return writeText(path, [&](llvm::raw_ostream &stream) { model.module->print(stream); });
  if (!several() || path == "-")
    return writeText(path, [&](llvm::raw_ostream &stream) {
      for (const TargetResult &target : targets) {
        if (several())
          stream << (&target == &targets.front() ? "// " : "// -----\n// ") << target.request->name() << "\n";
        branches[target.branch].module->print(stream);
      }
    });
  for (const TargetResult &target : targets)
    if (int code = writeText(pathOfTarget(path, target.request->name()),
                             [&](llvm::raw_ostream &stream) { branches[target.branch].module->print(stream); }))
      return code;
  return kExitOk;
}

int Compilation::dump(Phase phase) {
  if (request.dumpDirectory.empty())
    return kExitOk;
  std::string path = request.dumpDirectory + "/" + std::to_string(static_cast<int>(phase)) + "-" +
                     stringifyPhase(phase).str() + ".mlir";
  (void)llvm::sys::fs::create_directories(request.dumpDirectory); // a failure shows when the file is opened
  return printModules(path, phase);
}

int Compilation::import() {
  frontend::ImportOptions options;
  options.needWeights = request.embedWeights && request.lastPhase == Phase::Package;
  options.strict = request.strict;
  options.fullHash = request.fullHash;
  frontend::Expected<frontend::ImportedModel> imported =
      frontend::importModel(context, request.input, options, warnings);
  if (!imported) {
    std::fprintf(stderr, "%s\n", imported.error().text().c_str());
    return kExitModel;
  }
  model = std::move(*imported);
  if (request.pipeline.quantizeFp8 && model.config.quantization)
    return tools::fail("E1008", "--quantize=fp8 is for BF16 checkpoints, and '" + request.input + "' holds FP8 weights",
                       "leave --quantize out: its weights are used as they are", kExitUsage);
  return kExitOk;
}

// From here on every numeric mode has a module of its own.
void Compilation::fork() {
  bool fp8 = model.config.quantization || request.pipeline.quantizeFp8;
  for (const TargetRequest &target : request.targets) {
    lm::Mode mode = target.mode.value_or(fp8 && target.gpu && target.gpu->hasFp8Mma ? lm::Mode::Fp8 : lm::Mode::W8A16);
    auto branch = llvm::find_if(branches, [&](const Branch &known) { return known.mode == mode; });
    targets.push_back({&target, static_cast<size_t>(branch - branches.begin()), 0});
    if (branch == branches.end())
      branches.push_back({mode, model.module->clone()});
  }
  model.module = {};
}

int Compilation::runPasses(Phase phase) {
  if (branches.empty())
    fork();
  PipelineOptions options = request.pipeline;
  if (usesPowerScales())
    options.scaleFormat = lm::ScaleFormat::UE8M0;
  for (Branch &branch : branches) {
    PassManager manager(&context);
    options.mode = branch.mode;
    buildPipeline(manager, options, static_cast<Phase>(static_cast<int>(phase) - 1), phase);
    if (failed(manager.run(*branch.module)))
      return reportFault("phase '" + stringifyPhase(phase).str() + "' failed; the messages above say why");
  }
  return kExitOk;
}

int Compilation::generateCode() {
  for (TargetResult &target : targets) {
    Clock::time_point targetBegin = Clock::now();
    codegen::CompileOptions options = request.code;
    options.progress = [&, started = false](size_t done, size_t total) mutable {
      if (!started)
        progress.start("codegen" + (several() ? " " + target.request->name() : ""), total);
      started = true;
      progress.update(done);
    };
    llvm::Expected<codegen::CompiledTarget> code =
        codegen::compileTarget(*branches[target.branch].module, target.request->gpu, options);
    if (!code) {
      progress.clear();
      return reportError(code.takeError());
    }
    compiled.push_back(std::move(*code));
    target.seconds = secondsSince(targetBegin);
  }
  return kExitOk;
}

int Compilation::package() {
  CheckpointWeights weights(*model.checkpoint, usesPowerScales(), warnings);
  codegen::PackageOptions options;
  options.provenance.compiler = std::string("moray ") + moray_runtime_version();
  if (!request.assembler.empty())
    options.provenance.compiler += ", ptxas " + request.assembler;
  options.provenance.source = model.config.modelType; // not the path: equal input gives equal bytes
  options.provenance.flags = request.flags;
  options.provenance.inputHash = model.fingerprint;
  options.tokenizer = std::move(model.tokenizer);
  options.weights = request.embedWeights ? &weights : nullptr;
  auto onProgress = [this, started = false](uint64_t done, uint64_t total) mutable {
    if (!started)
      progress.start("package", total);
    started = true;
    progress.update(done);
  };
  options.progress = onProgress;
  llvm::Expected<uint64_t> size = codegen::packageArtifact(compiled, std::move(options), request.output);
  if (!size) {
    progress.clear();
    return reportError(size.takeError());
  }
  artifactBytes = *size;
  return checkArtifact();
}

// The loader that users will meet is the last verifier of a compilation.
int Compilation::checkArtifact() {
  Model loaded;
  if (loadModel(request.output, /*verifyWeights=*/false, loaded) == kExitOk)
    return kExitOk;
  llvm::sys::fs::remove(request.output);
  return reportFault("the runtime refuses the artifact that was just written; it has been removed");
}

void Compilation::printJson(double seconds) {
  nlohmann::ordered_json object = {{"schema", "moray.compile/1"},
                                   {"artifact", request.output},
                                   {"bytes", artifactBytes},
                                   {"seconds", seconds},
                                   {"peak_memory_bytes", peakMemoryBytes()}};
  for (const auto &[name, time] : times)
    object["phases"][name] = time;
  for (auto [target, code] : llvm::zip(targets, compiled)) {
    uint64_t bytes = 0;
    for (const codegen::CompiledImage &image : code.code.images)
      bytes += image.bytes.size();
    object["targets"].push_back({{"name", code.name},
                                 {"numerics", lm::stringifyMode(branches[target.branch].mode).str()},
                                 {"seconds", target.seconds},
                                 {"kernels", code.specs.size()},
                                 {"images", code.code.images.size()},
                                 {"code_bytes", bytes}});
  }
  std::printf("%s\n", object.dump().c_str());
}

int Compilation::finish() {
  for (const auto &[text, count] : warnings.all())
    std::fprintf(stderr, count > 1 ? "warning: %s (%u times)\n" : "warning: %s\n", text.c_str(), count);
  if (request.lastPhase < Phase::Codegen)
    return printModules(request.output.empty() ? "-" : request.output, request.lastPhase);
  double seconds = secondsSince(begin);
  if (request.json)
    printJson(seconds);
  else if (!request.quiet)
    std::fprintf(stderr, "%s: %.2f MB in %.2f s, peak memory %.0f MB\n", request.output.c_str(),
                 static_cast<double>(artifactBytes) / 1e6, seconds, static_cast<double>(peakMemoryBytes()) / 1e6);
  return flushOut();
}

int Compilation::run() {
  if (request.lastPhase == Phase::Package)
    if (llvm::Error problem = codegen::AtomicFile::check(request.output))
      return reportError(std::move(problem));
  for (int index = 0; index <= static_cast<int>(request.lastPhase); ++index) {
    Phase phase = static_cast<Phase>(index);
    progress.start(stringifyPhase(phase).str(), 0);
    int exitCode = phase == Phase::Import    ? import()
                   : phase == Phase::Codegen ? generateCode()
                   : phase == Phase::Package ? package()
                                             : runPasses(phase);
    if (exitCode == kExitOk && phase < Phase::Codegen)
      exitCode = dump(phase);
    if (exitCode != kExitOk)
      return exitCode;
    report(phase);
  }
  return finish();
}

} // namespace

int compile(const CompileRequest &request) {
  codegen::keepIgnoredSignals([] { _exit(kExitInterrupted); });
  DialectRegistry registry;
  registerDialects(registry);
  MLIRContext context(registry,
                      request.code.threads == 1 ? MLIRContext::Threading::DISABLED : MLIRContext::Threading::ENABLED);
  return Compilation(request, context).run();
}

} // namespace moray::tools
