//===- moray-emit.cpp - kernels of an IR file as text -------------------------===//
// Test tool: for every cmd.kernel of FILE prints its spec and launch plan, and with --print=mlir|asm what the emitters
// make of it.

#include "codegen/Classify.h"
#include "codegen/X86/LowerToObject.h"
#include "dialects/Cmd/Cmd.h"
#include "dialects/Dialects.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/raw_ostream.h"

using namespace moray::codegen;

static std::string text(const SizeExpr &expression) {
  static const char *const symbols[] = {"T", "B", "N", "P", "C", "rows", "decode", "seqs", "outs"};
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

static llvm::Error emitKernel(mlir::Operation *op, const Target &target, llvm::StringRef print) {
  auto spec = classify(op);
  if (!spec)
    return spec.takeError();
  const Emitter *emitter = findEmitter(spec->klass);
  if (!emitter)
    return llvm::createStringError("E3101: no emitter for kernels of class '%s'", kernelClassName(spec->klass));
  LaunchPlan plan = emitter->plan(*spec, target);
  llvm::outs() << "// kernel " << spec->key() << "\n// " << target.name << ": " << plan.config
               << "\n// tasks: " << text(plan.tasks) << "\n// scratch: " << text(plan.scratchBytes) << "\n";
  if (print == "spec")
    return llvm::Error::success();
  mlir::DialectRegistry registry;
  registerKernelDialects(registry);
  mlir::MLIRContext context(registry);
  auto module = buildKernelModule(*spec, target, context);
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

int main(int argc, char **argv) {
  llvm::cl::opt<std::string> file(llvm::cl::Positional, llvm::cl::Required, llvm::cl::desc("FILE"));
  llvm::cl::opt<std::string> level("level", llvm::cl::init("avx512"), llvm::cl::desc("x86-64-v3 or avx512"));
  llvm::cl::opt<std::string> print("print", llvm::cl::init("spec"), llvm::cl::desc("spec, mlir or asm"));
  llvm::cl::ParseCommandLineOptions(argc, argv, "Prints the kernels of an IR file\n");
  auto parsed = parseCpuLevel(level);
  if (!parsed)
    return llvm::errs() << "error[E1001]: unknown CPU level '" << level << "'\n", 2;
  initialiseX86();
  mlir::DialectRegistry registry;
  moray::registerDialects(registry);
  mlir::MLIRContext context(registry);
  auto module = mlir::parseSourceFile<mlir::ModuleOp>(file, &context);
  if (!module)
    return 3;
  int status = 0;
  for (auto kernel : module->getOps<moray::cmd::KernelOp>())
    if (llvm::Error error = emitKernel(kernel, getTarget(*parsed), print)) {
      llvm::outs().flush();
      llvm::errs() << "error: " << llvm::toString(std::move(error)) << "\n";
      status = 1;
    }
  return status;
}
