//===- CompileGpu.cpp - the table of GPU emitters and their compile driver --------===//
// Finds the GPU emitter of a class and compiles kernels in parallel: PTX for each distinct kernel, cubins where ptxas
// is.

#include "codegen/Emitter.h"
#include "codegen/KernelJobs.h"
#include "codegen/NVPTX/Assemble.h"
#include "codegen/NVPTX/Emitters.h"
#include "codegen/NVPTX/LowerToPtx.h"
#include "llvm/Support/FormatVariadic.h"

using namespace moray::codegen;

llvm::ArrayRef<const GpuEmitter *> moray::codegen::gpuEmitters() {
  static const GpuEmitter *const emitters[] = {&gpuAttentionEmitter, &gpuGemmEmitter,  &gpuGroupedGemmEmitter,
                                               &gpuPermuteEmitter,   &gpuRowEmitter,   &gpuRouterEmitter,
                                               &gpuSamplingEmitter,  &gpuProbeEmitter, &gpuExchangeEmitter};
  return emitters;
}

const GpuEmitter *moray::codegen::findGpuEmitter(KernelClass klass) {
  for (const GpuEmitter *emitter : gpuEmitters())
    if (emitter->klass == klass)
      return emitter;
  return nullptr;
}

namespace {
/// One kernel to compile; results are written by exactly one worker.
struct Job {
  const KernelSpec *spec;
  std::string ptx;
  std::vector<uint64_t> sharedBytes; // by stage
  std::vector<Cubin> cubins;         // by chip
};
} // namespace

static llvm::Error compileJob(Job &job, const GpuTarget &target, mlir::MLIRContext &context,
                              const CompileOptions &options) {
  auto module = buildGpuModule(*job.spec, target, context, job.sharedBytes);
  if (!module)
    return module.takeError();
  auto ptx = lowerToPtx(**module, target);
  if (!ptx)
    return ptx.takeError();
  job.ptx = std::move(*ptx);
  if (!options.ptxDir.empty()) {
    std::string name = llvm::formatv("{0}.{1}.ptx", job.spec->symbol(), target.chip);
    if (llvm::Error error = writeKernelFile(options.ptxDir, name, job.ptx))
      return error;
  }
  if (options.ptxas.empty())
    return llvm::Error::success();
  for (unsigned sm : target.cubinFor) {
    auto cubin = assemble(options.ptxas, job.ptx, sm);
    if (!cubin)
      return cubin.takeError();
    job.cubins.push_back(std::move(*cubin));
  }
  return llvm::Error::success();
}

/// The images of one kernel, PTX first, and the variants that use them.
static void addImages(const Job &job, const GpuTarget &target, CompiledKernels &result,
                      std::vector<CompiledVariant> &variants) {
  GpuPlan plan = findGpuEmitter(job.spec->klass)->plan(*job.spec, target);
  auto add = [&](CompiledImage image, const Cubin *cubin) {
    CompiledVariant variant;
    variant.image = result.images.size();
    variant.scratchBytes = plan.scratchBytes, variant.config = plan.config;
    for (size_t i = 0; i < plan.stages.size(); ++i) {
      const GpuStage &stage = plan.stages[i];
      std::string entry = stageEntry(*job.spec, plan, i);
      unsigned registers = cubin ? cubin->entries.lookup(entry).registers : 0;
      variant.stages.push_back(
          {entry, stage.grid, stage.threads, unsigned(job.sharedBytes[i]), stage.dynamicShared, registers});
    }
    image.ptxVersion = target.ptxVersion;
    result.images.push_back(std::move(image));
    variants.push_back(std::move(variant));
  };
  CompiledImage text;
  text.kind = CompiledImage::Ptx;
  text.sm = target.sm;
  text.bytes.assign(job.ptx.begin(), job.ptx.end());
  text.bytes.push_back('\0');
  add(std::move(text), nullptr);
  for (size_t i = 0; i < job.cubins.size(); ++i) {
    CompiledImage cubin;
    cubin.kind = CompiledImage::Cubin;
    cubin.sm = target.cubinFor[i];
    cubin.bytes = job.cubins[i].bytes;
    add(std::move(cubin), &job.cubins[i]);
  }
}

llvm::Expected<CompiledKernels> moray::codegen::compileGpuKernels(llvm::ArrayRef<KernelSpec> specs,
                                                                  const GpuTarget &target,
                                                                  const CompileOptions &options) {
  for (const KernelSpec &spec : specs)
    if (!findGpuEmitter(spec.klass))
      return noEmitter(spec, "GPU");
  DistinctKernels kernels(specs);
  std::vector<Job> jobs;
  for (const KernelSpec *spec : kernels.specs)
    jobs.push_back({spec, {}, {}, {}});
  initialiseNvptx();
  llvm::Error failure = runKernelJobs(
      jobs.size(), options.threads, options.progress, registerGpuKernelDialects,
      [&](size_t i, mlir::MLIRContext &context) { return compileJob(jobs[i], target, context, options); },
      [&](size_t i) { return jobs[i].spec->key() + ", target " + target.name.str(); });
  if (failure)
    return std::move(failure);

  CompiledKernels result;
  std::vector<std::vector<CompiledVariant>> variants(jobs.size());
  for (size_t i = 0; i < jobs.size(); ++i)
    addImages(jobs[i], target, result, variants[i]);
  for (size_t index : kernels.indexOf)
    result.variants.push_back(variants[index]);
  return result;
}
