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
#include "llvm/Support/ThreadPool.h"
#include "llvm/Support/raw_ostream.h"
#include <chrono>
#include <nlohmann/json.hpp>
#include <sys/resource.h>

using namespace mlir;

namespace moray::tools {

namespace {

class Compilation {
public:
  Compilation(const CompileRequest &request, MLIRContext &context)
      : request(request), context(context), progress(request.quiet || request.json) {}

  int run();

private:
  int import();
  int runPasses(Phase phase);
  int generateCode();
  int package();
  int checkArtifact();
  int dump(Phase phase);
  int printModule(const std::string &path);
  int finish();
  void report(Phase phase);
  bool usesPowerScales() const { return model.config.quantization && model.config.quantization->ue8m0; }

  const CompileRequest &request;
  MLIRContext &context;
  Progress progress;
  frontend::Warnings warnings;
  frontend::ImportedModel model;
  codegen::CompiledCode code;
  uint64_t artifactBytes = 0;
  std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now(), phaseBegin = begin;
  std::vector<std::pair<std::string, double>> times;
};

double secondsSince(std::chrono::steady_clock::time_point from) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
}

uint64_t peakMemoryBytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

// Ends a phase: notes and prints its time, and dumps the module if wanted.
void Compilation::report(Phase phase) {
  progress.clear();
  times.emplace_back(stringifyPhase(phase).str(), secondsSince(phaseBegin));
  if (!request.quiet)
    std::fprintf(stderr, "%-10s %7.2f s\n", times.back().first.c_str(), times.back().second);
  phaseBegin = std::chrono::steady_clock::now();
}

int Compilation::dump(Phase phase) {
  if (request.dumpDirectory.empty())
    return kExitOk;
  std::string path = request.dumpDirectory + "/" + std::to_string(static_cast<int>(phase)) + "-" +
                     stringifyPhase(phase).str() + ".mlir";
  (void)llvm::sys::fs::create_directories(request.dumpDirectory); // a failure shows when the file is opened
  return printModule(path);
}

// Writes the IR to a file, or to stdout ("-").
int Compilation::printModule(const std::string &path) {
  std::error_code failure;
  llvm::raw_fd_ostream stream(path, failure);
  if (!failure) {
    model.module->print(stream);
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
  return kExitOk;
}

int Compilation::runPasses(Phase phase) {
  PassManager manager(&context);
  PipelineOptions options = request.pipeline;
  if (usesPowerScales())
    options.scaleFormat = lm::ScaleFormat::UE8M0;
  buildPipeline(manager, options, static_cast<Phase>(static_cast<int>(phase) - 1), phase);
  if (succeeded(manager.run(*model.module)))
    return kExitOk;
  return reportFault("phase '" + stringifyPhase(phase).str() + "' failed; the messages above say why");
}

int Compilation::generateCode() {
  llvm::Expected<codegen::CompiledCode> compiled = codegen::compileCode(*model.module, request.code);
  if (!compiled)
    return reportError(compiled.takeError());
  code = std::move(*compiled);
  return kExitOk;
}

int Compilation::package() {
  CheckpointWeights weights(*model.checkpoint, usesPowerScales(), warnings);
  codegen::PackageOptions options;
  options.provenance.compiler = std::string("moray ") + moray_runtime_version();
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
  llvm::Expected<uint64_t> size = codegen::packageArtifact(*model.module, code, std::move(options), request.output);
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

int Compilation::finish() {
  for (const auto &[text, count] : warnings.all())
    std::fprintf(stderr, count > 1 ? "warning: %s (%u times)\n" : "warning: %s\n", text.c_str(), count);
  if (request.lastPhase < Phase::Codegen)
    return printModule(request.output.empty() ? "-" : request.output);
  double seconds = secondsSince(begin);
  if (request.json) {
    nlohmann::ordered_json object = {{"schema", "moray.compile/1"},
                                     {"artifact", request.output},
                                     {"bytes", artifactBytes},
                                     {"seconds", seconds},
                                     {"peak_memory_bytes", peakMemoryBytes()}};
    for (const auto &[name, time] : times)
      object["phases"][name] = time;
    std::printf("%s\n", object.dump().c_str());
  } else if (!request.quiet) {
    std::fprintf(stderr, "%s: %.2f MB in %.2f s, peak memory %.0f MB\n", request.output.c_str(),
                 static_cast<double>(artifactBytes) / 1e6, seconds, static_cast<double>(peakMemoryBytes()) / 1e6);
  }
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
  codegen::keepIgnoredSignals();
  DialectRegistry registry;
  registerDialects(registry);
  MLIRContext context(registry,
                      request.code.threads == 1 ? MLIRContext::Threading::DISABLED : MLIRContext::Threading::ENABLED);
  return Compilation(request, context).run();
}

} // namespace moray::tools
