//===- moray-emit.cpp - kernels of an IR file as text -------------------------===//
// Test tool: for every cmd.kernel of FILE prints its spec and launch plan, and with --print=mlir|asm what the emitters
// of a CPU level or GPU target make of it.

#include "codegen/Classify.h"
#include "codegen/NVPTX/LowerToPtx.h"
#include "codegen/X86/LowerToObject.h"
#include "dialects/Cmd/Cmd.h"
#include "dialects/Dialects.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/raw_ostream.h"

using namespace moray::codegen;

static std::string text(const SizeExpr &expression) {
  static const char *const symbols[] = {"T",      "B",    "N",    "P",       "C", "rows",
                                        "decode", "seqs", "outs", "prefill", "R", "received"};
  static const char *const operators[] = {"", "", "+", "*", "ceildiv", "min", "max", "align"};
  std::string line;
  for (const ExprOp &op : expression.postfix()) {
    line += line.empty() ? "" : " ";
    line += op.kind == ExprKind::Const    ? std::to_string(op.value)
            : op.kind == ExprKind::Symbol ? symbols[op.value]
                                          : operators[int(op.kind)];
  }
  return line;
}

static llvm::Error emitForCpu(const KernelSpec &spec, const Target &target, llvm::StringRef print) {
  const Emitter *emitter = findEmitter(spec.klass);
  if (!emitter)
    return llvm::createStringError("E3101: no CPU emitter for kernels of class '%s'", kernelClassName(spec.klass));
  LaunchPlan plan = emitter->plan(spec, target);
  llvm::outs() << "// " << target.name << ": " << plan.config << "\n// tasks: " << text(plan.tasks)
               << "\n// scratch: " << text(plan.scratchBytes) << "\n";
  if (print == "spec")
    return llvm::Error::success();
  mlir::DialectRegistry registry;
  registerKernelDialects(registry);
  mlir::MLIRContext context(registry);
  auto module = buildKernelModule(spec, target, context);
  if (!module)
    return module.takeError();
  if (print == "mlir") {
    llvm::outs() << **module << "\n";
    return llvm::Error::success();
  }
  auto assembly = lowerToObject(**module, target, ObjectKind::Assembly);
  if (!assembly)
    return assembly.takeError();
  llvm::outs().write(assembly->data(), assembly->size());
  return llvm::Error::success();
}

static llvm::Error emitForGpu(const KernelSpec &spec, const GpuTarget &target, llvm::StringRef print) {
  const GpuEmitter *emitter = findGpuEmitter(spec.klass);
  if (!emitter)
    return llvm::createStringError("E3101: no GPU emitter for kernels of class '%s'", kernelClassName(spec.klass));
  GpuPlan plan = emitter->plan(spec, target);
  llvm::outs() << "// " << target.name << ": " << plan.config << "\n// scratch: " << text(plan.scratchBytes) << "\n";
  for (size_t i = 0; i < plan.stages.size(); ++i)
    llvm::outs() << "// stage " << stageEntry(spec, plan, i) << ": grid " << text(plan.stages[i].grid) << ", threads "
                 << plan.stages[i].threads << ", dynamic shared " << plan.stages[i].dynamicShared << "\n";
  if (print == "spec")
    return llvm::Error::success();
  mlir::DialectRegistry registry;
  registerGpuKernelDialects(registry);
  mlir::MLIRContext context(registry);
  std::vector<uint64_t> sharedBytes;
  auto module = buildGpuModule(spec, target, context, sharedBytes);
  if (!module)
    return module.takeError();
  if (print == "mlir") {
    llvm::outs() << **module << "\n";
    return llvm::Error::success();
  }
  auto ptx = lowerToPtx(**module, target);
  if (!ptx)
    return ptx.takeError();
  llvm::outs() << *ptx;
  return llvm::Error::success();
}

static llvm::Error emitKernel(mlir::Operation *op, const Target &target, const GpuTarget *gpu, llvm::StringRef print) {
  auto spec = classify(op);
  if (!spec)
    return spec.takeError();
  llvm::outs() << "// kernel " << spec->key() << "\n";
  return gpu ? emitForGpu(*spec, *gpu, print) : emitForCpu(*spec, target, print);
}

int main(int argc, char **argv) {
  llvm::cl::opt<std::string> file(llvm::cl::Positional, llvm::cl::Required, llvm::cl::desc("FILE"));
  llvm::cl::opt<std::string> level("level", llvm::cl::init("avx512"), llvm::cl::desc("x86-64-v3 or avx512"));
  llvm::cl::opt<std::string> gpu("gpu", llvm::cl::desc("GPU target such as cuda:sm_80, instead of a CPU level"));
  llvm::cl::opt<std::string> print("print", llvm::cl::init("spec"), llvm::cl::desc("spec, mlir or asm (PTX)"));
  llvm::cl::ParseCommandLineOptions(argc, argv, "Prints the kernels of an IR file\n");
  auto parsed = parseCpuLevel(level);
  if (!parsed)
    return llvm::errs() << "error[E1001]: unknown CPU level '" << level << "'\n", 2;
  if (!gpu.empty() && !findGpuTarget(gpu))
    return llvm::errs() << "error[E1001]: unknown GPU target '" << gpu << "'\n", 2;
  initialiseX86();
  initialiseNvptx();
  mlir::DialectRegistry registry;
  moray::registerDialects(registry);
  mlir::MLIRContext context(registry);
  auto module = mlir::parseSourceFile<mlir::ModuleOp>(file, &context);
  if (!module)
    return 3;
  int status = 0;
  for (auto kernel : module->getOps<moray::cmd::KernelOp>())
    if (llvm::Error error = emitKernel(kernel, getTarget(*parsed), findGpuTarget(gpu), print)) {
      llvm::outs().flush();
      llvm::errs() << "error: " << llvm::toString(std::move(error)) << "\n";
      status = 1;
    }
  return status;
}
