// Runs codegen over the kernels of a module and packages the result.
#include "codegen/Compiler.h"

#include "codegen/Classify.h"

using namespace mlir;
using namespace moray;
using namespace moray::codegen;

llvm::Expected<CompiledTarget> moray::codegen::compileTarget(ModuleOp module, const GpuTarget *gpu,
                                                             const CompileOptions &options) {
  CompiledTarget target;
  target.name = (gpu ? gpu->name : kCpuTarget).str();
  target.sm = gpu ? gpu->sm : 0;
  target.module = module;
  for (cmd::KernelOp kernel : module.getOps<cmd::KernelOp>()) {
    llvm::Expected<KernelSpec> spec = classify(kernel);
    if (!spec)
      return spec.takeError();
    target.specs.push_back(std::move(*spec));
    target.names.push_back(kernel.getSymName().str());
  }
  if (!gpu || findGpuEmitter(KernelClass::Probe))
    for (auto &[name, spec] : probeKernels()) {
      target.specs.push_back(spec);
      target.names.push_back(name);
    }
  bool distributed = llvm::any_of(module.getOps<cmd::ProgramOp>(), [](cmd::ProgramOp program) {
    return program.getKind() == cmd::ProgramKind::StepDist;
  });
  if (gpu && distributed)
    for (auto &[name, spec] : exchangeKernels()) {
      target.specs.push_back(spec);
      target.names.push_back(name);
    }
  llvm::Expected<CompiledKernels> code =
      gpu ? compileGpuKernels(target.specs, *gpu, options) : compileKernels(target.specs, options);
  if (!code)
    return code.takeError();
  target.code = std::move(*code);
  return target;
}

llvm::Expected<uint64_t> moray::codegen::packageArtifact(llvm::ArrayRef<CompiledTarget> targets, PackageOptions options,
                                                         const std::string &path) {
  llvm::Expected<Metadata> metadata =
      buildMetadata(targets, options.provenance, std::move(options.tokenizer), options.weights != nullptr);
  if (!metadata)
    return metadata.takeError();
  return writeArtifact(path, *metadata, options.weights, options.progress);
}
