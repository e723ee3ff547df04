//===- Emitter.cpp - the table of emitters and the compile driver -------------===//
// Finds the emitter of a class and compiles kernels for CPUs in parallel: equal ones once, bytes independent of the
// number of threads.

#include "codegen/Emitter.h"
#include "codegen/KernelJobs.h"
#include "codegen/X86/LinkImage.h"
#include "codegen/X86/LowerToObject.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/Support/FormatVariadic.h"

using namespace moray::codegen;

const Emitter *moray::codegen::findEmitter(KernelClass klass) {
  static const Emitter *const emitters[] = {&gemmEmitter,    &groupedGemmEmitter, &rowEmitter,      &routerEmitter,
                                            &permuteEmitter, &attentionEmitter,   &samplingEmitter, &probeEmitter};
  for (const Emitter *emitter : emitters)
    if (emitter->klass == klass)
      return emitter;
  return nullptr;
}

namespace {
/// One (kernel, level) to compile; results are written by exactly one worker.
struct Job {
  const KernelSpec *spec;
  const Target *target;
  std::vector<char> object;
};
} // namespace

static llvm::Error compileJob(Job &job, mlir::MLIRContext &context, const CompileOptions &options) {
  auto module = buildKernelModule(*job.spec, *job.target, context);
  if (!module)
    return module.takeError();
  auto object = lowerToObject(**module, *job.target);
  if (!object)
    return object.takeError();
  job.object = std::move(*object);
  if (options.objectDir.empty())
    return llvm::Error::success();
  return writeKernelFile(options.objectDir, llvm::formatv("{0}.{1}.o", job.spec->symbol(), job.target->name).str(),
                         job.object);
}

llvm::Expected<CompiledKernels> moray::codegen::compileKernels(llvm::ArrayRef<KernelSpec> specs,
                                                               const CompileOptions &options) {
  for (const KernelSpec &spec : specs)
    if (!findEmitter(spec.klass))
      return noEmitter(spec, "CPU");
  DistinctKernels kernels(specs);
  std::vector<Job> jobs;
  for (CpuLevel level : options.levels)
    for (const KernelSpec *spec : kernels.specs)
      jobs.push_back({spec, &getTarget(level), {}});
  initialiseX86();
  llvm::Error failure = runKernelJobs(
      jobs.size(), options.threads, options.progress, registerKernelDialects,
      [&](size_t i, mlir::MLIRContext &context) { return compileJob(jobs[i], context, options); },
      [&](size_t i) { return jobs[i].spec->key() + ", level " + jobs[i].target->name.str(); });
  if (failure)
    return std::move(failure);

  CompiledKernels result;
  result.variants.resize(specs.size());
  for (size_t l = 0; l < options.levels.size(); ++l) {
    std::vector<std::vector<char>> objects;
    std::vector<std::string> names;
    for (size_t k = 0; k < kernels.specs.size(); ++k) {
      objects.push_back(std::move(jobs[l * kernels.specs.size() + k].object));
      names.push_back(kernels.specs[k]->symbol());
    }
    auto linked = linkImage(objects, names);
    if (!linked)
      return linked.takeError();
    for (size_t i = 0; i < specs.size(); ++i) {
      const LinkedSymbol &symbol = linked->symbols[kernels.indexOf[i]];
      LaunchPlan plan = findEmitter(specs[i].klass)->plan(specs[i], getTarget(options.levels[l]));
      CompiledVariant variant;
      variant.image = l;
      variant.entry = symbol.offset, variant.codeSize = symbol.size;
      variant.tasks = plan.tasks, variant.scratchBytes = plan.scratchBytes, variant.config = plan.config;
      result.variants[i].push_back(std::move(variant));
    }
    CompiledImage image;
    image.level = options.levels[l];
    image.bytes = std::move(linked->bytes);
    result.images.push_back(std::move(image));
  }
  return result;
}
