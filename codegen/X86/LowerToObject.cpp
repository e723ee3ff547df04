//===- LowerToObject.cpp - one kernel to one x86 object -----------------------===//
// MLIR passes, a check of what they left, LLVM at O3 without its vectorisers or loop unroller, and an ELF object.

#include "codegen/X86/LowerToObject.h"
#include "codegen/LowerToLLVM.h"
#include "codegen/X86/VectorBuilder.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/SmallVectorMemoryBuffer.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Target/TargetOptions.h"
#include <mutex>

using namespace moray::codegen;
using llvm::createStringError;

static const char triple[] = "x86_64-unknown-linux-gnu";

void moray::codegen::initialiseX86() {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
  });
}

void moray::codegen::registerKernelDialects(mlir::DialectRegistry &registry) {
  registerLoweringDialects(registry);
}

llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>>
moray::codegen::buildKernelModule(const KernelSpec &spec, const Target &target, mlir::MLIRContext &context) {
  context.loadAllAvailableDialects();
  mlir::OpBuilder b(&context);
  auto loc = b.getUnknownLoc();
  mlir::OwningOpRef<mlir::ModuleOp> module = mlir::ModuleOp::create(loc);
  b.setInsertionPointToEnd(module->getBody());
  auto ptr = mlir::LLVM::LLVMPointerType::get(&context);
  auto type =
      mlir::LLVM::LLVMFunctionType::get(mlir::LLVM::LLVMVoidType::get(&context), {ptr, b.getI64Type(), ptr, ptr});
  auto function = mlir::LLVM::LLVMFuncOp::create(b, loc, spec.symbol(), type);
  function.addEntryBlock(b);
  VectorBuilder builder(b, function, target);
  if (llvm::Error error = findEmitter(spec.klass)->emit(spec, target, builder))
    return error;
  mlir::LLVM::ReturnOp::create(b, loc, mlir::ValueRange{});
  return module;
}

/// Only LLVM operations of a closed list may reach the backend: it ends the process on what it cannot select, and calls
/// would need a loader.
static bool isAllowed(mlir::Operation *op) {
  static const char *const intrinsics[] = {"llvm.intr.fma",          "llvm.intr.prefetch", "llvm.intr.sqrt",
                                           "llvm.intr.umin",         "llvm.intr.umax",     "llvm.intr.smin",
                                           "llvm.intr.smax",         "llvm.intr.fabs",     "llvm.intr.masked.load",
                                           "llvm.intr.masked.store", "llvm.intr.ctpop",    "llvm.intr.ctlz"};
  llvm::StringRef name = op->getName().getStringRef();
  if (name.starts_with("llvm.intr."))
    return llvm::is_contained(intrinsics, name);
  if (llvm::isa<mlir::LLVM::CallOp, mlir::LLVM::InvokeOp, mlir::LLVM::GlobalOp, mlir::LLVM::InlineAsmOp,
                mlir::LLVM::CallIntrinsicOp, mlir::LLVM::FRemOp>(op))
    return false;
  return llvm::isa<mlir::ModuleOp>(op) || name.starts_with("llvm.");
}

static std::unique_ptr<llvm::TargetMachine> makeMachine(const Target &target) {
  std::string error;
  llvm::Triple parsed(triple);
  const llvm::Target *backend = llvm::TargetRegistry::lookupTarget(parsed, error);
  if (!backend)
    return nullptr;
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;
  options.FunctionSections = true;
  return std::unique_ptr<llvm::TargetMachine>(backend->createTargetMachine(parsed, target.cpu, target.features, options,
                                                                           llvm::Reloc::PIC_, llvm::CodeModel::Small,
                                                                           llvm::CodeGenOptLevel::Aggressive));
}

static void setAttributes(llvm::Module &module, const Target &target) {
  for (llvm::Function &function : module) {
    if (function.isDeclaration())
      continue;
    function.addFnAttr("no-builtins");
    function.addFnAttr("target-cpu", target.cpu);
    function.addFnAttr("target-features", target.features);
    function.addFnAttr(llvm::Attribute::NoUnwind);
    if (target.floatLanes == 16) {
      function.addFnAttr("min-legal-vector-width", "512");
      function.addFnAttr("prefer-vector-width", "512");
    }
  }
}

llvm::Expected<std::vector<char>> moray::codegen::lowerToObject(mlir::ModuleOp module, const Target &target,
                                                                ObjectKind kind) {
  auto machine = makeMachine(target);
  if (!machine)
    return createStringError("E3106: this LLVM has no x86 backend");
  llvm::LLVMContext context;
  auto translated = lowerToLLVM(module, *machine, isAllowed, context);
  if (!translated)
    return translated.takeError();
  llvm::Module &kernel = **translated;
  setAttributes(kernel, target);
  optimise(kernel, *machine);

  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  llvm::legacy::PassManager emission;
  auto fileType =
      kind == ObjectKind::Assembly ? llvm::CodeGenFileType::AssemblyFile : llvm::CodeGenFileType::ObjectFile;
  if (machine->addPassesToEmitFile(emission, stream, nullptr, fileType))
    return createStringError("E3106: the x86 backend cannot write objects");
  emission.run(kernel);
  return std::vector<char>(bytes.begin(), bytes.end());
}
