// Runs codegen over the kernels of a module and packages the result.
#include "codegen/Compiler.h"

#include "codegen/Classify.h"

using namespace mlir;
using namespace moray;
using namespace moray::codegen;

llvm::Expected<CompiledCode> moray::codegen::compileCode(ModuleOp module, const CompileOptions &options) {
  CompiledCode code;
  for (cmd::KernelOp kernel : module.getOps<cmd::KernelOp>()) {
    llvm::Expected<KernelSpec> spec = classify(kernel);
    if (!spec)
      return spec.takeError();
    code.specs.push_back(std::move(*spec));
    code.names.push_back(kernel.getSymName().str());
  }
  for (auto &[name, spec] : probeKernels()) {
    code.specs.push_back(spec);
    code.names.push_back(name);
  }
  llvm::Expected<std::vector<CompiledImage>> images = compileKernels(code.specs, options);
  if (!images)
    return images.takeError();
  code.images = std::move(*images);
  return code;
}

llvm::Expected<uint64_t> moray::codegen::packageArtifact(ModuleOp module, const CompiledCode &code,
                                                         PackageOptions options, const std::string &path) {
  llvm::Expected<Metadata> metadata =
      buildMetadata(module, code, options.provenance, std::move(options.tokenizer), options.weights != nullptr);
  if (!metadata)
    return metadata.takeError();
  return writeArtifact(path, module, *metadata, code, options.weights, options.progress);
}
